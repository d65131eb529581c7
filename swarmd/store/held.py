"""Which chunks of a download are here, and which of them the database may claim.

Invariant: `committed` is a subset of what was synced and written to the database; `add` is called only after a chunk's
bytes are written; `roll_back` forgets what was added since the last commit, because nothing is known of it then.
"""

from __future__ import annotations

import threading

from swarmd.core.errors import RemoteError
from swarmd.core.ranges import RangeSet
from swarmd.store.manifest import Root


class Held:
    """Thread-safe."""

    def __init__(self, committed: RangeSet) -> None:
        self._lock = threading.Lock()
        self._have = committed.copy()
        self._committed = committed
        self._uncommitted_bytes = 0

    def __contains__(self, index: int) -> bool:
        with self._lock:
            return index in self._have

    def __len__(self) -> int:
        with self._lock:
            return len(self._have)

    def copy(self) -> RangeSet:
        with self._lock:
            return self._have.copy()

    @property
    def uncommitted_bytes(self) -> int:
        return self._uncommitted_bytes

    def add(self, index: int, length: int) -> None:
        with self._lock:
            self._have.add(index)
            self._uncommitted_bytes += length

    def discard(self, false: RangeSet) -> None:
        """Chunks that turned out not to be there."""
        with self._lock:
            self._have.difference_update(false)

    def snapshot(self) -> tuple[RangeSet, int] | None:
        """What to sync and commit now, and its bytes; None when nothing changed."""
        with self._lock:
            if self._have == self._committed:
                return None
            return self._have.copy(), self._uncommitted_bytes

    def set_committed(self, have: RangeSet, n_bytes: int = 0) -> None:
        """`have` is in the database; `n_bytes` as of its snapshot."""
        with self._lock:
            self._committed = have
            self._uncommitted_bytes = max(0, self._uncommitted_bytes - n_bytes)

    def roll_back(self) -> None:
        with self._lock:
            self._have = self._committed.copy()
            self._uncommitted_bytes = 0

    def clear(self) -> None:
        with self._lock:
            self._have, self._committed, self._uncommitted_bytes = RangeSet(), RangeSet(), 0


def decode_have(data: bytes, root: Root | None) -> RangeSet:
    """As the database had it; nothing, when that is damaged: then all is fetched again."""
    n_chunks = 0 if root is None else root.n_chunks
    try:
        return RangeSet.decode(data, n_chunks, n_chunks)
    except RemoteError:
        return RangeSet()
