"""Whom to ask for which post: each missing one of one announcer at a time.

In: announcements, parts, Busy and Gone, opened and closed links, time. Out: requests; the posts' bytes.

A missing post is *wanted* from its first announcement. It is asked of one announcer, the one that has failed to answer
least; if that one says Busy or Gone, or lets `ANSWER_TIMEOUT` pass without a part, of the next, and at once when one
announces it that answers better. When all were asked they are asked again every `RETRY_PERIOD`. Some time after the
first announcement (`_patience`) the request insists, to the neighbour that has given least.

Invariant: a wanted post is under way from at most one announcer (a late answer of an earlier one is taken, too); at
most `WINDOW` posts are under way from one neighbour; what a neighbour can make this node remember is bounded by its
share of `MAX_WANTED`. Not here: whether what came is a post (`posting.board`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from swarmd.core.ids import PeerId
from swarmd.groups.posting.messages import Part

ANSWER_TIMEOUT = 1.0
"""Seconds without a part, which takes 0.26 s on a line of 1 Mbit/s that carries two posts at once. What comes later is
taken nevertheless, unless another was faster."""
RETRY_PERIOD = 0.5
LATE_RETRY_PERIOD = 2.0
"""The same for what is not new to the others."""
QUEUED_PERIOD = 5.0
"""Seconds after which a post that waits for room in a window is looked at again, should nothing else bring it up."""
PATIENCE = 2.0
"""Seconds: in a group of 1,000 nearly all have a post by then, so whoever insists would not get it elsewhere."""
LATE_PATIENCE = 10.0
"""The same of who has come after the post: in a minute it finds neighbours that have time, and the first ones need not
give it all of the last five minutes."""
LONE_LATE_PATIENCE = 2.0
"""And with one neighbour only, of which who has just come has more soon. (Of what is new it insists at once.)"""
WANT_PERIOD = 60.0
"""Seconds after which nobody is asked any more; the next comparison with a neighbour brings it up again."""
FORGET_PERIOD = 20.0
"""Seconds for which an answer that does not come takes its place in the window: who never answers is asked 0.4 times a
second at the most."""
WINDOW = 8
"""Posts asked of one neighbour at once: at most 520 KiB that it can make this node hold unfinished."""
MAX_WANTED = 4096
"""About 2 MB; four times what a board holds. Beyond it each neighbour has its share of half as many more."""
MAX_ANNOUNCERS = 64
"""Remembered for each; in the mesh of a large group there are 30 neighbours."""
FAULTY_AFTER = 16
"""Unanswered requests in a row: no accident."""


@dataclass(slots=True)
class _Want:
    first_at: float
    introducer: PeerId | None
    is_news: bool = False
    """Somebody has announced it as news, and not in a comparison only."""
    is_late: bool = True
    """Everybody who has announced it said that it is old, and this node has come after it."""
    fresh: deque[PeerId] = field(default_factory=deque)
    """Announcers that were not asked yet, or may be asked again."""
    tried: dict[PeerId, None] = field(default_factory=dict)
    """Those who had no time or did not answer."""
    asked: PeerId | None = None
    due_at: float = 0.0
    """When the next one is to be asked."""

    def knows(self, peer: PeerId) -> bool:
        return peer == self.asked or peer in self.tried or peer in self.fresh

    def drop(self, peer: PeerId) -> None:
        self.tried.pop(peer, None)
        if peer in self.fresh:
            self.fresh.remove(peer)

    def give_up(self) -> None:
        """Wait no longer for the one that was asked."""
        assert self.asked is not None
        self.tried[self.asked] = None
        self.asked = None

    def announcers(self) -> frozenset[PeerId]:
        asked = () if self.asked is None else (self.asked,)
        return frozenset((*self.fresh, *self.tried, *asked))


@dataclass(slots=True)
class _Source:
    """A neighbour. `asked`: what is under way from it, since when, and the parts that have come."""

    asked: dict[bytes, _Asked] = field(default_factory=dict)
    queue: dict[bytes, None] = field(default_factory=dict)
    """What it announced and could not be asked for: wanted, so not more than that."""
    n_introduced: int = 0
    n_given: int = 0
    n_unanswered: int = 0


@dataclass(slots=True)
class _Asked:
    at: float
    parts: list[bytes] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was known of a post that is here now."""

    announcers: frozenset[PeerId]
    is_news: bool


