"""The bytes of the bulk flow: vectors, round trips in any pieces, and whatever else may arrive."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.replication.blocks import HEADER_BYTES, MAX_BLOCK_BYTES, MAX_QUEUED_KIB, BulkType, encode_header, split

words = st.integers(0, 2**32 - 1)


def cut(data: bytes, places: list[int]) -> list[memoryview]:
    """`data` in pieces, some of them empty."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [memoryview(data)[start:stop] for start, stop in itertools.pairwise(edges)]


@pytest.mark.parametrize(
    ("header", "octets"),
    [
        (encode_header(BulkType.BLOCK, 1, 2, 65536, 7), "01 00000001 00000002 00010000 00000007"),
        (encode_header(BulkType.PAGE, 1, 2, 0, 2**40), "02 00000001 00000002 00000000 ffffffff"),
    ],
)
def test_vectors(header: bytes, octets: str) -> None:
    assert header == bytes.fromhex(octets)
    assert len(header) == HEADER_BYTES


@given(
    st.sampled_from(BulkType),
    words,
    words,
    words,
    st.integers(0, 2**50),
    st.binary(min_size=1, max_size=50),
    st.lists(st.integers(0, 70), max_size=6),
)
def test_round_trip_in_any_pieces(
    type_: BulkType, handle: int, first: int, second: int, queued_kib: int, payload: bytes, places: list[int]
) -> None:
    data = encode_header(type_, handle, first, second, queued_kib) + payload
    fields, views, length = split(cut(data, places))
    assert fields == (type_, handle, first, second, min(queued_kib, MAX_QUEUED_KIB))
    assert b"".join(views) == payload
    assert length == len(payload)


def test_the_payload_is_not_copied() -> None:
    buffer = bytearray(encode_header(BulkType.BLOCK, 1, 2, 3, 0) + bytes(100))
    for parts in ([memoryview(buffer)], [memoryview(buffer)[:40], memoryview(buffer)[40:]]):
        _, views, _ = split(parts)
        buffer[HEADER_BYTES] += 1
        assert views[0][0] == buffer[HEADER_BYTES]


@given(st.lists(st.binary(max_size=30), max_size=5))
def test_any_bytes_are_parsed_or_refused(parts: list[bytes]) -> None:
    size = sum(map(len, parts))
    try:
        fields, views, length = split([memoryview(part) for part in parts])
    except RemoteError as error:
        assert error.penalty
        assert size <= HEADER_BYTES
    else:
        assert size == HEADER_BYTES + length == HEADER_BYTES + sum(map(len, views))
        assert len(fields) == 5


@pytest.mark.parametrize("size", [0, MAX_BLOCK_BYTES + 1, MAX_BLOCK_BYTES * 2])
@pytest.mark.parametrize("pieces", [[], [5], [HEADER_BYTES], [100]])
def test_a_payload_of_a_wrong_size_is_refused(size: int, pieces: list[int]) -> None:
    data = encode_header(BulkType.BLOCK, 1, 2, 3, 0) + bytes(size)
    with pytest.raises(RemoteError):
        split(cut(data, pieces))


@pytest.mark.parametrize("pieces", [[], [5], [HEADER_BYTES], [100]])
def test_the_largest_payload(pieces: list[int]) -> None:
    data = encode_header(BulkType.BLOCK, 1, 2, 3, 0) + bytes(MAX_BLOCK_BYTES)
    assert split(cut(data, pieces))[2] == MAX_BLOCK_BYTES
