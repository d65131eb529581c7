"""Members of one large group in virtual time: real Group machines, real message bytes, a model of sessions.

A member has a place on a map, and a session the latency of its way. Sessions are reliable and in order: a lost packet
delays what comes after it. To call takes three round trips; nobody answers where nobody is, and that is known after
`DIAL_TIMEOUT`. Who crashes, or is cut off, is missed after `SILENCE`.

Hostile members run the same machine, but every report of theirs names invented members, each of which claims to stand
next to the receiver; they offer no records and give none; and `corrupt` may change more of them. Who breaks the rules
badly is not heard again by whom it did so to. Not here: join proofs, signatures, bandwidth.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.events import LinkReleased
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.messages import ENTRIES_PER_MESSAGE, Density, MemberEntry, Members, Offer, Records
from swarmd.groups.ring import group_address
from swarmd.identity.identity import Identity
from tests.sim.clockwork import Clockwork

WALL = 1_700_000_000.0
LAN_LATENCY = 0.002
MAP_LATENCY = 0.060
"""Seconds, one way, from one side of the map to the other."""
DIAL_TIMEOUT = 3.0
SILENCE = (10.0, 30.0)
MESSAGE_OVERHEAD = 60
"""Bytes of record, UDP and IP headers of a message that travels alone."""
SESSION_BYTES = 900
"""What either end sends to open a session and prove membership."""
RETRANSMIT_PERIOD = 0.25
MAX_SESSIONS = 1024
"""As of the daemon: who calls beyond it is refused."""
N_INVENTIONS = 20_000
BAN_PENALTY = 10


@dataclass
class Link:
    latency: float
    arrives_at: dict[int, float] = field(default_factory=dict)
    """When the last message to that end arrives: none overtakes another."""


@dataclass
class Node:
    number: int
    identity: Identity
    address: Address
    where: tuple[float, float]
    group: Group
    is_hostile: bool
    joined_at: float = 0.0
    is_up: bool = True
    timer_at: float = -1.0
    sent_bytes: int = 0
    sent_messages: int = 0
    links: dict[int, Link] = field(default_factory=dict)
    most_links: int = 0

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id


class Crowd:
    """Nodes are known by their numbers; odd and even ones do not reach each other while `is_split`. `hear` is told of
    every event, `corrupt` of every hostile node."""

    def __init__(
        self,
        seed: int,
        loss: float = 0.0,
        capabilities: Capability = Capability.REPLICATION,
        hear: Callable[[Node, object], None] | None = None,
        corrupt: Callable[[Node], None] | None = None,
    ) -> None:
        self.clock = Clockwork()
        self.rng = SeededRng(seed)
        self.loss = loss
        self.spec = GroupSpec.create("crowd", SeededRng(1), capabilities=capabilities).spec
        self.nodes: list[Node] = []
        self.faults: list[str] = []
        """Of honest ones; those of hostile ones are only counted."""
        self.caught: Counter[str] = Counter()
        self.is_split = False
        self.inventions: list[tuple[int, PeerId]] = []
        self.invented: frozenset[PeerId] = frozenset()
        self._hear, self._corrupt = hear, corrupt
        self._banned: set[frozenset[int]] = set()
        self._numbers: dict[PeerId, int] = {}
        self._by_address: dict[Address, int] = {}

    @property
    def now(self) -> float:
        return self.clock.now

    def invent(self) -> None:
        """Members that nobody is, for hostile ones to name."""
        made = [PeerId(self.rng.bytes(32)) for _ in range(N_INVENTIONS)]
        self.inventions = sorted((group_address(peer).number, peer) for peer in made)
        self.invented = frozenset(made)

    def add(self, *contacts: int, is_hostile: bool = False) -> int:
        number = len(self.nodes)
        identity = Identity.generate(SeededRng(1_000_000 + number))
        address = Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 7927)
        rng = SeededRng(self.rng.randrange(2**32))
        group = Group(self.spec, identity, rng, self.now, secrets=rng)
        where = (self.rng.random(), self.rng.random())
        node = Node(number, identity, address, where, group, is_hostile, self.now)
        if is_hostile and self._corrupt is not None:
            self._corrupt(node)
        self.nodes.append(node)
        self._numbers[identity.peer_id] = self._by_address[address] = number
        group.set_addresses(address.port, [address], self.now)
        for each in contacts:
            named = self.nodes[each]
            group.add_contact(Contact(named.peer_id, (named.address,)), Source.TICKET, self.now)
        self.pump(node)
        return number

    def crash(self, number: int) -> None:
        self.nodes[number].is_up = False
        for other in list(self.nodes[number].links):
            self._miss(number, other)

    def leave(self, number: int) -> None:
        node = self.nodes[number]
        node.is_up = False
        for other, link in list(node.links.items()):
            self.clock.after(link.latency, self._close, number, other, link, number)

    def split(self) -> None:
        """Odd and even ones do not reach each other until `heal`."""
        self.is_split = True
        for node in self.nodes:
            for other in [each for each in node.links if each > node.number and (each ^ node.number) & 1]:
                self._miss(node.number, other)

    def heal(self) -> None:
        self.is_split = False

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        self.clock.at(end, lambda: None)
        self.clock.run(end, lambda: False)

    # what is asked

    def up(self) -> list[Node]:
        return [node for node in self.nodes if node.is_up]

    def ring_errors(self) -> int:
        """Members whose next neighbour up or down the ring is not the one that it should be."""
        up = sorted(self.up(), key=lambda node: group_address(node.peer_id))
        n, wrong = len(up), 0
        for at, node in enumerate(up):
            above, below = up[(at + 1) % n].peer_id, up[at - 1].peer_id
            group = node.group
            wrong += group.next_on_ring(is_up=True) != above or group.next_on_ring(is_up=False) != below
        return wrong

    # the driver

    def pump(self, node: Node) -> None:
        """After something was done to its group."""
        if not node.is_up:
            return
        group, now = node.group, self.clock.now
        candidates = group.candidates(now)
        batches: dict[PeerId, list[bytes]] = {}
        for peer, data in group.messages_to_send():
            batches.setdefault(peer, []).append(data)
        for peer, batch in batches.items():
            self._carry(node, self._numbers[peer], batch)
        while (event := group.next_event()) is not None:
            if isinstance(event, LinkReleased):
                other = self._numbers[event.peer_id]
                if (link := node.links.get(other)) is not None:
                    arrives_at = max(now + link.latency, link.arrives_at.get(other, 0.0))
                    self.clock.at(arrives_at, self._close, node.number, other, link, None)
            elif self._hear is not None:
                self._hear(node, event)
        for candidate in candidates:
            for address in candidate.addresses:
                self._dial(node, address, candidate.peer_id)
        deadline = max(group.next_deadline(), now)
        if deadline != node.timer_at:
            node.timer_at = deadline
            self.clock.at(deadline, self._fire, node, deadline)

    def _fire(self, node: Node, deadline: float) -> None:
        if node.is_up and node.timer_at == deadline:
            node.timer_at = -1.0
            node.group.handle_timer(self.now, WALL + self.now)
            self.pump(node)

    def _carry(self, node: Node, other: int, batch: list[bytes]) -> None:
        """Messages that leave together arrive together."""
        if (link := node.links.get(other)) is None:
            return
        if node.is_hostile:
            batch = [self._falsified(data, other) for data in batch if data[0] not in (Offer.type, Records.type)]
        delay = link.latency
        for data in batch:
            node.sent_bytes += len(data) + MESSAGE_OVERHEAD
            node.sent_messages += 1
            while self.loss and self.rng.random() < self.loss:
                delay += RETRANSMIT_PERIOD + 2 * link.latency
        arrives_at = max(self.now + delay, link.arrives_at.get(other, 0.0))
        link.arrives_at[other] = arrives_at
        self.clock.at(arrives_at, self._deliver, node, self.nodes[other], link, batch)

    def _falsified(self, data: bytes, receiver: int) -> bytes:
        if data[0] == Members.type:
            return self._false_report(self.nodes[receiver])
        return Density(1 << 20, 4_000_000_000).encode() if data[0] == Density.type else data

    def _deliver(self, sender: Node, receiver: Node, link: Link, batch: list[bytes]) -> None:
        if not receiver.is_up or receiver.links.get(sender.number) is not link or self._is_cut(sender, receiver):
            return
        try:
            for data in batch:
                receiver.group.receive_message(sender.peer_id, data, self.now, WALL + self.now)
        except RemoteError as error:
            if sender.is_hostile:
                self.caught[str(error)] += 1
            else:
                self.faults.append(str(error))
            if error.penalty >= BAN_PENALTY:
                self._banned.add(frozenset((sender.number, receiver.number)))
            self._close(sender.number, receiver.number, link, None)
        self.pump(receiver)

    def _dial(self, node: Node, address: Address, wanted: PeerId | None) -> None:
        number = self._by_address.get(address)
        found = None if number is None else self.nodes[number]
        latency = MAP_LATENCY if found is None else self._latency(node, found)
        period = 6 * latency
        while self.loss and self.rng.random() < self.loss:
            period += 1.0
        if found is None or not found.is_up or self._is_cut(node, found):
            period = DIAL_TIMEOUT
        self.clock.after(period, self._connect, node, address, found, wanted, latency)

    def _connect(self, node: Node, address: Address, found: Node | None, wanted: PeerId | None, latency: float) -> None:
        if not node.is_up:
            return
        if found is None or not found.is_up or self._is_cut(node, found) or wanted not in (None, found.peer_id):
            node.group.dial_failed(address, self.now)
        elif found.number in node.links:
            node.group.dial_succeeded(address, found.peer_id, self.now)
        elif max(len(node.links), len(found.links)) >= MAX_SESSIONS:
            node.group.dial_failed(address, self.now)
        else:
            node.group.dial_succeeded(address, found.peer_id, self.now)
            self._open(node, found, address, latency)
        self.pump(node)

    def _open(self, node: Node, found: Node, address: Address, latency: float) -> None:
        link = Link(latency)
        seen = Address(node.address.host, 50_000)
        for one, other, via in ((node, found, address), (found, node, seen)):
            one.links[other.number] = link
            one.most_links = max(one.most_links, len(one.links))
            one.sent_bytes += SESSION_BYTES
            one.group.open_link(other.peer_id, via, self.now)
            one.group.measure(other.peer_id, 2 * latency)
        self.pump(found)

    def _miss(self, number: int, other: int) -> None:
        """The two do not hear of each other any more, and notice after a while."""
        link = self.nodes[number].links[other]
        period = SILENCE[0] + self.rng.random() * (SILENCE[1] - SILENCE[0])
        self.clock.after(period, self._close, number, other, link, None)

    def _close(self, number: int, other: int, link: Link, left: int | None) -> None:
        one, two = self.nodes[number], self.nodes[other]
        if one.links.get(other) is not link:
            return
        del one.links[other], two.links[number]
        for node, peer in ((one, two), (two, one)):
            if node.is_up:
                node.group.close_link(peer.peer_id, self.now, has_left=peer.number == left)
                self.pump(node)

    def _is_cut(self, one: Node, other: Node) -> bool:
        is_apart = self.is_split and bool((one.number ^ other.number) & 1)
        return is_apart or (bool(self._banned) and frozenset((one.number, other.number)) in self._banned)

    def _latency(self, one: Node, other: Node) -> float:
        return LAN_LATENCY + MAP_LATENCY * math.dist(one.where, other.where)

    def _false_report(self, receiver: Node) -> bytes:
        """Inventions around the receiver's place, at addresses where nobody is or somebody else."""
        at = bisect_left(self.inventions, (group_address(receiver.peer_id).number,))
        at += self.rng.randrange(4 * ENTRIES_PER_MESSAGE) - 2 * ENTRIES_PER_MESSAGE
        entries = []
        for step in range(ENTRIES_PER_MESSAGE):
            _, peer = self.inventions[(at + step) % len(self.inventions)]
            address = Address(f"10.99.{step}.{self.rng.randrange(250)}", 7927)
            if step % 2:
                address = self.rng.choice(self.nodes).address
            entries.append(MemberEntry(peer, 0, (address,)))
        return Members(tuple(entries)).encode()
