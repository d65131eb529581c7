"""The supervisor: nothing ends unseen, restarts back off, the end is clean and bounded."""

from __future__ import annotations

import asyncio
import logging

import pytest

from swarmd.core.clock import ManualClock
from swarmd.core.errors import Conflict
from swarmd.core.rng import SeededRng
from swarmd.daemon.supervisor import (
    FIRST_RESTART_PERIOD,
    LAST_RESTART_PERIOD,
    MAX_TASKS,
    STEADY_PERIOD,
    Policy,
    Supervisor,
    TaskState,
)


class Pauses:
    """Sleeps that pass at once, on a clock that moves with them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.periods: list[float] = []

    async def sleep(self, period: float) -> None:
        self.periods.append(period)
        self.clock.advance(period)
        await asyncio.sleep(0)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def supervisor(pauses: Pauses) -> Supervisor:
    return Supervisor(pauses.clock, SeededRng(1), pauses.sleep)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def at_once() -> None:
    return None


async def failing() -> None:
    raise ValueError("broken")


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_task_that_returns_is_done(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    supervisor.start("one", at_once)
    await turns()
    assert supervisor.states() == []
    assert caplog.records == []


async def test_a_failure_is_logged_by_name_with_its_traceback_and_stops_the_daemon(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start("listener", failing, Policy.STOP)
    stop = await supervisor.wait_for_stop()
    assert stop.reason == "listener failed: ValueError: broken"
    assert isinstance(stop.error, ValueError)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "listener failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is stop.error
    assert await supervisor.close(1.0) == ()


async def test_a_failure_before_anybody_waits_is_not_lost(supervisor: Supervisor) -> None:
    supervisor.start("listener", failing, Policy.STOP)
    await turns()
    assert (await supervisor.wait_for_stop()).error is not None


async def test_a_failure_that_concerns_nobody_else_is_only_logged(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.start("import of x", failing, Policy.LEAVE)
    await turns()
    assert supervisor.states() == []
    assert [record.getMessage() for record in caplog.records] == ["import of x failed"]
    supervisor.request_stop("SIGTERM")
    assert (await supervisor.wait_for_stop()).error is None


async def test_a_restart_backs_off_up_to_a_limit(supervisor: Supervisor, pauses: Pauses) -> None:
    enough = asyncio.Event()
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 12:
            enough.set()
            await for_ever()
        raise OSError(f"attempt {runs}")

    supervisor.start("mdns", work, Policy.RESTART)
    await enough.wait()
    assert supervisor.states() == [TaskState("mdns", 11, "OSError: attempt 11")]
    steps = [min(FIRST_RESTART_PERIOD * 2**i, LAST_RESTART_PERIOD) for i in range(11)]
    assert all(step / 2 <= period <= step for step, period in zip(steps, pauses.periods, strict=True))
    assert await supervisor.close(1.0) == ()
    assert supervisor.states() == []


async def test_whoever_ran_steadily_restarts_quickly_again(supervisor: Supervisor, pauses: Pauses) -> None:
    enough = asyncio.Event()
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs == 6:
            pauses.clock.advance(STEADY_PERIOD + 1)
        if runs == 7:
            enough.set()
            await for_ever()
        raise OSError("gone")

    supervisor.start("mdns", work, Policy.RESTART)
    await enough.wait()
    assert pauses.periods[4] > FIRST_RESTART_PERIOD
    assert pauses.periods[5] <= FIRST_RESTART_PERIOD
    await supervisor.close(1.0)


async def test_the_end_cancels_everything_and_waits_for_it(supervisor: Supervisor) -> None:
    ended: list[str] = []

    async def tidy(name: str) -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    for name in "abc":
        supervisor.start(name, lambda name=name: tidy(name))  # type: ignore[misc]
    await turns()
    assert await supervisor.close(1.0) == ()
    assert sorted(ended) == ["a", "b", "c"]
    with pytest.raises(Conflict, match="swarmd is stopping; late was not started"):
        supervisor.start("late", at_once)


async def test_a_task_in_its_pause_ends_too(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor(ManualClock(), SeededRng(1), lambda _: for_ever())
    supervisor.start("mdns", failing, Policy.RESTART)
    await turns()
    assert supervisor.states() == [TaskState("mdns", 1, "ValueError: broken")]
    assert await supervisor.close(1.0) == ()


async def test_one_that_does_not_end_is_named_and_not_waited_for(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            await release.wait()

    supervisor.start("stubborn", stubborn)
    supervisor.start("tame", for_ever)
    await turns()
    assert await supervisor.close(0.01) == ("stubborn",)
    assert "these did not end within 0.0 s: stubborn" in caplog.text
    release.set()
    await turns()


async def test_a_failure_while_ending_is_logged(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    async def clumsy() -> None:
        try:
            await for_ever()
        finally:
            raise RuntimeError("while tidying up")

    supervisor.start("clumsy", clumsy, Policy.RESTART)
    await turns()
    assert await supervisor.close(1.0) == ()
    assert "while tidying up" in caplog.text


async def test_a_cancellation_nobody_asked_for_is_a_failure(supervisor: Supervisor) -> None:
    async def confused() -> None:
        raise asyncio.CancelledError

    supervisor.start("confused", confused, Policy.STOP)
    stop = await supervisor.wait_for_stop()
    assert stop.reason.startswith("confused failed: CancelledError")


async def test_one_task_can_be_ended(supervisor: Supervisor) -> None:
    supervisor.start("one", for_ever)
    supervisor.start("two", for_ever)
    await turns()
    task = supervisor.cancel("one")
    assert task is not None
    await asyncio.wait([task])
    assert [state.name for state in supervisor.states()] == ["two"]
    assert supervisor.cancel("one") is None
    supervisor.start("one", at_once)  # the name is free again
    await supervisor.close(1.0)


async def test_a_name_runs_once(supervisor: Supervisor) -> None:
    supervisor.start("one", for_ever)
    with pytest.raises(Conflict, match="'one' is running already"):
        supervisor.start("one", for_ever)
    await supervisor.close(1.0)


async def test_the_number_of_tasks_is_bounded(supervisor: Supervisor) -> None:
    for i in range(MAX_TASKS):
        supervisor.start(str(i), for_ever)
    with pytest.raises(Conflict, match="more was not started"):
        supervisor.start("more", for_ever)
    assert await supervisor.close(10.0) == ()


async def test_the_first_reason_to_stop_counts(supervisor: Supervisor) -> None:
    waiting = asyncio.create_task(supervisor.wait_for_stop())
    await turns()
    supervisor.request_stop("SIGTERM")
    supervisor.request_stop("SIGINT")
    assert (await waiting).reason == "SIGTERM"
