"""`NetGroup`: the calls of NetGroup's that are about the group itself, and its events, between real daemons."""

from __future__ import annotations

import asyncio

import pytest

from swarmd.control.client import DaemonUnreachable, NetGroup
from swarmd.control.records import Coverage, Event, MemberChange
from swarmd.core.errors import InvalidArgument, NoPeers, Unreachable
from tests.e2e.farm import Farm, wait_for_members

NAME = "films"
PATIENCE = 30.0


async def heard(group: NetGroup, *names: str) -> dict[str, Event]:
    """Until each of them, as TOPIC NAME, was there: the last of each."""
    found: dict[str, Event] = {}
    async for event in group.events():
        found[f"{event.topic} {event.name}"] = event
        if found.keys() >= set(names):
            return found
    raise AssertionError("the group was closed")


async def test_a_member_is_named_by_a_program(farm: Farm) -> None:
    """In a group whose members meet only those who are named to them."""
    first, second, third = farm.start(3)
    ticket = first.call("group.create", name=NAME, routing=True, peers=False)["ticket"]
    for node in (second, third):
        node.call("group.join", ticket=ticket)
    wait_for_members(first, NAME, 2)
    other = second.call("group.create", name="other")["group_id"]
    peer, (place,) = third.call("id")["peer_id"], third.call("status")["listen"][:1]
    async with await NetGroup.join(NAME, str(second.socket)) as group, asyncio.timeout(PATIENCE):
        with pytest.raises(InvalidArgument, match="this node itself"):
            await group.add_neighbor(await group.own_id())
        with pytest.raises(Unreachable, match="no address of peer"):
            await group.add_neighbor(peer)
        with pytest.raises(Unreachable):
            await group.add_neighbor(peer, first.call("status")["listen"][0])
        events = asyncio.create_task(heard(group, "coverage changed", "members joined"))
        await group.info()  # after it the subscription, asked for before, stands
        await group.add_neighbor(peer, place)
        await group.add_neighbor(peer)
        info = await group.info()
        assert NetGroup.address_of(peer) in [each.address for each in info.neighbours]
        found = await events
        joined, changed = found["members joined"].data, found["coverage changed"].data
        assert isinstance(joined, MemberChange)
        assert isinstance(changed, Coverage)
        assert joined.peer_id == peer
        assert (changed.coverage_from, changed.coverage_to) == (info.coverage_from, info.coverage_to)
        await group.set_receive_mode("nearest")
        assert (await group.info()).receive_mode == "nearest"
        events = asyncio.create_task(heard(group, "members left", "groups left"))
        await group.info()
        third.call("group.leave", group=NAME)
        second.wait_until(lambda: second.call("group.show", group=NAME)["connected"] == 1, "members")
        second.call("group.leave", group=NAME)
        await events
    async with await NetGroup.join(other, str(second.socket)) as group:
        with pytest.raises(NoPeers, match="has not proved that it is in this group"):
            await group.add_neighbor(peer)
        await group.add_member_hint("a" * 52)


async def test_iterations_end_with_the_group_or_the_daemon(farm: Farm) -> None:
    (node,) = farm.start()
    node.call("group.create", name=NAME, posting=True)
    async with await NetGroup.join(NAME, str(node.socket)) as group, asyncio.timeout(PATIENCE):
        waiting = asyncio.create_task(heard(group, "posts never"))
        await group.info()
        await group.close()
        with pytest.raises(AssertionError, match="was closed"):
            await waiting
    async with await NetGroup.join(NAME, str(node.socket)) as group, asyncio.timeout(PATIENCE):
        waiting = asyncio.create_task(heard(group, "posts never"))
        await group.info()
        await asyncio.to_thread(node.stop)
        with pytest.raises(DaemonUnreachable):
            await waiting
        with pytest.raises(DaemonUnreachable):
            await group.post("nobody")
    await asyncio.to_thread(node.start)
    async with await NetGroup.join(NAME, str(node.socket)) as group:
        assert (await group.post("again")).text == "again"
