"""Who is known by gossip alone, and on whose word.

Invariant: at most `MAX_HEARSAY` peers in all, and of one introducer its share: what comes to each of the neighbours,
and not more than `MAX_INTRODUCED`. Beyond its share a new one takes the place of that introducer's oldest (of several,
where the share has become smaller), and where all is full that of the oldest of the introducer that has the most. So
who invents members displaces his own inventions before those whom others name. Not here: what is known of them
(`groups.membership`).
"""

from __future__ import annotations

from swarmd.core.ids import PeerId

MAX_HEARSAY = 256
"""About ten from each of 25 neighbours, of whom one report names up to 24."""
MAX_INTRODUCED = 64
"""So that the first neighbour alone can name a small group."""


DISTRUST_AFTER = 8
"""Members of one introducer that were not to be reached, and more than half of all that were tried."""
MIN_SHARE = 2
"""Of an introducer among many, or one that is distrusted."""
MAX_INTRODUCERS = 1024
"""Of whom it is known how true their words were; the neighbours are fewer."""


class Hearsay:
    def __init__(self) -> None:
        self._record: dict[PeerId, tuple[int, int]] = {}
        self._by_introducer: dict[PeerId, dict[PeerId, None]] = {}
        self._introducers: dict[PeerId, PeerId] = {}

    def __len__(self) -> int:
        return len(self._introducers)

    def __contains__(self, peer: object) -> bool:
        return peer in self._introducers

    def hear(self, peer: PeerId, introducer: PeerId, n_introducers: int) -> list[PeerId]:
        """`introducer`, one of so many neighbours, is the first to name `peer`. Who have to go for that."""
        share = max(MIN_SHARE, min(MAX_INTRODUCED, MAX_HEARSAY // max(1, n_introducers)))
        if self._is_distrusted(introducer):
            share = MIN_SHARE
        named = self._by_introducer.get(introducer, {})
        displaced = list(named)[: max(0, len(named) - share + 1)]
        if not displaced and len(self) >= MAX_HEARSAY:
            most = max(self._by_introducer.values(), key=len)
            displaced = [next(iter(most))]
        for each in displaced:
            self.forget(each)
        self._by_introducer.setdefault(introducer, {})[peer] = None
        self._introducers[peer] = introducer
        return displaced

    def forget(self, peer: PeerId) -> None:
        """It has proved itself, or is not known any more."""
        if (introducer := self._introducers.pop(peer, None)) is not None:
            del self._by_introducer[introducer][peer]
            if not self._by_introducer[introducer]:
                del self._by_introducer[introducer]

    def judge(self, peer: PeerId, *, is_true: bool) -> None:
        """It has been found where it was said to be, or not."""
        if (introducer := self._introducers.get(peer)) is not None:
            n_true, n_false = self._record.pop(introducer, (0, 0))
            self._record[introducer] = n_true + is_true, n_false + (not is_true)
            if len(self._record) > MAX_INTRODUCERS:
                del self._record[next(iter(self._record))]

    def _is_distrusted(self, introducer: PeerId) -> bool:
        n_true, n_false = self._record.get(introducer, (0, 0))
        return n_false >= DISTRUST_AFTER and n_false > n_true
