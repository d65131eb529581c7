"""Posts: bytes, what the signature covers, any bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.groups.posting.post import KEY_BYTES, MESSAGE_LIMIT, POST_BYTES_LIMIT, Post, decode_post
from swarmd.groups.records import CertificateCache

from ..builders import WALL, identity, spec
from .builders import authorised, post, posting_spec, restricted_spec

GIVEN = post(message=b"hello", seq=300)
RESTRICTED = post(group_id=restricted_spec().group_id, authorisation=authorised(1))


def decode(data: bytes) -> Post:
    return decode_post(data, CertificateCache())


def test_vector() -> None:
    created_at = bytes.fromhex("80d095ffbc31")  # 1,700,000,000,000 as a varint
    statement = (
        b"\x01"
        + posting_spec().group_id
        + identity(1).certificate.encode()
        + b"\xac\x02"
        + created_at
        + b"\xac\x02"
        + b"\x00"
        + b"\x05hello"
    )
    assert GIVEN.encoded == statement + GIVEN.signature
    assert GIVEN.signature == identity(1).sign(statement, b"post")
    assert GIVEN.id == hashlib.sha256(GIVEN.encoded).digest()
    assert GIVEN.key == GIVEN.id[:KEY_BYTES]
    assert GIVEN.expires_at == int(WALL * 1000) + 300_000


@pytest.mark.parametrize("given", [GIVEN, RESTRICTED, post(message=b""), post(message=bytes(MESSAGE_LIMIT))])
def test_what_is_encoded_is_decoded(given: Post) -> None:
    decoded = decode(given.encoded)
    assert decoded == given
    assert decoded.encoded == given.encoded
    assert decoded.id == given.id
    decoded.verify()


def test_the_largest_fits() -> None:
    largest = replace(
        RESTRICTED, message=bytes(MESSAGE_LIMIT), seq=2**53 - 1, created_at=2**53 - 1, lifetime=300
    ).signed_by(identity(1))
    assert len(largest.encoded) - MESSAGE_LIMIT == 353
    assert len(largest.encoded) <= POST_BYTES_LIMIT
    assert decode(largest.encoded) == largest


@pytest.mark.parametrize(
    "changed",
    [
        replace(GIVEN, group_id=spec().group_id),
        replace(GIVEN, certificate=identity(2).certificate),
        replace(GIVEN, seq=1),
        replace(GIVEN, created_at=GIVEN.created_at + 1),
        replace(GIVEN, lifetime=299),
        replace(GIVEN, authorisation=authorised(1)),
        replace(GIVEN, message=b"hallo"),
        replace(GIVEN, signature=bytes(64)),
    ],
)
def test_nothing_in_it_can_be_changed(changed: Post) -> None:
    assert changed.id != GIVEN.id
    with pytest.raises(RemoteError, match="does not hold") as caught:
        decode(changed.encoded).verify()
    assert caught.value.penalty == 10


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "ends early"),
        (b"\x02" + GIVEN.encoded[1:], "version 2"),
        (GIVEN.encoded + b"\0", "too many"),
        (replace(GIVEN, lifetime=301).encoded, "over the limit"),
        (replace(GIVEN, message=bytes(MESSAGE_LIMIT + 1)).encoded, "over the limit"),
        (bytes(POST_BYTES_LIMIT + 1), "are allowed"),
        (GIVEN.encoded[:40] + b"\xff" + GIVEN.encoded[41:], "certificate"),
    ],
)
def test_false_posts(data: bytes, told: str) -> None:
    with pytest.raises(RemoteError, match=told):
        decode(data)


@given(st.integers(0, len(GIVEN.encoded) - 1))
def test_cut_off(length: int) -> None:
    with pytest.raises(RemoteError):
        decode(GIVEN.encoded[:length])


@given(
    st.binary(max_size=400)
    | st.builds(
        lambda encoded, place, byte: encoded[:place] + bytes([byte]) + encoded[place + 1 :],
        st.sampled_from([GIVEN.encoded, RESTRICTED.encoded]),
        st.integers(0, 400),
        st.integers(0, 255),
    )
)
def test_any_bytes_are_a_post_or_a_remote_error(data: bytes) -> None:
    try:
        decoded = decode(data)
    except RemoteError:
        return
    assert decoded.encoded == data
