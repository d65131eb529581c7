"""When a group is announced and looked for, which addresses are believed for how long, who is looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.groups.rendezvous.hints import HINT_PERIOD, MAX_FOUND, MAX_HINTS, Hints
from swarmd.groups.rendezvous.lookups import MAX_LOST, STEP_PERIOD, Lookups
from swarmd.groups.rendezvous.schedule import (
    ANNOUNCE_PERIODS,
    ANNOUNCED,
    FEW_PERIOD,
    LONGEST_PERIOD,
    RETRY_PERIOD,
    Schedule,
    Standing,
    Task,
)

from .builders import peer_id

LONELY = Standing(0, 13, 1)
FEW = Standing(3, 13, 4)
FULL = Standing(22, 22, 1000)
HOUR = 3600.0


def run(standing: Standing | Callable[[float], Standing], period: float, seed: int = 1) -> list[tuple[float, Task]]:
    schedule, done = Schedule(SeededRng(seed), 0.0), []
    for now in range(int(period)):
        task = schedule.take(standing if isinstance(standing, Standing) else standing(now), now)
        if task is not None:
            done.append((float(now), task))
    return done


def times(done: list[tuple[float, Task]], task: Task) -> list[float]:
    return [at for at, each in done if each is task]


def gaps(moments: list[float]) -> list[float]:
    return [later - at for at, later in pairwise(moments)]


def test_who_comes_is_announced_at_once_and_before_it_is_forgotten_again() -> None:
    for standing in (LONELY, FEW):
        announced = times(run(standing, 12 * HOUR), Task.ANNOUNCE)
        assert announced[0] == 0
        assert all(ANNOUNCE_PERIODS[0] <= gap <= ANNOUNCE_PERIODS[1] + 1 for gap in gaps(announced))


def test_who_is_alone_looks_soon_and_then_ever_more_rarely() -> None:
    done = run(LONELY, 12 * HOUR)
    searched = times(done, Task.SEARCH)
    assert searched[0] <= 5
    assert sum(at < 60 for at in searched) >= 3
    assert all(gap <= LONGEST_PERIOD + 1 for gap in gaps([at for at, _ in done])), "an announcement finds them too"
    assert len(searched) < 12 * HOUR / (LONGEST_PERIOD / 2)


def test_with_some_neighbours_it_is_not_urgent() -> None:
    searched = times(run(FEW, 12 * HOUR), Task.SEARCH)
    assert searched
    assert min(gaps(searched)) >= FEW_PERIOD


def test_with_enough_neighbours_nobody_is_looked_for() -> None:
    assert not times(run(FULL, 12 * HOUR), Task.SEARCH)


def test_who_loses_the_last_one_begins_anew() -> None:
    done = run(lambda now: FEW if now < 6 * HOUR else LONELY, 7 * HOUR)
    after = [at - 6 * HOUR for at in times(done, Task.SEARCH) if at >= 6 * HOUR]
    assert after[0] <= 5
    assert sum(at < 60 for at in after) >= 3


def test_of_a_large_group_some_are_to_be_found() -> None:
    """Of 1,000 members with places of their own, at any time: those who have announced themselves within 30 min."""
    announced = [times(run(FULL, 4 * HOUR, seed), Task.ANNOUNCE) for seed in range(250)]
    there = sum(any(at <= 3 * HOUR < at + 1800 for at in each) for each in announced) * 4
    assert ANNOUNCED / 2 < there < ANNOUNCED * 3


def test_an_announcement_that_nobody_took_is_made_again_soon() -> None:
    schedule = Schedule(SeededRng(1), 0.0)
    assert schedule.take(FEW, 0.0) is Task.ANNOUNCE
    schedule.ended(Task.ANNOUNCE, 1.0, is_vain=True)
    again = next(now for now in range(1, 100) if schedule.take(FEW, now) is Task.ANNOUNCE)
    assert RETRY_PERIOD / 2 <= again <= 2 * RETRY_PERIOD


def test_who_came_at_the_same_time_is_looked_for_a_moment_later() -> None:
    """Each looks before the other one has been announced."""
    schedule = Schedule(SeededRng(1), 0.0)
    assert schedule.take(LONELY, 0.0) is Task.ANNOUNCE
    schedule.ended(Task.ANNOUNCE, 0.2)
    assert schedule.take(LONELY, 2.0) is Task.SEARCH
    schedule.ended(Task.SEARCH, 2.1)
    assert schedule.take(LONELY, 3.0) is None


# addresses


def addresses(count: int, first: int = 0) -> list[Address]:
    return [Address(f"10.0.{number >> 8}.{number & 255}", 7927) for number in range(first, first + count)]


def test_of_a_flood_some_are_tried_and_never_more_than_the_bound() -> None:
    hints = Hints(SeededRng(1))
    assert len(hints.take(addresses(1000), 0)) == MAX_FOUND
    for number in range(20):
        hints.take(addresses(1000, 1000 * (number + 1)), number)
        assert len(hints) <= MAX_HINTS


def test_each_is_given_once_and_taken_back_when_nobody_names_it_any_more() -> None:
    hints = Hints(SeededRng(1))
    one, two = addresses(2)
    assert set(hints.take([one, two], 0)) == {one, two}
    assert hints.take([one], HINT_PERIOD / 2) == []
    assert hints.expired(HINT_PERIOD) == [two]
    assert hints.expired(HINT_PERIOD) == []
    assert hints.take([two], HINT_PERIOD) == [two]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40), st.integers(0, 4000))))
def test_what_is_out_is_known_to_be_out(steps: list[tuple[int, int, int]]) -> None:
    """Whatever comes: what was given and not taken back is what is held."""
    hints, out, now = Hints(SeededRng(1)), set[Address](), 0.0
    for first, count, period in steps:
        now += period
        given_now = hints.take(addresses(count, first), now)
        assert not out & set(given_now)
        out |= set(given_now)
        back = hints.expired(now)
        assert set(back) <= out
        out -= set(back)
        assert len(hints) == len(out) <= MAX_HINTS


# lost members


def test_the_lost_are_looked_up_in_turn_and_ever_more_rarely() -> None:
    lookups, lost, asked = Lookups(SeededRng(1)), [peer_id(seed) for seed in range(3)], list[tuple[int, bytes]]()
    for now in range(int(6 * HOUR)):
        if (peer := lookups.take(lost, now)) is not None:
            asked.append((now, peer))
    counts = Counter(peer for _, peer in asked)
    assert set(counts) == set(lost)
    assert asked[0][0] == 0
    assert min(gaps([float(now) for now, _ in asked])) >= STEP_PERIOD
    assert max(counts.values()) < 25


def test_who_is_found_is_looked_up_no_more_and_anew_when_lost_again() -> None:
    lookups, peer = Lookups(SeededRng(1)), peer_id(1)
    assert lookups.take([peer], 0) == peer
    assert lookups.take([], 10) is None
    assert len(lookups) == 0
    assert lookups.take([peer], 20) == peer


@pytest.mark.parametrize("count", [MAX_LOST, 4 * MAX_LOST])
def test_of_many_lost_ones_a_bounded_number_is_followed(count: int) -> None:
    lookups, lost = Lookups(SeededRng(1)), [peer_id(seed) for seed in range(count)]
    for now in range(100):
        lookups.take(lost, now * STEP_PERIOD)
        assert len(lookups) <= MAX_LOST
