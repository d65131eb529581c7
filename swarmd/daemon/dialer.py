"""Whom to call, and when again: candidates of all groups, and the addresses that the user named.

Candidates come with their own back-off (`groups.dialer`); named addresses have theirs here. A peer is called at all its
addresses and by all kinds of transport in one race (`transport.racing`), and the first that answers ends it. Each
address is told of by itself: that it failed, as soon as it has; that who was called answered there; or that it was
called off, because it was not needed any more, or there was no room for it.

Nobody is called whom we have a session with, but for one thing: who could not be reached by the best path there is, or
has become known at a better address since, is called by the better ones again, ever more rarely, and moved when that
succeeds. A named address is called again whenever the session that it led to has ended; but where that was let go,
because neither end needed it, it rests: the group has its links elsewhere, and the address is for finding a part of it
that is cut off.

Invariant: an address is under way in one race at a time. Bounds: _MAX_DIALS addresses under way (routers have small
connection tables), MAX_NAMED named ones.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from swarmd.core.addresses import Address
from swarmd.core.backoff import Backoff
from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.calling import Reached
from swarmd.daemon.connection import Connection, DialFailed
from swarmd.daemon.peers import Peers
from swarmd.transport.api import CloseReason
from swarmd.transport.paths import Path

log = logging.getLogger(__name__)

_MAX_DIALS = 32
MAX_NAMED = 256
_FIRST_PERIOD = 1.0
_LONGEST_PERIOD = 300.0
_REST_PERIOD, _LONGEST_REST_PERIOD = 300.0, 3600.0
"""Seconds until a named address is called that was not needed when it was called last: each call of a thousand members
who all name one costs that one a session."""
_STRANGER_PERIOD = 60.0
"""Seconds at least from a session with a named address that has proved no group to the next: a bootstrap node of the
DHT need not be in any."""
_IMPROVE_PERIOD, _LONGEST_IMPROVE_PERIOD = 30.0, 3600.0  # a firewall is not opened every minute
_LOOK_PERIOD = 5.0  # from one look at all sessions for better paths to the next

STRANGER = "reached, but no group is shared with it: join one with a ticket of its"


class Wanted(Protocol):
    """Somebody worth calling, at these addresses, best first (with peer ID None: whoever answers there)."""

    @property
    def peer_id(self) -> PeerId | None: ...

    @property
    def addresses(self) -> tuple[Address, ...]: ...


class CandidateSource(Protocol):
    """The groups, as the dialer sees them. Of each address of a candidate the end is told by one of these calls."""

    def candidates(self, now: float) -> Iterable[Wanted]: ...
    def addresses(self, peer: PeerId, groups: Iterable[GroupId]) -> Iterable[Address]: ...
    def dial_failed(self, address: Address, now: float, reason: str) -> None: ...
    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None: ...
    def dial_called_off(self, address: Address, now: float) -> None: ...
    def address_is_own(self, address: Address) -> None: ...


@dataclass(slots=True)
class Named:
    """An address that the user gave, and how it goes with it."""

    address: Address
    backoff: Backoff
    rests: Backoff
    due_at: float = 0.0
    peer: PeerId | None = None
    connection: Connection | None = None
    """The session with that peer, once a group is proved on it."""
    error: str | None = None


_End = PeerId | Unreachable | None  # of one address: who answered, why nobody did, or called off
_Work = Callable[["_Attempt"], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Improvement:
    """When better paths are tried again, and which."""

    paths: frozenset[Path]
    backoff: Backoff
    due_at: float


@dataclass(slots=True)
class _Attempt:
    """One race. `ends`: its addresses, while they are under way, and what is to be told of them."""

    wanted: PeerId | None
    ends: dict[Address, asyncio.Future[_End]]
    task: asyncio.Task[None] | None = None


class Dialer:
    def __init__(self, peers: Peers, source: CandidateSource, clock: Clock, rng: Rng) -> None:
        self._peers, self._source, self._clock, self._rng = peers, source, clock, rng
        self._named: dict[Address, Named] = {}
        self._dialing: dict[Address, _Attempt] = {}
        self._attempts: dict[asyncio.Task[None], _Attempt] = {}
        self._improving: dict[PeerId, _Improvement] = {}
        self._improve_at = -math.inf
        self._is_stopped = False

    def name(self, address: Address) -> None:
        """Call this address from now on whenever no session with who answers there stands."""
        if address not in self._named:
            if len(self._named) >= MAX_NAMED:
                raise LocalError(
                    f"more than {MAX_NAMED} named addresses: remove some (`swarm peer rm`, and in the configuration)"
                )
            backoff = Backoff(_FIRST_PERIOD, _LONGEST_PERIOD, self._rng)
            rests = Backoff(_REST_PERIOD, _LONGEST_REST_PERIOD, self._rng)
            self._named[address] = Named(address, backoff, rests)

    def unname(self, address: Address) -> None:
        """Call it no more, but for the attempt that is under way."""
        self._named.pop(address, None)

    def named(self) -> list[Named]:
        return list(self._named.values())

    def is_dialing(self, address: Address) -> bool:
        return address in self._dialing

    async def dial_named(self, address: Address) -> PeerId:
        """Name the address and call it now; who answers. Unreachable says why nobody does.

        The attempt goes on when the caller goes away.
        """
        self.name(address)
        end: _End = None
        while end is None:  # called off: who was looked for there is reached elsewhere, and may be there or not
            if self._is_stopped:
                raise Unreachable(f"{address}: swarmd is stopping")
            attempt = self._dialing.get(address) or self._begin([address], None, self._call)
            end = await asyncio.shield(attempt.ends[address])
        if isinstance(end, Unreachable):
            raise end
        return end

    def handle_timer(self, now: float) -> None:
        """Start the attempts that are due; about once a second, and when a group has learned of somebody."""
        for named in self._named.values():
            if self._is_due(named, now) and self._room > 0 and not self.is_dialing(named.address):
                self._begin([named.address], None, self._call)
        for candidate in self._source.candidates(now):
            if candidate.peer_id is not None:
                connection = self._peers.connection(candidate.peer_id)
            else:
                connection = self._connected_at(candidate.addresses[0])
            if connection is not None:
                self._is_connected(candidate.addresses, connection, now)
            else:
                self._start(candidate.addresses, candidate.peer_id, now)
        self._improve(now)

    async def stop(self) -> None:
        self._is_stopped = True
        for task in list(self._attempts):
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)

    # Races ------------------------------------------------------------------------------------------------------

    @property
    def _room(self) -> int:
        return _MAX_DIALS - len(self._dialing)

    def _start(self, addresses: Sequence[Address], wanted: PeerId | None, now: float) -> None:
        """Call them, but for those that are under way: how these end is told anyway."""
        idle = [address for address in addresses if not self.is_dialing(address)]
        room = max(0, self._room)
        if idle[:room]:
            self._begin(idle[:room], wanted, self._call)
        for address in idle[room:]:
            self._source.dial_called_off(address, now)

    def _begin(self, addresses: Iterable[Address], wanted: PeerId | None, work: _Work) -> _Attempt:
        loop = asyncio.get_running_loop()
        attempt = _Attempt(wanted, {address: loop.create_future() for address in addresses})
        self._dialing.update(dict.fromkeys(attempt.ends, attempt))
        attempt.task = loop.create_task(work(attempt), name=f"dial {', '.join(map(str, attempt.ends))}")
        self._attempts[attempt.task] = attempt
        attempt.task.add_done_callback(self._is_over)
        return attempt

    def _is_over(self, task: asyncio.Task[None]) -> None:
        attempt = self._attempts.pop(task)
        for address in list(attempt.ends):
            self._end(attempt, address, None)
            self._source.dial_called_off(address, self._clock.monotonic())

    def _end(self, attempt: _Attempt, address: Address, end: _End) -> None:
        """The address may be called again; whoever waits is told. Of two ends, as two nodes may give that share an
        address, the first one counts."""
        future = attempt.ends.pop(address, None)
        if future is None:
            return
        del self._dialing[address]
        if not future.done():
            future.set_result(end)

    async def _call(self, attempt: _Attempt) -> None:
        def failed(address: Address, error: Unreachable) -> None:
            self._failed(attempt, address, error)

        try:
            reached = await self._peers.reach(list(attempt.ends), attempt.wanted, failed)
        except Unreachable as error:
            if isinstance(error, DialFailed) and error.peer is not None and error.address is not None:
                self._succeeded(attempt, Reached(error.peer, error.address))  # we have a session with it already
                return
            log.debug("dialing %s failed: %s", attempt.wanted or "somebody", error)
            for address in list(attempt.ends):  # whoever answered spoke for all of them
                self._failed(attempt, address, error)
        else:
            self._succeeded(attempt, reached)

    def _succeeded(self, attempt: _Attempt, reached: Reached) -> None:
        now = self._clock.monotonic()
        self._end(attempt, reached.address, reached.peer)
        self._source.dial_succeeded(reached.address, reached.peer, now)
        named = self._named.get(reached.address)
        if named is not None:
            named.peer = reached.peer
            if named.error != STRANGER:  # until it proves one
                named.error = None
            named.due_at = now + named.backoff.next_period()
        for task, other in self._attempts.items():
            if other.wanted == reached.peer and other is not attempt:
                task.cancel()

    def _failed(self, attempt: _Attempt, address: Address, error: Unreachable) -> None:
        now = self._clock.monotonic()
        self._end(attempt, address, error)
        if isinstance(error, DialFailed) and error.reason is CloseReason.SELF:
            self._source.address_is_own(address)
        else:
            self._source.dial_failed(address, now, str(error))
        named = self._named.get(address)
        if named is not None:
            named.error = str(error)
            named.due_at = now + named.backoff.next_period()

    def _connected_at(self, address: Address) -> Connection | None:
        """The session with whoever is there, as far as that is sure: it was called there, or is seen at that host and
        said to be there. A group that has just been joined does not know it yet."""
        for connection in self._peers.connections():
            if connection.dialled == address:
                return connection
            is_near = connection.link.remote.host == address.host
            if is_near and address in self._source.addresses(connection.peer, connection.groups):
                return connection
        return None

    def _is_connected(self, addresses: Sequence[Address], connection: Connection, now: float) -> None:
        """Who is to be called has a session with us. That is as good as an answer, at one of its addresses."""
        answered = connection.dialled if connection.dialled in addresses else addresses[0]
        for address in addresses:
            if address == answered:
                self._source.dial_succeeded(address, connection.peer, now)
            else:
                self._source.dial_called_off(address, now)

    def _is_due(self, named: Named, now: float) -> bool:
        connection = self._peers.connection(named.peer) if named.peer is not None else None
        if connection is None:
            self._part(named, now)
            return named.due_at <= now
        if connection.groups:  # a session that is worth having: begin anew when it ends
            named.backoff.reset()
            named.due_at, named.error, named.connection = now, None, connection
        elif connection.is_strange(now):
            named.error = STRANGER
            named.due_at = max(named.due_at, now + _STRANGER_PERIOD)  # from when that session ends, and not begun
        return False

    def _part(self, named: Named, now: float) -> None:
        """If the session that it led to was let go, it rests; any other end is reason to call again."""
        last, named.connection = named.connection, None
        if last is None or last.closed is None:
            return
        if last.closed.reason is CloseReason.NORMAL:
            named.due_at = now + named.rests.next_period()
        else:
            named.rests.reset()

    # Better paths -----------------------------------------------------------------------------------------------

    def _improve(self, now: float) -> None:
        """Try to move sessions to better paths."""
        if now < self._improve_at:
            return
        self._improve_at = now + _LOOK_PERIOD
        improvable = {each.peer: each for each in self._peers.connections() if self._peers.can_improve(each)}
        for peer in self._improving.keys() - improvable.keys():
            del self._improving[peer]
        for connection in improvable.values():
            known = self._source.addresses(connection.peer, connection.groups)
            steps = self._peers.improvement(connection, known)
            if not steps:
                self._improving.pop(connection.peer, None)
            elif self._is_improvement_due(connection.peer, frozenset(path for step in steps for path in step), now):
                self._try_better(connection, steps)

    def _is_improvement_due(self, peer: PeerId, paths: frozenset[Path], now: float) -> bool:
        """Not at once, for it was tried when the session was made; and from the beginning when there is a new path."""
        plan = self._improving.get(peer)
        if plan is None or not paths <= plan.paths:
            backoff = Backoff(_IMPROVE_PERIOD, _LONGEST_IMPROVE_PERIOD, self._rng)
            self._improving[peer] = _Improvement(paths, backoff, now + backoff.next_period())
            return False
        if now < plan.due_at:
            return False
        plan.due_at = now + plan.backoff.next_period()
        return True

    def _try_better(self, connection: Connection, steps: Sequence[Sequence[Path]]) -> None:
        addresses = dict.fromkeys(path.address for step in steps for path in step)
        if len(addresses) <= self._room and not any(map(self.is_dialing, addresses)):
            self._begin(addresses, connection.peer, lambda _: self._move(connection, steps))

    async def _move(self, connection: Connection, steps: Sequence[Sequence[Path]]) -> None:
        try:
            reached = await self._peers.improve(connection, steps)
        except Unreachable as error:
            log.debug("no better way to %s: %s", connection.name, error)
        else:
            log.info("peer %s is reached by a better path now, at %s", reached.peer.short, reached.address)
