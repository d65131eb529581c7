"""What stands around the chunks: bytes by hand, the round trip, and what a peer may not send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.packet import (
    ECHO,
    MAX_HEADER_BYTES,
    MIN_DATAGRAM_BYTES,
    TICK,
    TIME_CRITICAL,
    TIME_CRITICAL_REVERSE,
    TIMESTAMP,
    Header,
    Mode,
    decode_header,
    encode_header,
    scramble,
    session_id_of,
    ticks,
)

times = st.none() | st.integers(0, 0xFFFF)


@pytest.mark.parametrize(
    ("header", "encoded"),
    [
        (Header(Mode.STARTUP, 0, None, None, 1), "03"),
        (Header(Mode.INITIATOR, 0, 0x1234, None, 3), "09 12 34"),
        (Header(Mode.RESPONDER, 0, None, 0x00FF, 3), "06 00 ff"),
        (Header(Mode.RESPONDER, TIME_CRITICAL, 0x1234, 0xABCD, 5), "8e 12 34 ab cd"),
        (Header(Mode.INITIATOR, TIME_CRITICAL_REVERSE, 0, 0, 5), "4d 00 00 00 00"),
        (Header(Mode.INITIATOR, 0xC0, None, None, 1), "c1"),
    ],
)
def test_vectors(header: Header, encoded: str) -> None:
    plain = bytes.fromhex(encoded)
    assert encode_header(header.mode, timestamp=header.timestamp, echo=header.echo, flags=header.flags) == plain
    assert decode_header(memoryview(plain + b"\x10\0\0")) == header


@given(st.sampled_from(Mode), times, times, st.integers(0, 255))
def test_round_trip(mode: Mode, timestamp: int | None, echo: int | None, flags: int) -> None:
    """Flags that say how the header is made are not the caller's."""
    plain = encode_header(mode, timestamp=timestamp, echo=echo, flags=flags)
    assert decode_header(plain) == Header(mode, flags & 0xC0, timestamp, echo, len(plain))
    assert len(plain) <= MAX_HEADER_BYTES


def test_reserved_flags_are_ignored() -> None:
    assert decode_header(b"\x33") == Header(Mode.STARTUP, 0, None, None, 1)


@pytest.mark.parametrize("plain", ["", "00", "c0", "09", "09 00", "06 00", "0d 00 00", "0d 00 00 00"])
def test_refused(plain: str) -> None:
    with pytest.raises(RemoteError):
        decode_header(bytes.fromhex(plain))


@given(st.binary(max_size=8))
def test_any_bytes(data: bytes) -> None:
    try:
        header = decode_header(memoryview(data))
    except RemoteError:
        return
    assert header.size <= len(data)
    assert (header.timestamp is not None, header.echo is not None) == (bool(data[0] & TIMESTAMP), bool(data[0] & ECHO))


def test_scrambled_session_id() -> None:
    """By hand: 01020304 ^ ffff0000 ^ 12345678."""
    sealed = bytes.fromhex("ffff0000 12345678 aabb")
    assert scramble(0x01020304, sealed) == bytes.fromhex("ecc9557c")
    assert scramble(0, sealed) == bytes.fromhex("edcb5678")
    assert session_id_of(bytes.fromhex("ecc9557c") + sealed) == 0x01020304


@given(st.integers(0, 2**32 - 1), st.binary(min_size=8, max_size=40))
def test_scrambling_and_back(session_id: int, sealed: bytes) -> None:
    assert session_id_of(memoryview(scramble(session_id, memoryview(sealed)) + sealed)) == session_id


def test_too_short_for_an_id() -> None:
    assert session_id_of(bytes(MIN_DATAGRAM_BYTES)) == 0
    with pytest.raises(RemoteError):
        session_id_of(bytes(MIN_DATAGRAM_BYTES - 1))


def test_ticks() -> None:
    assert [ticks(now) for now in (0.0, 0.0039, TICK, 1.0, 262.143, 262.144)] == [0, 0, 1, 250, 65535, 0]
