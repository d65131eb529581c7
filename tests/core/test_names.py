"""Names that may travel, names that may not, and names that collide."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.names import check_component, collision_key

GOOD = ["a", "a.b", ".hidden", "..a", "a..b", "...b", "CONSOLE", "com", "com10", "nul_", "x" * 255, "é" * 127]
GOOD += ["日本語", "اسم", "a b", "what?", "a*b", '"quoted"', "👩\u200d🚀", "-rf", "~", "$HOME", "console.txt"]
BAD = ["", ".", "..", "a/b", "/", "/etc", "a\\b", "c:", "a:b", "a\0", "\n", "a\x1b[31m", "\x7f", "\x85", "\ud800"]
BAD += ["a.", "a ", "...", " ", "x" * 256, "é" * 128, "CON", "con", "Nul", "aux.txt", "com1", "LPT9.tar.gz", "COM¹"]
BAD += ["nul .txt", "CONIN$", "prn."]


@pytest.mark.parametrize("name", GOOD)
def test_names_that_may_travel(name: str) -> None:
    check_component(name)


@pytest.mark.parametrize("name", BAD)
def test_names_that_may_not(name: str) -> None:
    with pytest.raises(RemoteError) as error:
        check_component(name)
    assert str(error.value).isprintable(), "the message may reach a terminal"


@pytest.mark.parametrize(
    ("name", "shown"), [("фильм:2", "'фильм:2'"), ("日本語 ", "'日本語 '"), ("ملف\x1b[2J", "'ملف\\x1b[2J'")]
)
def test_a_refused_name_is_readable_in_any_script(name: str, shown: str) -> None:
    with pytest.raises(RemoteError) as error:
        check_component(name)
    assert shown in str(error.value)


@given(st.text(max_size=300))
def test_no_message_drives_a_terminal(name: str) -> None:
    """Line breaks, escape sequences, direction overrides: whoever prints the message, or logs it, is safe."""
    try:
        check_component(name)
    except RemoteError as error:
        assert str(error).isprintable()


names = st.one_of(
    st.text(max_size=260),
    st.text(st.sampled_from("./\\:\0 aC"), max_size=6),
    st.sampled_from(GOOD + BAD),
)


@given(names)
def test_a_name_that_passes_is_one_entry_of_its_folder(name: str) -> None:
    try:
        check_component(name)
    except RemoteError:
        return
    path = os.path.join("/folder", name)
    assert os.path.normpath(path) == path
    assert Path(path).parent == Path("/folder")
    assert len(os.fsencode(name)) <= 255


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("readme", "README"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAF\u00c9", "cafe\u0301"),
        ("straße", "STRASSE"),
        ("\u212b", "\u00e5"),
        ("ﬁn", "FIN"),
    ],
)
def test_names_that_collide(one: str, other: str) -> None:
    assert collision_key(one) == collision_key(other)


@pytest.mark.parametrize(("one", "other"), [("a", "b"), ("a", "á"), ("²", "2"), ("a", "a ")])
def test_names_that_do_not(one: str, other: str) -> None:
    assert collision_key(one) != collision_key(other)


@given(st.text(max_size=20))
def test_the_key_is_blind_to_simple_case_and_form(name: str) -> None:
    assert collision_key(collision_key(name)) == collision_key(name)
