"""Whether a group is small, so that everybody is told of everybody, and how many members it has.

They are counted while they are few, then reckoned from the ring's density (`groups.census`). While that is not known,
those count, too, who are only heard of: or those who come together all tell all of all.

In: how many are present and heard of, what is reckoned. Out: `is_small`, the estimate. Not here: who counts as what
(`groups.membership`).
"""

from __future__ import annotations

SMALL_GROUP = 64
"""Members up to which everybody is told of everybody: 4 KiB for a newcomer from each of its neighbours."""
LARGE_GROUP = 96
"""What the density must come to before few who are known are taken for a part of a large group."""


class Size:
    """Of a group as one member sees it. is_named_only: it speaks of nobody, and knows few."""

    def __init__(self, *, is_named_only: bool) -> None:
        self._is_named_only = is_named_only
        self.n_heard = self.n_present = 0
        self.is_small, self._reckoned = True, 0

    def reckon(self, reckoned: int) -> None:
        """About how many members there are, as the density tells; 0 for unknown."""
        self._reckoned = reckoned
        self.is_small = self._is_few()

    def grow(self) -> None:
        """One more: from few it may have become many, and it stays so until it is reckoned again."""
        self.is_small &= self._is_few()

    @property
    def estimate(self) -> int:
        """How many members there are, this node included."""
        return self.n_present + 1 if self.is_small else max(self._reckoned, self.n_present + 1)

    def _is_few(self) -> bool:
        n = self.n_present if self._reckoned else self.n_heard
        return self._is_named_only or (n < SMALL_GROUP and self._reckoned < LARGE_GROUP)
