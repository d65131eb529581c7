"""Changes that must not mix: one at a time, each to its end even when its caller goes away in the middle.

A command that is cancelled (its client hung up) while the database is being written would else leave memory behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Turns:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def take(self, change: Coroutine[Any, Any, T]) -> T:
        """Carry it out when it is its turn. Not from within a change."""
        return await asyncio.shield(self.start(change))

    def start(self, change: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """The same, with nobody waiting."""
        task = asyncio.get_running_loop().create_task(self._carry_out(change), name="a change in its turn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def stop(self) -> None:
        """Until nothing is under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, change: Coroutine[Any, Any, T]) -> T:
        async with self._lock:
            return await change
