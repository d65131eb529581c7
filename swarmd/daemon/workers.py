"""Threads for what blocks: disk and hashes. The event loop hands a job over and gets the outcome back on the loop.

One thread does all the jobs as long as it is quick: with two, each would wait for the interpreter whenever the other
comes back from the disk, and every such wait costs two switches of context (26 of them for each MiB were a sixth of
all that a transfer cost: `DECISIONS.md`). What has waited for PATIENCE behind a disk that is slow is given to further
threads, up to `count`; they rest again when nothing waits.

Outcomes of many jobs come back with one wake-up of the loop, for a wake-up costs as much as a small job. A job's
exception is given to whoever asked, on the loop, like a result; nothing is swallowed here.

`close` waits for the jobs under way (they may be writing a user's file) and drops those not begun.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PATIENCE = 0.02
"""Seconds that a job may wait before a further thread is called: forty chunks of a cached file, two reads of a disk
that turns."""


class Outcome(Generic[T]):
    """What has become of a job."""

    __slots__ = ("_value", "error")

    def __init__(self, value: T | None, error: BaseException | None) -> None:
        self._value = value
        self.error = error

    def result(self) -> T:
        """What the job returned, or its exception."""
        if self.error is not None:
            raise self.error
        return self._value  # type: ignore[return-value]  # None only where T allows it


class _Job:
    __slots__ = ("done", "is_awaited", "work")

    def __init__(self, work: Callable[[], Any], done: Callable[[Outcome[Any]], None], is_awaited: bool) -> None:
        self.work = work
        self.done = done
        self.is_awaited = is_awaited  # by a task, which must be told in any case

    def run(self) -> Outcome[Any]:
        try:
            return Outcome(self.work(), None)
        except BaseException as error:  # it is raised again by `Outcome.result`
            return Outcome(None, error)


class Workers:
    """A pool of up to `count` threads, named for the process list.

    `patience` 0: jobs take long, and each is given to a thread of its own at once, if there is one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, count: int, patience: float = PATIENCE) -> None:
        self._loop = loop
        self._name, self._count, self._patience = name, count, patience
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._calls: SimpleQueue[bool] = SimpleQueue()  # for further threads: True to help, False to end
        self._resting: deque[None] = deque()  # one for each further thread that waits for a call
        self._finished: deque[tuple[_Job, Outcome[Any]]] = deque()
        self._submitted = self._submitted_before = self._ended = 0
        self._look_timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._closed = False

    def submit(self, job: Callable[[], T], done: Callable[[Outcome[T]], None]) -> None:
        """Run `job` on a thread, then `done(outcome)` on the loop."""
        self._submit(_Job(job, done, False))

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` on a thread. When the caller is cancelled the job is not: it ends by itself."""
        future: asyncio.Future[T] = self._loop.create_future()

        def finish(outcome: Outcome[T]) -> None:
            if future.done():
                return
            if outcome.error is None:
                future.set_result(outcome.result())
            elif isinstance(outcome.error, asyncio.CancelledError):
                future.cancel()
            else:
                future.set_exception(outcome.error)

        self._submit(_Job(job, finish, True))
        return await future

    def close(self) -> None:
        """Blocks until the jobs under way have ended; not to be called on the loop while a task awaits one.

        What `submit` was given is not told of any more; who awaits a job that was not begun is cancelled.
        """
        self._closed = True
        self._jobs.put(None)
        for _ in self._threads[1:]:
            self._calls.put(False)
        for thread in self._threads:
            thread.join()
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                self._finish(job, Outcome(None, asyncio.CancelledError()))

    # On the loop ------------------------------------------------------------------------------------------------

    def _submit(self, job: _Job) -> None:
        if self._closed:
            raise RuntimeError(f"the {self._name} threads have been closed")
        if not self._threads:
            self._start(self._serve)
        self._submitted += 1
        self._jobs.put(job)
        if not self._patience:
            if self._submitted - self._ended > len(self._threads) - len(self._resting):
                self._call()
        elif self._look_timer is None and self._count > 1:
            self._submitted_before = self._submitted - self._jobs.qsize()
            self._look_timer = self._loop.call_later(self._patience, self._look)

    def _look(self) -> None:
        """Whether something waits that waited the last time."""
        self._look_timer = None
        waiting = self._jobs.qsize()
        if self._closed or not waiting:
            return
        if self._submitted - waiting < self._submitted_before:
            self._call()
        self._submitted_before = self._submitted
        self._look_timer = self._loop.call_later(self._patience, self._look)

    def _call(self) -> None:
        """A further thread, if there is one."""
        if self._resting:
            self._resting.pop()
            self._calls.put(True)
        elif len(self._threads) < self._count:
            self._calls.put(True)
            self._start(self._help)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"{self._name}_{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _drain(self) -> None:
        self._woken = False
        try:
            while self._finished:
                job, outcome = self._finished.popleft()
                self._ended += 1
                if job.is_awaited or not self._closed:
                    job.done(outcome)
        finally:
            if self._finished:  # a `done` has raised; the others are still owed theirs
                self._loop.call_soon(self._drain)

    # On the threads ---------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """The first thread, until it is closed."""
        while (job := self._jobs.get()) is not None:
            if self._closed:
                self._jobs.put(job)
                return
            self._finish(job, job.run())

    def _help(self) -> None:
        """A further one, each time that it is called."""
        while self._calls.get():
            while not self._closed and (job := self._take()) is not None:
                self._finish(job, job.run())
            self._resting.append(None)

    def _take(self) -> _Job | None:
        """One that waits, if any does."""
        try:
            job = self._jobs.get_nowait()
        except Empty:
            return None
        if job is None:
            self._jobs.put(None)  # the end mark of `close` is for the first thread
        return job

    def _finish(self, job: _Job, outcome: Outcome[Any]) -> None:
        if self._closed and not job.is_awaited:
            return
        self._finished.append((job, outcome))
        if not self._woken:
            self._woken = True
            self._loop.call_soon_threadsafe(self._drain)
