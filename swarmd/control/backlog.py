"""A bounded queue that forgets the oldest and says how much.

Invariant: at most `MAX_ITEMS` items and `MAX_BYTES` of weight are kept; whatever is dropped is counted, and
the count comes out before the items that follow the gap.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_ITEMS = 1024
"""About a minute of a busy node's events: longer than a reader that is well ever takes."""
MAX_BYTES = 1 << 20
"""So that a hundred subscribers who never read cost at most 100 MiB, however long the names are."""


class Backlog(Generic[T]):
    """What waits for one reader."""

    __slots__ = ("_bytes", "_items", "_lost", "_max_bytes", "_max_items")

    def __init__(self, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._lost = 0
        self._max_items = max_items
        self._max_bytes = max_bytes

    def __len__(self) -> int:
        return len(self._items)

    def __bool__(self) -> bool:
        return bool(self._items) or self._lost > 0

    def push(self, item: T, weight: int = 0) -> None:
        """Add at the end; drops from the front what does not fit any more."""
        self._items.append((item, weight))
        self._bytes += weight
        while len(self._items) > self._max_items or self._bytes > self._max_bytes:
            self._bytes -= self._items.popleft()[1]
            self._lost += 1

    def take_lost(self) -> int:
        """How many were dropped since this was last asked; ask before each `pop`."""
        lost, self._lost = self._lost, 0
        return lost

    def pop(self) -> T:
        """The oldest item; IndexError when there is none."""
        item, weight = self._items.popleft()
        self._bytes -= weight
        return item
