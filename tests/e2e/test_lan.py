"""Two machines on one network, as two network namespaces joined by a cable: members find each other by mDNS alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from swarmd.groups.tickets import GroupTicket, parse_ticket
from tests.e2e.farm import MIB, Farm, wait_for_members, wait_for_share
from tests.e2e.nodes import Node, start_all
from tests.e2e.privileges import needs
from tests.leftovers import remove_namespaces

ANN, BOB = f"swarmd-e2e-ann-{os.getpid()}", f"swarmd-e2e-bob-{os.getpid()}"
pytestmark = [needs("ip"), pytest.mark.root]


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@pytest.fixture
def cable() -> Iterator[None]:
    """Both ends up, with an address each."""
    remove_namespaces()
    if subprocess.run(["ip", "netns", "add", ANN], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    try:
        ip(f"netns add {BOB}")
        ip(f"-netns {ANN} link add lan0 type veth peer name lan0 netns {BOB}")
        for name, address in ((ANN, "10.79.27.1/24"), (BOB, "10.79.27.2/24")):
            ip(f"-netns {name} link set lo up")
            ip(f"-netns {name} address add {address} dev lan0")
            ip(f"-netns {name} link set lan0 up")
        yield
    finally:
        for name in (ANN, BOB):
            subprocess.run(["ip", "netns", "delete", name], check=False)


def in_namespace(farm: Farm, name: str) -> Node:
    """A daemon as it runs by default: all addresses, the usual port, mDNS."""
    return farm.node(listen=(), arguments=(), prefix=("ip", "netns", "exec", name))


def without_addresses(ticket: str) -> str:
    parsed = parse_ticket(ticket)
    assert isinstance(parsed, GroupTicket)
    assert parsed.contacts
    return GroupTicket(parsed.spec, (), None).text()


def test_members_find_each_other_with_no_address_given(cable: None, farm: Farm) -> None:
    ann, bob = in_namespace(farm, ANN), in_namespace(farm, BOB)
    start_all(ann, bob)
    assert ann.call("status")["mdns"]
    ticket = ann.call("group.create", name="films")["ticket"]
    bob.call("group.create", name="another")
    bob.call("group.join", ticket=without_addresses(ticket))
    for node in (ann, bob):
        wait_for_members(node, "films", 1)
    path = farm.file("disk.iso", MIB)
    ann.call("share", path=str(path), group="films")
    wait_for_share(bob, "disk.iso")
    bob.swarm("get", "disk.iso", "-o", bob.downloads)
    assert (bob.downloads / "disk.iso").read_bytes() == path.read_bytes()
    (peer,) = bob.call("peer.list")["peers"]
    assert (peer["address"].startswith("10.79.27.1:"), peer["groups"]) == (True, ["films"]) or peer["inbound"]


def test_who_comes_back_is_found_again(cable: None, farm: Farm) -> None:
    """On another port, with nothing remembered of the other."""
    ann, bob = in_namespace(farm, ANN), in_namespace(farm, BOB)
    start_all(ann, bob)
    bob.call("group.join", ticket=without_addresses(ann.call("group.create", name="films")["ticket"]))
    wait_for_members(ann, "films", 1)
    bob.stop()
    wait_for_members(ann, "films", 0)
    other = in_namespace(farm, BOB)
    other.start()
    other.call("group.join", ticket=without_addresses(ann.call("group.invite", group="films")["ticket"]))
    wait_for_members(ann, "films", 1)
