"""Providers as a service of `Group`, between real groups in virtual time: found, dialed, held, and let go."""

from __future__ import annotations

import pytest

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.dialer import Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability
from swarmd.groups.membership import KEPT_PERIOD
from swarmd.groups.providers.events import Found
from swarmd.groups.providers.messages import Unknown
from swarmd.groups.topology import Reason
from tests.groups.builders import WALL, content_id, identity, spec
from tests.sim.crowd import Crowd, Node

OBJECT = content_id(7)
N = 48
"""Enough that not everybody is linked with everybody."""


class Finders(Crowd):
    """Members that dial whom they find, as the daemon does."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.found: list[tuple[int, PeerId, float]] = []

    def pump(self, node: Node) -> None:
        providers = node.group.providers
        while providers is not None and (event := providers.next_event()) is not None:
            self._take(node, event)
        super().pump(node)

    def _take(self, node: Node, event: Found) -> None:
        for contact in event.contacts:
            assert contact.peer_id is not None
            self.found.append((node.number, contact.peer_id, self.now))
            node.group.add_contact(contact, Source.GOSSIP, self.now, age=KEPT_PERIOD - 600.0)
            node.group.hold([contact.peer_id], self.now)

    def provide(self, number: int) -> None:
        providers = self.nodes[number].group.providers
        assert providers is not None
        providers.provide([OBJECT], self.now)
        self.pump(self.nodes[number])

    def find(self, number: int) -> None:
        providers = self.nodes[number].group.providers
        assert providers is not None
        assert providers.is_needed
        providers.find(OBJECT, self.now)
        self.pump(self.nodes[number])

    def release(self, number: int) -> None:
        self.nodes[number].group.hold([], self.now)
        self.pump(self.nodes[number])


def crowd(n: int) -> Finders:
    made = Finders(seed=5)
    made.add()
    for _ in range(n - 1):
        made.add(0)
    made.run(60.0)
    return made


def test_a_seeder_who_is_no_neighbour_is_found_linked_and_let_go() -> None:
    made = crowd(N)
    seeder = made.nodes[7]
    made.provide(7)
    made.run(40.0)
    asker = next(node for node in made.nodes if seeder.peer_id not in node.group.neighbours and node is not seeder)
    began_at = made.now
    made.find(asker.number)
    made.run(3.0)
    assert [(number, peer) for number, peer, _ in made.found] == [(asker.number, seeder.peer_id)]
    assert made.found[0][2] - began_at < 1.0
    assert seeder.peer_id in asker.group.neighbours, "linked within seconds"
    made.run(120.0)
    reasons = {info.peer_id: info.reason for info in asker.group.neighbour_info(made.now)}
    assert reasons[seeder.peer_id] is Reason.TRANSFER, "kept while it is held"
    made.release(asker.number)
    made.run(120.0)
    links = {info.peer_id: info.reason for info in asker.group.neighbour_info(made.now)}
    assert links.get(seeder.peer_id) is not Reason.TRANSFER
    assert made.faults == []


def test_a_small_group_announces_nothing() -> None:
    made = crowd(8)
    made.provide(3)
    made.run(60.0)
    infos = [node.group.providers.info for node in made.nodes if node.group.providers is not None]
    assert len(infos) == 8
    assert sum(info.sent_bytes for info in infos) == 0


@pytest.mark.parametrize("capabilities", [Capability.POSTING, Capability.REPLICATION | Capability.NO_PEERS])
def test_where_it_is_not_there_its_messages_are_unknown(capabilities: Capability) -> None:
    groups = [Group(spec("p", capabilities), identity(number), SeededRng(number), 0.0) for number in (1, 2)]
    assert groups[0].providers is None
    for number, group in enumerate(groups):
        group.open_link(identity(2 - number).peer_id, None, 0.0)
    for _, data in groups[1].messages_to_send():
        groups[0].receive_message(identity(2).peer_id, data, 0.0, WALL)
    with pytest.raises(RemoteError, match="unknown"):
        groups[0].receive_message(identity(2).peer_id, Unknown(bytes(16)).encode(), 0.0, WALL)
