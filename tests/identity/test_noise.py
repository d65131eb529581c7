"""The handshake, proved with cacophony's published vector, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, LocalError, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.identity import noise
from swarmd.identity.noise import Initiator, Responder

VECTOR: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "noise_ik.json").read_text())
PROLOGUE = b"swarmd test"


def field(name: str) -> bytes:
    return bytes.fromhex(VECTOR[name])


def private(name: str) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(field(name))


def vector_pair() -> tuple[Initiator, Responder]:
    return (
        Initiator(private("init_static"), field("init_remote_static"), field("init_prologue"), field("init_ephemeral")),
        Responder(private("resp_static"), field("resp_prologue"), field("resp_ephemeral")),
    )


def seeded_pair(seed: int = 1, prologue: bytes = PROLOGUE) -> tuple[Initiator, Responder]:
    rng = SeededRng(seed)
    one, other = (X25519PrivateKey.from_private_bytes(rng.bytes(32)) for _ in range(2))
    remote_static = other.public_key().public_bytes_raw()
    return Initiator(one, remote_static, PROLOGUE, rng.bytes(32)), Responder(other, prologue, rng.bytes(32))


def test_published_vector() -> None:
    initiator, responder = vector_pair()
    messages = [(bytes.fromhex(m["payload"]), bytes.fromhex(m["ciphertext"])) for m in VECTOR["messages"]]
    (payload1, message1), (payload2, message2), *transport = messages

    assert initiator.write_message(payload1) == message1
    assert responder.read_message(message1) == payload1
    assert responder.remote_static == private("init_static").public_key().public_bytes_raw()
    assert responder.write_message(payload2) == message2
    assert initiator.read_message(message2) == payload2
    assert initiator.handshake_hash == responder.handshake_hash == field("handshake_hash")

    initiator_keys, responder_keys = initiator.split(), responder.split()
    assert initiator_keys == responder_keys[::-1]
    for index, (payload, ciphertext) in enumerate(transport):
        key = initiator_keys[index % 2]
        assert AESGCM(key).encrypt(noise.nonce_bytes(index // 2), payload, b"") == ciphertext


def test_payloads_and_sizes() -> None:
    initiator, responder = seeded_pair()
    message1 = initiator.write_message(b"one")
    assert len(message1) == 3 + noise.FIRST_OVERHEAD_BYTES
    assert responder.read_message(memoryview(message1)) == b"one"
    message2 = responder.write_message()
    assert len(message2) == noise.SECOND_OVERHEAD_BYTES
    assert initiator.read_message(memoryview(message2)) == b""
    assert initiator.is_done
    assert responder.is_done


def test_two_sessions_share_nothing() -> None:
    hashes: set[bytes] = set()
    keys: set[bytes] = set()
    for seed in (1, 2):
        initiator, responder = seeded_pair(seed)
        responder.read_message(initiator.write_message())
        initiator.read_message(responder.write_message())
        hashes.add(initiator.handshake_hash)
        keys.update(initiator.split())
    assert len(hashes) == 2
    assert len(keys) == 4


def test_another_prologue_does_not_open() -> None:
    initiator, responder = seeded_pair(prologue=b"swarmd tesT")
    with pytest.raises(RemoteError, match="does not open"):
        responder.read_message(initiator.write_message())


def test_another_responder_cannot_read_the_first_message() -> None:
    initiator, _ = seeded_pair(1)
    _, stranger = seeded_pair(2)
    with pytest.raises(RemoteError, match="does not open"):
        stranger.read_message(initiator.write_message())


def test_an_answer_to_another_handshake_is_refused() -> None:
    initiator, responder = seeded_pair()
    responder.read_message(initiator.write_message(b"x"))
    other, _ = seeded_pair()
    other.write_message(b"y")
    with pytest.raises(RemoteError, match="does not open"):
        other.read_message(responder.write_message())


def test_every_bit_of_both_messages_counts() -> None:
    message1 = seeded_pair()[0].write_message(b"ab")
    for bit in range(0, len(message1) * 8, 7):
        _, responder = seeded_pair()
        with pytest.raises(RemoteError):
            responder.read_message(flipped(message1, bit))
    _, responder = seeded_pair()
    responder.read_message(message1)
    message2 = responder.write_message(b"cd")
    for bit in range(0, len(message2) * 8, 7):
        initiator, _ = seeded_pair()
        initiator.write_message(b"ab")
        with pytest.raises(RemoteError):
            initiator.read_message(flipped(message2, bit))


def flipped(message: bytes, bit: int) -> bytes:
    """X25519 ignores the top bit of a key, but the transcript hash does not."""
    changed = bytearray(message)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.binary(max_size=200))
def test_any_bytes_are_the_peers_fault(data: bytes) -> None:
    initiator, responder = seeded_pair()
    with pytest.raises(RemoteError):
        responder.read_message(data)
    initiator.write_message()
    with pytest.raises(RemoteError):
        initiator.read_message(data)


@pytest.mark.parametrize("length", [0, 95, 65536, 10**6])
def test_sizes_that_cannot_be_are_refused_at_once(length: int) -> None:
    _, responder = seeded_pair()
    with pytest.raises(RemoteError, match="cannot be one"):
        responder.read_message(bytes(length))


LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
]


@pytest.mark.parametrize("key", LOW_ORDER)
def test_keys_of_low_order_are_refused(key: bytes) -> None:
    _, responder = seeded_pair()
    with pytest.raises(RemoteError, match="not a usable one"):
        responder.read_message(key + bytes(64))
    one = X25519PrivateKey.from_private_bytes(b"\1" * 32)
    with pytest.raises(RemoteError, match="not a usable one"):
        Initiator(one, key, PROLOGUE, b"\2" * 32).write_message()


def test_a_failed_handshake_stays_dead() -> None:
    initiator, responder = seeded_pair()
    message = initiator.write_message()
    with pytest.raises(RemoteError):
        responder.read_message(flipped(message, 300))
    with pytest.raises(LocalError, match="DEAD"):
        responder.read_message(message)
    with pytest.raises(LocalError, match="DEAD"):
        responder.write_message()


def test_nothing_out_of_turn() -> None:
    initiator, responder = seeded_pair()
    with pytest.raises(LocalError):
        initiator.read_message(bytes(100))
    with pytest.raises(LocalError):
        responder.write_message()
    with pytest.raises(LocalError):
        _ = responder.remote_static
    for side in (initiator, responder):
        with pytest.raises(LocalError):
            side.split()
        with pytest.raises(LocalError):
            _ = side.handshake_hash
    responder.read_message(initiator.write_message())
    with pytest.raises(LocalError):
        initiator.write_message()


def test_a_payload_fits_one_message_or_is_refused() -> None:
    initiator, responder = seeded_pair()
    limit = noise.MESSAGE_BYTES_LIMIT - noise.FIRST_OVERHEAD_BYTES
    with pytest.raises(InvalidArgument, match="does not fit"):
        initiator.write_message(bytes(limit + 1))
    assert responder.read_message(initiator.write_message(bytes(limit))) == bytes(limit)
    with pytest.raises(InvalidArgument, match="does not fit"):
        responder.write_message(bytes(noise.MESSAGE_BYTES_LIMIT))


def test_an_ephemeral_key_has_32_bytes() -> None:
    static = X25519PrivateKey.from_private_bytes(b"\1" * 32)
    with pytest.raises(InvalidArgument, match="32 random bytes"):
        Responder(static, PROLOGUE, b"short")


def test_rekey_follows_the_specification() -> None:
    key = bytes(range(32))
    nonce = bytes(4) + b"\xff" * 8
    assert noise.rekey(key) == AESGCM(key).encrypt(nonce, bytes(32), b"")[:32]
    assert noise.rekey(key) != key
