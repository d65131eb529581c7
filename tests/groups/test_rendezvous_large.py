"""Group values in pieces: what is sealed, what opens it, and what its length tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht.blob import items_of
from swarmd.groups.rendezvous.largevalues import VALUE_BYTES_LIMIT, Large, seal_large
from swarmd.groups.rendezvous.values import SMALL_BYTES_LIMIT


@pytest.mark.parametrize("size", [0, 1, 763, 1024, 1025, 5000, VALUE_BYTES_LIMIT - 1, VALUE_BYTES_LIMIT])
def test_there_and_back(size: int) -> None:
    data = SeededRng(size).bytes(size)
    large, sealed = seal_large(data, SeededRng(1))
    found = Large.decode(large.encode())
    assert (found, found.opened(sealed)) == (large, data)
    assert found.place == items_of(sealed)[-1].target
    assert len(large.encode()) <= SMALL_BYTES_LIMIT


def test_sizes_are_told_in_seven_classes_and_keys_used_once() -> None:
    sealed = [seal_large(b"x" * size, SeededRng(size))[1] for size in range(0, VALUE_BYTES_LIMIT + 1, 512)]
    assert len({len(each) for each in sealed}) == 7
    assert seal_large(b"x", SeededRng(1))[1] != seal_large(b"x", SeededRng(2))[1]


def test_what_is_too_long_is_refused_with_its_size() -> None:
    with pytest.raises(InvalidArgument, match=r"at most 65,536 bytes \(64 KiB\), not 65,537"):
        seal_large(bytes(VALUE_BYTES_LIMIT + 1), SeededRng(1))


def test_what_was_changed_does_not_open() -> None:
    large, sealed = seal_large(b"hello", SeededRng(1))
    others = [replace(large, key=bytes(32)), replace(large, size=6), replace(large, size=2000)]
    for other, data in [
        (large, sealed[:-1]),
        (large, b""),
        (large, b"x" + sealed[1:]),
        *((one, sealed) for one in others),
    ]:
        with pytest.raises(RemoteError):
            other.opened(data)


@given(st.binary(max_size=120))
def test_any_bytes(content: bytes) -> None:
    try:
        found = Large.decode(content)
    except RemoteError:
        return
    assert found.encode() == content
    with pytest.raises(RemoteError):
        found.opened(content)
