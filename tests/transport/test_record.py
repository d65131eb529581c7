"""Records: what was sealed opens once, in order and unchanged, and both ends replace the key at one point."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.transport.tcp.record import (
    LENGTH,
    MAX_PLAIN_BYTES,
    MAX_SEALED_BYTES,
    TAG_BYTES,
    Opener,
    Sealer,
    decode_length,
)

KEY = bytes(range(32))


def open_record(opener: Opener, data: bytes | bytearray | memoryview) -> bytes:
    return bytes(opener.open(bytes(data[: LENGTH.size]), memoryview(bytes(data))[LENGTH.size :]))


def test_a_record_is_what_the_noise_specification_says() -> None:
    """AES-256-GCM, 32 zero bits and the counter big-endian as the nonce, the length as associated data."""
    sealer = Sealer(KEY)
    sealer.seal(b"first")
    data = sealer.seal(b"second")
    header = (len(b"second") + TAG_BYTES).to_bytes(4, "big")
    assert data == header + AESGCM(KEY).encrypt(bytes(4) + (1).to_bytes(8, "big"), b"second", header)


@pytest.mark.parametrize("size", [0, 1, 1000, MAX_PLAIN_BYTES])
def test_what_was_sealed_opens(size: int) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    for number in range(3):
        plain = bytes([number]) * size
        data = sealer.seal(plain)
        assert decode_length(data, 0) == len(data) - LENGTH.size == size + TAG_BYTES
        assert open_record(opener, data) == plain


@given(st.binary(max_size=64), st.data())
def test_any_changed_bit_is_noticed(plain: bytes, data: st.DataObject) -> None:
    sealed = bytearray(Sealer(KEY).seal(plain))
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(RemoteError):
        open_record(Opener(KEY), sealed)


@pytest.mark.parametrize("order", [(1,), (1, 0), (0, 0), (0, 2), (0, 1, 0)])
def test_lost_repeated_and_reordered_records_are_noticed(order: tuple[int, ...]) -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    records = [sealer.seal(b"%d" % number) for number in range(3)]
    with pytest.raises(RemoteError):
        for number in order:
            open_record(opener, records[number])


def test_a_cut_record_is_noticed() -> None:
    data = Sealer(KEY).seal(b"0123456789")
    shorter = LENGTH.pack(len(data) - LENGTH.size - 1) + data[LENGTH.size : -1]
    with pytest.raises(RemoteError):
        open_record(Opener(KEY), shorter)


def test_another_key_opens_nothing() -> None:
    with pytest.raises(RemoteError):
        open_record(Opener(bytes(32)), Sealer(KEY).seal(b"x"))


@pytest.mark.parametrize("size", [0, TAG_BYTES - 1, MAX_SEALED_BYTES + 1, 2**32 - 1])
def test_sizes_out_of_bounds_are_the_peers_fault(size: int) -> None:
    with pytest.raises(RemoteError):
        decode_length(memoryview(LENGTH.pack(size)), 0)


# Rekeying ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rekey_records", "rekey_bytes"), [(3, 1 << 40), (1 << 40, 3000)])
def test_both_ends_replace_the_key_at_one_point(rekey_records: int, rekey_bytes: int) -> None:
    sealer, opener = Sealer(KEY, rekey_records, rekey_bytes), Opener(KEY)
    rekeyed = 0
    for number in range(20):
        plain = bytes([number]) * 1000
        is_last = sealer.wants_rekey
        assert open_record(opener, sealer.seal(plain)) == plain
        if is_last:
            sealer.rekey()
            opener.rekey()
            rekeyed += 1
    assert rekeyed == 5


def test_one_end_that_does_not_replace_it_opens_nothing_more() -> None:
    for ends in ((True, False), (False, True)):
        sealer, opener = Sealer(KEY), Opener(KEY)
        open_record(opener, sealer.seal(b"before"))
        if ends[0]:
            sealer.rekey()
        if ends[1]:
            opener.rekey()
        with pytest.raises(RemoteError):
            open_record(opener, sealer.seal(b"after"))


def test_the_new_key_does_not_open_what_the_old_one_sealed() -> None:
    """And the other way round: a record of before cannot be played again after, though the counter begins anew."""
    sealer, opener = Sealer(KEY), Opener(KEY)
    first = sealer.seal(b"first")
    open_record(opener, first)
    sealer.rekey()
    opener.rekey()
    with pytest.raises(RemoteError):
        open_record(opener, first)


def test_the_new_key_is_noises() -> None:
    """Revision 34 §4.2: the first 32 bytes of sealing 32 zero bytes with the greatest nonce."""
    sealer = Sealer(KEY)
    sealer.rekey()
    new_key = AESGCM(KEY).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
    assert open_record(Opener(new_key), sealer.seal(b"x")) == b"x"


def test_no_key_in_a_repr() -> None:
    for end in (Sealer(KEY), Opener(KEY)):
        assert KEY.hex() not in repr(end) and repr(KEY) not in repr(end)
