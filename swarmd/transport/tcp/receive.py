"""The buffer between the connection and the records: the kernel writes at its end, records are taken from its start.

It starts small and grows to MAX_BUFFER_BYTES while the connection fills it, so an idle session costs 16 KiB. What is
left of an unfinished record is moved to the front when the room behind it ends. A large record is asked for exactly,
with the length of the next, so that behind it there is next to nothing to move.
"""

from __future__ import annotations

from swarmd.transport.tcp import keying
from swarmd.transport.tcp.record import LENGTH, MAX_SEALED_BYTES, decode_length

MIN_BUFFER_BYTES = 16 * 1024
MAX_BUFFER_BYTES = MAX_SEALED_BYTES + 4096
_MIN_SPACE = 4 * 1024 - 2 * LENGTH.size
_LARGE_BYTES = 64 * 1024


class ReceiveBuffer:
    def __init__(self) -> None:
        self._buffer = bytearray(MIN_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    @property
    def capacity(self) -> int:
        """Bytes of memory that it holds."""
        return len(self._buffer)

    def space(self) -> memoryview:
        """Room for at least one byte, and for the rest of the record at hand when its size is known."""
        if self._start == self._end:
            self._start = self._end = 0
        missing = self.missing
        needed = max(missing + LENGTH.size, _MIN_SPACE)
        if len(self._buffer) - self._end < needed:
            self._make_room(needed)
        if missing >= _LARGE_BYTES:
            return self._view[self._end : self._end + needed]
        return self._view[self._end :]

    def filled(self, count: int) -> None:
        self._end += count
        if self._end == len(self._buffer) < MAX_BUFFER_BYTES and self._start < self._end:
            self._resize(min(MAX_BUFFER_BYTES, 4 * len(self._buffer)))

    def take_frame(self) -> bytes | None:
        """A whole keying frame, if it is there."""
        have = self._end - self._start
        if have < 2:
            return None
        size = keying.frame_size(self._buffer, self._start)
        if have < 2 + size:
            return None
        begin = self._start + 2
        self._start = begin + size
        return bytes(self._view[begin : self._start])

    def take_record(self) -> tuple[bytes, memoryview] | None:
        """Header and sealed part of a whole record, if it is there; valid until `space` is called."""
        have = self._end - self._start
        if have < LENGTH.size:
            return None
        size = decode_length(self._buffer, self._start)
        if have < LENGTH.size + size:
            return None
        begin = self._start + LENGTH.size
        header = bytes(self._view[self._start : begin])
        self._start = begin + size
        return header, self._view[begin : self._start]

    def shrink(self) -> None:
        """Give the memory of an idle connection back."""
        if self._start == self._end and len(self._buffer) > MIN_BUFFER_BYTES:
            self.clear()

    def clear(self) -> None:
        """Give the memory back; what is in it is not wanted any more."""
        self._buffer = bytearray(MIN_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0

    @property
    def missing(self) -> int:
        """Bytes still missing of the unit at hand, as far as its size is known and sane."""
        have = self._end - self._start
        if have < LENGTH.size:
            return 0
        size: int = LENGTH.unpack_from(self._buffer, self._start)[0]
        return max(0, LENGTH.size + size - have) if size <= MAX_SEALED_BYTES else 0

    def _make_room(self, needed: int) -> None:
        have = self._end - self._start
        if have + needed > len(self._buffer):
            self._resize(max(have + needed, min(2 * len(self._buffer), MAX_BUFFER_BYTES)))
            return
        self._view[:have] = bytes(self._view[self._start : self._end])
        self._start, self._end = 0, have

    def _resize(self, size: int) -> None:
        have = self._end - self._start
        buffer = bytearray(size)
        buffer[:have] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, memoryview(buffer)
        self._start, self._end = 0, have
