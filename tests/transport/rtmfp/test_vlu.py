"""VLUs: bytes by hand, the round trip, and what a peer may not send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.vlu import (
    MAX_VLU_BYTES,
    VLU_LIMIT,
    decode_field,
    decode_vlu,
    encode_field,
    encode_vlu,
    vlu_bytes,
)

# The high bits first, each byte but the last with its high bit set: 300 = 0b10_0101100.
VECTORS = [
    (0, "00"),
    (1, "01"),
    (127, "7f"),
    (128, "81 00"),
    (300, "82 2c"),
    (0x3FFF, "ff 7f"),
    (0x4000, "81 80 00"),
    (0x1FFFFF, "ff ff 7f"),
    (0x200000, "81 80 80 00"),
    (2**32, "90 80 80 80 00"),
    (2**63, "81 80 80 80 80 80 80 80 80 00"),
    (VLU_LIMIT, "81 ff ff ff ff ff ff ff ff 7f"),
]


@pytest.mark.parametrize(("value", "encoded"), VECTORS)
def test_vectors(value: int, encoded: str) -> None:
    assert encode_vlu(value) == bytes.fromhex(encoded)
    assert decode_vlu(bytes.fromhex("ee" + encoded + "ee"), 1) == (value, 1 + vlu_bytes(value))


@pytest.mark.parametrize("value", [-1, -(2**70), VLU_LIMIT + 1])
def test_what_it_cannot_hold_is_our_bug(value: int) -> None:
    with pytest.raises(OverflowError):
        encode_vlu(value)


@given(st.integers(0, VLU_LIMIT), st.binary(max_size=3))
def test_round_trip(value: int, tail: bytes) -> None:
    encoded = encode_vlu(value)
    assert len(encoded) == vlu_bytes(value) <= MAX_VLU_BYTES
    assert decode_vlu(memoryview(encoded + tail), 0) == (value, len(encoded))


def test_zeros_in_front_change_nothing() -> None:
    assert decode_vlu(b"\x80\x80\x05", 0) == (5, 3)
    assert decode_vlu(b"\x80" * 9 + b"\x05", 0) == (5, 10)


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "80",
        "ff ff",
        "80 80 80 80 80 80 80 80 80 80 05",  # 11 bytes
        "82 80 80 80 80 80 80 80 80 00",  # 2^64
        "ff ff ff ff ff ff ff ff ff 7f",
    ],
)
def test_refused(encoded: str) -> None:
    with pytest.raises(RemoteError):
        decode_vlu(bytes.fromhex(encoded), 0)


def test_a_number_does_not_begin_behind_the_end() -> None:
    with pytest.raises(RemoteError):
        decode_vlu(b"\x01", 7)


def test_field() -> None:
    assert encode_field(b"abc") == b"\x03abc"
    assert encode_field(b"") == b"\0"
    assert encode_field(memoryview(b"x" * 130)) == b"\x81\x02" + b"x" * 130
    assert decode_field(b"__\x03abcdef", 2) == (b"abc", 6)
    assert decode_field(b"\0", 0) == (b"", 1)
    for short in (b"", b"\x03ab", b"\x81", b"\xff" * 8 + b"\x7f"):
        with pytest.raises(RemoteError):
            decode_field(short, 0)


@given(st.binary(max_size=12))
def test_any_bytes(data: bytes) -> None:
    try:
        value, offset = decode_vlu(data, 0)
    except RemoteError:
        return
    assert decode_vlu(encode_vlu(value), 0)[0] == value
    assert 0 < offset <= len(data)
