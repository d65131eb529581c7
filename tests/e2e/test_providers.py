"""A group that is larger than its members' neighbours: who holds an object is found, over the ring or by the DHT alone.

Six daemons that keep hardly more than two neighbours each (`tests.e2e.sparse`) are in two groups, one of which has a
ring that is deaf to all that is asked about providers.
"""

from __future__ import annotations

import itertools
from functools import partial

import pytest

from swarmd.core.clock import SystemClock
from tests.bench.providers import fetch, is_listed
from tests.e2e.farm import MIB, Farm
from tests.e2e.nodes import Node
from tests.e2e.sparse import DEAF

MEMBERS = 6
ROUNDS = 8
PATIENCE = 60.0
ARGUMENTS = ("--no-mdns",)
MODULE = "tests.e2e.sparse"


@pytest.fixture
def nodes(farm: Farm) -> list[Node]:
    first = farm.start(1, arguments=ARGUMENTS, module=MODULE)
    bootstrap = (*ARGUMENTS, "--bootstrap", first[0].address())
    return first + farm.start(MEMBERS - 1, arguments=bootstrap, module=MODULE)


@pytest.mark.parametrize(("name", "by"), [("plain", "ring"), (DEAF, "dht")])
def test_who_holds_an_object_is_found(farm: Farm, nodes: list[Node], name: str, by: str) -> None:
    ticket = nodes[0].call("group.create", name=name)["ticket"]
    for node in nodes[1:]:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        node.wait_until(partial(knows_all, node, name), "members")
    for number in range(ROUNDS):
        giver, getter = first_strangers(nodes, name)
        path = farm.file(f"{number}.bin", MIB)
        giver.call("share", path=str(path), group=name)
        getter.wait_until(partial(is_listed, getter, path.name), "shares")
        is_far = peer_id(giver) not in neighbours(getter, name)
        done = fetch(getter, path, name)
        assert (getter.downloads / path.name).read_bytes() == path.read_bytes()
        if is_far and done.by == by:
            return
    pytest.fail(f"in {ROUNDS} rounds none was found by {by}")


def knows_all(node: Node, name: str) -> bool:
    return int(node.call("group.show", group=name)["members"]) == MEMBERS - 1


def first_strangers(nodes: list[Node], name: str) -> tuple[Node, Node]:
    """Each look is six calls, so they may follow each other at once."""
    clock = SystemClock()
    end = clock.monotonic() + PATIENCE
    while not (pairs := strangers(nodes, name)):
        assert clock.monotonic() < end, "all are linked with all"
    return pairs[0]


def strangers(nodes: list[Node], name: str) -> list[tuple[Node, Node]]:
    """Pairs that are not linked."""
    ids = [peer_id(node) for node in nodes]
    linked = [neighbours(node, name) for node in nodes]
    return [
        (nodes[one], nodes[other])
        for one, other in itertools.permutations(range(len(nodes)), 2)
        if ids[one] not in linked[other] and ids[other] not in linked[one]
    ]


def peer_id(node: Node) -> str:
    return str(node.call("id")["peer_id"])


def neighbours(node: Node, name: str) -> set[str]:
    return {each["peer_id"] for each in node.call("group.show", group=name)["neighbours"]}
