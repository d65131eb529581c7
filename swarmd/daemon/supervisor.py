"""Background tasks: started by name, watched to their end, restarted or not, and cancelled together.

In: `start`, `request_stop`, `close`. Out: log lines, and one `Stop` that says why the daemon ends.
States of a task: running -> (failed -> waiting -> running)* -> done.

Invariant: no task ends unseen. A failure is logged with the task's name and its traceback, and then its
`Policy` holds. Cancellation is an end only when it was asked for; a `CancelledError` out of nowhere is a
failure like any other. One of the two places that catch `Exception`: whatever a task may raise, the daemon
decides here what becomes of it. Not here: what a task does, and in which order services are closed.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from swarmd.core.backoff import Backoff
from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict
from swarmd.core.rng import Rng

FIRST_RESTART_PERIOD = 0.5
LAST_RESTART_PERIOD = 60.0
STEADY_PERIOD = 60.0
"""Whoever ran that long has recovered: the next restart is quick again."""
MAX_TASKS = 4096
"""Services and one task for each thing in progress; a leak shows itself before memory does."""
_log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[Any, Any, None]]
Sleep = Callable[[float], Awaitable[None]]


class Policy(enum.Enum):
    """What the failure of a task means."""

    STOP = enum.auto()  # the daemon cannot go on without it
    RESTART = enum.auto()  # it starts anew, after a pause that grows
    LEAVE = enum.auto()  # it was one piece of work, now it is over


@dataclass(frozen=True, slots=True)
class Stop:
    """Why the daemon ends; `error` when it is no one's wish."""

    reason: str
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task as `status` shows it."""

    name: str
    failures: int
    last_error: str


@dataclass(slots=True)
class _Watched:
    name: str
    work: Work
    policy: Policy
    backoff: Backoff
    task: asyncio.Task[None] | None = None
    failures: int = 0
    last_error: str = ""


class Supervisor:
    """Every background task of one daemon. Lives on one event loop; not thread-safe."""

    def __init__(self, clock: Clock, rng: Rng, sleep: Sleep = asyncio.sleep) -> None:
        self._clock, self._rng, self._sleep = clock, rng, sleep
        self._watched: dict[str, _Watched] = {}
        self._stop: asyncio.Future[Stop] | None = None
        self._stopping: Stop | None = None
        self._is_closing = False

    def start(self, name: str, work: Work, policy: Policy = Policy.STOP) -> None:
        """Run `work()` until it returns, fails for good, or `close`. Conflict when `name` runs, or during the end."""
        if self._is_closing:
            raise Conflict(f"swarmd is stopping; {name} was not started")
        if name in self._watched:
            raise Conflict(f"a task {name!r} is running already")
        if len(self._watched) >= MAX_TASKS:
            raise Conflict(f"{MAX_TASKS} tasks are running; {name} was not started")
        watched = _Watched(name, work, policy, Backoff(FIRST_RESTART_PERIOD, LAST_RESTART_PERIOD, self._rng))
        watched.task = asyncio.get_running_loop().create_task(self._watch(watched), name=name)
        self._watched[name] = watched

    def cancel(self, name: str) -> asyncio.Task[None] | None:
        """End one task; gives it, to be waited for, or None when there is none of that name."""
        watched = self._watched.get(name)
        if watched is None or watched.task is None:
            return None
        watched.task.cancel()
        return watched.task

    def states(self) -> list[TaskState]:
        return [TaskState(each.name, each.failures, each.last_error) for each in self._watched.values()]

    # --- the end ---

    def request_stop(self, reason: str, error: BaseException | None = None) -> None:
        """The daemon shall end. The first reason counts; callable from a signal handler of the loop."""
        if self._stopping is None:
            self._stopping = Stop(reason, error)
        if self._stop is not None and not self._stop.done():
            self._stop.set_result(self._stopping)

    async def wait_for_stop(self) -> Stop:
        """Until somebody asks for the end, or a task fails that the daemon cannot do without."""
        self._stop = asyncio.get_running_loop().create_future()
        if self._stopping is not None:
            self._stop.set_result(self._stopping)
        return await self._stop

    async def close(self, timeout: float) -> tuple[str, ...]:
        """Cancel everything and wait up to `timeout` seconds. Gives the names of those that did not end."""
        self._is_closing = True
        tasks = {each.task for each in self._watched.values() if each.task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        stuck = tuple(sorted(task.get_name() for task in tasks if not task.done()))
        if stuck:
            _log.error("these did not end within %.1f s: %s", timeout, ", ".join(stuck))
        return stuck

    # --- one task ---

    async def _watch(self, watched: _Watched) -> None:
        try:
            while await self._run_once(watched):
                period = watched.backoff.next_period()
                _log.info("%s starts again in %.1f s", watched.name, period)
                await self._sleep(period)
        finally:
            self._watched.pop(watched.name, None)

    async def _run_once(self, watched: _Watched) -> bool:
        """Whether it is to run again."""
        started_at = self._clock.monotonic()
        try:
            await watched.work()
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            return self._has_failed(watched, error, started_at)
        except Exception as error:
            return self._has_failed(watched, error, started_at)
        return False

    def _has_failed(self, watched: _Watched, error: BaseException, started_at: float) -> bool:
        watched.failures += 1
        watched.last_error = f"{type(error).__name__}: {error}"
        _log.error("%s failed", watched.name, exc_info=error)
        if watched.policy is Policy.STOP:
            self.request_stop(f"{watched.name} failed: {watched.last_error}", error)
        if self._clock.monotonic() - started_at >= STEADY_PERIOD:
            watched.backoff.reset()
        return watched.policy is Policy.RESTART and not _is_cancelled()


def _is_cancelled() -> bool:
    """Whether somebody asked the present task to end (and it may have failed at that)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
