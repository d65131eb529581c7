"""Routing as a service of `Group`: there when the groupspec says so, and nothing of it when not."""

from __future__ import annotations

import pytest

from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.ring import group_address
from swarmd.groups.routing.events import Arrived, Routed, RouteResult
from swarmd.groups.routing.messages import Failed
from tests.groups.builders import WALL, identity, spec

ROUTING = spec("ring", Capability.ROUTING)


def pair(group_spec: GroupSpec) -> dict[int, Group]:
    groups = {number: Group(group_spec, identity(number), SeededRng(number), 0.0) for number in (1, 2)}
    groups[1].open_link(identity(2).peer_id, None, 0.0)
    groups[2].open_link(identity(1).peer_id, None, 0.0)
    pump(groups)
    return groups


def pump(groups: dict[int, Group]) -> None:
    while any(batches := {number: group.messages_to_send() for number, group in groups.items()}.values()):
        for number, batch in zip(groups, batches, strict=True):
            for _, data in batch:
                groups[3 - number].receive_message(identity(number).peer_id, data, 0.0, WALL)


def events(group: Group) -> list[object]:
    found: list[object] = []
    while (event := group.next_event()) is not None:
        found.append(event)
    return found


def test_a_message_and_its_reply() -> None:
    groups = pair(ROUTING)
    one, two = groups[1].routing, groups[2].routing
    assert one is not None
    assert two is not None
    address = group_address(identity(2).peer_id)
    route_id = one.route(address, b"ping", 0.0, reply_wanted=True, is_exact=True)
    pump(groups)
    (arrived,) = [event for event in events(groups[2]) if isinstance(event, Arrived)]
    assert (arrived.message, arrived.sender) == (b"ping", identity(1).peer_id)
    assert arrived.reply_id is not None
    two.reply(arrived.reply_id, b"pong")
    pump(groups)
    assert [event for event in events(groups[1]) if isinstance(event, Routed)] == [
        Routed(route_id, RouteResult.DELIVERED, b"pong", identity(2).peer_id, 1)
    ]


def test_without_the_capability_its_messages_are_unknown() -> None:
    groups = pair(spec())
    assert groups[1].routing is None
    with pytest.raises(RemoteError, match="unknown"):
        groups[1].receive_message(identity(2).peer_id, Failed(bytes(16)).encode(), 0.0, WALL)


def test_a_group_that_is_left_while_messages_are_under_way() -> None:
    groups = pair(ROUTING)
    one = groups[1].routing
    assert one is not None
    one.route(group_address(identity(2).peer_id), b"ping", 0.0, is_exact=True)
    groups[1].close_link(identity(2).peer_id, 0.0, has_left=True)
    groups[1].handle_timer(40.0, WALL + 40.0)
    groups[1].handle_timer(80.0, WALL + 80.0)
    assert [event.result for event in events(groups[1]) if isinstance(event, Routed)] == [RouteResult.NO_ROUTE]
