"""One timer on a real loop, by a clock that the test moves."""

from __future__ import annotations

import asyncio

from swarmd.core.clock import ManualClock
from swarmd.net.timer import Timer


class Machine:
    """Notes when it is called."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.timer = Timer(self._due, self.clock, asyncio.get_running_loop())
        self.calls = 0
        self.called = asyncio.Event()

    def _due(self) -> None:
        self.calls += 1
        self.called.set()

    async def wait(self) -> None:
        async with asyncio.timeout(20):
            await self.called.wait()
        self.called.clear()


async def turns() -> None:
    """What is due by now, and what that calls, has had its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_past_is_due_in_the_next_turn() -> None:
    machine = Machine()
    machine.timer.set(99.0)
    assert not machine.called.is_set(), "never from within `set`"
    await machine.wait()
    await turns()
    assert machine.calls == 1


async def test_an_earlier_deadline_counts_and_a_later_one_moves_nothing() -> None:
    machine = Machine()
    machine.timer.set(160.0)
    machine.timer.set(100.01)
    machine.timer.set(150.0)
    machine.timer.set(None)
    await machine.wait()
    machine.timer.set(170.0)
    await turns()
    assert machine.calls == 1, "the calls that were moved do not come as well"
    machine.timer.cancel()


async def test_it_is_set_again_from_within_its_call() -> None:
    machine = Machine()
    machine.timer.set(0.0)
    await machine.wait()
    machine.clock.advance(10)
    machine.timer.set(110.0)
    await machine.wait()
    assert machine.calls == 2


async def test_cancelled_it_leaves_nothing_behind_and_can_be_set_again() -> None:
    machine = Machine()
    machine.timer.cancel()
    machine.timer.set(0.0)
    machine.timer.cancel()
    await turns()
    assert not machine.called.is_set()
    machine.timer.set(100.0)
    await machine.wait()
    assert machine.calls == 1
