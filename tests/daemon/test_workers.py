"""Threads for what blocks: results come back on the loop, failures too, and closing waits for what is being written."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from swarmd.core.errors import DiskFull
from swarmd.daemon.workers import PATIENCE as CALL_PERIOD
from swarmd.daemon.workers import Outcome, Workers

PATIENCE = 20.0


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    made = Workers(asyncio.get_running_loop(), "test", 2)
    yield made
    made.close()


class Results:
    """Collects what `done` is called with, and where."""

    def __init__(self) -> None:
        self.futures: list[Outcome[Any]] = []
        self.threads: set[threading.Thread] = set()
        self._changed = asyncio.Event()

    def __call__(self, future: Outcome[Any]) -> None:
        self.futures.append(future)
        self.threads.add(threading.current_thread())
        self._changed.set()

    async def until(self, count: int) -> list[Outcome[Any]]:
        async with asyncio.timeout(PATIENCE):
            while len(self.futures) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.futures


async def test_jobs_run_elsewhere_and_results_come_back_here(workers: Workers) -> None:
    results = Results()
    for _ in range(100):
        workers.submit(threading.current_thread, results)
    (thread,) = {future.result() for future in await results.until(100)}
    assert thread.name == "test_0"
    assert results.threads == {threading.current_thread()}


async def test_a_failure_is_given_to_whoever_asked(workers: Workers) -> None:
    def fail() -> None:
        raise DiskFull("no room")

    results = Results()
    workers.submit(fail, results)
    with pytest.raises(DiskFull):
        (await results.until(1))[0].result()
    with pytest.raises(DiskFull):
        await workers.run(fail)


async def test_results_of_many_jobs_come_with_one_wake_up() -> None:
    workers, results = Workers(asyncio.get_running_loop(), "test", 1), Results()
    for _ in range(50):
        workers.submit(int, results)
    last = threading.Event()
    workers.submit(last.set, results)
    last.wait(PATIENCE)  # the loop stands still until all have been run
    assert not results.futures
    await asyncio.sleep(0)
    assert len(results.futures) >= 50
    workers.close()


async def test_one_result_that_is_taken_badly_does_not_keep_back_the_others() -> None:
    """Both have finished before the loop looks, so that they come with one wake-up."""
    workers = Workers(asyncio.get_running_loop(), "test", 2, patience=0)
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    results, both = Results(), threading.Barrier(3)

    def take_badly(future: Outcome[int]) -> None:
        results(future)
        raise DiskFull("no room")

    for done in (take_badly, take_badly):
        workers.submit(both.wait, done)
    both.wait(PATIENCE)
    workers.submit(int, results)
    await results.until(3)
    assert [type(problem["exception"]) for problem in problems] == [DiskFull, DiskFull]
    workers.close()


async def test_closing_waits_for_the_job_under_way_and_drops_the_rest() -> None:
    workers = Workers(asyncio.get_running_loop(), "test", 1)
    begun, gate = threading.Event(), threading.Event()
    ended: list[str] = []

    def write() -> None:
        begun.set()
        gate.wait(PATIENCE)
        ended.append("written")

    results = Results()
    workers.submit(write, results)
    workers.submit(lambda: ended.append("too late"), results)
    begun.wait(PATIENCE)
    closing = asyncio.create_task(asyncio.to_thread(workers.close))
    await asyncio.sleep(0)
    gate.set()
    await closing
    await asyncio.sleep(0)
    assert ended == ["written"]
    assert not results.futures, "nobody is there any more to be told"


async def test_a_cancelled_caller_does_not_stop_the_job(workers: Workers) -> None:
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        gate.wait(PATIENCE)
        ended.set()

    task = asyncio.create_task(workers.run(write))
    await asyncio.to_thread(begun.wait, PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    assert await asyncio.to_thread(ended.wait, PATIENCE)


@pytest.mark.parametrize("patience", [0, CALL_PERIOD])
async def test_further_threads_help_behind_a_slow_one_up_to_the_count_and_rest_again(patience: float) -> None:
    """What blocks for ever on one disk must not hold up the others."""
    workers, results = Workers(asyncio.get_running_loop(), "test", 3, patience), Results()
    for _ in range(2):
        gate = threading.Event()
        for _ in range(2):
            workers.submit(lambda gate=gate: gate.wait(PATIENCE), results)  # type: ignore[misc]
        async with asyncio.timeout(PATIENCE):
            threads = {await workers.run(threading.current_thread) for _ in range(20)}
        assert len(threads) == 1 and len(workers._threads) == 3
        for _ in range(50):
            workers.submit(gate.is_set, results)
        gate.set()
        await results.until(52)
        results.futures.clear()
    await asyncio.to_thread(workers.close)


async def test_a_task_that_waits_for_what_was_never_begun_is_cancelled() -> None:
    workers = Workers(asyncio.get_running_loop(), "test", 1)
    begun, gate = threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return gate.wait(PATIENCE)

    under_way, waiting = asyncio.create_task(workers.run(wait)), asyncio.create_task(workers.run(int))
    await asyncio.to_thread(begun.wait, PATIENCE)
    closing = asyncio.create_task(asyncio.to_thread(workers.close))
    with pytest.raises(RuntimeError, match="closed"):  # its thread has begun: what is not begun now never will be
        while True:
            workers.submit(int, lambda outcome: None)
            await asyncio.sleep(0)
    gate.set()
    await closing
    assert await under_way
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(RuntimeError, match="closed"):
        await workers.run(int)


async def test_closing_what_was_never_used_ends_at_once() -> None:
    Workers(asyncio.get_running_loop(), "test", 1).close()
