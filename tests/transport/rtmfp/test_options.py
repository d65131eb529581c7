"""Options: bytes by hand, the round trip, and what a peer may not send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.options import (
    FIRST_IGNORABLE,
    MAX_OPTIONS,
    METADATA,
    RETURN_FLOW,
    Option,
    decode_options,
    encode_option,
    encode_options,
)
from swarmd.transport.rtmfp.vlu import VLU_LIMIT

anything = st.builds(Option, st.integers(0, VLU_LIMIT), st.binary(max_size=200))


@pytest.mark.parametrize(
    ("option", "encoded"),
    [
        (Option(METADATA, b"TC"), "03 00 54 43"),
        (Option(METADATA), "01 00"),
        (Option(RETURN_FLOW, b"\x07"), "02 0a 07"),
        (Option(FIRST_IGNORABLE, b"x"), "03 c0 00 78"),
        (Option(5, b"v" * 127), "81 00 05" + "76" * 127),
    ],
)
def test_vectors(option: Option, encoded: str) -> None:
    assert encode_option(option.kind, option.value) == bytes.fromhex(encoded)
    assert encode_options([option]) == bytes.fromhex(encoded + "00")
    decoded = decode_options(memoryview(bytes.fromhex("ee" + encoded + "00 ee")), 1)
    assert decoded == ([option], 2 + len(bytes.fromhex(encoded)))


def test_no_options_are_the_marker_alone() -> None:
    assert encode_options([]) == b"\0"
    assert decode_options(b"\0data", 0) == ([], 1)


def test_who_does_not_know_it() -> None:
    assert Option(8191).is_mandatory
    assert not Option(8192).is_mandatory


@given(st.lists(anything, max_size=MAX_OPTIONS), st.binary(max_size=5))
def test_round_trip(options: list[Option], tail: bytes) -> None:
    encoded = encode_options(options)
    assert decode_options(encoded + tail, 0) == (options, len(encoded))


@pytest.mark.parametrize(
    "encoded",
    [
        "",  # no marker
        "02 0a 07",
        "02 0a",  # cut off
        "05 0a 07 00",
        "01 80 00",  # a type that is longer than its option
        "02 80 81 01 00",
        "81",
        "ff ff ff ff ff ff ff ff 7f 00",
    ],
)
def test_refused(encoded: str) -> None:
    with pytest.raises(RemoteError):
        decode_options(bytes.fromhex(encoded), 0)


def test_too_many() -> None:
    assert len(decode_options(encode_options([Option(9000)] * MAX_OPTIONS), 0)[0]) == MAX_OPTIONS
    with pytest.raises(RemoteError, match="more than"):
        decode_options(encode_options([Option(9000)] * (MAX_OPTIONS + 1)), 0)


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    try:
        options, offset = decode_options(data, 0)
    except RemoteError:
        return
    assert offset <= len(data)
    assert decode_options(encode_options(options), 0)[0] == options
