"""The demo is what newcomers run first: it works, says what it has measured, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from swarmd.core.rng import SeededRng
from tests.e2e.nodes import clean_environ

TIMEOUT = 60.0


@pytest.fixture
def environ() -> Iterator[Mapping[str, str]]:
    """All that the demo writes goes below a folder of the test's, one with a short name: sockets lie in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield {**clean_environ(), "TMPDIR": folder}


def demo(environ: Mapping[str, str], *arguments: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
        start_new_session=True,
    )


def left_behind(environ: Mapping[str, str]) -> list[str]:
    """Processes that work in its folder, and what is in the folder."""
    place = environ["TMPDIR"].encode()
    found = os.listdir(environ["TMPDIR"])
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place in (command := path.read_bytes()):
                found.append(command.decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_a_file_goes_to_two_and_is_compared(tmp_path: Path, environ: Mapping[str, str]) -> None:
    path = tmp_path / "some file.bin"
    path.write_bytes(SeededRng(1).bytes(5_000_000))
    with demo(environ, path) as process:
        output, complaints = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaints) == (0, "")
    assert "A shares some file.bin: 1 file, 4.8 MiB" in output
    assert re.search(r"received +4\.8 MiB +4\.8 MiB\n", output)
    assert re.search(r"verified +equal to A's +equal to A's\n", output)
    assert "\x1b" not in output, "no bars where nobody looks"
    assert left_behind(environ) == []


def test_a_folder_goes_too(tmp_path: Path, environ: Mapping[str, str]) -> None:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_bytes(b"content")
    (folder / "link").symlink_to("inner/file")
    with demo(environ, folder) as process:
        output, complaints = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, complaints) == (0, "")
    assert re.search(r"verified +equal to A's +equal to A's\n", output)


def test_what_is_not_there_is_said_and_is_a_failure(tmp_path: Path, environ: Mapping[str, str]) -> None:
    with demo(environ, tmp_path / "nothing") as process:
        _, complaints = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1
    assert "nothing does not exist" in complaints


@pytest.mark.parametrize(
    ("after", "number"),
    [("making a file", signal.SIGINT), ("daemon B runs", signal.SIGTERM), ("B and C get it", signal.SIGINT)],
)
def test_interrupted_it_stops_everything(environ: Mapping[str, str], after: str, number: signal.Signals) -> None:
    """As Ctrl-C does: the signal goes to all processes of the terminal at once."""
    with demo(environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if after in line:
                break
        os.killpg(process.pid, number)
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert left_behind(environ) == []
