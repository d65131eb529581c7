"""Numbers and tables as people read them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import wording
from swarmd.control.records import Failure, ShareProgress, Waiting
from tests.control.records import transfer


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (64 << 20, "64.0 MiB"),
        ((1 << 30) - 1, "1.0 GiB"),
        (300 << 20, "300 MiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_size(count: int, text: str) -> None:
    assert wording.size(count) == text


@given(st.integers(0, 1 << 70))
def test_sizes_are_short(count: int) -> None:
    number, unit = wording.size(count).split()
    assert unit == "PiB" or len(number) <= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (3605, "1 h"),
        (90000, "1 d 1 h"),
        (1e9, "11574 d 1 h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_a_hundred_percent_means_all_of_it() -> None:
    assert wording.percentage(transfer(size=1000, have_bytes=999)) == "99 %"
    assert wording.percentage(transfer(size=0, have_bytes=0, state="finishing")) == "0 %"
    assert wording.percentage(transfer(size=0, have_bytes=0, state="done")) == "100 %"
    assert wording.percentage(transfer(size=None, have_bytes=0)) == "0 %"


def test_a_hiccup_is_not_spoken_of() -> None:
    def waiting(since_s: float) -> Waiting:
        return Waiting(code="slow_peers", text="peers are slow", since_s=since_s)

    assert wording.standing(transfer()) is None
    assert wording.standing(transfer(waiting=waiting(1))) is None
    assert wording.standing(transfer(waiting=waiting(1), state="paused")) == "peers are slow"
    assert wording.standing_for(transfer(waiting=waiting(75))) == "peers are slow (for 1 min 15 s)"
    assert wording.standing(transfer(state="failed", error=Failure(code="error", message="gone\n"))) == "gone\\n"


def test_tables_are_aligned_in_any_script() -> None:
    text = wording.table(("NAME", "SIZE"), [("日本語", "5 B"), ("e\u0301t\u00e9", "10 B"), ("x" * 8, "")], right="SIZE")
    assert text.split("\n") == [
        "NAME      SIZE",
        "日本語     5 B",
        "e\u0301t\u00e9       10 B",
        "xxxxxxxx",
    ]
    assert wording.table(("NAME", "SIZE"), []) == ""


LONG = "x" * 255


def test_one_long_name_moves_only_its_own_line() -> None:
    """Where no terminal shows it, nothing is cut, and the other lines stay as narrow as they are."""
    rows = [("short", "5 B", "films"), (LONG, "10 B", "films"), ("y" * 40, "", "z")]
    text = wording.table(("NAME", "SIZE", "GROUP"), rows, right="SIZE", crop="NAME")
    header, short, long, just = text.split("\n")
    assert header == "NAME" + " " * 38 + "SIZE  GROUP"
    assert short == "short" + " " * 38 + "5 B  films"
    assert long == f"{LONG}  10 B  films"
    assert just == "y" * 40 + " " * 8 + "z"


def test_a_terminal_is_not_overrun() -> None:
    rows = [("short", "5 B", "a" * 52, "films"), (LONG, "10 B", "b" * 52, "日本語" * 20)]
    text = wording.table(("NAME", "SIZE", "ID", "GROUP"), rows, "SIZE", "NAME GROUP", 120)
    lines = text.split("\n")
    assert max(map(wording._cells, lines)) <= 120
    assert "b" * 52 in lines[2], "what is not to be cut is whole"
    assert lines[2].startswith("xxxxxx")
    assert lines[2].count("…") == 2
    assert lines[1].split() == ["short", "5", "B", "a" * 52, "films"]
    assert wording.table(("NAME", "ID"), [("short", "b")], "", "NAME", 120) == "NAME   ID\nshort  b"


def test_names_stay_recognisable_on_a_terminal_too_narrow() -> None:
    text = wording.table(("NAME", "ID"), [(LONG, "b" * 52)], "", "NAME", 20)
    assert text.split("\n")[1] == "x" * 11 + "…  " + "b" * 52


@given(st.text(st.sampled_from("a日e\u0301\\x"), max_size=80), st.integers(40, 90))
def test_any_name_fits_a_terminal(name: str, width: int) -> None:
    text = wording.table(("NAME", "STATE"), [(name, "done")], "", "NAME", width)
    assert all(wording._cells(line) <= width for line in text.split("\n"))


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (ShareProgress(files=1, total_files=None, bytes=1536, total_bytes=None), "1.5 KiB, 1 file"),
        (
            ShareProgress(files=7, total_files=12, bytes=2047, total_bytes=2048),
            "99 %  2.0 KiB of 2.0 KiB  7 of 12 files",
        ),
        (
            ShareProgress(files=0, total_files=1, bytes=512, total_bytes=2048, eta_s=61.4),
            "25 %  512 B of 2.0 KiB  0 of 1 file  1 min 1 s left",
        ),
        (
            ShareProgress(files=3, total_files=2, bytes=9, total_bytes=8, eta_s=0),
            "100 %  9 B of 8 B  3 of 2 files  0 s left",
        ),
        (ShareProgress(files=2, total_files=2, bytes=0, total_bytes=0), "0 B of 0 B  2 of 2 files"),
    ],
)
def test_reading(progress: ShareProgress, text: str) -> None:
    assert wording.reading(progress) == text


@pytest.mark.parametrize(("zone", "text"), [("UTC0", "2023-11-14 22:13"), ("XYZ-2", "2023-11-15 00:13")])
def test_a_moment_is_told_in_local_time(zone: str, text: str) -> None:
    script = "from cli.wording import moment; print(moment(1_700_000_000_000))"
    told = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "TZ": zone}, capture_output=True, text=True, check=True
    )
    assert told.stdout == text + "\n"
