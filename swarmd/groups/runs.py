"""With whom to compare catalogues, and when: one neighbour at a time.

In: links, the Status of each side, whether a neighbour is heard of, time. Out: the neighbour with whom to
start a *run* of comparing. What is then said is not seen here (`groups.exchange`).

States of a link:
    OPENING  its Status has not come           -> LIVE or WAITING when it does
    WAITING  we shall run with it              -> RUNNING when it is its turn, LIVE if it has become equal
    RUNNING  comparing                         -> LIVE after `QUIET_PERIOD` without a word, or `RUN_TIMEOUT`
    LIVE     compared                          -> WAITING when a later Status differs, or an offer was cut short

Of the two ends the one that had fewer records when the link opened starts; both judge by the same two
messages. So a newcomer starts with all its neighbours, one after the other, and after the first finds that it
has what the others have.

Invariant: at most one link is RUNNING. Between two runs with the same neighbour lie `RERUN_PERIOD` or more, so
that one whose catalogue can never be equal (other bounds reached, other clock) costs little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from swarmd.core.ids import PeerId
from swarmd.groups.messages import Status

QUIET_PERIOD = 1.0
"""Seconds without a word after which a run is over: several round trips of a slow link."""
RUN_TIMEOUT = 10.0
"""Seconds until the next neighbour has its turn, whatever this one still says. Fetching goes on."""
GAIN_PERIOD = 0.05
"""Seconds that each record gained adds to that: who gives 20 a second keeps its turn until it has given everything."""
RERUN_PERIOD = 60.0
"""Seconds until the next run with the same neighbour; doubles up to `RERUN_LIMIT` while nothing is gained."""
RERUN_LIMIT = 3600.0


class State(Enum):
    OPENING = auto()
    WAITING = auto()
    RUNNING = auto()
    LIVE = auto()


@dataclass(slots=True)
class _Link:
    sent: Status
    """What we said first."""
    state: State = State.OPENING
    theirs: Status | None = None
    """What they said last."""
    run_after: float = 0.0
    rerun_period: float = RERUN_PERIOD
    has_gained: bool = False


class Runs:
    """Whose turn it is."""

    __slots__ = ("_links", "_own_id", "_quiet_at", "_run_ends_at", "_running", "_waiting")

    def __init__(self, own_id: PeerId) -> None:
        self._own_id = own_id
        self._links: dict[PeerId, _Link] = {}
        self._waiting: dict[PeerId, None] = {}
        """Those whose link is WAITING: looked at after each message of the group, and most often empty."""
        self._running: PeerId | None = None
        self._quiet_at = 0.0
        self._run_ends_at = 0.0

    def open(self, peer: PeerId, sent: Status) -> None:
        """A link opened, and `sent` was said on it."""
        self._links[peer] = _Link(sent)

    def close(self, peer: PeerId) -> None:
        del self._links[peer]
        self._waiting.pop(peer, None)
        if self._running == peer:
            self._running = None

    @property
    def running(self) -> PeerId | None:
        """The neighbour that a run is under way with."""
        return self._running

    def count(self, peer: PeerId) -> int:
        """How many records the neighbour said last that it has."""
        theirs = self._links[peer].theirs
        return 0 if theirs is None else theirs.count

    def state(self, peer: PeerId) -> State:
        return self._links[peer].state

    def receive_status(self, peer: PeerId, theirs: Status, ours: Status, now: float) -> None:
        """`peer` sums up its catalogue; ours is `ours` at this moment."""
        link = self._links[peer]
        is_first, link.theirs = link.theirs is None, theirs
        if is_first:
            link.state = State.LIVE
            if self._starts(peer, link.sent, theirs):
                self._wait(peer, link)
        elif theirs != ours:
            self.request(peer, now)

    def request(self, peer: PeerId, now: float) -> None:
        """A run with this neighbour would be of use; done if the last one was long enough ago."""
        link = self._links[peer]
        if link.state is State.LIVE and now >= link.run_after:
            self._wait(peer, link)

    def heard(self, peer: PeerId, now: float) -> None:
        """Something of a run, or what may be, came from this neighbour."""
        if self._running == peer:
            self._quiet_at = now + QUIET_PERIOD

    def gained(self, peer: PeerId, now: float) -> None:
        """This neighbour had a record that we lacked."""
        self._links[peer].has_gained = True
        if self._running == peer:
            self._run_ends_at = min(self._run_ends_at + GAIN_PERIOD, now + RUN_TIMEOUT)

    def start_next(self, ours: Callable[[], Status], now: float) -> PeerId | None:
        """The neighbour to start a run with, if there is one and no other is running."""
        if self._running is not None:
            return None
        for peer in sorted(self._waiting, key=lambda peer: self._links[peer].run_after):
            link = self._links[peer]
            del self._waiting[peer]
            if link.theirs == ours():
                link.state = State.LIVE
                continue
            link.state, link.has_gained = State.RUNNING, False
            self._running, self._quiet_at, self._run_ends_at = peer, now + QUIET_PERIOD, now + RUN_TIMEOUT
            return peer
        return None

    def next_deadline(self) -> float | None:
        return None if self._running is None else min(self._quiet_at, self._run_ends_at)

    def handle_timer(self, now: float) -> None:
        if self._running is None or now < min(self._quiet_at, self._run_ends_at):
            return
        link = self._links[self._running]
        self._running = None
        link.state = State.LIVE
        link.rerun_period = RERUN_PERIOD if link.has_gained else min(2 * link.rerun_period, RERUN_LIMIT)
        link.run_after = now + link.rerun_period

    def _wait(self, peer: PeerId, link: _Link) -> None:
        link.state = State.WAITING
        self._waiting[peer] = None

    def _starts(self, peer: PeerId, sent: Status, theirs: Status) -> bool:
        return sent != theirs and (sent.count, self._own_id) < (theirs.count, peer)
