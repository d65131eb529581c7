"""Thirty members, in virtual time: everyone finds everyone, and every share and every removal reaches all."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.groups.topology import target_links

from .simulation import Simulation

SEEDS = [1, 2, 3]
MEMBERS = 30


def crowd(seed: int, members: int = MEMBERS) -> Simulation:
    """All come at once, with a ticket that names the first."""
    made = Simulation(seed)
    made.add()
    for _ in range(members - 1):
        made.add(0)
    return made


def shake(simulation: Simulation, seconds: float, period: float) -> None:
    """Break a link every so often."""
    rng = SeededRng(99)
    for _ in range(int(seconds / period)):
        simulation.run(period)
        if links := simulation.links():
            simulation.cut(*rng.choice(links))


@pytest.mark.parametrize("seed", SEEDS)
def test_all_find_all_within_seconds(seed: int) -> None:
    made = crowd(seed)
    assert made.run_until(made.all_know_all, 30.0) < 15.0
    made.run(20.0)
    degrees = [sum(number in pair for pair in made.links()) for number in range(MEMBERS)]
    assert min(degrees) >= target_links(MEMBERS)
    assert made.faults == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_member_finds_everybody_in_about_a_second(seed: int) -> None:
    made = crowd(seed)
    made.run(30.0)
    number = made.add(seed)
    everybody = {node.peer_id for node in made.nodes}
    assert made.run_until(lambda: made.nodes[number].present | {made.nodes[number].peer_id} == everybody, 2.0) < 1.0
    assert made.run_until(made.all_know_all, 5.0) < 2.0


@pytest.mark.parametrize("seed", SEEDS)
def test_every_share_and_removal_reaches_all_though_links_break_and_late_comers_too(seed: int) -> None:
    made = crowd(seed)
    for number in range(MEMBERS):
        made.publish(number, f"early-{number}")
    shake(made, 10.0, 0.25)
    for number in range(0, MEMBERS, 2):
        made.unpublish(number, f"early-{number}")
        made.publish(number, "common name", number)
        shake(made, 0.5, 0.25)
    late = made.add(seed)
    shake(made, 5.0, 0.25)
    made.run_until(made.all_alike, 100.0, step=1.0)
    made.run_until(made.all_know_all, 100.0, step=1.0)
    expected = sorted([f"early-{number}" for number in range(1, MEMBERS, 2)] + ["common name"] * (MEMBERS // 2))
    assert made.names(late) == made.names(0) == expected
    assert made.faults == []


@pytest.mark.parametrize("seed", SEEDS)
def test_without_broken_links_a_share_is_everywhere_in_under_a_second(seed: int) -> None:
    made = crowd(seed)
    made.run(30.0)
    made.publish(seed, "disk.iso")
    assert made.run_until(lambda: all(made.names(number) for number in range(MEMBERS)), 2.0) < 1.0


def test_who_comes_back_after_a_removal_does_not_bring_it_back() -> None:
    made = crowd(1, 10)
    made.publish(3, "disk.iso")
    made.run(20.0)
    made.stop(5)
    made.run(5.0)
    made.unpublish(3, "disk.iso")
    made.run(20.0)
    made.restart(5)
    made.run(20.0)
    assert made.all_alike()
    assert made.names(5) == []
    assert made.all_know_all()


def test_who_comes_back_without_its_memory_gets_it_from_the_others() -> None:
    made = crowd(1, 10)
    made.publish(5, "mine")
    made.publish(6, "yours")
    made.run(20.0)
    made.stop(5)
    made.restart(5, with_memory=False)
    made.run(20.0)
    assert made.names(5) == ["mine", "yours"]


def test_all_find_each_other_again_after_everybody_was_down() -> None:
    made = crowd(1, 12)
    made.publish(3, "disk.iso")
    made.run(20.0)
    for number in range(12):
        made.stop(number)
    made.run(3600.0)
    for number in range(12):
        made.restart(number)
    assert made.run_until(made.all_know_all, 30.0) < 10.0
    made.run(5.0)
    assert made.all_alike()
    assert made.names(0) == ["disk.iso"]


def test_who_vanishes_is_gone_within_seconds_and_who_leaves_at_once() -> None:
    made = crowd(1, 12)
    made.run(20.0)
    made.leave(4)
    made.run(0.2)
    assert made.all_know_all()
    made.stop(7)
    assert not made.all_know_all()
    assert made.run_until(made.all_know_all, 60.0) < 15.0


def test_two_halves_that_were_cut_off_come_together() -> None:
    made = crowd(1, 16)
    made.run(20.0)
    for one in range(8):
        for other in range(8, 16):
            made.block(one, other)
    made.publish(0, "left")
    made.publish(15, "right")
    made.run(600.0)
    assert made.names(1) == ["left"]
    assert made.names(14) == ["right"]
    made.unblock()
    made.run_until(made.all_know_all, 330.0)
    made.run(5.0)
    assert made.all_alike()
    assert made.names(8) == ["left", "right"]


def test_a_quiet_group_costs_little() -> None:
    made = crowd(1)
    for number in range(MEMBERS):
        made.publish(number, "mine")
    made.run(60.0)
    before = sum(node.sent_bytes for node in made.nodes)
    made.run(100.0)
    rate = (sum(node.sent_bytes for node in made.nodes) - before) / MEMBERS / 100.0
    assert rate < 256
