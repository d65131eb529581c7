"""Whom to ask for which record: each missing one of one neighbour at a time.

In: offers (a neighbour says that it has these digests), records that came, denials, closed links, time. Out:
requests. A digest offered by several neighbours is asked of the first; when that one closes, denies or lets
`ANSWER_TIMEOUT` pass, the next is asked. At most `WINDOW` are asked of one neighbour at once, so that the
answers arrive at the pace at which they are taken in.

Invariant: a digest is wanted from its first offer until it is resolved or nobody is left who offers it; a
wanted digest is asked of at most one neighbour. What a neighbour can make us remember is bounded by `room`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.ids import PeerId

WINDOW = 512
"""Records asked of one neighbour at once: about 150 KiB on the way, 80 ms of verifying."""
ANSWER_TIMEOUT = 10.0
"""Seconds without any record that was asked for: the neighbour is slow or lies."""
MAX_OFFERERS = 4
"""Kept for one digest: the chance that all of them fail is small, and its offer is made again."""
MAX_WANTED = 32_768
"""Whoever offers: about 12 MB. Not reached by honest neighbours: of the one in a run 8,000 are waited for at a time."""


@dataclass(slots=True)
class _Want:
    offerers: list[PeerId]
    asked: PeerId | None = None


@dataclass(slots=True)
class _Source:
    """One neighbour: what it may still be asked for, what it has been asked."""

    queue: deque[bytes] = field(default_factory=deque)
    asked: set[bytes] = field(default_factory=set)
    answer_by: float = 0.0


class Fetcher:
    """What is wanted from whom."""

    __slots__ = ("_sources", "_wants")

    def __init__(self) -> None:
        self._wants: dict[bytes, _Want] = {}
        self._sources: dict[PeerId, _Source] = {}

    @property
    def n_wanted(self) -> int:
        return len(self._wants)

    def n_queued(self, peer: PeerId) -> int:
        """How many are to come from `peer`."""
        source = self._sources.get(peer)
        return 0 if source is None else len(source.queue) + len(source.asked)

    def is_asked(self, peer: PeerId, digest: bytes) -> bool:
        """Whether `peer` is to answer with it."""
        source = self._sources.get(peer)
        return source is not None and digest in source.asked

    def offer(self, peer: PeerId, digests: Iterable[bytes], room: int) -> bool:
        """`peer` has these, which we have not. False when some did not fit into the `room` it is given."""
        source = self._sources.setdefault(peer, _Source())
        for digest in digests:
            want = self._wants.get(digest)
            if want is not None and (peer in want.offerers or len(want.offerers) >= MAX_OFFERERS):
                continue
            if len(source.queue) + len(source.asked) >= room or len(self._wants) >= MAX_WANTED:
                return False
            if want is None:
                want = self._wants[digest] = _Want([])
            want.offerers.append(peer)
            source.queue.append(digest)
        return True

    def requests(self, now: float) -> list[tuple[PeerId, list[bytes]]]:
        """What to ask for now, at most `WINDOW` of each neighbour. Calling it is asking."""
        requests = []
        for peer, source in self._sources.items():
            digests = self._pick(peer, source)
            if digests:
                source.answer_by = now + ANSWER_TIMEOUT
                requests.append((peer, digests))
        return requests

    def resolve(self, digest: bytes, now: float) -> bool:
        """The record came, or is not wanted after all. False when it was not wanted."""
        want = self._wants.pop(digest, None)
        if want is None:
            return False
        if want.asked is not None:
            source = self._sources[want.asked]
            source.asked.discard(digest)
            source.answer_by = now + ANSWER_TIMEOUT
        return True

    def deny(self, peer: PeerId, digests: Iterable[bytes]) -> None:
        """`peer` has these no longer: ask the next one."""
        source = self._sources.get(peer)
        for digest in digests:
            if source is not None and digest in source.asked:
                source.asked.discard(digest)
                self._ask_next(digest, peer)

    def close(self, peer: PeerId) -> None:
        """Nothing more comes from `peer`."""
        if self._sources.pop(peer, None) is not None:
            # not only what is in its queue: what was asked of another when its turn came is no longer there
            for digest in [digest for digest, want in self._wants.items() if peer in want.offerers]:
                self._ask_next(digest, peer)

    def is_idle(self, peer: PeerId) -> bool:
        """Whether nothing is to come from `peer`."""
        source = self._sources.get(peer)
        return source is None or not (source.queue or source.asked)

    def next_deadline(self) -> float | None:
        return min((source.answer_by for source in self._sources.values() if source.asked), default=None)

    def handle_timer(self, now: float) -> list[PeerId]:
        """Give up on what was asked and not answered; returns the neighbours concerned."""
        late = [peer for peer, source in self._sources.items() if source.asked and now >= source.answer_by]
        for peer in late:
            self.close(peer)
        return late

    def _pick(self, peer: PeerId, source: _Source) -> list[bytes]:
        digests = []
        while source.queue and len(source.asked) < WINDOW:
            digest = source.queue.popleft()
            want = self._wants.get(digest)
            if want is not None and want.asked is None and peer in want.offerers:
                want.asked = peer
                source.asked.add(digest)
                digests.append(digest)
        return digests

    def _ask_next(self, digest: bytes, peer: PeerId) -> None:
        """`peer` is no source for this any more."""
        want = self._wants.get(digest)
        if want is None or peer not in want.offerers:
            return
        want.offerers.remove(peer)
        if want.asked == peer:
            want.asked = None
            for other in want.offerers:
                self._sources[other].queue.append(digest)
        if not want.offerers:
            del self._wants[digest]
