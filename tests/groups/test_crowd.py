"""Some more members than are linked with each other, with the model of `python -m tests.sim group` and `whole`."""

from __future__ import annotations

from dataclasses import replace

from swarmd.groups.neighbourhood import CROWD_EXTRA
from swarmd.groups.topology import target_links
from tests.sim.crowd import Crowd
from tests.sim.group import Setting, run
from tests.sim.whole import Plan, simulate

MEMBERS = 72
FEW = 30
PLAN = Plan(members=FEW, churn=0.6, period=30.0, posts=8, routes=40, shares=6, settled_at=20.0)


def test_a_group_forms_and_heals_after_a_split() -> None:
    figures = run(
        Setting(MEMBERS, 1, join_period=2.0, settle_period=30.0, loss=0.02, split_period=60.0, measured_period=15.0)
    )
    assert figures["ring_right_after_s"] <= 20.0
    assert figures["healed_after_s"] <= 60.0
    assert figures["estimate_within_20_percent"] >= 0.95
    assert figures["control_bytes_per_s"] <= 1024
    assert figures["links_of_bootstrap"] <= 2 * target_links(MEMBERS) + CROWD_EXTRA
    assert figures["faults"] == 0


def test_inventions_keep_nobody_from_the_ring() -> None:
    figures = run(Setting(MEMBERS, 1, join_period=2.0, settle_period=20.0, hostile=0.2, measured_period=5.0))
    assert figures["ring_right_after_s"] <= 60.0
    assert figures["invented_share_most"] == 0.0, "at any moment, on anybody's list"
    assert figures["faults"] == 0


def test_few_are_all_met_and_none_of_those_who_were_invented() -> None:
    figures = run(Setting(20, 3, join_period=1.0, settle_period=30.0, hostile=0.2, measured_period=10.0))
    assert figures["listed_share"] == 1.0
    assert figures["invented_share_most"] == 0.0


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


def test_posts_messages_and_shares_cross_its_own_mesh_and_a_split_that_has_ended() -> None:
    result = simulate(replace(PLAN, seed=1, split_period=45.0))
    assert result.posts_in_10_s >= 0.99
    assert result.posts_stayed_a_minute == result.posts_came_later == result.shares_in_a_minute == 1.0
    assert result.routes_reached >= 0.95
    assert result.routes_twice == 0
    for healed in (result.healed_ring, result.healed_posts, result.healed_shares):
        assert healed is not None
        assert healed <= 60.0
    assert result.faults == {}


def test_and_though_some_of_its_members_lie() -> None:
    result = simulate(replace(PLAN, seed=2, hostile=0.2))
    assert result.posts_stayed_a_minute >= 0.99
    assert result.routes_reached >= 0.9
    assert result.shares_in_a_minute >= 0.99
    assert result.invented_share_most == 0.0
    assert result.faults == {}
