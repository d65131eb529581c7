"""Group messages: a vector for each, bounds, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.groups import messages
from swarmd.groups.messages import (
    MESSAGE_BYTES_LIMIT,
    Ask,
    Compare,
    Density,
    Gone,
    Hello,
    Inventory,
    MemberEntry,
    Members,
    Message,
    Need,
    Offer,
    Records,
    Request,
    Status,
    decode,
)
from swarmd.groups.reconciliation import ROOT, Listing, Prefix, Summary

from .builders import peer_id

V4 = Address("192.0.2.1", 7927)
V4_BYTES = b"\x06\xc0\x00\x02\x01\x1e\xf7"
PRINT = b"f" * 16
ONE, OTHER = b"\x12\x30" + bytes(14), b"\x12\x3f" + bytes(14)
PREFIX = Prefix(3, ONE)

VECTORS: dict[str, tuple[Message, bytes]] = {
    "hello": (Hello(7927, (V4,), V4), b"\x01\x03\x1e\xf7\x01" + V4_BYTES + V4_BYTES),
    "short hello": (Hello(0, (), None), b"\x01\x03\x00\x00\x00\x00"),
    "members": (
        Members((MemberEntry(peer_id(1), 300, (V4,)), MemberEntry(peer_id(2), 0, ()))),
        b"\x02\x02" + peer_id(1) + b"\xac\x02\x01" + V4_BYTES + peer_id(2) + b"\x00\x00",
    ),
    "status": (Status(300, PRINT), b"\x03\xac\x02" + PRINT),
    "compare": (
        Compare((Summary(PREFIX, 1, PRINT), Summary(Prefix(1, b"\x20" + bytes(15)), 2, PRINT))),
        b"\x04\x02" + b"\x03\x12\x30" + b"\x01" + PRINT + b"\x01\x20" + b"\x02" + PRINT,
    ),
    "compare the root": (Compare((Summary(ROOT, 1, PRINT),)), b"\x04\x01\x00\x01" + PRINT),
    "inventory": (Inventory(Listing(PREFIX, (ONE,))), b"\x05\x03\x12\x30\x01" + ONE),
    "offer": (Offer((ONE, OTHER)), b"\x06\x02" + ONE + OTHER),
    "request": (Request((ONE,)), b"\x07\x01" + ONE),
    "records": (Records((b"abc", b"")), b"\x08\x02\x03abc\x00"),
    "gone": (Gone((ONE,)), b"\x09\x01" + ONE),
    "ask": (Ask(), b"\x0a"),
    "need": (Need(True), b"\x0b\x01"),
    "no need": (Need(False), b"\x0b\x00"),
    "density": (Density(2**60, 300), b"\x0c\x10" + bytes(7) + b"\xac\x02"),
}


@pytest.mark.parametrize(("message", "encoded"), VECTORS.values(), ids=VECTORS)
def test_vectors(message: Message, encoded: bytes) -> None:
    assert message.encode() == encoded
    assert decode(encoded) == message


@pytest.mark.parametrize(("message", "encoded"), VECTORS.values(), ids=VECTORS)
def test_cut_off_or_too_long(message: Message, encoded: bytes) -> None:
    for length in range(len(encoded)):
        with pytest.raises(RemoteError):
            decode(encoded[:length])
    with pytest.raises(RemoteError, match="too many"):
        decode(encoded + b"\x00")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "ends early"),
        (b"\x00", "unknown type 0"),
        (b"\x0d", "unknown type 13"),
        (b"\x0b\x02", "0 or 1"),
        (b"\x0c" + bytes(8) + b"\x80\x80\x80\x80\x10", "over the limit"),
        (bytes(MESSAGE_BYTES_LIMIT + 1), "65537 bytes"),
        (b"\x01\x04\x00\x00\x00\x00", "version 4"),
        (b"\x01\x03\x00\x00\x09" + V4_BYTES * 9 + b"\x00", "over the limit"),
        (b"\x01\x03\x00\x00\x01\x06\x00\x00\x00\x00\x00\x01\x00", "cannot|dialled"),
        (b"\x02\x19", "over the limit"),
        (b"\x02\x01" + peer_id(1) + b"\xad\x02\x00", "over the limit"),
        (b"\x02\x01" + peer_id(1) + b"\x00\x05", "over the limit"),
        (b"\x02\xc0\x84\x3d", "over the limit"),
        (b"\x04\x81\x02", "over the limit"),
        (b"\x04\x01\x21" + bytes(17) + b"\x01" + PRINT, "33 digits"),
        (b"\x04\x01\x01\x12\x01" + PRINT, "zero"),
        (b"\x04\x02" + (b"\x01\x20\x02" + PRINT) * 2, "not in order"),
        (b"\x04\x02" + b"\x00\x02" + PRINT + b"\x01\x20\x02" + PRINT, "not in order"),
        (b"\x05\x00\x41" + bytes(65 * 16), "over the limit"),
        (b"\x05\x03\x12\x30\x01" + bytes(16), "elsewhere"),
        (b"\x05\x00\x02" + ONE + ONE, "not in order"),
        (b"\x05\x00\x02" + OTHER + ONE, "not in order"),
        (b"\x06\xa1\x1f", "over the limit"),
        (b"\x07\x81\x02", "over the limit"),
        (b"\x08\x3d", "over the limit"),
        (b"\x08\x01\x81\x08", "over the limit"),
    ],
)
def test_false_messages(data: bytes, told: str) -> None:
    with pytest.raises(RemoteError, match=told):
        decode(data)


def test_the_largest_of_each_kind_keeps_to_the_limit() -> None:
    addresses = tuple(Address(f"2001:db8::{number}", 1) for number in range(1, 9))
    entry = MemberEntry(peer_id(1), 300, addresses[:4])
    deep = [Summary(Prefix(32, number.to_bytes(16, "big")), 2**32 - 1, PRINT) for number in range(256)]
    digests = tuple(number.to_bytes(16, "big") for number in range(4000))
    largest: list[Message] = [
        Hello(1, addresses, V4),
        Members((entry,) * messages.ENTRIES_PER_MESSAGE),
        Compare(tuple(deep)),
        Inventory(Listing(ROOT, digests[:64])),
        Offer(digests),
        Request(digests[:256]),
        Records((bytes(1024),) * messages.RECORDS_PER_MESSAGE),
    ]
    for message in largest:
        assert len(message.encode()) <= MESSAGE_BYTES_LIMIT
        assert decode(message.encode()) == message


@given(
    st.binary(max_size=200)
    | st.builds(lambda kind, body: bytes([kind]) + body, st.integers(1, 12), st.binary(max_size=200))
    | st.builds(
        lambda encoded, place, byte: encoded[:place] + bytes([byte]) + encoded[place + 1 :],
        st.sampled_from([encoded for _, encoded in VECTORS.values()]),
        st.integers(0, 80),
        st.integers(0, 255),
    )
)
def test_any_bytes_are_a_message_or_a_remote_error(data: bytes) -> None:
    try:
        message = decode(data)
    except RemoteError:
        return
    assert message.encode() == data
