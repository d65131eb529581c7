"""Some more members than are linked with each other, with the model of `python -m tests.sim group`."""

from __future__ import annotations

import pytest

from swarmd.groups.neighbourhood import CROWD_EXTRA
from swarmd.groups.topology import target_links
from tests.sim.crowd import Crowd
from tests.sim.group import Setting, run

MEMBERS = 80


@pytest.mark.parametrize("seed", [1, 2])
def test_a_group_forms_and_heals_after_a_split(seed: int) -> None:
    figures = run(Setting(MEMBERS, seed, join_period=2.0, settle_period=30.0, loss=0.02, split_period=120.0))
    assert figures["ring_right_after_s"] <= 20.0
    assert figures["healed_after_s"] <= 60.0
    assert figures["estimate_within_20_percent"] >= 0.95
    assert figures["control_bytes_per_s"] <= 1024
    assert figures["links_of_bootstrap"] <= 2 * target_links(MEMBERS) + CROWD_EXTRA
    assert figures["faults"] == 0


def test_inventions_keep_nobody_from_the_ring() -> None:
    figures = run(Setting(MEMBERS, 1, join_period=2.0, settle_period=40.0, hostile=0.2))
    assert figures["ring_right_after_s"] <= 60.0
    assert figures["invented_share"] <= 0.2
    assert figures["faults"] == 0


def test_who_leaves_and_who_comes_is_soon_in_the_ring_or_out_of_it() -> None:
    crowd = Crowd(3)
    crowd.add()
    for _ in range(39):
        crowd.add(0)
    crowd.run(20.0)
    for number in (3, 4, 5):
        crowd.leave(number)
    newcomer = crowd.add(7)
    crowd.run(5.0)
    assert crowd.ring_errors() == 0
    assert crowd.nodes[newcomer].group.estimated_member_count == len(crowd.up())
