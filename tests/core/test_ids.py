"""Ids: one length, one text form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument
from swarmd.core.ids import ContentId, GroupId, Id, PeerId

# RFC 4648 by hand: 256 zero bits are 52 letters "a"; 256 one bits are 51 letters "7", and the last bit with
# four of padding, 10000, is letter 16, "q".
ZERO_TEXT = "a" * 52
ONES_TEXT = "7" * 51 + "q"


def test_text_form_follows_rfc_4648() -> None:
    assert str(PeerId(bytes(32))) == ZERO_TEXT
    assert str(GroupId(b"\xff" * 32)) == ONES_TEXT
    assert PeerId.parse(ONES_TEXT) == b"\xff" * 32


@given(st.binary(min_size=32, max_size=32))
def test_text_round_trip(value: bytes) -> None:
    text = str(ContentId(value))
    assert len(text) == 52
    assert ContentId.parse(text) == ContentId.parse(text.upper()) == value


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_another_length_is_no_id(length: int) -> None:
    with pytest.raises(ValueError, match="takes 32 bytes"):
        Id(bytes(length))


@pytest.mark.parametrize(
    "text",
    ["", "a" * 51, "a" * 53, "a" * 51 + "=", "a" * 51 + "0", "a" * 51 + "b", "a" * 51 + "é", " " + "a" * 51],
)
def test_text_that_names_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="not a peer ID"):
        PeerId.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        assert str(Id.parse(text)) == text.lower()
    except InvalidArgument:
        pass


def test_parse_gives_the_class_it_was_called_on() -> None:
    assert type(GroupId.parse(ZERO_TEXT)) is GroupId


def test_short_form_is_all_that_repr_shows() -> None:
    peer = PeerId(b"\xff" * 32)
    assert peer.short == "77777777"
    assert repr(peer) == "PeerId(77777777)"
    assert f"{peer}" == ONES_TEXT


def test_an_id_is_its_bytes() -> None:
    assert {PeerId(bytes(32)): 1}[PeerId(bytes(32))] == 1
    assert PeerId(memoryview(bytes(32))) == bytes(32)
