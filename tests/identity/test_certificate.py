"""Certificates: who has one has a good one; signatures are worth something for one purpose only."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.identity.certificate import CERTIFICATE_BYTES, Certificate, certified, to_be_signed
from swarmd.identity.identity import Identity

ALICE = Identity.generate(SeededRng(1))
BOB = Identity.generate(SeededRng(2))
PEER_ID_OF_VERSION_1 = "lxaplqeszgzkqhflbnkfkk2e2ostqwjkwejo7baiw3uasrokvnta"

# The points whose order divides 8, in every encoding of y below 2^255 (RFC 8032 §5.1: p = 2^255 - 19).
P = 2**255 - 19
Y_OF_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
SMALL_ORDER = [y.to_bytes(32, "little") for y in (0, 1, Y_OF_ORDER_8, P - Y_OF_ORDER_8, P - 1, P, P + 1)]


def test_round_trip_and_peer_id() -> None:
    encoded = ALICE.certificate.encode()
    assert len(encoded) == CERTIFICATE_BYTES == 129
    decoded = Certificate.decode(memoryview(encoded))
    assert decoded == ALICE.certificate
    assert decoded.peer_id == hashlib.sha256(encoded).digest() == ALICE.peer_id
    assert encoded == b"\1" + decoded.signing_key + decoded.static_key + decoded.signature


def test_the_bytes_of_version_1() -> None:
    """RFC 8032 §7.1 test 1's key and RFC 7748 §6.1's Alice: any change of format or domain shows here."""
    identity = Identity(
        bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
        bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"),
    )
    assert identity.certificate.signing_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.certificate.static_key.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert str(identity.peer_id) == PEER_ID_OF_VERSION_1


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_a_key_whose_signatures_can_be_made_up_is_refused(key: bytes) -> None:
    """First that the hole is real: a signature for such a key, made without any secret. Then that it is shut."""
    raw = Ed25519PublicKey.from_public_bytes(key)
    forged = next(
        (static, signature)
        for number in range(200)
        for static in [number.to_bytes(32, "big")]
        for signature in [point + bytes(32) for point in SMALL_ORDER]
        if holds(raw, signature, to_be_signed(certified(key, static), b"certificate"))
    )
    for signed in (key, key[:-1] + bytes([key[-1] ^ 0x80])):
        with pytest.raises(RemoteError, match="small order"):
            Certificate(signed, *forged)


def holds(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def test_every_bit_counts() -> None:
    encoded = ALICE.certificate.encode()
    for bit in range(len(encoded) * 8):
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteError):
            Certificate.decode(bytes(changed))


@given(st.one_of(st.binary(max_size=200), st.binary(min_size=128, max_size=128).map(lambda data: b"\1" + data)))
def test_any_bytes_are_the_peers_fault(data: bytes) -> None:
    with pytest.raises(RemoteError):
        Certificate.decode(data)


def test_length_and_version() -> None:
    encoded = ALICE.certificate.encode()
    with pytest.raises(RemoteError, match="too many"):
        Certificate.decode(encoded + b"\0")
    with pytest.raises(RemoteError, match="ends early"):
        Certificate.decode(encoded[:-1])
    with pytest.raises(RemoteError, match="version 2"):
        Certificate.decode(b"\2" + encoded[1:])


def test_keys_of_two_nodes_do_not_mix() -> None:
    alice, bob = ALICE.certificate, BOB.certificate
    with pytest.raises(RemoteError, match="does not hold"):
        Certificate(alice.signing_key, bob.static_key, alice.signature)
    with pytest.raises(RemoteError, match="keys of 32 bytes"):
        Certificate(alice.signing_key[:31], alice.static_key, alice.signature)


def test_signatures_hold_for_their_data_domain_and_signer() -> None:
    signature = ALICE.sign(b"data", b"share")
    ALICE.certificate.verify(signature, b"data", b"share")
    for certificate, data, domain in [
        (ALICE.certificate, b"datA", b"share"),
        (ALICE.certificate, b"data", b"post"),
        (BOB.certificate, b"data", b"share"),
    ]:
        with pytest.raises(RemoteError, match="does not hold"):
            certificate.verify(signature, data, domain)
    with pytest.raises(RemoteError, match="does not hold"):
        ALICE.certificate.verify(b"short", b"data", b"share")


def test_domain_and_data_cannot_be_shifted() -> None:
    signature = ALICE.sign(b"data", b"share")
    with pytest.raises(AssertionError):
        ALICE.sign(b"ta", b"share\0da")
    with pytest.raises(RemoteError):
        ALICE.certificate.verify(signature, b"edata", b"shar")
