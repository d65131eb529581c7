"""Messages and records about providers: vectors, bounds, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId, GroupId
from swarmd.groups.messages import MESSAGE_BYTES_LIMIT
from swarmd.groups.providers.messages import MAX_ANSWERS, Announce, Find, Held, Message, Unknown, decode
from swarmd.groups.providers.record import LIFETIME, RECORD_BYTES, decode_record, key_of
from swarmd.groups.records import CertificateCache
from swarmd.groups.ring import GroupAddress
from swarmd.groups.service import PROVIDER_TYPES
from tests.groups.builders import WALL, identity, spec
from tests.groups.providers.members import KEY, SPEC, record

PATH = bytes(range(16))
PLACE = GroupAddress(bytes(range(32)))

VECTORS: dict[str, tuple[Message, bytes]] = {
    "announce": (Announce(32, 5, False, b"abc"), b"\x30\x20\x05\x00abc"),
    "announce a copy": (Announce(0, 0, True, b"abc"), b"\x30\x00\x00\x01abc"),
    "find": (Find(PATH, PLACE, 31, 9), b"\x31" + PATH + PLACE + b"\x1f\x09"),
    "held": (Held(PATH, (b"ab", b"c")), b"\x32" + PATH + b"\x02\x02ab\x01c"),
    "unknown": (Unknown(PATH), b"\x33" + PATH),
}


@pytest.mark.parametrize(("message", "encoded"), VECTORS.values(), ids=VECTORS)
def test_vectors(message: Message, encoded: bytes) -> None:
    assert message.encode() == encoded
    assert decode(encoded) == message
    assert encoded[0] in PROVIDER_TYPES


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "ends early"),
        (b"\x34", "unknown type 52"),
        (b"\x30\x21\x00\x00", "further than any"),
        (b"\x30\x20\x00\x02", "a flag"),
        (b"\x30\x20\x00\x00" + bytes(RECORD_BYTES + 1), "a provider record of"),
        (b"\x31" + PATH + PLACE + b"\x21\x00", "further than any"),
        (b"\x31" + PATH + PLACE + b"\x20\x00\x00", "too many"),
        (b"\x32" + PATH + b"\x00", "names no provider"),
        (b"\x32" + PATH + b"\x05", "over the limit"),
        (b"\x32" + PATH + b"\x01\xff\x7f", "over the limit"),
        (b"\x33" + PATH[1:], "ends early"),
    ],
)
def test_refused(data: bytes, told: str) -> None:
    with pytest.raises(RemoteError, match=told):
        decode(data)


def test_the_largest_fits_into_a_group_message() -> None:
    largest = record(addresses=8).encoded
    assert len(largest) <= RECORD_BYTES
    assert len(Held(PATH, (bytes(RECORD_BYTES),) * MAX_ANSWERS).encode()) < MESSAGE_BYTES_LIMIT


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda data: bytes([48 + len(data) % 4]) + data))
def test_any_bytes(data: bytes) -> None:
    try:
        message = decode(data)
    except RemoteError:
        return
    assert message.encode() == data


def test_a_record_comes_back() -> None:
    made = record(3, addresses=2)
    read = decode_record(made.encoded, SPEC.group_id, CertificateCache())
    assert read == made
    assert (read.peer_id, read.key, read.contact.addresses) == (identity(3).peer_id, KEY, made.addresses)


def test_a_record_is_of_one_group_and_one_signer() -> None:
    made = record(3).encoded
    with pytest.raises(RemoteError, match="does not hold"):
        decode_record(made, GroupId(bytes(32)), CertificateCache())
    other = made.replace(identity(3).certificate.encode(), identity(4).certificate.encode())
    with pytest.raises(RemoteError, match="does not hold"):
        decode_record(other, SPEC.group_id, CertificateCache())


@pytest.mark.parametrize("at", range(0, 240, 7))
def test_a_changed_record_is_refused(at: int) -> None:
    made = bytearray(record(3).encoded)
    made[at] ^= 1
    with pytest.raises(RemoteError):
        decode_record(bytes(made), SPEC.group_id, CertificateCache())


@given(st.binary(max_size=RECORD_BYTES + 10))
def test_any_bytes_as_a_record(data: bytes) -> None:
    with pytest.raises(RemoteError):
        decode_record(data, SPEC.group_id, CertificateCache())


def test_how_long_a_record_lasts() -> None:
    made = record(at=WALL)
    assert made.left(WALL) == LIFETIME
    assert made.left(WALL + LIFETIME) <= 0
    assert made.left(WALL - 60) == LIFETIME, "a clock that is a little ahead gains nothing"
    assert made.left(WALL - 3600) == 0, "nor one that is far ahead"


def test_keys_differ_by_group_and_object() -> None:
    one, other = ContentId(bytes(32)), ContentId(bytes([1] * 32))
    keys = {key_of(group.group_id, each) for group in (spec("a"), spec("b")) for each in (one, other)}
    assert len(keys) == 4
