"""Authorisations: bytes, what their signature covers, when they end."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.groups.authorisation import AUTHORISATION_BYTES, NEVER, Authorisation, Authorisations, Authority, Right

from .builders import WALL, authority, peer_id, restricted_spec, spec

GROUP = restricted_spec().group_id
EXPIRES_AT = int(WALL * 1000) + 5
GIVEN = authority().authorise(GROUP, peer_id(7), Right.PUBLISH, EXPIRES_AT)


def test_vector() -> None:
    statement = peer_id(7) + b"\x01" + EXPIRES_AT.to_bytes(8, "big")
    assert GIVEN.encode() == statement + GIVEN.signature
    assert len(GIVEN.encode()) == AUTHORISATION_BYTES
    key = Ed25519PublicKey.from_public_bytes(authority().public_key)
    key.verify(GIVEN.signature, b"swarmd authorisation\0" + GROUP + statement)


def test_it_holds_for_the_group_it_was_made_for() -> None:
    decoded = Authorisation.decode(GIVEN.encode())
    assert decoded == GIVEN
    decoded.verify(authority().public_key, GROUP)


@pytest.mark.parametrize(
    "false",
    [
        replace(GIVEN, peer_id=peer_id(8)),
        replace(GIVEN, rights=Right.PUBLISH | Right.POST),
        replace(GIVEN, expires_at=NEVER),
        replace(GIVEN, signature=bytes(64)),
    ],
)
def test_nothing_in_it_can_be_changed(false: Authorisation) -> None:
    with pytest.raises(RemoteError, match="authority") as caught:
        false.verify(authority().public_key, GROUP)
    assert caught.value.penalty == 10


def test_it_is_worth_nothing_elsewhere() -> None:
    with pytest.raises(RemoteError):
        GIVEN.verify(authority().public_key, spec().group_id)
    with pytest.raises(RemoteError):
        GIVEN.verify(Authority(bytes(32)).public_key, GROUP)
    with pytest.raises(RemoteError):
        GIVEN.verify(b"", GROUP)


def test_it_expires() -> None:
    assert GIVEN.is_valid_at(WALL + 0.004)
    assert not GIVEN.is_valid_at(WALL + 0.005)
    assert replace(GIVEN, expires_at=NEVER).is_valid_at(WALL * 1000)


@given(st.binary(max_size=120) | st.binary(min_size=AUTHORISATION_BYTES, max_size=AUTHORISATION_BYTES))
def test_any_bytes_are_an_authorisation_or_a_remote_error(data: bytes) -> None:
    try:
        decoded = Authorisation.decode(data)
    except RemoteError:
        return
    assert decoded.encode() == data


BOTH = Right.PUBLISH | Right.POST


@given(st.lists(st.tuples(st.sampled_from([Right.PUBLISH, Right.POST, BOTH]), st.integers(1, 3)), max_size=6))
def test_of_several_the_last_one_of_each_right_counts_and_is_written_down(tickets: list[tuple[Right, int]]) -> None:
    had = Authorisations()
    last: dict[Right, Authorisation] = {}
    for rights, expires_at in tickets:
        given_now = authority().authorise(GROUP, peer_id(7), rights, expires_at)
        had = had.with_another(given_now)
        last |= {right: given_now for right in (Right.PUBLISH, Right.POST) if right in rights}
    assert (had.publish, had.post) == (last.get(Right.PUBLISH), last.get(Right.POST))
    assert Authorisations.decode(had.encode()) == had
    for right, other in ((Right.PUBLISH, Right.POST), (Right.POST, Right.PUBLISH)):
        assert had.giving(right) == last.get(right, last.get(other))