@dataclass(frozen=True, slots=True)
class Question:
    peer: PeerId
    key: bytes
    insists: bool


class Fetcher:
    """What is wanted from whom. Peers are open links in every call."""

    __slots__ = ("_deadlines", "_freed", "_questions", "_sources", "_wants")

    def __init__(self) -> None:
        self._wants: dict[bytes, _Want] = {}
        self._sources: dict[PeerId, _Source] = {}
        self._deadlines: list[tuple[float, bytes]] = []
        self._questions: list[Question] = []
        self._freed: dict[PeerId, None] = {}

    def __len__(self) -> int:
        """How many posts are wanted."""
        return len(self._wants)

    def is_asked(self, peer: PeerId, key: bytes) -> bool:
        return key in self._sources[peer].asked

    def open(self, peer: PeerId) -> None:
        self._sources[peer] = _Source()

    def close(self, peer: PeerId, now: float) -> None:
        del self._sources[peer]
        self._freed.pop(peer, None)
        for key, want in list(self._wants.items()):
            want.drop(peer)
            if want.introducer == peer:
                want.introducer = None
            if want.asked == peer:
                want.asked = None
                self._seek(key, want, now)
        self._use_freed(now)

    def announce(
        self, peer: PeerId, keys: Iterable[bytes], now: float, *, is_news: bool, is_late: bool = False
    ) -> None:
        """A neighbour has these posts, which this node lacks; `is_late`: since it has come after them."""
        for key in keys:
            want = self._wants.get(key) or self._begin(peer, key, now)
            if want is None:
                continue
            want.is_news |= is_news
            want.is_late &= is_late
            if want.knows(peer) or len(want.fresh) + len(want.tried) >= MAX_ANNOUNCERS:
                continue
            want.fresh.append(peer)
            if want.asked is not None and self._sources[want.asked].n_unanswered > self._sources[peer].n_unanswered:
                want.give_up()
            if want.asked is None:
                self._seek(key, want, now)
        self._use_freed(now)

    def receive_part(self, peer: PeerId, part: Part, now: float) -> bytes | None:
        """The whole post when this was its last part. What was not asked for is nothing."""
        source = self._sources[peer]
        asked = source.asked.get(part.key)
        if asked is None or part.index != len(asked.parts):
            return None
        source.n_unanswered = 0
        asked.parts.append(part.data)
        if part.index == part.count - 1:
            source.n_given += 1
            return b"".join(asked.parts)
        asked.at = now
        want = self._wants[part.key]
        if want.asked == peer:
            self._set_due(part.key, want, now + ANSWER_TIMEOUT)
        return None

    def refuse(self, peer: PeerId, keys: Iterable[bytes], now: float, *, is_gone: bool) -> None:
        """A neighbour does not give these: for now, or (`is_gone`) for good."""
        source = self._sources[peer]
        for key in keys:
            if source.asked.pop(key, None) is None:
                continue
            source.n_unanswered = 0
            self._freed[peer] = None
            want = self._wants[key]
            want.drop(peer)
            if not is_gone:
                want.tried[peer] = None
            if want.asked == peer:
                want.asked = None
                self._seek(key, want, now)
        self._use_freed(now)

    def resolve(self, key: bytes, now: float) -> Resolved:
        """A wanted post is here, or is none."""
        resolved = self._end(key, self._wants[key])
        self._use_freed(now)
        return resolved

    def questions(self) -> list[Question]:
        """What to ask now."""
        questions, self._questions = self._questions, []
        return [each for each in questions if each.peer in self._sources and each.key in self._wants]

    def next_deadline(self) -> float | None:
        while self._deadlines:
            due_at, key = self._deadlines[0]
            if (want := self._wants.get(key)) is not None and want.due_at == due_at:
                return due_at
            heappop(self._deadlines)
        return None

    def handle_timer(self, now: float) -> list[PeerId]:
        """Neighbours that have left too much unanswered."""
        faulty = []
        while (due_at := self.next_deadline()) is not None and due_at <= now:
            _, key = heappop(self._deadlines)
            want = self._wants[key]
            if want.asked is not None:
                source = self._sources[want.asked]
                source.n_unanswered += 1
                if source.n_unanswered % FAULTY_AFTER == 0:
                    faulty.append(want.asked)
                want.give_up()
            self._seek(key, want, now)
        self._use_freed(now)
        return faulty

    def _begin(self, peer: PeerId, key: bytes, now: float) -> _Want | None:
        """A new want, if there is room for it."""
        source = self._sources[peer]
        if len(self._wants) >= MAX_WANTED and source.n_introduced >= MAX_WANTED // 2 // len(self._sources):
            return None
        source.n_introduced += 1
        want = self._wants[key] = _Want(now, peer)
        return want

    def _seek(self, key: bytes, want: _Want, now: float) -> None:
        """Ask the best announcer that has room; else wait for room, or until all may be asked again."""
        if now >= want.first_at + WANT_PERIOD or not (want.fresh or want.tried):
            self._end(key, want)
            return
        if not want.fresh and now >= want.due_at:
            want.fresh.extend(want.tried)
            want.tried.clear()
        insists = now >= want.first_at + self._patience(want)
        able = [peer for peer in want.fresh if self._has_room(peer, key, now)]
        if insists:
            able.reverse()  # who announced it first has given it most
        best = min(able, key=self._burden if insists else self._reluctance, default=None)
        if best is None:
            for peer in want.fresh:
                self._sources[peer].queue[key] = None
            retry_period = LATE_RETRY_PERIOD if want.is_late else RETRY_PERIOD
            self._set_due(key, want, now + (QUEUED_PERIOD if want.fresh else retry_period))
            return
        want.fresh.remove(best)
        want.asked = best
        self._sources[best].asked[key] = _Asked(now)
        self._questions.append(Question(best, key, insists))
        self._set_due(key, want, now + ANSWER_TIMEOUT)

    def _patience(self, want: _Want) -> float:
        if len(self._sources) > 1:
            return LATE_PATIENCE if want.is_late else PATIENCE
        return LONE_LATE_PATIENCE if want.is_late else 0.0

    def _reluctance(self, peer: PeerId) -> tuple[int, int]:
        source = self._sources[peer]
        return source.n_unanswered, len(source.asked)

    def _burden(self, peer: PeerId) -> tuple[int, int]:
        source = self._sources[peer]
        return source.n_unanswered, source.n_given + len(source.asked)

    def _has_room(self, peer: PeerId, key: bytes, now: float) -> bool:
        asked = self._sources[peer].asked
        if len(asked) >= WINDOW or key in asked:
            for old in [old for old, each in asked.items() if now >= each.at + FORGET_PERIOD]:
                del asked[old]
        return len(asked) < WINDOW and key not in asked

    def _end(self, key: bytes, want: _Want) -> Resolved:
        del self._wants[key]
        if want.introducer is not None:
            self._sources[want.introducer].n_introduced -= 1
        announcers = want.announcers()
        for peer in announcers:
            self._sources[peer].queue.pop(key, None)
            if self._sources[peer].asked.pop(key, None) is not None:
                self._freed[peer] = None
        return Resolved(announcers, want.is_news)

    def _use_freed(self, now: float) -> None:
        """Ask those whose windows have room again for what they announced meanwhile."""
        while self._freed:
            peer, _ = self._freed.popitem()
            source = self._sources[peer]
            for key in list(source.queue):
                if len(source.asked) >= WINDOW:
                    break
                del source.queue[key]
                want = self._wants.get(key)
                if want is not None and want.asked is None and peer in want.fresh:
                    self._seek(key, want, now)

    def _set_due(self, key: bytes, want: _Want, due_at: float) -> None:
        want.due_at = due_at
        heappush(self._deadlines, (due_at, key))
