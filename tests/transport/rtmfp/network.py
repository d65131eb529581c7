"""RTMFP endpoints on a bad network, in virtual time and from one seed.

Each datagram may be lost, doubled, damaged, or delayed so that others overtake it. Nodes have addresses that can
change. Nothing waits: the clock jumps to what is due next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng, SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import Event
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packing import BATCH_BYTES
from swarmd.transport.rtmfp.profile import Profile
from swarmd.transport.rtmfp.session import RtmfpSession


@dataclass
class Weather:
    """What happens to a datagram: chances, and seconds of delay from `delay` to `delay + jitter`."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    delay: float = 0.02
    jitter: float = 0.0
    largest: int = 65_507  # longer ones vanish, as in a path that is narrower than it says


@dataclass
class Node:
    """An endpoint; `events` has what each of its sessions said."""

    name: str
    endpoint: Endpoint
    address: Address
    events: dict[RtmfpSession, list[Event]] = field(default_factory=dict)
    incoming: list[RtmfpSession] = field(default_factory=list)
    sent: list[tuple[Address, bytes]] = field(default_factory=list)
    timer_at: float | None = None


class Network:
    def __init__(self, seed: int, weather: Weather | None = None) -> None:
        self.now = 1000.0
        self.rng: Rng = SeededRng(seed)
        self.weather = weather or Weather()
        self.nodes: dict[Address, Node] = {}
        self.lose: Callable[[Address, Address, bytes], bool] = lambda source, target, data: False
        self._due: list[tuple[float, int, Address, Address, bytes]] = []
        self._count = 0
        self._batch = memoryview(bytearray(BATCH_BYTES))

    def add(self, name: str, identity: Identity | None = None, profile: Profile | None = None) -> Node:
        address = Address(f"192.0.2.{len(self.nodes) + 1}", 1935)
        profile = profile or NoiseProfile(identity or Identity.generate(), self.rng)
        node = Node(name, Endpoint(profile, self.rng, self.now), address)
        self.nodes[address] = node
        return node

    def move(self, node: Node, address: Address) -> None:
        """Its datagrams come from there now, and what is sent to the old address is lost."""
        del self.nodes[node.address]
        node.address = address
        self.nodes[address] = node

    def run(self, until: Callable[[], bool], timeout: float = 300.0) -> bool:
        """Whether `until` became true within that many virtual seconds."""
        ends_at = self.now + timeout
        while not until():
            self.collect()
            due = self._next_at()
            if due is None or due > ends_at:
                return until()
            self.now = max(self.now, due)
            self._deliver()
            self._run_timers()
        return True

    def run_for(self, period: float) -> None:
        ends_at = self.now + period
        self.run(lambda: self.now >= ends_at, period)
        self.now = max(self.now, ends_at)

    def collect(self) -> None:
        """Everything that the nodes have to say goes on its way."""
        for node in list(self.nodes.values()):
            while (session := node.endpoint.next_incoming()) is not None:
                node.incoming.append(session)
                node.events.setdefault(session, [])
            for datagram in node.endpoint.datagrams_to_send():
                self.send(node, datagram.address, datagram.data)
            for session in node.endpoint.sessions():
                while (batch := session.next_batch(self._batch, self.now)) is not None:
                    for start in range(0, len(batch.data), batch.segment_bytes):
                        self.send(node, batch.address, bytes(batch.data[start : start + batch.segment_bytes]))
                events = node.events.setdefault(session, [])
                while (event := session.next_event()) is not None:
                    events.append(event)

    def send(self, node: Node, target: Address, data: bytes) -> None:
        weather, rng = self.weather, self.rng
        node.sent.append((target, data))
        if len(data) > weather.largest or self.lose(node.address, target, data):
            return
        copies = 2 if rng.random() < weather.duplication else 1
        for _ in range(copies):
            if rng.random() < weather.loss:
                continue
            if rng.random() < weather.corruption:
                place = rng.randrange(len(data))
                data = data[:place] + bytes((data[place] ^ (1 + rng.randrange(255)),)) + data[place + 1 :]
            self._count += 1
            at = self.now + weather.delay + weather.jitter * rng.random()
            heapq.heappush(self._due, (at, self._count, node.address, target, data))

    def _next_at(self) -> float | None:
        times = [self._due[0][0]] if self._due else []
        for node in self.nodes.values():
            machines: list[Endpoint | RtmfpSession] = [node.endpoint, *node.endpoint.sessions()]
            for each in machines:
                deadline = each.next_deadline()
                if deadline is not None:
                    times.append(deadline)
        return min(times, default=None)

    def _deliver(self) -> None:
        while self._due and self._due[0][0] <= self.now:
            _, _, source, target, data = heapq.heappop(self._due)
            node = self.nodes.get(target)
            if node is not None:
                node.endpoint.receive(memoryview(data), len(data), source, self.now)

    def _run_timers(self) -> None:
        for node in self.nodes.values():
            machines: list[Endpoint | RtmfpSession] = [node.endpoint, *node.endpoint.sessions()]
            for each in machines:
                deadline = each.next_deadline()
                if deadline is not None and deadline <= self.now:
                    each.handle_timer(self.now)
