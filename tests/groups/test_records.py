"""Share records: bytes, signatures, which of two holds."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import GroupId
from swarmd.groups import records
from swarmd.groups.authorisation import Right
from swarmd.groups.records import (
    RECORD_BYTES_LIMIT,
    CertificateCache,
    Record,
    RecordKind,
    Share,
    ShareKind,
    decode_record,
)
from swarmd.identity.identity import Identity

from .builders import WALL, authority, content_id, identity, record, restricted_spec, spec, tombstone

SIGNED = record(1, name="disk.iso", number=5, seq=300)
STATEMENT = (
    b"\x01"
    + spec().group_id
    + identity(1).certificate.encode()
    + b"\xac\x02"
    + b"\x01"
    + b"\x08disk.iso"
    + content_id(5)
    + b"\xe8\x07"
    + b"\x01"
    + bytes.fromhex("80d095ffbc31")
    + b"\x00"
)


def test_vector() -> None:
    assert SIGNED.encode() == STATEMENT + SIGNED.signature
    identity(1).certificate.verify(SIGNED.signature, STATEMENT, b"share")
    assert SIGNED.digest == hashlib.sha256(SIGNED.encode()).digest()[:16]


def test_vector_of_a_tombstone_with_an_authorisation() -> None:
    given = authority().authorise(restricted_spec().group_id, identity(1).peer_id, Right.PUBLISH)
    made = replace(tombstone(), authorisation=given, created_at=0)
    tail = b"\x02" + b"\x08disk.iso" + content_id(1) + b"\xe8\x07" + b"\x01" + b"\x00" + b"\x69" + given.encode()
    assert made.encode() == STATEMENT[:162] + b"\x02" + tail + made.signature
    assert decode_record(made.encode(), CertificateCache()) == made


def test_round_trip_and_signature() -> None:
    decoded = decode_record(SIGNED.encode(), CertificateCache())
    assert decoded == SIGNED
    assert decoded.digest == SIGNED.digest
    decoded.verify()


@pytest.mark.parametrize(
    "altered",
    [
        replace(SIGNED, group_id=GroupId(bytes(32))),
        replace(SIGNED, certificate=identity(2).certificate),
        replace(SIGNED, seq=301),
        replace(SIGNED, kind=RecordKind.TOMBSTONE),
        replace(SIGNED, share=replace(SIGNED.share, name="other.iso")),
        replace(SIGNED, share=replace(SIGNED.share, content_id=content_id(6))),
        replace(SIGNED, share=replace(SIGNED.share, size=1)),
        replace(SIGNED, share=replace(SIGNED.share, kind=ShareKind.FOLDER)),
        replace(SIGNED, created_at=1),
        replace(SIGNED, signature=bytes(64)),
    ],
)
def test_every_part_is_signed(altered: Record) -> None:
    with pytest.raises(RemoteError, match="share") as caught:
        altered.verify()
    assert caught.value.penalty == 10


def test_the_higher_seq_holds_and_at_equal_seq_everybody_decides_alike() -> None:
    older, newer = record(seq=5), record(seq=6)
    assert newer.supersedes(older)
    assert not older.supersedes(newer)
    one, other = record(seq=5, number=1), record(seq=5, number=2)
    assert one.supersedes(other) != other.supersedes(one)
    assert not one.supersedes(one)


def test_certificates_are_kept_once_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_CERTIFICATES", 2)
    cache = CertificateCache()
    encoded = [identity(number).certificate.encode() for number in (1, 2, 3)]
    first = cache.decode(encoded[0])
    assert cache.decode(encoded[0]) is first
    cache.decode(encoded[1]), cache.decode(encoded[2])
    assert cache.decode(encoded[0]) is not first


@pytest.mark.parametrize(
    ("name", "told"), [("", "cannot be"), ("a/b", "cannot be"), ("..", "cannot be"), ("x" * 256, "longer")]
)
def test_names_of_shares_are_names_of_files(name: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        Share(name, content_id(1), 1, ShareKind.FILE)


def test_sizes_of_shares() -> None:
    with pytest.raises(InvalidArgument, match="size"):
        Share("a", content_id(1), 2**53, ShareKind.FILE)


def encoded_with(**parts: bytes) -> bytes:
    whole = {
        "version": b"\x01",
        "group": spec().group_id,
        "certificate": identity(1).certificate.encode(),
        "seq": b"\x01",
        "kind": b"\x01",
        "name": b"\x01a",
        "content": content_id(5),
        "size": b"\x00",
        "entry": b"\x01",
        "time": b"\x00",
        "authorisation": b"\x00",
        "signature": bytes(64),
    }
    return b"".join((whole | parts).values())


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ({"version": b"\x02"}, "version 2"),
        ({"certificate": bytes(129)}, "certificate of version 0"),
        ({"certificate": b"\x01" + bytes(128)}, "certificate"),
        ({"seq": b"\xff" * 7 + b"\x7f"}, "over the limit"),
        ({"kind": b"\x03"}, "unknown RecordKind 3"),
        ({"entry": b"\x00"}, "unknown ShareKind 0"),
        ({"name": b"\x02.."}, "cannot be"),
        ({"name": b"\x03a/b"}, "contains"),
        ({"name": b"\x80\x02" + b"x" * 256}, "over the limit"),
        ({"authorisation": b"\x01x"}, "ends early"),
        ({"signature": bytes(65)}, "too many"),
    ],
)
def test_false_encodings(parts: dict[str, bytes], told: str) -> None:
    decode_record(encoded_with(), CertificateCache())
    with pytest.raises(RemoteError, match=told):
        decode_record(encoded_with(**parts), CertificateCache())


def test_the_longest_record_keeps_to_the_limit() -> None:
    given = authority().authorise(restricted_spec().group_id, identity(1).peer_id, Right.PUBLISH)
    longest = Record(
        group_id=restricted_spec().group_id,
        certificate=identity(1).certificate,
        seq=2**53 - 1,
        kind=RecordKind.SHARE,
        share=Share("x" * 255, content_id(1), 2**53 - 1, ShareKind.FOLDER),
        created_at=2**53 - 1,
        authorisation=given,
        signature=bytes(64),
    )
    assert len(longest.encode()) == 647 <= RECORD_BYTES_LIMIT
    assert decode_record(longest.encode(), CertificateCache()) == longest


@given(
    st.binary(max_size=400)
    | st.builds(lambda length, tail: SIGNED.encode()[:length] + tail, st.integers(161, 330), st.binary(max_size=200))
)
def test_any_bytes_are_a_record_or_a_remote_error(data: bytes) -> None:
    try:
        decoded = decode_record(data, CertificateCache())
    except RemoteError:
        return
    assert decoded.encode() == data


def test_signing_for_somebody_else_is_our_own_bug() -> None:
    with pytest.raises(AssertionError):
        SIGNED.signed_by(Identity.generate())


def test_a_tombstone_says_so() -> None:
    assert tombstone().is_tombstone
    assert not SIGNED.is_tombstone
    assert SIGNED.key == (identity(1).peer_id, "disk.iso")
    assert SIGNED.created_at == WALL * 1000
