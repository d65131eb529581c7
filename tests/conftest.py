"""What holds for every test: who leaves something behind fails.

A task that still runs, a thread, a child process, or a descriptor that a test (or one of its fixtures)
opened and did not close is a bug of the test or of what it tests, and the test that made it says so.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("swarmd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("swarmd")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As for what a shell script runs in its background. Programs that tests start would inherit it, and tests that
    # interrupt them would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)

THREAD_GRACE_TIMEOUT = 2.0
"""Seconds in which a thread that was told to stop has to be gone."""
TASK_GRACE_ROUNDS = 20
"""Turns of the event loop in which a task that was told to stop has to be gone."""


@pytest.fixture(autouse=True)
def no_leaked_resource() -> Iterator[None]:
    """Set up before, and checked after, every other fixture of the test, also its event loop."""
    threads = set(threading.enumerate())
    children = _children()
    descriptors = _descriptors()
    yield
    leaked = [f"thread {thread.name}" for thread in _running(set(threading.enumerate()) - threads)]
    leaked += [f"child process {pid}" for pid in sorted(_children() - children)]
    if _descriptors() - descriptors:
        gc.collect()
        leaked += [f"descriptor {fd} -> {target}" for fd, target in sorted(_descriptors() - descriptors)]
    if leaked:
        pytest.fail(f"the test left behind: {', '.join(leaked)}")


@pytest.fixture(autouse=True)
def no_leaked_task(no_leaked_resource: None, request: pytest.FixtureRequest) -> None:
    """For tests that have an event loop: set up first in it, so checked when all other fixtures are done."""
    if request.node.get_closest_marker("asyncio"):
        request.getfixturevalue("event_loop_left_empty")


@pytest.fixture
async def event_loop_left_empty() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    present = asyncio.current_task()
    for _ in range(TASK_GRACE_ROUNDS):
        leaked = asyncio.all_tasks() - before - {present}
        if not leaked:
            return
        await asyncio.sleep(0)
    for task in leaked:
        task.cancel()
    pytest.fail(f"the test left running: {', '.join(sorted(map(repr, leaked)))}")


def _running(threads: set[threading.Thread]) -> list[threading.Thread]:
    for thread in threads:
        thread.join(THREAD_GRACE_TIMEOUT)
    return [thread for thread in threads if thread.is_alive()]


def _children() -> set[int]:
    """The child processes of this one, zombies included."""
    pids: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends while it is looked at
            pids.update(map(int, listing.read_text().split()))
    return pids


def _descriptors() -> set[tuple[int, str]]:
    """The open descriptors and what each refers to (sockets and pipes by their inode)."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            continue
    return found
