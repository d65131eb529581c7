"""Chunks: bytes by hand for each type both ways, round trips, what is refused, and any bytes at all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp.addresses import MAX_ADDRESS_BYTES, Origin, decode_address, encode_address
from swarmd.transport.rtmfp.chunks import (
    BEGIN,
    END,
    MAX_ACK_RANGES,
    MAX_REDIRECTS,
    MIDDLE,
    WHOLE,
    AckRanges,
    BufferProbe,
    Chunk,
    CloseAck,
    CloseRequest,
    CookieChange,
    FlowException,
    ForwardedIHello,
    Fragment,
    IHello,
    IIKeying,
    PacketFragment,
    Ping,
    PingReply,
    Redirect,
    RHello,
    RIKeying,
    UserData,
    decode_chunks,
    encode_ack,
    encode_chunk,
    encode_next,
)
from swarmd.transport.rtmfp.options import METADATA, RETURN_FLOW, Option
from swarmd.transport.rtmfp.vlu import VLU_LIMIT, encode_vlu
from tests.fuzz.chunks import target

V4, V6 = Address("192.0.2.1", 8080), Address("2001:db8::1", 65535)
V6_BYTES = "82 20010db8000000000000000000000001 ffff"

VECTORS: list[tuple[str, Chunk]] = [
    ("30 0006  03 aabbcc  1122", IHello(b"\xaa\xbb\xcc", b"\x11\x22")),
    ("30 0001  00", IHello(b"", b"")),
    ("0f 000b  01 aa  02 c0000201 1f90  1122", ForwardedIHello(b"\xaa", V4, b"\x11\x22")),
    (f"0f 0016  01 aa  {V6_BYTES}  11", ForwardedIHello(b"\xaa", V6, b"\x11")),
    ("70 0008  01 11  02 2233  445566", RHello(b"\x11", b"\x22\x33", b"\x44\x55\x66")),
    ("71 0009  01 11  00 c0000201 1f90", Redirect(b"\x11", (V4,))),
    ("71 001c  01 11  00 c0000201 1f90  80" + V6_BYTES[2:], Redirect(b"\x11", (V4, V6))),
    ("71 0002  01 11", Redirect(b"\x11", ())),
    ("79 0004  02 aabb  cc", CookieChange(b"\xaa\xbb", b"\xcc")),
    (
        "38 000d  01020304  01 aa  01 bb  02 ccdd  eeff",
        IIKeying(0x01020304, b"\xaa", b"\xbb", b"\xcc\xdd", b"\xee\xff"),
    ),
    ("38 0007  00000005  00 00 00", IIKeying(5, b"", b"", b"", b"")),
    ("78 0009  fffffffe  02 aabb  ccdd", RIKeying(0xFFFFFFFE, b"\xaa\xbb", b"\xcc\xdd")),
    ("7f 0006  80  8148  02  aabb", PacketFragment(True, 200, 2, b"\xaa\xbb")),
    ("7f 0003  00  01  00", PacketFragment(False, 1, 0, b"")),
    ("01 0002  4d01", Ping(b"\x4d\x01")),
    ("01 0000", Ping()),
    ("41 0002  4d01", PingReply(b"\x4d\x01")),
    ("10 0006  00  02 01 01  dead", UserData(2, 1, 0, b"\xde\xad")),
    ("10 0007  10  02 8148 08  dead", UserData(2, 200, 192, b"\xde\xad", Fragment.BEGIN)),
    ("10 0005  30  02 05 04  ad", UserData(2, 5, 1, b"\xad", Fragment.MIDDLE)),
    ("10 0005  21  02 05 01  ad", UserData(2, 5, 4, b"\xad", Fragment.END, is_final=True)),
    ("10 0004  03  02 05 00", UserData(2, 5, 5, b"", is_abandoned=True, is_final=True)),
    (
        "10 000d  80  02 01 01  04 00 544301  02 0a 07  00",
        UserData(2, 1, 0, b"", options=(Option(METADATA, b"TC\1"), Option(RETURN_FLOW, b"\x07"))),
    ),
    ("51 0003  02 7f 05", AckRanges(2, 127, 5)),
    # After 5: one hole (6), two received (7, 8), 129 holes (9 to 137), one received (138).
    ("51 0008  02 7f 05  00 01  8100 00", AckRanges(2, 127, 5, ((7, 9), (138, 139)))),
    ("18 0002  8148", BufferProbe(200)),
    ("5e 0003  02 8148", FlowException(2, 200)),
    ("0c 0000", CloseRequest()),
    ("0c 0002  0141", CloseRequest(b"\x01A")),
    ("4c 0000", CloseAck()),
]


def decode(data: bytes) -> list[Chunk]:
    return list(decode_chunks(memoryview(data)))


@pytest.mark.parametrize(("encoded", "chunk"), VECTORS, ids=lambda value: type(value).__name__)
def test_vectors(encoded: str, chunk: Chunk) -> None:
    assert encode_chunk(chunk) == bytes.fromhex(encoded)
    assert decode(bytes.fromhex(encoded)) == [chunk]


@pytest.mark.parametrize(("encoded", "chunk"), VECTORS, ids=lambda value: type(value).__name__)
def test_cut_off_anywhere_it_is_padding(encoded: str, chunk: Chunk) -> None:
    data = bytes.fromhex(encoded)
    for size in range(len(data)):
        assert decode(data[:size]) == []


def test_all_in_one_packet() -> None:
    packet = b"".join(bytes.fromhex(encoded) for encoded, _ in VECTORS)
    assert decode(packet) == [chunk for _, chunk in VECTORS]


# Padding, and what is not known


@pytest.mark.parametrize(
    "padding",
    [
        "",
        "00",
        "0000",
        "000000",
        "00" * 16,
        "ff" * 16,
        "ffff",
        "ff 0000",
        "01 0001",
        "ec 0001 05",
        "99 0002 1030 000000",
    ],
)
def test_passed_over(padding: str) -> None:
    """Zeros, ones (as the plain profile has them), half a chunk, unknown chunks."""
    assert decode(bytes.fromhex("0c 0000" + padding)) == [CloseRequest()]


def test_behind_an_unknown_chunk_it_goes_on() -> None:
    assert decode(bytes.fromhex("ec 0001 05  00 0000  ff 0002 aaaa  4c 0000")) == [CloseAck()]


def test_a_chunk_has_an_end() -> None:
    assert decode(encode_chunk(Ping(bytes(0xFFFF)))) == [Ping(bytes(0xFFFF))]
    with pytest.raises(OverflowError):
        encode_chunk(Ping(bytes(0x10000)))


# User data


def test_next_user_data() -> None:
    """The same flow, one number on, the same forward number; flags, options and data are its own."""
    encoded = "10 0007 10 02 8148 08 dead  41 0000  11 0003 30 beef  11 0005 a1 01 00 00 ff"
    first = UserData(2, 200, 192, b"\xde\xad", Fragment.BEGIN)
    second = UserData(2, 201, 192, b"\xbe\xef", Fragment.MIDDLE)
    third = UserData(2, 202, 192, b"\xff", Fragment.END, (Option(METADATA),), is_final=True)
    assert decode(bytes.fromhex(encoded)) == [first, PingReply(), second, third]
    assert encode_next(second, first) + encode_next(third, second) == bytes.fromhex(
        "11 0003 30 beef 11 0005 a1 01 00 00 ff"
    )


@pytest.mark.parametrize("other", [UserData(3, 201, 192, b""), UserData(2, 202, 192, b""), UserData(2, 201, 193, b"")])
def test_what_does_not_follow_says_it_all(other: UserData) -> None:
    before = UserData(2, 200, 192, b"")
    assert encode_next(other, before) == encode_chunk(other)
    assert decode(encode_chunk(before) + encode_next(other, before)) == [before, other]


def test_user_data_are_not_copied() -> None:
    packet = bytearray(bytes.fromhex("10 0006 00 02 01 01 dead  11 0003 00 beef"))
    found = list(decode_chunks(memoryview(packet)))
    packet[7:9] = b"ab"
    packet[13:15] = b"cd"
    assert [chunk.data for chunk in found if isinstance(chunk, UserData)] == [b"ab", b"cd"]


def test_flags_are_those_on_the_wire() -> None:
    assert (WHOLE, BEGIN, END, MIDDLE) == (0x00, 0x10, 0x20, 0x30)
    assert UserData(1, 1, 1, b"", Fragment.END, (Option(0),), True, True).flags == 0xA3
    assert decode(bytes.fromhex("10 0005 4c 02 01 01 aa")) == [UserData(2, 1, 0, b"\xaa")], "reserved flags are ignored"


# Acknowledgements


@pytest.mark.parametrize(
    ("encoded", "ranges"),
    [
        ("50 0003 02 7f 05", ()),
        ("50 0004 02 7f 05  00", ()),
        ("50 0004 02 7f 05  01", ((7, 8),)),
        ("50 0004 02 7f 05  80", ((14, 15),)),
        ("50 0004 02 7f 05  06", ((8, 10),)),
        ("50 0005 02 7f 05  80 01", ((14, 16),)),
        ("50 0006 02 7f 05  ff 00 81", ((7, 15), (23, 24), (30, 31))),
    ],
)
def test_bitmap(encoded: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert decode(bytes.fromhex(encoded)) == [AckRanges(2, 127, 5, ranges)]


@pytest.mark.parametrize(
    ("encoded", "ranges"),
    [("51 0004 02 7f 05  00", ()), ("51 0006 02 7f 05  00 01 03", ((7, 9),))],
)
def test_a_list_may_end_in_the_middle_of_a_pair(encoded: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert decode(bytes.fromhex(encoded)) == [AckRanges(2, 127, 5, ranges)]


def test_an_acknowledgement_cut_to_the_room_there_is() -> None:
    ack = AckRanges(2, 127, 5, ((7, 9), (138, 139), (200, 300)))
    whole = encode_chunk(ack)
    sizes = set()
    for limit in range(len(whole) + 5):
        encoded = encode_ack(ack, limit)
        assert len(encoded) <= limit
        sizes.add(len(encoded))
        if encoded:
            (found,) = decode(encoded)
            assert isinstance(found, AckRanges)
            assert found == AckRanges(2, 127, 5, ack.ranges[: len(found.ranges)])
    assert encode_ack(ack, 10_000) == whole
    assert sizes == {0, 6, 8, 11, len(whole)}


def test_a_flood_of_ranges_is_cut() -> None:
    for body in (b"\x51\xff\xff\x02\x7f\x05" + b"\0" * 65532, b"\x50\xff\xff\x02\x7f\x05" + b"\x55" * 65532):
        (ack,) = decode(body)
        assert isinstance(ack, AckRanges)
        assert len(ack.ranges) == MAX_ACK_RANGES


def test_ranges_that_are_none_are_our_bug() -> None:
    for ranges in (((6, 8),), ((8, 8),), ((8, 10), (10, 12)), ((20, 21), (8, 9))):
        with pytest.raises(OverflowError):
            encode_chunk(AckRanges(1, 1, 5, ranges))


# Addresses


@pytest.mark.parametrize(
    ("address", "origin", "encoded"),
    [
        (V4, Origin.LOCAL, "01 c0000201 1f90"),
        (V4, Origin.RELAY, "03 c0000201 1f90"),
        (V6, Origin.OBSERVED, V6_BYTES),
        (Address("0.0.0.0", 0), Origin.UNKNOWN, "00 00000000 0000"),
    ],
)
def test_addresses(address: Address, origin: Origin, encoded: str) -> None:
    data = bytes.fromhex(encoded)
    assert encode_address(address, origin) == data
    assert decode_address(b"_" + data + b"_", 1) == (address, 1 + len(data))
    assert len(data) <= MAX_ADDRESS_BYTES
    for size in range(len(data)):
        with pytest.raises(RemoteError):
            decode_address(data[:size], 0)


def test_ipv4_within_ipv6_is_ipv4() -> None:
    data = bytes.fromhex("80 00000000000000000000ffffc0000201 1f90")
    assert decode_address(data, 0) == (V4, len(data))


def test_where_nobody_can_be_is_left_out() -> None:
    nowhere, anywhere, everybody = "00 c0000201 0000", "00 00000000 1f90", "00 e0000001 1f90"
    encoded = f"71 0017 01 11 {nowhere} 00 c0000201 1f90 {everybody}"
    assert decode(bytes.fromhex(encoded)) == [Redirect(b"\x11", (V4,))]
    for only in (f"71 0009 01 11 {nowhere}", f"0f 000a 01 aa {anywhere} 11", f"0f 000a 01 aa {everybody} 11"):
        with pytest.raises(RemoteError, match="nobody"):
            decode(bytes.fromhex(only))


def test_a_redirect_names_only_so_many() -> None:
    addresses = tuple(Address("192.0.2.1", port) for port in range(1, 200))
    assert decode(encode_chunk(Redirect(b"", addresses))) == [Redirect(b"", addresses[:MAX_REDIRECTS])]


# What is refused

MALFORMED = [
    "30 0000",
    "30 0002 05 aa",
    "0f 0003 01 aa 02",
    "0f 0007 01 aa 02 c0000201",
    "70 0001 00",
    "70 0004 01 11 09 22",
    "71 0008 01 11 00 c0000201 1f",
    "79 0000",
    "38 0003 010203",
    "38 0006 01020304 00 00",
    "78 0003 010203",
    "78 0004 01020304",
    "7f 0000",
    "7f 0002 00 01",
    "10 0000",
    "10 0003 00 02 01",
    "10 0004 00 02 01 02",  # the forward sequence number would be -1
    "10 0004 80 02 01 01",  # options that are not there
    "10 0006 80 02 01 01 02 0a",
    "11 0001 00",  # nothing before it
    "10 0004 00 02 01 01 11 0000",
    "10 000d 00 02 81ffffffffffffffff7f 00 11 0001 00",  # a number beyond the last
    "50 0002 02 7f",
    "51 0002 02 7f",
    "51 000e 02 7f 81ffffffffffffffff7e 00 00",
    "50 000d 02 7f 81ffffffffffffffff7e 01",
    "18 0000",
    "5e 0001 02",
]


@pytest.mark.parametrize("encoded", MALFORMED)
def test_malformed(encoded: str) -> None:
    """What stands before it is given; the rest of the packet is not."""
    if encoded.startswith("11"):
        pings: Sequence[str] = ("41 0000",)
    else:
        pings = ("", "41 0000")
    for before in pings:
        chunks = decode_chunks(memoryview(bytes.fromhex(f"{before} {encoded} 0c 0000")))
        if before:
            assert next(chunks) == PingReply()
        with pytest.raises(RemoteError):
            for chunk in chunks:
                assert isinstance(chunk, UserData)


# Anything

u64 = st.integers(0, VLU_LIMIT)
short = st.binary(max_size=300)
addresses = st.builds(
    Address, st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535)
).filter(lambda address: address.is_dialable)
option_lists = st.lists(st.builds(Option, u64, short), max_size=3).map(tuple)


@st.composite
def user_data(draw: st.DrawFn) -> UserData:
    sequence = draw(u64)
    fragment, flags = draw(st.sampled_from(Fragment)), st.booleans()
    forward = draw(st.integers(0, sequence))
    return UserData(draw(u64), sequence, forward, draw(short), fragment, draw(option_lists), draw(flags), draw(flags))


@st.composite
def acks(draw: st.DrawFn) -> AckRanges:
    cumulative = draw(st.integers(0, 2**60))
    ranges, stop = [], cumulative + 1
    for holes, received in draw(st.lists(st.tuples(st.integers(1, 2**40), st.integers(1, 2**40)), max_size=9)):
        ranges.append((stop + holes, stop + holes + received))
        stop += holes + received
    return AckRanges(draw(u64), draw(u64), cumulative, tuple(ranges))


chunk_of_any_kind: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(IHello, short, short),
    st.builds(ForwardedIHello, short, addresses, short),
    st.builds(RHello, short, short, short),
    st.builds(Redirect, short, st.lists(addresses, max_size=9).map(tuple)),
    st.builds(CookieChange, short, short),
    st.builds(IIKeying, st.integers(0, 2**32 - 1), short, short, short, short),
    st.builds(RIKeying, st.integers(0, 2**32 - 1), short, short),
    st.builds(PacketFragment, st.booleans(), u64, u64, short),
    user_data(),
    acks(),
    st.builds(BufferProbe, u64),
    st.builds(FlowException, u64, u64),
    st.builds(Ping, short),
    st.builds(PingReply, short),
    st.builds(CloseRequest, st.binary(max_size=200)),
    st.builds(CloseAck),
)


@given(st.lists(chunk_of_any_kind, max_size=6))
def test_round_trip(chunks: list[Chunk]) -> None:
    assert decode(b"".join(map(encode_chunk, chunks)) + b"\xff" * 16) == chunks


@given(st.integers(0, 2**40), st.integers(0, 2**200))
def test_a_bitmap_says_the_same_as_ranges(cumulative: int, bits: int) -> None:
    bitmap = bits.to_bytes(26, "little")
    payload = encode_vlu(3) + encode_vlu(9) + encode_vlu(cumulative) + bitmap
    (ack,) = decode(b"\x50" + len(payload).to_bytes(2, "big") + payload)
    assert isinstance(ack, AckRanges)
    numbers = [number for start, stop in ack.ranges for number in range(start, stop)]
    assert numbers == [cumulative + 2 + bit for bit in range(208) if bits >> bit & 1]
    assert decode(encode_chunk(ack)) == [ack]


@given(st.binary(max_size=120))
def test_any_bytes(data: bytes) -> None:
    target(data)


@given(st.sampled_from(sorted({int(encoded[:2], 16) for encoded, _ in VECTORS} | {0x11, 0x50})), short)
def test_any_payload(kind: int, payload: bytes) -> None:
    """As a chunk of each type, and as Next User Data may be."""
    before = bytes.fromhex("10 0004 00 02 01 01")
    target(b"\x03" + before + bytes([kind]) + len(payload).to_bytes(2, "big") + payload)
