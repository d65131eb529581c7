"""Memory for opened records, used again as soon as nobody looks at it any more.

What a record held is passed up as views, and stays until the disk has it. Nobody has to say when that is: a bytearray
of which a view is left refuses to change its size, which `BufferPool` asks it to do before it uses it again. So no use
after free can be made by mistake; what is never let go is merely not used again.

New memory costs more than opening a record into it: it is cleared first, and is in no cache (4 % of a transfer).
"""

from __future__ import annotations

MAX_BUFFERS = 40
"""Of up to 1 MiB: what downloads may hold that is not written (`replication.fetch.MAX_OPEN_BYTES`), and some."""
_MIN_BYTES = 64 * 1024  # smaller ones are cheap to make
_ROUND = 4096


class BufferPool:
    """One for all sessions of a node. Not thread-safe; views may be dropped on any thread."""

    def __init__(self) -> None:
        self._held: list[bytearray] = []
        self._used = 0  # of the first ones, since the last `shrink`

    def __len__(self) -> int:
        return len(self._held)

    def take(self, size: int) -> memoryview:
        """Memory of that size, with anything in it; the caller's until the last view of it is gone."""
        if size < _MIN_BYTES:
            return memoryview(bytearray(size))
        for position, buffer in enumerate(self._held):  # always from the first: those are in the caches
            if len(buffer) >= size and _is_free(buffer):
                self._used = max(self._used, position + 1)
                return memoryview(buffer)[:size]
        buffer = bytearray((size + _ROUND - 1) // _ROUND * _ROUND)
        self._held.append(buffer)
        if len(self._held) > MAX_BUFFERS:
            del self._held[0]
        self._used = len(self._held)
        return memoryview(buffer)[:size]

    def shrink(self) -> bool:
        """Now and then: give back what was not used since the last call; whether there was any."""
        had = len(self._held)
        del self._held[self._used :]
        self._used = 0
        return len(self._held) < had


def _is_free(buffer: bytearray) -> bool:
    try:
        del buffer[-1:]
    except BufferError:
        return False
    buffer.append(0)  # within what is allocated: nothing moves
    return True
