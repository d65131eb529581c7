"""Posts in groups of some dozen members that come, go, lose packets and lie; a thousand: `python -m tests.sim post`."""

from __future__ import annotations

import pytest

from tests.sim.post import Mesh, Plan, Result, simulate


def run(seed: int, *, hostile: float = 0.0, size: int = 200) -> Result:
    return simulate(
        Plan(members=60, seed=seed, loss=0.05, churn=0.6, hostile=hostile, posts=8, bytes=size, interval=4.0)
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_get_all_though_many_come_and_go(seed: int) -> None:
    result = run(seed)
    assert result.n_joined > 5
    assert result.in_10_s >= 0.999
    assert result.stayed_a_minute == result.came_later == 1.0
    assert result.sent_mean <= 3.0
    assert result.faults == {}


def test_nobody_has_to_send_a_large_post_to_all_neighbours() -> None:
    result = run(4, size=60_000)
    assert result.in_10_s >= 0.999
    assert result.stayed_a_minute == 1.0
    assert result.sent_mean <= 1.5
    assert result.sent_most <= 6.0


def test_nobody_sends_more_than_three_times_what_is_posted() -> None:
    result = simulate(Plan(members=60, seed=9, loss=0.0, churn=0.0, posts=25, interval=2.0))
    assert result.in_10_s == 1.0
    assert result.sent_most <= 3.0


@pytest.mark.parametrize("seed", [5, 6])
def test_liars_delay_it_and_do_not_stop_it(seed: int) -> None:
    result = run(seed, hostile=0.2)
    assert result.in_10_s >= 0.99
    assert result.stayed_a_minute >= 0.99


def test_a_quiet_group_costs_little() -> None:
    assert run(7).idle_bytes_per_s < 5.0


def test_two_halves_tell_each_other_what_was_posted_meanwhile() -> None:
    mesh = Mesh(Plan(members=60, seed=8, churn=0.0))
    mesh.run(70.0)
    mesh.split()
    mesh.run(100.0)
    for _ in range(6):
        mesh.post(500)
        mesh.run(33.0)
    assert not mesh.have_all()
    mesh.heal(2)
    mesh.run(5.0)
    assert mesh.have_all()
    assert mesh.faults == {}
