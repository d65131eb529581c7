"""Threads for what blocks: disk and hashes. The event loop hands a job over and gets the result back on the loop.

Results of many jobs come back with one wake-up of the loop, for a wake-up costs as much as a small job. A job's
exception is given to whoever asked, on the loop, like a result; nothing is swallowed here.

`close` waits for the jobs under way (they may be writing a user's file) and drops those not begun.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
Done = Callable[["Future[Any]"], None]


class Workers:
    """A pool of `count` threads, named for the process list."""

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, count: int) -> None:
        self._loop = loop
        self._executor = ThreadPoolExecutor(count, thread_name_prefix=name)
        self._finished: deque[tuple[Done, Future[Any]]] = deque()
        self._woken = False
        self._closed = False

    def submit(self, job: Callable[[], T], done: Callable[[Future[T]], None]) -> None:
        """Run `job` on a thread, then `done(future)` on the loop."""
        future = self._executor.submit(job)
        future.add_done_callback(lambda finished: self._finish(done, finished))

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` on a thread. When the caller is cancelled the job is not: it ends by itself."""
        return await self._loop.run_in_executor(self._executor, job)

    def close(self) -> None:
        """Blocks until the jobs under way have ended; their `done` is not called any more."""
        self._closed = True
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _finish(self, done: Done, future: Future[Any]) -> None:
        if self._closed:
            return
        self._finished.append((done, future))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        self._woken = False
        try:
            while self._finished:
                done, future = self._finished.popleft()
                if not self._closed:
                    done(future)
        finally:
            if self._finished:  # a `done` has raised; the others are still owed theirs
                self._loop.call_soon(self._drain)
