"""Packets in parts: put together in any order, and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.transport.rtmfp.chunks import PacketFragment, encode_chunk
from swarmd.transport.rtmfp.reassembly import MAX_PACKETS, MAX_PARTS, Reassembly, split


@given(st.binary(max_size=9000), st.integers(700, 1200), st.integers(0, 1 << 32))
def test_in_any_order(plain: bytes, limit: int, seed: int) -> None:
    parts = list(split(plain, 7, limit))
    assert all(len(encode_chunk(part)) <= limit for part in parts)
    SeededRng(seed).shuffle(parts)
    reassembly = Reassembly()
    wholes = [reassembly.receive(part) for part in parts]
    assert all(whole is None for whole in wholes[:-1])
    if plain:
        assert wholes[-1] == memoryview(plain)


def test_packets_at_the_same_time() -> None:
    reassembly = Reassembly()
    parts = [list(split(bytes((number,)) * 2000, number, 700)) for number in range(MAX_PACKETS)]
    for column in zip(*parts, strict=True):
        wholes = [reassembly.receive(part) for part in column]
    assert wholes == [memoryview(bytes((number,)) * 2000) for number in range(MAX_PACKETS)]


def test_the_oldest_is_given_up() -> None:
    reassembly = Reassembly()
    first = list(split(bytes(1000), 0, 700))
    reassembly.receive(first[0])
    for number in range(1, MAX_PACKETS + 1):
        reassembly.receive(PacketFragment(True, number, 0, b"x"))
    assert reassembly.receive(first[1]) is None


def test_too_many_parts_or_bytes() -> None:
    reassembly = Reassembly()
    with pytest.raises(RemoteError):
        reassembly.receive(PacketFragment(True, 1, MAX_PARTS, b""))
    for number in range(2):
        reassembly.receive(PacketFragment(True, 1, number, bytes(8000)))
    with pytest.raises(RemoteError):
        reassembly.receive(PacketFragment(False, 1, 2, bytes(8000)))


@given(
    st.lists(st.builds(PacketFragment, st.booleans(), st.integers(0, 20), st.integers(0, 20), st.binary(max_size=9)))
)
def test_any_parts(parts: list[PacketFragment]) -> None:
    reassembly = Reassembly()
    for part in parts:
        try:
            reassembly.receive(part)
        except RemoteError:
            assert part.number >= MAX_PARTS
        assert len(reassembly._parts) <= MAX_PACKETS
