"""Sealed messages: what opens, for whom, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.messages import Located
from swarmd.groups.routing.sealing import (
    Letter,
    Opened,
    Opening,
    Sealed,
    Statement,
    open_envelope,
    sign_located,
)
from tests.groups.builders import identity

GROUP, OTHER_GROUP = GroupId(b"g" * 32), GroupId(b"h" * 32)
SENDER, RECEIVER, STRANGER = identity(1), identity(2), identity(3)
EPOCH = X25519PrivateKey.from_private_bytes(b"k" * 32)
EPOCH_KEY = EPOCH.public_key().public_bytes_raw()
TARGET = GroupAddress.at(77)
MESSAGE_ID = b"m" * 16
LETTER = Letter(b"the message", TARGET, True)
STATEMENT = Statement(RECEIVER.certificate, EPOCH_KEY)


def sealed() -> Sealed:
    return Sealed(SENDER, GROUP, MESSAGE_ID, STATEMENT, LETTER, b"1" * 32)


def opening(**changes: object) -> Opening:
    made = Opening(GROUP, RECEIVER.peer_id, EPOCH, b"2" * 32)
    return replace(made, **changes)  # type: ignore[arg-type]


def opened(one: Sealed) -> Opened:
    return open_envelope(opening(), MESSAGE_ID, one.data, 30)


def test_there_and_back() -> None:
    one = sealed()
    got = opened(one)
    assert (got.letter, got.sender) == (LETTER, SENDER.certificate)
    assert not one.is_acknowledged
    assert one.open_acknowledgement(got.acknowledgement) == 30
    assert one.is_acknowledged
    assert one.open_reply(got.reply_seal.seal(b"the reply")) == b"the reply"


def test_nothing_is_in_clear() -> None:
    one = sealed()
    got = opened(one)
    reply = got.reply_seal.seal(b"the reply")
    for secret in (b"the message", b"the reply", SENDER.peer_id, SENDER.certificate.encode()[:33]):
        assert secret not in one.data + got.acknowledgement + reply


@pytest.mark.parametrize(
    "changes",
    [
        {"group_id": OTHER_GROUP},
        {"own_id": STRANGER.peer_id},
        {"epoch": X25519PrivateKey.from_private_bytes(b"l" * 32)},
        {"epoch": RECEIVER.static_private},
    ],
    ids=["another group", "another receiver", "another epoch", "the identity's key"],
)
def test_it_opens_for_its_receiver_only(changes: dict[str, object]) -> None:
    with pytest.raises(RemoteError):
        open_envelope(opening(**changes), MESSAGE_ID, sealed().data, 30)


def test_its_id_belongs_to_it() -> None:
    with pytest.raises(RemoteError):
        open_envelope(opening(), b"n" * 16, sealed().data, 30)


@given(st.data())
def test_tampering(data: st.DataObject) -> None:
    changed = bytearray(sealed().data)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteError):
        open_envelope(opening(), MESSAGE_ID, bytes(changed), 30)


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(RemoteError):
        open_envelope(opening(), MESSAGE_ID, data, 30)


def test_a_certificate_of_somebody_else_is_refused() -> None:
    """The one inside must be that of the key which sealed."""

    class Impostor(type(SENDER)):  # type: ignore[misc]
        __slots__ = ()

    impostor = Impostor(*STRANGER.secrets())
    impostor.certificate = SENDER.certificate
    forged = Sealed(impostor, GROUP, MESSAGE_ID, STATEMENT, LETTER, b"1" * 32)
    with pytest.raises(RemoteError, match="another key"):
        open_envelope(opening(), MESSAGE_ID, forged.data, 30)


def test_forged_acknowledgements_change_nothing() -> None:
    one = sealed()
    got = opened(one)
    for forged in (b"", bytes(49), got.acknowledgement[:-1] + bytes([got.acknowledgement[-1] ^ 1])):
        with pytest.raises(RemoteError):
            one.open_acknowledgement(forged)
    assert one.open_acknowledgement(got.acknowledgement) == 30


def test_forged_replies_change_nothing() -> None:
    one = sealed()
    got = opened(one)
    reply = got.reply_seal.seal(b"yes")
    with pytest.raises(RemoteError, match="before"):
        one.open_reply(reply)
    one.open_acknowledgement(got.acknowledgement)
    for forged in (b"", bytes(19), reply[:-1], got.acknowledgement):
        with pytest.raises(RemoteError):
            one.open_reply(forged)
    assert one.open_reply(reply) == b"yes"


def test_keys_are_in_no_repr() -> None:
    got = opened(sealed())
    assert str(got.reply_seal.key) not in repr(got)


def test_statements() -> None:
    located = sign_located(RECEIVER, GROUP, b"p" * 16, TARGET, EPOCH_KEY)
    assert Statement.verify(located, GROUP, TARGET) == STATEMENT
    assert STATEMENT.peer_id == RECEIVER.peer_id


@pytest.mark.parametrize(
    "change",
    [
        {"path": b"q" * 16},
        {"epoch": b"k" * 32},
        {"certificate": STRANGER.certificate.encode()},
        {"certificate": bytes(129)},
        {"signature": bytes(64)},
    ],
    ids=["another question", "another epoch", "another certificate", "no certificate", "no signature"],
)
def test_false_statements(change: dict[str, bytes]) -> None:
    located: Located = replace(sign_located(RECEIVER, GROUP, b"p" * 16, TARGET, EPOCH_KEY), **change)
    with pytest.raises(RemoteError):
        Statement.verify(located, GROUP, TARGET)


def test_a_statement_is_for_one_question_in_one_group() -> None:
    located = sign_located(RECEIVER, GROUP, b"p" * 16, TARGET, EPOCH_KEY)
    with pytest.raises(RemoteError):
        Statement.verify(located, OTHER_GROUP, TARGET)
    with pytest.raises(RemoteError):
        Statement.verify(located, GROUP, GroupAddress.at(78))
