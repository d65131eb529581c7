"""Slots: items that members alone find, read and write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht.items import MAX_VALUE_BYTES, Item, Signer, immutable
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.slots import BODY_LIMIT, PAD_BYTES, Slot

from .builders import spec

SLOT = Slot.of(spec(), b"values", b"motd")
ITEM = SLOT.item(b"hello", 7, SeededRng(3))


def test_there_and_back() -> None:
    assert SLOT.body_of(ITEM) == b"hello"
    assert (ITEM.seq, ITEM.key, ITEM.target) == (7, SLOT.public, SLOT.target)


@pytest.mark.parametrize(
    "other",
    [
        Slot.of(spec(), b"values", b"motd2"),
        Slot.of(spec(), b"peer records", b"motd"),
        Slot.of(GroupSpec.create("family", SeededRng(2)).spec, b"values", b"motd"),
    ],
    ids=["name", "purpose", "group"],
)
def test_every_slot_has_keys_of_its_own(other: Slot) -> None:
    assert other.public != SLOT.public
    with pytest.raises(RemoteError):
        other.body_of(ITEM)


def test_what_was_sealed_for_another_slot_does_not_open_here() -> None:
    """A member that signs for this slot what it has found in another one."""
    other = Slot.of(spec(), b"values", b"other").item(b"hello", 7, SeededRng(3))
    moved = SLOT._signer.item(other.value, 7)
    with pytest.raises(RemoteError, match="does not open"):
        SLOT.body_of(moved)


def test_a_node_of_the_dht_sees_neither_value_nor_its_exact_length() -> None:
    assert b"hello" not in ITEM.encoded
    sizes = {len(SLOT.item(bytes(n), 1, SeededRng(n)).encoded) for n in range(PAD_BYTES - 1)}
    assert len(sizes) == 1
    assert SLOT.item(b"hello", 7, SeededRng(4)).encoded != ITEM.encoded, "nor that it is the same value again"


def test_what_fits() -> None:
    largest = SLOT.item(b"x" * BODY_LIMIT, 1, SeededRng(1))
    assert len(largest.encoded) == MAX_VALUE_BYTES
    assert SLOT.body_of(largest) == b"x" * BODY_LIMIT
    with pytest.raises(InvalidArgument):
        SLOT.item(b"x" * (BODY_LIMIT + 1), 1, SeededRng(1))


def test_a_padding_that_is_not_zeros_is_refused() -> None:
    """So each body has one form."""
    nonce = bytes(12)
    sealed = nonce + AESGCM(SLOT._sealing).encrypt(nonce, b"\x01x\x01", SLOT.public)
    with pytest.raises(RemoteError, match="padded"):
        SLOT.body_of(SLOT._signer.item(sealed, 1))


@pytest.mark.parametrize("value", [b"", b"x" * 28, 5, {b"a": b"b"}, [b"x"]])
def test_what_is_not_sealed_is_refused(value: bytes) -> None:
    with pytest.raises(RemoteError):
        SLOT.body_of(SLOT._signer.item(value, 1))


def test_a_signature_that_is_not_the_slots_is_refused() -> None:
    forger = Signer(bytes(32))
    for forged in (
        replace(ITEM, signature=bytes(64)),
        replace(ITEM, seq=8),
        replace(forger.item(ITEM.value, 7), key=SLOT.public),
        forger.item(ITEM.value, 7),
        immutable(ITEM.value),
    ):
        with pytest.raises(RemoteError):
            SLOT.body_of(forged)


@given(st.binary(max_size=200), st.integers(0, 2**63 - 1))
def test_any_bytes_in_an_item_of_a_member(value: bytes, seq: int) -> None:
    with pytest.raises(RemoteError):
        SLOT.body_of(SLOT._signer.item(value, seq))


@given(st.binary(max_size=1000), st.binary(max_size=64))
def test_any_bytes_in_an_item_of_anybody(encoded: bytes, signature: bytes) -> None:
    with pytest.raises(RemoteError):
        SLOT.body_of(Item(encoded, SLOT.public, b"", 1, signature))


def test_the_keys_are_not_shown() -> None:
    assert SLOT._sealing.hex() not in repr(SLOT)
    assert "Signer" not in repr(SLOT)
