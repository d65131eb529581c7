"""Some members of one group in virtual time: sessions that come up, carry messages in order, and break.

The driver here does what the daemon does, over a network that is a heap of events: it dials what a group
wants dialed, tells it of links, carries messages with a latency of each link's own, runs timers, and stores
what a restart needs. Everything follows from the seed. Not here: handshakes and join proofs, bandwidth.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.events import LinkReleased, MemberJoined, MemberLeft, PeerFaulted, RecordDropped, RecordStored
from swarmd.groups.group import Group
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.records import Record
from swarmd.identity.identity import Identity

from .builders import WALL, identity, publish, share, spec, unpublish

LATENCIES = (0.002, 0.080)
"""Seconds, one way: a LAN to another continent."""
REFUSED_AFTER = 0.1
"""Seconds until a dial that nobody answers has failed."""


@dataclass
class Node:
    identity: Identity
    address: Address
    group: Group
    is_up: bool = True
    timer_at: float = -1.0
    present: set[PeerId] = field(default_factory=set)
    records: dict[tuple[PeerId, str], Record] = field(default_factory=dict)
    remembered: list[tuple[Contact, float]] = field(default_factory=list)
    sent_bytes: int = 0

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id


class Simulation:
    """Nodes are known by their number, 0 and up."""

    def __init__(self, seed: int, group_spec: GroupSpec | None = None) -> None:
        self.now = 0.0
        self.rng = SeededRng(seed)
        self.spec = group_spec or spec()
        self.nodes: list[Node] = []
        self.faults: list[str] = []
        self.sent: Counter[int] = Counter()
        self._numbers: dict[PeerId, int] = {}
        self._links: dict[frozenset[int], float] = {}
        self._blocked: set[frozenset[int]] = set()
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0

    # what a test does

    def add(self, *contacts: int) -> int:
        """A new member, with a ticket that names these."""
        number = len(self.nodes)
        own = identity(1000 + number)
        address = Address(f"10.0.{number // 250}.{number % 250 + 1}", 7927)
        self.nodes.append(Node(own, address, Group(self.spec, own, SeededRng(self.rng.randrange(2**32)), self.now)))
        self._numbers[own.peer_id] = number
        self._start(number, [Contact(self.nodes[each].peer_id, (self.nodes[each].address,)) for each in contacts])
        return number

    def stop(self, number: int) -> None:
        """As if the power failed: neighbours notice that the session is gone."""
        node = self.nodes[number]
        node.is_up, node.remembered = False, node.group.remembered(self.now)
        for pair in [pair for pair in self._links if number in pair]:
            self.cut(*pair)

    def restart(self, number: int, *, with_memory: bool = True) -> None:
        """The same identity again, with what was stored or without."""
        node = self.nodes[number]
        node.group = Group(self.spec, node.identity, SeededRng(self.rng.randrange(2**32)), self.now)
        node.is_up, node.timer_at, node.present = True, -1.0, set()
        if with_memory:
            assert node.group.restore([each.encode() for each in node.records.values()], WALL + self.now) == 0
        else:
            node.records.clear()
        self._start(number, [contact for contact, _ in node.remembered])

    def leave(self, number: int) -> None:
        """It leaves the group, and its sessions tell."""
        self.nodes[number].is_up = False
        for pair in [pair for pair in self._links if number in pair]:
            self.cut(*pair, left=number)

    def cut(self, one: int, other: int, *, left: int | None = None) -> None:
        """The session between the two breaks; what is under way is lost."""
        del self._links[frozenset((one, other))]
        for number, peer in ((one, other), (other, one)):
            if self.nodes[number].is_up:
                group = self.nodes[number].group
                group.close_link(self.nodes[peer].peer_id, self.now, has_left=peer == left)
                self._pump(number)

    def block(self, one: int, other: int) -> None:
        """No connection between the two until `unblock`."""
        pair = frozenset((one, other))
        self._blocked.add(pair)
        if pair in self._links:
            self.cut(one, other)

    def unblock(self) -> None:
        self._blocked.clear()

    def links(self) -> list[tuple[int, int]]:
        pairs = [sorted(pair) for pair in self._links]
        return sorted((one, other) for one, other in pairs)

    def publish(self, number: int, name: str, content: int = 1) -> Record:
        made = publish(self.nodes[number].group, share(name, content), self.now, WALL + self.now)
        self._pump(number)
        return made

    def unpublish(self, number: int, name: str) -> None:
        unpublish(self.nodes[number].group, name, self.now, WALL + self.now)
        self._pump(number)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    def run_until(self, is_done: Callable[[], bool], limit: float, step: float = 0.1) -> float:
        """How long it took; AssertionError after `limit` seconds."""
        begin = self.now
        while not is_done():
            assert self.now - begin < limit, f"not within {limit} s"
            self.run(step)
        return self.now - begin

    # what a test asks

    def up(self) -> list[int]:
        return [number for number, node in enumerate(self.nodes) if node.is_up]

    def all_know_all(self) -> bool:
        everybody = {self.nodes[number].peer_id for number in self.up()}
        return all(node.present | {node.peer_id} == everybody for node in self.nodes if node.is_up)

    def all_alike(self) -> bool:
        """Whether all hold the same and have stored what they hold."""
        stored = {frozenset(self.nodes[number].records.values()) for number in self.up()}
        held = {frozenset(self.nodes[number].group.shares()) for number in self.up()}
        return len(stored) == 1 and held == {frozenset(each for each in stored.pop() if not each.is_tombstone)}

    def names(self, number: int) -> list[str]:
        return sorted(each.share.name for each in self.nodes[number].group.shares())

    # the driver

    def _start(self, number: int, contacts: list[Contact]) -> None:
        node = self.nodes[number]
        node.group.set_addresses(node.address.port, [node.address], self.now)
        for contact in contacts:
            node.group.add_contact(contact, Source.TICKET, self.now)
        self._pump(number)

    def _pump(self, number: int) -> None:
        node = self.nodes[number]
        for peer, data in node.group.messages_to_send():
            self._carry(number, self._numbers[peer], data)
        self._note_events(number)
        for candidate in node.group.candidates(self.now):
            for address in candidate.addresses:
                self._dial(number, address)
        deadline = max(node.group.next_deadline(), self.now)
        if deadline != node.timer_at:
            node.timer_at = deadline
            self._at(deadline, lambda: self._fire(number, node.group, deadline))

    def _fire(self, number: int, group: Group, deadline: float) -> None:
        node = self.nodes[number]
        if not node.is_up or node.group is not group or node.timer_at != deadline:
            return
        node.timer_at = -1.0
        group.handle_timer(self.now, WALL + self.now)
        self._pump(number)
        assert node.timer_at > self.now, "a deadline that does not pass"

    def _note_events(self, number: int) -> None:
        node = self.nodes[number]
        while (event := node.group.next_event()) is not None:
            match event:
                case MemberJoined():
                    node.present.add(event.peer_id)
                case MemberLeft():
                    node.present.remove(event.peer_id)
                case RecordStored():
                    node.records[event.record.key] = event.record
                case RecordDropped():
                    del node.records[event.record.key]
                case LinkReleased():
                    self._release(number, self._numbers[event.peer_id])
                case PeerFaulted():
                    self.faults.append(event.reason)
                case _:
                    pass

    def _release(self, number: int, other: int) -> None:
        """Closed in order: what was said before arrives."""
        if (latency := self._links.get(frozenset((number, other)))) is not None:
            self._at(self.now + latency, lambda: self._cut_if_same(number, other, latency))

    def _cut_if_same(self, one: int, other: int, latency: float) -> None:
        if self._links.get(frozenset((one, other))) == latency:
            self.cut(one, other)

    def _carry(self, sender: int, receiver: int, data: bytes) -> None:
        latency = self._links.get(frozenset((sender, receiver)))
        if latency is None:
            return
        self.nodes[sender].sent_bytes += len(data)
        self.sent[data[0]] += len(data)
        self._at(self.now + latency, lambda: self._deliver(sender, receiver, latency, data))

    def _deliver(self, sender: int, receiver: int, latency: float, data: bytes) -> None:
        if self._links.get(frozenset((sender, receiver))) != latency:
            return
        group = self.nodes[receiver].group
        try:
            group.receive_message(self.nodes[sender].peer_id, data, self.now, WALL + self.now)
        except RemoteError as error:
            self.faults.append(str(error))
            self.cut(sender, receiver)
        self._pump(receiver)

    def _dial(self, number: int, address: Address) -> None:
        found = [other for other, node in enumerate(self.nodes) if node.address == address]
        group = self.nodes[number].group
        latency = LATENCIES[0] + self.rng.random() * (LATENCIES[1] - LATENCIES[0])
        self._at(self.now + 2 * latency, lambda: self._connect(number, group, found[0], address, latency))

    def _connect(self, number: int, group: Group, other: int, address: Address, latency: float) -> None:
        node, peer = self.nodes[number], self.nodes[other]
        pair = frozenset((number, other))
        if not node.is_up or node.group is not group:
            return
        if not peer.is_up or pair in self._blocked:
            group.dial_failed(address, self.now)
            self._pump(number)
            return
        group.dial_succeeded(address, peer.peer_id, self.now)
        if pair not in self._links:
            self._links[pair] = latency
            group.open_link(peer.peer_id, address, self.now)
            peer.group.open_link(node.peer_id, Address(node.address.host, 50_000 + other), self.now)
            self._pump(other)
        self._pump(number)

    def _at(self, when: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, action))
