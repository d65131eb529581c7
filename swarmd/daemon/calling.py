"""Carries out a race (`transport.racing`): the attempts as tasks, and who answered first.

Whoever answers and says that it does not want a session, or has one, has answered for all paths: that ends the race
too. When the call is over, however it ends, no attempt is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from swarmd.core.clock import Clock
from swarmd.core.errors import Unreachable
from swarmd.core.ids import PeerId
from swarmd.daemon.connection import DialFailed
from swarmd.transport.api import CloseReason
from swarmd.transport.paths import Path
from swarmd.transport.racing import Race

Attempt = Callable[[Path], Coroutine[Any, Any, PeerId]]

_FINAL = frozenset(
    {CloseReason.SELF, CloseReason.DUPLICATE, CloseReason.DENIED, CloseReason.OVERLOADED, CloseReason.SHUTDOWN}
)


async def call(race: Race, attempt: Attempt, clock: Clock) -> PeerId:
    """Who was reached. Unreachable when nobody is: where somebody answered at all, or else failed first."""
    running: dict[asyncio.Task[PeerId], Path] = {}
    errors: list[Unreachable] = []
    now = clock.monotonic()
    try:
        while not race.is_lost:
            for path in race.paths_to_start(now):
                running[asyncio.create_task(attempt(path), name=f"call {path}")] = path
            deadline = race.next_deadline()
            timeout = None if deadline is None else max(0.0, deadline - clock.monotonic())
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            now = clock.monotonic() if done or deadline is None else deadline
            for task in done:
                path = running.pop(task)
                try:
                    peer = task.result()
                except Unreachable as error:
                    if isinstance(error, DialFailed) and error.reason in _FINAL:
                        raise
                    errors.append(error)
                    race.attempt_failed(path, now)
                else:
                    race.attempt_succeeded(path)
                    return peer
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    raise next((error for error in errors if isinstance(error, DialFailed)), errors[0])
