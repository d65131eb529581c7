"""Bulk work takes what is left over of the processor: pauses where it is kept waiting, none where it is alone."""

from __future__ import annotations

import asyncio

from swarmd.core.clock import SystemClock
from swarmd.daemon.pace import KEPT_WAITING, MAX_PAUSE, Pace, Paced

SLICE = 0.003


class Machine:
    """It keeps the work waiting for as long as it likes."""

    def __init__(self) -> None:
        self.pace, self.now, self.used = Pace(), 100.0, 5.0
        self.pace.begin(self.now, self.used)
        self.pause = 0.0

    def slices(self, count: int, waiting: float) -> list[float]:
        pauses = []
        for _ in range(count):
            self.now += self.pause + SLICE + waiting
            self.used += SLICE
            self.pause = self.pace.next_pause(self.now, self.used)
            pauses.append(self.pause)
        return pauses


def test_who_is_alone_does_not_pause() -> None:
    assert set(Machine().slices(100, 0.9 * KEPT_WAITING)) == {0.0}


def test_who_is_kept_waiting_pauses_for_longer_and_longer_but_goes_on() -> None:
    pauses = Machine().slices(20, 0.02)
    assert 0 < pauses[0] < pauses[3] < pauses[-1] == MAX_PAUSE


def test_when_nobody_else_wants_the_processor_the_pauses_end() -> None:
    machine = Machine()
    machine.slices(20, 0.02)
    pauses = machine.slices(40, 0.0)
    assert pauses == sorted(pauses, reverse=True)
    assert pauses[0] > MAX_PAUSE / 2 and pauses[-1] == 0.0


def test_a_pause_is_not_taken_for_waiting_when_work_begins_again() -> None:
    machine = Machine()
    (pause, *_) = machine.slices(1, 0.02)
    machine.now += 1000.0
    machine.pace.begin(machine.now, machine.used)
    machine.pause = 0.0
    assert machine.slices(1, 0.0)[0] < pause


async def test_several_have_their_turns_until_nothing_is_left() -> None:
    left, order, is_over = {"a": 3, "b": 2}, [], asyncio.Event()

    def do_slice(key: str) -> None:
        order.append(key)
        left[key] -= 1
        if left[key]:
            paced.add(key)
        if not any(left.values()):
            is_over.set()

    paced = Paced(do_slice, SystemClock())
    paced.add("a")
    paced.add("b")
    paced.add("a")
    assert order == [], "not within the turn that adds"
    await is_over.wait()
    assert order == ["a", "b", "a", "b", "a"]


async def test_who_fails_does_not_hold_up_the_others_and_who_stops_does_nothing() -> None:
    done, failures, is_over = [], [], asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))

    def do_slice(key: str) -> None:
        if key == "bad":
            raise ValueError(key)
        done.append(key)
        is_over.set()

    paced = Paced(do_slice, SystemClock())
    paced.add("bad")
    paced.add("good")
    await is_over.wait()
    assert (done, [str(each) for each in failures]) == (["good"], ["bad"])
    paced.add("late")
    paced.stop()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert done == ["good"]
