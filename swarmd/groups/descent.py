"""Going down the tree of digests in a run, no faster than records are fetched.

In: the neighbour's summaries, word that it has answered, what is held. Out: what to say next: a list of what we have
below a prefix, or summaries. The side that runs says when; the other answers at once (`reconciliation.respond`).

A list makes the neighbour offer all that is not on it. A newcomer that listed everything at once would be offered
100,000 digests, of which it could keep none in order; so while `AHEAD` digests are awaited or queued, the other
subtrees wait here. The deepest go first: what has been begun is finished before something else is opened.

Invariant: at most `MAX_PENDING` subtrees wait. What the neighbour holds there may change meanwhile: each is compared
with what is held when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from swarmd.groups.reconciliation import DigestSet, Listing, Summary, respond

AHEAD = 8_192
"""Digests awaited or queued: two seconds of verifying, 3 MB."""
MAX_PENDING = 8_192
"""Subtrees: two levels of a full tree, 2 MB. Beyond it the rest is left to another run."""
MAX_STEPS = 64
"""At one time: 5 ms."""


class Descent:
    """One run's."""

    __slots__ = ("_awaited", "_n_awaited", "_pending", "is_cut_short")

    def __init__(self) -> None:
        self._pending: list[Summary] = []
        self._awaited: deque[int] = deque()
        self._n_awaited = 0
        self.is_cut_short = False
        """Something was left out: another run is of use."""

    @property
    def is_waiting(self) -> bool:
        """Whether there is something left to say."""
        return bool(self._pending)

    def add(self, theirs: Iterable[Summary]) -> None:
        """What the neighbour holds."""
        for summary in theirs:
            if len(self._pending) < MAX_PENDING:
                self._pending.append(summary)
            else:
                self.is_cut_short = True

    def listed(self, count: int) -> None:
        """A list was said; the neighbour has `count` digests there."""
        self._awaited.append(count)
        self._n_awaited += count

    def answered(self) -> None:
        """The neighbour has answered a list: with an offer, or with summaries. (Other offers look alike: then the next
        lists are said a little early.)"""
        if self._awaited:
            self._n_awaited -= self._awaited.popleft()

    def steps(self, digests: DigestSet, n_queued: int) -> list[Listing | Summary]:
        """What to say now, while `n_queued` offered digests are still to be fetched."""
        answers: list[Listing | Summary] = []
        n_steps = 0
        while self._pending and n_steps < MAX_STEPS and self._n_awaited + n_queued < AHEAD:
            theirs = self._pending.pop()
            answer = respond(digests, theirs)
            if isinstance(answer, Listing):
                self.listed(theirs.count)
                answers.append(answer)
            else:
                answers += answer
            n_steps += bool(answer)
        return answers
