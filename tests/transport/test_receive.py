"""The receive buffer: however the bytes come in, records come out whole, and an idle connection costs little."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.transport.tcp import keying
from swarmd.transport.tcp.receive import MAX_BUFFER_BYTES, MIN_BUFFER_BYTES, ReceiveBuffer
from swarmd.transport.tcp.record import LENGTH, MAX_SEALED_BYTES, TAG_BYTES

SIZES = st.one_of(st.integers(TAG_BYTES, 5000), st.integers(TAG_BYTES, MAX_SEALED_BYTES), st.just(MAX_SEALED_BYTES))


def record(number: int, size: int) -> bytes:
    body = (b"%08d" % number * (size // 8 + 1))[:size]
    return LENGTH.pack(size) + body


def write(buffer: ReceiveBuffer, data: bytes) -> int:
    """As much of it as the kernel would write in one go."""
    space = buffer.space()
    count = min(len(space), len(data))
    assert count > 0
    space[:count] = data[:count]
    buffer.filled(count)
    return count


def take_all(buffer: ReceiveBuffer) -> list[bytes]:
    taken = []
    while (found := buffer.take_record()) is not None:
        header, sealed = found
        taken.append(header + bytes(sealed))
    return taken


def feed(buffer: ReceiveBuffer, data: bytes, steps: list[int]) -> list[bytes]:
    taken, offset, turn = [], 0, 0
    while offset < len(data):
        step = steps[turn % len(steps)]
        offset += write(buffer, data[offset : offset + step])
        taken += take_all(buffer)
        turn += 1
    return taken


@given(st.lists(SIZES, max_size=8), st.lists(st.integers(1, 1 << 20), min_size=1, max_size=6))
def test_records_in_any_pieces_come_out_whole(sizes: list[int], steps: list[int]) -> None:
    records = [record(number, size) for number, size in enumerate(sizes)]
    buffer = ReceiveBuffer()
    assert feed(buffer, b"".join(records), [max(64, step) for step in steps]) == records
    assert buffer.take_record() is None


def test_records_byte_by_byte() -> None:
    records = [record(number, 100 + number) for number in range(40)]
    assert feed(ReceiveBuffer(), b"".join(records), [1]) == records


def test_what_came_with_the_last_keying_frame_is_a_record() -> None:
    buffer = ReceiveBuffer()
    write(buffer, keying.frame(b"hello") + keying.frame(b"") + record(1, 50))
    assert buffer.take_frame() == b"hello"
    assert buffer.take_frame() == b""
    assert take_all(buffer) == [record(1, 50)]


def test_a_frame_that_is_not_there_whole_is_waited_for() -> None:
    buffer = ReceiveBuffer()
    frame = keying.frame(b"hello")
    for cut in range(len(frame) - 1):
        write(buffer, frame[cut : cut + 1])
        assert buffer.take_frame() is None
    write(buffer, frame[-1:])
    assert buffer.take_frame() == b"hello"


@given(st.binary(max_size=300))
def test_any_bytes_give_records_or_are_the_peers_fault(data: bytes) -> None:
    buffer = ReceiveBuffer()
    offset = 0
    try:
        while offset < len(data):
            offset += write(buffer, data[offset:])
            take_all(buffer)
    except RemoteError:
        return


@pytest.mark.parametrize("size", [0, TAG_BYTES - 1, MAX_SEALED_BYTES + 1, 2**32 - 1])
def test_a_size_out_of_bounds_costs_no_memory(size: int) -> None:
    buffer = ReceiveBuffer()
    write(buffer, LENGTH.pack(size))
    with pytest.raises(RemoteError):
        buffer.take_record()
    assert buffer.capacity == MIN_BUFFER_BYTES


def test_a_large_record_fits_as_soon_as_its_size_is_known() -> None:
    """So that it comes in one piece, and is not copied again and again as the buffer grows."""
    buffer = ReceiveBuffer()
    data = record(1, MAX_SEALED_BYTES)
    offset = write(buffer, data[:10])
    assert len(buffer.space()) >= len(data) - offset
    assert buffer.capacity <= 2 * len(data)


def test_it_grows_while_it_is_filled_and_not_beyond_its_bound() -> None:
    buffer = ReceiveBuffer()
    stream = record(1, MAX_SEALED_BYTES) * 64
    offset = 0
    while offset < len(stream):
        offset += write(buffer, stream[offset:])
        take_all(buffer)
    assert MAX_SEALED_BYTES < buffer.capacity <= MAX_BUFFER_BYTES


def test_memory_is_given_back_only_when_nothing_is_in_it() -> None:
    buffer = ReceiveBuffer()
    data = record(1, 100_000)
    write(buffer, data[:10])
    write(buffer, data[10:50_000])
    buffer.shrink()
    assert feed(buffer, data[50_000:], [1 << 20]) == [data]
    assert buffer.capacity > MIN_BUFFER_BYTES
    buffer.shrink()
    assert buffer.capacity == MIN_BUFFER_BYTES
    assert feed(buffer, data, [os.cpu_count() or 1, 1 << 20]) == [data]
