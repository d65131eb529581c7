"""Routing messages: a vector for each, bounds, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.groups import messages as group_messages
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import ReceiveMode
from swarmd.groups.routing.messages import (
    HOP_LIMIT,
    MESSAGE_BYTES,
    SEALED_BYTES,
    Answer,
    Directed,
    Envelope,
    Failed,
    Locate,
    Located,
    Message,
    Mode,
    Way,
    decode,
)
from swarmd.groups.service import ROUTING_TYPES

PATH, NAME = b"p" * 16, b"n" * 16
TARGET = GroupAddress.at(258)
WAY = Way(PATH, TARGET, 7, 3)
WAY_BYTES = PATH + bytes(30) + b"\x01\x02" + b"\x07\x03"
EPOCH = b"e" * 32

VECTORS: dict[str, tuple[Message, bytes]] = {
    "exact": (Mode(ReceiveMode.EXACT), b"\x20\x00"),
    "nearest": (Mode(ReceiveMode.NEAREST), b"\x20\x01"),
    "directed": (Directed(TARGET, b"hi"), b"\x21\x01" + TARGET + b"hi"),
    "directed to a neighbour": (Directed(None, b""), b"\x21\x00"),
    "locate": (Locate(WAY), b"\x22" + WAY_BYTES),
    "envelope": (Envelope(WAY, EPOCH, NAME, b"sealed"), b"\x23" + WAY_BYTES + EPOCH + NAME + b"sealed"),
    "located": (
        Located(PATH, b"c" * 129, EPOCH, b"s" * 64),
        b"\x24" + PATH + b"c" * 129 + EPOCH + b"s" * 64,
    ),
    "acknowledgement": (Answer(PATH, False, b"sealed"), b"\x25" + PATH + b"\x00sealed"),
    "reply": (Answer(PATH, True, b""), b"\x25" + PATH + b"\x01"),
    "failed": (Failed(PATH), b"\x26" + PATH),
}
REFUSED = {
    "nothing": b"",
    "of another service": b"\x1f",
    "an unknown type": b"\x2f",
    "an unknown mode": b"\x20\x02",
    "a flag that is none": b"\x21\x02",
    "too far": b"\x22" + WAY_BYTES[:-2] + bytes([HOP_LIMIT + 1, 0]),
    "too long a message": b"\x21\x00" + bytes(MESSAGE_BYTES + 1),
    "too long an envelope": b"\x23" + WAY_BYTES + EPOCH + NAME + bytes(SEALED_BYTES + 1),
    "too long an answer": b"\x25" + PATH + b"\x00" + bytes(SEALED_BYTES + 1),
    "more than a message": b"\x26" + PATH + b"\x00",
}


@pytest.mark.parametrize(("message", "encoded"), VECTORS.values(), ids=VECTORS)
def test_vectors(message: Message, encoded: bytes) -> None:
    assert message.encode() == encoded
    assert decode(encoded) == message
    assert encoded[0] in ROUTING_TYPES


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(RemoteError):
        decode(data)


@pytest.mark.parametrize("name", ["locate", "located", "failed", "exact"])
def test_cut_off(name: str) -> None:
    encoded = VECTORS[name][1]
    for length in range(len(encoded)):
        with pytest.raises(RemoteError):
            decode(encoded[:length])


def test_the_longest_fits_a_group_message() -> None:
    longest = Envelope(WAY, EPOCH, NAME, bytes(SEALED_BYTES)).encode()
    group_messages.check_size(longest)
    assert decode(longest).encode() == longest


def test_onward() -> None:
    assert Locate(WAY).onward() == Locate(Way(PATH, TARGET, 6, 3))
    assert Envelope(WAY, EPOCH, NAME, b"x").onward() == Envelope(Way(PATH, TARGET, 6, 3), EPOCH, NAME, b"x")


@given(st.sampled_from([encoded for _, encoded in VECTORS.values()]), st.data())
def test_any_bytes(encoded: bytes, data: st.DataObject) -> None:
    """What is understood has exactly those bytes; the rest is the peer's error."""
    tail = data.draw(st.binary(max_size=80))
    changed = bytearray(encoded[: data.draw(st.integers(1, len(encoded)))] + tail)
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = decode(bytes(changed))
    except RemoteError:
        return
    assert message.encode() == changed
