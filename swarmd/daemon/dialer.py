"""Whom to call, and when again: candidates of all groups, and the addresses that the user named.

Candidates come with their own back-off (`groups.dialer`); named addresses have theirs here. An address is called by
one attempt at a time. A peer may be called at several of its addresses, each a little later than the one before, so
that a dead one costs a second and not its time-out; the first that answers ends the others. Nobody is called whom we
have a session with, but for one thing: a peer that could only be reached by the transport that is not the best one for
its address is called by the other one again, ever more rarely, and moved to it when that succeeds. A named address is
called again whenever the session that it led to has ended.

Bounds: _MAX_DIALS attempts at a time (routers have small connection tables), MAX_NAMED addresses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from swarmd.core.addresses import Address
from swarmd.core.backoff import Backoff
from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.daemon.connection import Connection, DialFailed
from swarmd.daemon.peers import Peers
from swarmd.transport.api import CloseReason

log = logging.getLogger(__name__)

_MAX_DIALS = 32
MAX_NAMED = 256
_FIRST_PERIOD = 1.0
_LONGEST_PERIOD = 300.0
_IMPROVE_PERIOD, _LONGEST_IMPROVE_PERIOD = 30.0, 3600.0  # a firewall is not opened every minute


STRANGER = "reached, but no group is shared with it: join one with a ticket of its"


class Wanted(Protocol):
    """An address worth calling, and who should answer there (None: whoever does)."""

    @property
    def peer_id(self) -> PeerId | None: ...

    @property
    def address(self) -> Address: ...


class CandidateSource(Protocol):
    """The groups, as the dialer sees them."""

    def candidates(self, now: float) -> Iterable[Wanted]: ...
    def dial_failed(self, address: Address, now: float, reason: str) -> None: ...
    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None: ...
    def address_is_own(self, address: Address) -> None: ...


@dataclass(slots=True)
class Named:
    """An address that the user gave, and how it goes with it."""

    address: Address
    backoff: Backoff
    due_at: float = 0.0
    peer: PeerId | None = None
    error: str | None = None


_Dial = Coroutine[Any, Any, PeerId | Unreachable]


@dataclass(slots=True)
class _Improvement:
    """When a better transport is tried again."""

    backoff: Backoff
    due_at: float


@dataclass(frozen=True, slots=True)
class _Attempt:
    wanted: PeerId | None
    task: asyncio.Task[PeerId | Unreachable]


class Dialer:
    def __init__(self, peers: Peers, source: CandidateSource, clock: Clock, rng: Rng) -> None:
        self._peers, self._source, self._clock, self._rng = peers, source, clock, rng
        self._named: dict[Address, Named] = {}
        self._dialing: dict[Address, _Attempt] = {}
        self._improving: dict[PeerId, _Improvement] = {}

    def name(self, address: Address) -> None:
        """Call this address from now on whenever no session with who answers there stands."""
        if address not in self._named:
            if len(self._named) >= MAX_NAMED:
                raise LocalError(f"more than {MAX_NAMED} named addresses: remove some from the configuration")
            self._named[address] = Named(address, Backoff(_FIRST_PERIOD, _LONGEST_PERIOD, self._rng))

    def named(self) -> list[Named]:
        return list(self._named.values())

    def is_dialing(self, address: Address) -> bool:
        return address in self._dialing and not self._dialing[address].task.done()

    async def dial_named(self, address: Address) -> PeerId:
        """Name the address and call it now; who answers. Unreachable says why nobody does.

        The attempt goes on when the caller goes away.
        """
        self.name(address)
        attempt = self._dialing.get(address) or self._begin(address, None)
        result = await asyncio.shield(attempt.task)
        if isinstance(result, Unreachable):
            raise result
        return result

    def handle_timer(self, now: float) -> None:
        """Start the attempts that are due; about once a second, and when a group has learned of somebody."""
        for named in self._named.values():
            if self._is_due(named, now):
                self._start(named.address, None)
        for candidate in self._source.candidates(now):
            if candidate.peer_id is not None and self._peers.connection(candidate.peer_id):
                self._source.dial_succeeded(candidate.address, candidate.peer_id, now)
            else:
                self._start(candidate.address, candidate.peer_id)

        self._improve(now)

    def _improve(self, now: float) -> None:
        """Try to move sessions to a better transport."""
        improvable = {each.peer: each for each in self._peers.connections() if self._peers.can_improve(each)}
        for peer in self._improving.keys() - improvable.keys():
            del self._improving[peer]
        for peer, connection in improvable.items():
            plan = self._improving.get(peer)
            if plan is None:
                backoff = Backoff(_IMPROVE_PERIOD, _LONGEST_IMPROVE_PERIOD, self._rng)
                self._improving[peer] = _Improvement(backoff, now + backoff.next_period())
            elif now >= plan.due_at and connection.dialled is not None and not self.is_dialing(connection.dialled):
                plan.due_at = now + plan.backoff.next_period()
                self._begin(connection.dialled, peer, self._move(connection))

    async def _move(self, connection: Connection) -> PeerId | Unreachable:
        try:
            peer = await self._peers.improve(connection)
        except Unreachable as error:
            log.debug("no better way to %s: %s", connection.name, error)
            return error
        log.info("peer %s is reached by a better transport now", peer.short)
        return peer

    async def stop(self) -> None:
        tasks = [attempt.task for attempt in self._dialing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_due(self, named: Named, now: float) -> bool:
        connection = self._peers.connection(named.peer) if named.peer is not None else None
        if connection is None:
            return named.due_at <= now
        if connection.groups:  # a session that is worth having: begin anew when it ends
            named.backoff.reset()
            named.due_at, named.error = now, None
        elif connection.is_strange(now):
            named.error = STRANGER
        return False

    def _start(self, address: Address, wanted: PeerId | None) -> None:
        if len(self._dialing) < _MAX_DIALS and not self.is_dialing(address):
            self._begin(address, wanted)

    def _begin(self, address: Address, wanted: PeerId | None, work: _Dial | None = None) -> _Attempt:
        task = asyncio.get_running_loop().create_task(work or self._dial(address, wanted), name=f"dial {address}")
        attempt = self._dialing[address] = _Attempt(wanted, task)
        task.add_done_callback(lambda _: self._forget(address, attempt))
        return attempt

    def _forget(self, address: Address, attempt: _Attempt) -> None:
        if self._dialing.get(address) is attempt:
            del self._dialing[address]

    async def _dial(self, address: Address, wanted: PeerId | None) -> PeerId | Unreachable:
        try:
            peer = await self._peers.dial(address, wanted)
        except Unreachable as error:
            if not isinstance(error, DialFailed) or error.peer is None:
                log.debug("dialing %s failed: %s", address, error)
                self._failed(address, error)
                return error
            peer = error.peer  # we have a session with it already
        self._succeeded(address, peer)
        return peer

    def _succeeded(self, address: Address, peer: PeerId) -> None:
        now = self._clock.monotonic()
        self._source.dial_succeeded(address, peer, now)
        named = self._named.get(address)
        if named is not None:
            named.peer = peer
            if named.error != STRANGER:  # until it proves one
                named.error = None
            named.due_at = now + named.backoff.next_period()
        for other, attempt in self._dialing.items():
            if attempt.wanted == peer and other != address:
                attempt.task.cancel()

    def _failed(self, address: Address, error: Unreachable) -> None:
        now = self._clock.monotonic()
        if isinstance(error, DialFailed) and error.reason is CloseReason.SELF:
            self._source.address_is_own(address)
        else:
            self._source.dial_failed(address, now, str(error))
        named = self._named.get(address)
        if named is not None:
            named.error = str(error)
            named.due_at = now + named.backoff.next_period()
