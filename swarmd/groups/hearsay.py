"""Who is known by gossip alone, and on whose word.

What a neighbour says leads to a dial at most, in a large group. In a small one, where members may be out of reach of
each other, it counts as one voice: who is named by more than two thirds of the neighbours is believed to be there,
until half of them do not name it. So inventions of less than half of the neighbours are never believed.

Invariant: at most `MAX_HEARSAY` peers in all, and of one introducer its share: what comes to each of the neighbours,
and not more than `MAX_INTRODUCED`. Beyond its share a new one takes the place of that introducer's oldest (of several,
where the share has become smaller), and where all is full that of the oldest of the introducer that has the most. So
who invents members displaces his own inventions before those whom others name. Voices are those of neighbours only.
Not here: what is known of them (`groups.membership`), and who calls them (`groups.visits`).
"""

from __future__ import annotations

from collections.abc import Iterator

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
        self._voices: dict[PeerId, set[PeerId]] = {}

    def __len__(self) -> int:
        return len(self._introducers)

    def __contains__(self, peer: object) -> bool:
        return peer in self._introducers

    def __iter__(self) -> Iterator[PeerId]:
        return iter(self._introducers)

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
        self._voices[peer] = {introducer}
        return displaced

    def repeat(self, peer: PeerId, neighbour: PeerId) -> None:
        """One more names `peer`; nothing happens if that is not known by gossip alone."""
        if (voices := self._voices.get(peer)) is not None:
            voices.add(neighbour)

    def silence(self, neighbour: PeerId) -> None:
        """It is no neighbour any more, and has no voice."""
        for voices in self._voices.values():
            voices.discard(neighbour)

    def n_voices(self, peer: PeerId) -> int:
        """How many neighbours name it."""
        return len(self._voices[peer])

    def is_believed(self, peer: PeerId, n_neighbours: int, *, was_believed: bool) -> bool:
        """Whether enough of so many neighbours name it."""
        n_voices = len(self._voices[peer])
        return 2 * n_voices > n_neighbours if was_believed else 3 * n_voices > 2 * n_neighbours

    def forget(self, peer: PeerId) -> None:
        """It has proved itself, or is not known any more."""
        if (introducer := self._introducers.pop(peer, None)) is not None:
            del self._voices[peer]
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
