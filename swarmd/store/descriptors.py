"""Open files kept for the next chunk: a bounded cache shared by all downloads and served objects of a store.

Invariants: a descriptor is never closed while somebody uses it; at most `MAX_IDLE` unused ones are open. More than
that can be open at once only by as many as there are threads in the middle of a read or write.
It opens nothing itself and knows no paths. Closing what was idle lets a drive be unmounted and a deleted file's room
be freed: see `close_idle`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

# A quarter of the usual limit of 1,024 descriptors: the rest is for sockets and folders.
MAX_IDLE = 256

Key = tuple[Hashable, int]
"""(owner, file): the owner is what `drop` names."""


class _Slot:
    __slots__ = ("descriptor", "is_dropped", "is_recent", "users")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.users = 1
        self.is_recent = True
        self.is_dropped = False


class Descriptors:
    """Thread-safe."""

    def __init__(self, max_idle: int = MAX_IDLE) -> None:
        self._max_idle = max_idle
        self._lock = threading.Lock()
        self._slots: dict[Key, _Slot] = {}
        """The least recently used first."""

    @contextmanager
    def borrow(self, key: Key, opener: Callable[[], int]) -> Iterator[int]:
        """The descriptor for `key`, opened by `opener` when it is not here. Valid within the block only."""
        slot = self._take(key) or self._insert(key, opener())
        try:
            yield slot.descriptor
        finally:
            self._give_back(slot)

    def drop(self, owner: Hashable) -> None:
        """Close all of the owner's; the ones in use, when they are given back."""
        with self._lock:
            keys = [key for key in self._slots if key[0] == owner]
            self._remove(keys)

    def drop_one(self, key: Key) -> None:
        """Close that one, so that the next borrower opens the file anew."""
        with self._lock:
            self._remove([key] if key in self._slots else [])

    def close_idle(self) -> None:
        """Close what nobody used since the last call."""
        with self._lock:
            self._remove([key for key, slot in self._slots.items() if not slot.users and not slot.is_recent])
            for slot in self._slots.values():
                slot.is_recent = False

    def close(self) -> None:
        with self._lock:
            self._remove(list(self._slots))

    def __len__(self) -> int:
        return len(self._slots)

    def _take(self, key: Key) -> _Slot | None:
        with self._lock:
            slot = self._slots.pop(key, None)
            if slot is not None:
                self._slots[key] = slot
                slot.users += 1
                slot.is_recent = True
            return slot

    def _insert(self, key: Key, descriptor: int) -> _Slot:
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None:  # another thread was faster
                os.close(descriptor)
                slot.users += 1
                return slot
            slot = self._slots[key] = _Slot(descriptor)
            self._trim()
            return slot

    def _give_back(self, slot: _Slot) -> None:
        with self._lock:
            slot.users -= 1
            if slot.is_dropped and not slot.users:
                os.close(slot.descriptor)

    def _trim(self) -> None:
        excess = len(self._slots) - self._max_idle
        if excess > 0:
            idle = [key for key, slot in self._slots.items() if not slot.users]
            self._remove(idle[:excess])

    def _remove(self, keys: list[Key]) -> None:
        for key in keys:
            slot = self._slots.pop(key)
            slot.is_dropped = True
            if not slot.users:
                os.close(slot.descriptor)
