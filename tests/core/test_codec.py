"""Writer and Reader: the bytes by hand, the round trip, and what a peer may not send."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError

U64 = 2**64 - 1


def test_bytes_are_as_written_down() -> None:
    written = Writer().u8(1).u16(2).u32(3).u64(4).varint(300).raw(b"r").blob(b"bl").text("é").bytes()
    assert written.hex(" ") == "01 00 02 00 00 00 03 00 00 00 00 00 00 00 04 ac 02 72 02 62 6c 02 c3 a9"


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**32, "8080808010"),
        (U64, "ff" * 9 + "01"),
    ],
)
def test_varint_is_leb128(value: int, encoded: str) -> None:
    assert Writer().varint(value).bytes().hex() == encoded
    assert Reader(bytes.fromhex(encoded)).varint() == value


@given(st.integers(0, U64), st.integers(0, U64), st.binary(max_size=300), st.text(max_size=100))
def test_round_trip(fixed: int, number: int, blob: bytes, text: str) -> None:
    writer = Writer().u64(fixed).varint(number).blob(blob).text(text).raw(b"tail")
    reader = Reader(memoryview(writer.bytes()))
    assert len(writer) == reader.remaining
    assert (reader.u64(), reader.varint(), reader.blob(300), reader.text(400)) == (fixed, number, blob, text)
    assert reader.remaining == 4
    assert bytes(reader.rest()) == b"tail"
    reader.end()


READS: dict[str, Callable[[Reader], object]] = {
    "u8": Reader.u8,
    "u16": Reader.u16,
    "u32": Reader.u32,
    "u64": Reader.u64,
    "varint": Reader.varint,
    "small varint": lambda reader: reader.varint(1000),
    "raw": lambda reader: reader.raw(5),
    "blob": lambda reader: reader.blob(20),
    "text": lambda reader: reader.text(20),
    "end": Reader.end,
}


@given(st.binary(max_size=40), st.lists(st.sampled_from(sorted(READS)), max_size=8))
def test_any_bytes_are_read_or_are_the_peers_fault(data: bytes, reads: list[str]) -> None:
    reader = Reader(data)
    try:
        for read in reads:
            READS[read](reader)
    except RemoteError:
        pass
    assert 0 <= reader.remaining <= len(data)


@pytest.mark.parametrize(
    ("data", "read", "why"),
    [
        (b"", "u8", "ends early"),
        (b"\0", "u16", "ends early"),
        (b"\0\0\0", "u32", "ends early"),
        (b"\0" * 7, "u64", "ends early"),
        (b"", "varint", "ends early"),
        (b"\x80", "varint", "ends early"),
        (b"\x80\x00", "varint", "shortest form"),
        (b"\xff\x80\x00", "varint", "shortest form"),
        (b"\xff" * 9 + b"\x02", "varint", "over the limit"),
        (b"\xff" * 10, "varint", "longer than 64 bits"),
        (b"\x80" * 200, "varint", "longer than 64 bits"),
        (b"\xe9\x07", "small varint", "1001 is over the limit of 1000"),
        (b"1234", "raw", "5 bytes wanted, 4 left"),
        (b"\x15" + b"x" * 30, "blob", "21 is over the limit of 20"),
        (b"\x05abcd", "blob", "ends early"),
        (b"\x02\xc3\x28", "text", "not UTF-8"),
        (b"\x03\xed\xa0\x80", "text", "not UTF-8"),
        (b"x", "end", "1 bytes too many"),
    ],
)
def test_what_a_peer_may_not_send(data: bytes, read: str, why: str) -> None:
    with pytest.raises(RemoteError, match=why):
        READS[read](Reader(data))


def test_a_length_is_checked_before_anything_is_allocated() -> None:
    with pytest.raises(RemoteError, match="over the limit"):
        Reader(Writer().varint(2**60).bytes()).blob(2**20)
    with pytest.raises(RemoteError, match="ends early"):
        Reader(Writer().varint(2**60).bytes()).blob(2**62)


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(RemoteError):
        Reader(b"abc").view(-1)


@pytest.mark.parametrize("value", [-1, 2**64])
def test_our_own_numbers_out_of_range_are_our_bug(value: int) -> None:
    with pytest.raises(OverflowError):
        Writer().varint(value)
    with pytest.raises(OverflowError):
        Writer().u64(value)


def test_views_share_the_memory_and_raw_does_not() -> None:
    data = bytearray(b"abcd")
    reader = Reader(data)
    view, copy = reader.view(2), reader.raw(2)
    data[:] = b"wxyz"
    assert bytes(view) == b"wx"
    assert copy == b"cd"


def test_a_view_of_wider_items_is_read_as_bytes() -> None:
    wide = memoryview(b"\0\1\0\2").cast("H")
    assert Reader(wide).u16() == 1
    assert Writer().blob(wide).bytes() == b"\4\0\1\0\2"
