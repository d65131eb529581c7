"""The bytes of control messages: vectors, round trips, and whatever else may arrive."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.codec import Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId
from swarmd.replication import bits, messages
from swarmd.replication.messages import (
    MAX_HANDLE,
    MAX_PACKET_BYTES,
    SEGMENT_CHUNKS,
    Message,
    Reason,
    Type,
    Wish,
    decode_packet,
    encode,
    encode_set,
)
from swarmd.replication.shape import MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_PAGES, MetaKind

CONTENT_ID = ContentId(bytes(range(32)))
COMB = int("01" * 40, 2)
"""Every other chunk of eighty."""
WIDE = 3 * SEGMENT_CHUNKS + 800

VECTORS: list[tuple[Message, str]] = [
    (messages.Hello(2, 2), "01 02 02"),
    (messages.Open(1, CONTENT_ID, Wish.CHUNKS), f"02 01 {CONTENT_ID.hex()} 01"),
    (messages.Open(1, CONTENT_ID, Wish.CHUNKS, is_background=True), f"02 01 {CONTENT_ID.hex()} 81"),
    (messages.Close(300, 1), "03 ac02 01"),
    (messages.Want(2, Wish.IN_ORDER), "04 02 02"),
    (messages.Want(2, Wish.NOTHING, is_background=True), "04 02 80"),
    (messages.Have(1, 0b111 << 5), "06 01 05 01 07"),
    (messages.Have(1, 1 << 70), "06 01 46 01 01"),
    (messages.Have(1, bits.single(3, 1003)), "05 01 03 03 00 e707"),
    (messages.Have(1, COMB << 3), "06 01 03 0a 55555555555555555555"),
    (messages.Withdraw(1, 0b1011), "07 01 00 04 00010000"),
    (messages.Request(1, 1000), "08 01 e807"),
    (messages.Cancel(1, 5, if_untouched=False), "09 01 05"),
    (messages.Cancel(1, 5, if_untouched=True), "0a 01 05"),
    (messages.Deny(3, 7, Reason.NOT_HELD, 0), "0b 03 07 01 00"),
    (messages.Deny(3, 7, Reason.BUSY, 65536), "0b 03 07 03 808004"),
    (messages.AskMeta(1, MetaKind.HASHES, 2), "0c 01 02 02"),
    (messages.DenyMeta(1, MetaKind.ENTRIES, 0), "0d 01 01 00"),
    (messages.Status(1 << 20, 128, 2000, 15), "0e 808040 8001 d00f 0f"),
    (messages.Idle(), "0f"),
]

handles = st.integers(0, MAX_HANDLE)
chunks = st.integers(0, MAX_CHUNKS - 1)
pages = st.integers(0, MAX_PAGES)
kinds = st.sampled_from(MetaKind)
wishes = st.sampled_from(Wish)
contents = st.binary(min_size=32, max_size=32).map(ContentId)
patterns = st.one_of(
    st.integers(1, (1 << 64) - 1),
    st.binary(min_size=1, max_size=400).map(lambda data: int.from_bytes(data, "little") | 1),
    st.tuples(st.integers(0, 100), st.integers(1, SEGMENT_CHUNKS - 100)).map(
        lambda span: bits.single(span[0], sum(span))
    ),
)
bases = st.integers(0, MAX_CHUNKS - SEGMENT_CHUNKS)
sets = st.builds(lambda pattern, base: pattern << base, patterns, bases)
kibs = st.integers(0, 2**40)
MESSAGES = st.one_of(
    st.builds(messages.Hello, st.integers(0, 2**16), st.integers(0, 2**16)),
    st.builds(messages.Open, handles, contents, wishes),
    st.builds(messages.Close, handles, handles),
    st.builds(messages.Want, handles, wishes),
    st.builds(messages.Have, handles, sets),
    st.builds(messages.Withdraw, handles, sets),
    st.builds(messages.Request, handles, chunks),
    st.builds(messages.Cancel, handles, chunks, st.booleans()),
    st.builds(messages.Deny, handles, chunks, st.sampled_from(Reason), st.integers(0, MAX_CHUNK_BYTES)),
    st.builds(messages.AskMeta, handles, kinds, pages),
    st.builds(messages.DenyMeta, handles, kinds, pages),
    st.builds(messages.Status, st.integers(0, 2**63), kibs, kibs, st.integers(0, 2**31)),
    st.just(messages.Idle()),
)


@pytest.mark.parametrize(("message", "octets"), VECTORS, ids=lambda value: type(value).__name__)
def test_vectors(message: Message, octets: str) -> None:
    assert encode(message) == bytes.fromhex(octets)
    assert list(decode_packet(bytes.fromhex(octets))) == [message]


def test_there_is_a_vector_for_every_type() -> None:
    assert {bytes.fromhex(octets)[0] for _, octets in VECTORS} == set(Type)


@given(st.lists(MESSAGES, max_size=8))
def test_round_trip_of_a_packet(said: list[Message]) -> None:
    packet = b"".join(map(encode, said))
    if len(packet) <= MAX_PACKET_BYTES:
        assert list(decode_packet(packet)) == said


@given(MESSAGES, st.integers(1, 64))
def test_cut_short_anywhere_it_is_refused(message: Message, lacking: int) -> None:
    data = encode(message)
    cut = data[: max(1, len(data) - lacking)]
    if len(cut) < len(data):
        with pytest.raises(RemoteError):
            list(decode_packet(cut))


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    _parsed_or_refused(data)


@given(st.sampled_from(Type), st.binary(max_size=60))
def test_any_bytes_after_a_type_are_parsed_or_refused(type_: Type, data: bytes) -> None:
    _parsed_or_refused(bytes([type_]) + data)


@given(MESSAGES, st.data())
def test_any_message_with_a_changed_byte_is_parsed_or_refused(message: Message, data: st.DataObject) -> None:
    octets = bytearray(encode(message))
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    _parsed_or_refused(bytes(octets))


def _parsed_or_refused(data: bytes) -> None:
    """And what is parsed has a form of its own: said again, it is parsed to the same."""
    try:
        said = list(decode_packet(data))
    except RemoteError:
        return
    assert list(decode_packet(b"".join(map(encode, said)))) == said


@given(st.one_of(sets, st.lists(sets, max_size=4).map(lambda several: sum(set(several)))))
def test_a_set_of_any_width_travels_in_as_many_messages_as_it_needs(chunks: int) -> None:
    chunks &= (1 << MAX_CHUNKS) - 1
    for type_ in (messages.Have, messages.Withdraw):
        together = 0
        for data in encode_set(type_, 9, chunks):
            assert len(data) <= MAX_PACKET_BYTES
            (message,) = decode_packet(data)
            assert isinstance(message, type_)
            assert message.handle == 9
            assert message.chunks & together == 0
            together |= message.chunks
        assert together == chunks


@pytest.mark.parametrize("type_", [messages.Have, messages.Withdraw])
def test_the_worst_set_fits_its_packets(type_: type[messages.Have] | type[messages.Withdraw]) -> None:
    """Every other chunk of a wide object."""
    comb = int.from_bytes(b"\x55" * (WIDE // 8), "little")
    packets = list(encode_set(type_, 1, comb))
    assert max(map(len, packets)) <= MAX_PACKET_BYTES
    said = [message for packet in packets for message in decode_packet(packet)]
    assert sum(message.chunks.bit_count() for message in said if isinstance(message, type_)) == WIDE // 2


def test_a_packet_that_is_too_long() -> None:
    close = encode(messages.Close(1, 1))
    list(decode_packet(close * (MAX_PACKET_BYTES // len(close))))
    with pytest.raises(RemoteError):
        list(decode_packet(close * (MAX_PACKET_BYTES // len(close) + 1)))


@pytest.mark.parametrize(
    ("what", "octets"),
    [
        ("no such type", "00"),
        ("no such type", "ff 01"),
        ("not minimal", "03 8100"),
        ("a handle beyond 32 bits", "03 8080808010"),
        ("no such wish", "04 01 03"),
        ("no such reason", "0b 01 01 09 00"),
        ("no such kind", "0c 01 03 00"),
        ("a chunk beyond any object", "08 01 80808002"),
        ("an empty set", "05 01 00 00"),
        ("a set that does not start at its base", "05 01 00 02 0100"),
        ("a set of half a range", "05 01 00 01 00"),
        ("a set wider than a segment", "05 01 00 04 00 808004"),
        ("a set beyond any object", "05 01 ffffff01 02 0001"),
        ("an empty bitmap", "06 01 00 00"),
        ("a bitmap with an empty end", "06 01 00 02 0100"),
        ("a bitmap that does not start at its base", "06 01 00 01 02"),
        ("a bitmap beyond any object", "06 01 ffffff01 01 03"),
        ("a bitmap that is too long", "06 01 00 814000" + "01" * 8193),
        ("a page beyond any object", "0c 01 02 8120"),
        ("more sent than a chunk has", "0b 01 01 00 81808002"),
        ("a withdrawn bitmap", "16 01 05 01 07"),
    ],
)
def test_what_is_refused(what: str, octets: str) -> None:
    with pytest.raises(RemoteError):
        list(decode_packet(bytes.fromhex(octets)))


def test_2_to_the_40_chunks_are_refused_before_any_memory_is_spent() -> None:
    ranges = Writer().varint(0).varint(2**40).bytes()
    with pytest.raises(RemoteError):
        list(decode_packet(Writer().u8(Type.HAVE).varint(1).varint(0).blob(ranges).bytes()))
