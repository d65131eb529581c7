"""What is said about posts: a vector for each, bounds, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.groups.messages import MESSAGE_BYTES_LIMIT
from swarmd.groups.posting import messages
from swarmd.groups.posting.messages import Announce, Busy, Gone, Have, Message, Part, Request, Time, decode, split
from swarmd.groups.posting.post import POST_BYTES_LIMIT
from swarmd.groups.service import POSTING_TYPES

ONE, OTHER = bytes(range(12)), bytes(range(100, 112))

VECTORS: dict[str, tuple[Message, bytes]] = {
    "announce": (Announce((ONE, OTHER), True), b"\x10\x01\x02" + ONE + OTHER),
    "announce what is old": (Announce((ONE,), False), b"\x10\x00\x01" + ONE),
    "request": (Request((ONE,), False), b"\x11\x00\x01" + ONE),
    "insist": (Request((ONE,), True), b"\x11\x01\x01" + ONE),
    "part": (Part(ONE, 0, 1, b"abc"), b"\x12" + ONE + b"\x00\x01abc"),
    "busy": (Busy((ONE,)), b"\x13\x01" + ONE),
    "gone": (Gone((ONE,)), b"\x14\x01" + ONE),
    "have": (Have(False, 300, 8, (ONE[8:],)), b"\x15\x00\x01\x2c\x08\x01" + ONE[8:]),
    "have nothing": (Have(True, 0, 0, ()), b"\x15\x01\x00\x00\x00\x00"),
    "time": (Time(1_700_000_000), b"\x16\x80\xe2\xcf\xaa\x06"),
}


@pytest.mark.parametrize(("message", "encoded"), VECTORS.values(), ids=VECTORS)
def test_vectors(message: Message, encoded: bytes) -> None:
    assert message.encode() == encoded
    assert decode(encoded) == message
    assert encoded[0] in POSTING_TYPES


@pytest.mark.parametrize(("message", "encoded"), VECTORS.values(), ids=VECTORS)
def test_cut_off_or_too_long(message: Message, encoded: bytes) -> None:
    shortest = len(encoded) - (2 if isinstance(message, Part) else 0)  # a part may be shorter, and longer
    for length in range(shortest):
        with pytest.raises(RemoteError):
            decode(encoded[:length])
    if not isinstance(message, Part):
        with pytest.raises(RemoteError, match="too many"):
            decode(encoded + b"\x00")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "ends early"),
        (b"\x17", "unknown type 23"),
        (b"\x16\x81\x80\x80\x80\x80\x20", "over the limit"),
        (b"\x10\x02\x00", "neither yes nor no"),
        (b"\x10\x01\x81\x08" + bytes(1025 * 12), "over the limit"),
        (b"\x12" + ONE + b"\x00\x00a", "part 0 of 0"),
        (b"\x12" + ONE + b"\x01\x01a", "part 1 of 1"),
        (b"\x12" + ONE + b"\x00\x06" + bytes(messages.PART_BYTES), "of 6"),
        (b"\x12" + ONE + b"\x00\x01", "0 bytes"),
        (b"\x12" + ONE + b"\x00\x02a", "1 bytes"),
        (b"\x12" + ONE + b"\x00\x01" + bytes(messages.PART_BYTES + 1), "16385 bytes"),
        (b"\x15\x00\x00\x00\x09\x00", "from 9 on"),
        (b"\x15\x00\x00\x00\x00\x81\x20" + bytes(4097 * 4), "over the limit"),
    ],
)
def test_false_messages(data: bytes, told: str) -> None:
    with pytest.raises(RemoteError, match=told):
        decode(data)


def test_the_largest_of_each_kind_keeps_to_the_limit() -> None:
    keys = tuple(number.to_bytes(12, "big") for number in range(messages.KEYS_PER_MESSAGE))
    slices = tuple(number.to_bytes(4, "big") for number in range(messages.SLICES_PER_MESSAGE))
    largest: list[Message] = [
        Announce(keys, True),
        Request(keys, True),
        Part(ONE, 0, 2, bytes(messages.PART_BYTES)),
        Have(False, 65535, 0, slices),
    ]
    for message in largest:
        assert len(message.encode()) <= MESSAGE_BYTES_LIMIT
        assert decode(message.encode()) == message


@given(st.integers(1, POST_BYTES_LIMIT))
def test_parts_make_the_whole(size: int) -> None:
    whole = bytes(index % 251 for index in range(size))
    parts = [decode(part.encode()) for part in split(ONE, whole)]
    assert len(parts) <= messages.MAX_PARTS
    assert b"".join(part.data for part in parts if isinstance(part, Part)) == whole


@given(
    st.binary(max_size=200)
    | st.builds(lambda kind, body: bytes([kind]) + body, st.integers(15, 22), st.binary(max_size=200))
    | st.builds(
        lambda encoded, place, byte: encoded[:place] + bytes([byte]) + encoded[place + 1 :],
        st.sampled_from([encoded for _, encoded in VECTORS.values()]),
        st.integers(0, 40),
        st.integers(0, 255),
    )
)
def test_any_bytes_are_a_message_or_a_remote_error(data: bytes) -> None:
    try:
        message = decode(data)
    except RemoteError:
        return
    assert message.encode() == data
