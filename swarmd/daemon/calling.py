"""Carries out a race (`transport.racing`): the attempts as tasks, who answered first, and what became of each address.

Whoever answers and says that it does not want a session, or has one, has answered for all paths: that ends the race
too. An address that leads to this node itself is given up, by whatever transport; the others are not. When the call is
over, however it ends, no attempt is left.

Of an address is told that it failed as soon as all attempts there have failed, while others may be under way; of those
that were called off nothing is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import Unreachable
from swarmd.core.ids import PeerId
from swarmd.daemon.connection import DialFailed
from swarmd.transport.api import CloseReason
from swarmd.transport.paths import Path
from swarmd.transport.racing import Race

Attempt = Callable[[Path], Coroutine[Any, Any, PeerId]]
Failed = Callable[[Address, Unreachable], None]
"""Told of each address at which all attempts have failed."""

_FINAL = frozenset({CloseReason.DUPLICATE, CloseReason.DENIED, CloseReason.OVERLOADED, CloseReason.SHUTDOWN})


@dataclass(frozen=True, slots=True)
class Reached:
    """Who answered, and where."""

    peer: PeerId
    address: Address


def ignore(address: Address, error: Unreachable) -> None:
    """For who only wants to know how it ends."""


async def call(race: Race, attempt: Attempt, clock: Clock, failed: Failed = ignore) -> Reached:
    """Who was reached. Unreachable when nobody is: where somebody answered at all, or else failed first."""
    return await _Call(race, attempt, clock, failed).run()


class _Call:
    def __init__(self, race: Race, attempt: Attempt, clock: Clock, failed: Failed) -> None:
        self._race, self._attempt, self._clock, self._failed = race, attempt, clock, failed
        self._running: dict[asyncio.Task[PeerId], Path] = {}
        self._errors: dict[Address, list[Unreachable]] = {}
        self._over: set[Address] = set()

    async def run(self) -> Reached:
        now = self._clock.monotonic()
        try:
            while not self._race.is_lost:
                for path in self._race.paths_to_start(now):
                    self._running[asyncio.create_task(self._attempt(path), name=f"call {path}")] = path
                deadline = self._race.next_deadline()
                timeout = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
                done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                now = self._clock.monotonic() if done or deadline is None else deadline
                if (reached := self._settle(done, now)) is not None:
                    return reached
        finally:
            await _call_off(self._running)
        raise _best(error for errors in self._errors.values() for error in errors)

    def _settle(self, done: Iterable[asyncio.Task[PeerId]], now: float) -> Reached | None:
        """Take note of how these attempts have ended. Of what ends in one turn a success counts most."""
        winner: Path | None = None
        final: DialFailed | None = None
        for task in done:
            path = self._running.pop(task)
            if task.cancelled():  # by us: its address was given up
                continue
            try:
                peer, winner = task.result(), path
            except Unreachable as error:
                if isinstance(error, DialFailed) and error.reason in _FINAL:
                    final = error
                else:
                    self._attempt_failed(path, error, now)
        if winner is not None:
            self._race.attempt_succeeded(winner)  # after the others: an address is not over that has just answered
            return Reached(peer, winner.address)
        if final is not None:
            raise final
        return None

    def _attempt_failed(self, path: Path, error: Unreachable, now: float) -> None:
        self._errors.setdefault(path.address, []).append(error)
        self._race.attempt_failed(path, now)
        if isinstance(error, DialFailed) and error.reason is CloseReason.SELF:
            losers = self._race.give_up(path.address, now)
            for task, other in self._running.items():
                if other in losers:
                    task.cancel()
        if self._race.is_over(path.address) and path.address not in self._over:
            self._over.add(path.address)
            self._failed(path.address, _best(self._errors[path.address]))


async def _call_off(tasks: Iterable[asyncio.Task[PeerId]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _best(errors: Iterable[Unreachable]) -> Unreachable:
    """What is best news for who called: that somebody answered at all."""
    known = list(errors)
    return next((error for error in known if isinstance(error, DialFailed)), known[0])
