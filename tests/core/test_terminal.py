"""Remote text cannot drive a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.terminal import escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.txt", "plain name.txt"),
        ("日本語 and é", "日本語 and é"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("photo\u202egpj.exe", r"photo\u202egpj.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("\ufeffbom", r"\ufeffbom"),
        ("line\u2028break", r"line\u2028break"),
        ("\udc80", r"\x80"),
        ("caf\udce9", r"caf\xe9"),
        ("\ud800\udc7f\udd00", r"\ud800\udc7f\udd00"),
        ("\U000e0041", r"\U000e0041"),
        ("back\\slash", "back\\slash"),
        ("", ""),
    ],
)
def test_what_is_hidden_becomes_visible(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text(st.characters(), max_size=40))
def test_whatever_comes_out_is_harmless(text: str) -> None:
    shown = escape(text)
    assert all(unicodedata.category(c)[0] != "C" or c in "\u200c\u200d" for c in shown)
    assert len(f"{shown}x".splitlines()) == 1
    assert escape(shown) == shown
    shown.encode()
