"""What sessions measure reaches the groups."""

from __future__ import annotations

from swarmd.daemon.latencies import PERIOD, Latencies
from tests.daemon.test_memberships import Member, all_in_one_group, members

__all__ = ["members"]


async def test_a_group_is_told_how_quick_its_links_are(members: list[Member]) -> None:
    first, second, _ = members
    spec = await all_in_one_group(members)
    told = Latencies(first.memberships, first.peers)
    told.handle_timer(0.0)
    await first.peers.dial(second.address, second.identity.peer_id)
    await first.until_linked(second)
    group = first.memberships.get(spec.group_id).group
    told.handle_timer(PERIOD - 0.1)
    assert [each.latency for each in group.neighbour_info(0.0)] == [None], "not yet"
    told.handle_timer(PERIOD)
    (near,) = group.neighbour_info(0.0)
    assert near.latency is not None and 0.0 < near.latency < 1.0
