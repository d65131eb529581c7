"""Whole RTMFP endpoints on one line, in virtual time: real packets, sealed and opened, through one queue.

What the calling ends send goes first in, first out through a link of a given rate; what does not fit its queue is
dropped, and some behind it is lost at random. What the other ends send back takes as long, unqueued, and is lost as
often. Datagrams longer than the path's MTU vanish. Nothing is reordered.

Everybody wakes up on whole milliseconds, as an event loop does, and takes what has come by then as one batch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng, SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import Event, MessageReceived, Priority, State
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packing import BATCH_BYTES
from swarmd.transport.rtmfp.session import RtmfpSession

TICK = 0.001
MAX_UDP_BYTES = 1472
"""Of a path whose MTU is 1,500."""
IP_HEADER_BYTES = 28
_MESSAGE = bytes(64 * 1024)
_QUEUED_BYTES = 4 * len(_MESSAGE)
_OPENING_TIMEOUT = 10.0


@dataclass(slots=True)
class Link:
    """One direction: `rate` bytes a second (IP headers count), `delay` seconds without a queue."""

    rate: float
    delay: float
    queue_bytes: float
    loss: float
    rng: Rng
    sent: int = 0
    dropped: int = 0
    lost: int = 0
    _free_at: float = 0.0
    _flying: deque[tuple[float, Address, Address, bytes]] = field(default_factory=deque)

    def send(self, source: Address, target: Address, data: bytes, now: float) -> None:
        self.sent += 1
        size = len(data) + IP_HEADER_BYTES
        start = max(self._free_at, now)
        if len(data) > MAX_UDP_BYTES or (start - now) * self.rate + size > self.queue_bytes:
            self.dropped += 1
            return
        self._free_at = start + size / self.rate
        if self.loss and self.rng.random() < self.loss:
            self.lost += 1
            return
        self._flying.append((self._free_at + self.delay, source, target, data))

    @property
    def next_at(self) -> float:
        return self._flying[0][0] if self._flying else math.inf

    def arrived(self, now: float) -> list[tuple[Address, Address, bytes]]:
        out = []
        while self._flying and self._flying[0][0] <= now:
            out.append(self._flying.popleft()[1:])
        return out


class Host:
    """One endpoint and its sessions; `heard` is told of each event."""

    def __init__(self, wire: Wire, address: Address, link: Link, heard: Callable[[Event], None]) -> None:
        self.identity = Identity.generate(wire.rng)
        self.endpoint = Endpoint(NoiseProfile(self.identity, wire.rng), wire.rng, wire.now)
        self.address = address
        self.sessions: list[RtmfpSession] = []
        self._wire, self._link, self._heard = wire, link, heard
        self._batch = memoryview(bytearray(BATCH_BYTES))

    @property
    def _machines(self) -> list[Endpoint | RtmfpSession]:
        return [self.endpoint, *self.sessions]

    @property
    def next_at(self) -> float:
        deadlines = [each.next_deadline() for each in self._machines]
        return min((each for each in deadlines if each is not None), default=math.inf)

    def wake(self, now: float) -> None:
        for each in self._machines:
            deadline = each.next_deadline()
            if deadline is not None and deadline <= now:
                each.handle_timer(now)

    def receive(self, source: Address, data: bytes, now: float) -> None:
        self.endpoint.receive(memoryview(data), len(data), source, now)

    def flush(self, now: float) -> None:
        while (incoming := self.endpoint.next_incoming()) is not None:
            self.sessions.append(incoming)
        for session in self.sessions:
            self._tell(session)
            while (batch := session.next_batch(self._batch, now)) is not None:
                for start in range(0, len(batch.data), batch.segment_bytes):
                    segment = bytes(batch.data[start : start + batch.segment_bytes])
                    self._link.send(self.address, batch.address, segment, now)
            self._tell(session)
        for datagram in self.endpoint.datagrams_to_send():
            self._link.send(self.address, datagram.address, datagram.data, now)

    def _tell(self, session: RtmfpSession) -> None:
        while (event := session.next_event()) is not None:
            self._heard(event)


class Transfer:
    """A session from one host to another across the line, with bulk without end while `is_on`, and arrivals counted.

    `critical_bytes_a_second` adds messages of 1,000 bytes on a time-critical flow; `waits` are their one-way times."""

    def __init__(self, wire: Wire, number: int, priority: Priority, critical_rate: float) -> None:
        self.arrived: dict[int, int] = {}
        self.waits: list[float] = []
        self.is_on = True
        self._wire, self._priority = wire, priority
        self._critical_rate, self._critical_at = critical_rate, math.inf
        self._critical_sent: deque[float] = deque()
        self.far = Host(wire, Address(f"198.51.100.{number}", 1935), wire.back, self._heard)
        self.near = Host(wire, Address(f"192.0.2.{number}", 1935), wire.forth, lambda event: None)
        self.session = self.near.endpoint.connect(self.far.identity.peer_id, [self.far.address], wire.now)
        self.near.sessions.append(self.session)
        self._flow = self._critical_flow = -1

    def begin(self) -> None:
        self._flow = self.session.open_flow(b"bulk", self._priority)
        if self._critical_rate:
            self._critical_flow = self.session.open_flow(b"critical", Priority.TIME_CRITICAL)

    def begin_critical(self) -> None:
        self._critical_at = self._wire.now

    @property
    def next_at(self) -> float:
        return self._critical_at

    def fill(self, now: float) -> None:
        while self.is_on and self.session.queued_bytes < _QUEUED_BYTES:
            self.session.send(self._flow, [_MESSAGE])
        while self._critical_at <= now:
            self._critical_sent.append(self._critical_at)
            self.session.send(self._critical_flow, [_MESSAGE[:1000]])
            self._critical_at += 1000 / self._critical_rate

    def _heard(self, event: Event) -> None:
        if not isinstance(event, MessageReceived):
            return
        n_bytes, now = sum(map(len, event.parts)), self._wire.now
        if n_bytes == len(_MESSAGE):
            second = math.floor(self._wire.seconds)
            self.arrived[second] = self.arrived.get(second, 0) + n_bytes
        else:
            self.waits.append(now - self._critical_sent.popleft())

    def rate(self, start: float, stop: float) -> float:
        """Bytes of messages a second that arrived in these whole seconds of the wire's time."""
        seconds = range(math.floor(start), math.floor(stop))
        return sum(self.arrived.get(second, 0) for second in seconds) / len(seconds)


class Wire:
    """The line, its hosts, and the time; `seconds` is how long it has run."""

    def __init__(self, rate: float, rtt: float, queue: float, loss: float, seed: int) -> None:
        """`rate` in bytes a second; `queue` in parts of rate x rtt."""
        self.rng: Rng = SeededRng(seed)
        self.now = self._begun_at = 1000.0
        self.rate, self.rtt = rate, rtt
        self.forth = Link(rate, rtt / 2, max(queue * rate * rtt, 10_000), loss, self.rng)
        self.back = Link(math.inf, rtt / 2, math.inf, loss, self.rng)
        self.transfers: list[Transfer] = []

    @property
    def seconds(self) -> float:
        return self.now - self._begun_at

    def transfer(self, priority: Priority = Priority.BULK, critical_rate: float = 0.0) -> Transfer:
        """Open one; it carries as soon as the session is open."""
        transfer = Transfer(self, len(self.transfers) + 1, priority, critical_rate)
        self.transfers.append(transfer)
        until = self.seconds + _OPENING_TIMEOUT
        transfer.is_on = False
        while transfer.session.state is State.KEYING and self.seconds < until:
            self._step(self._begun_at + until)
        assert transfer.session.state is State.OPEN, "the session does not open"
        transfer.begin()
        transfer.is_on = True
        return transfer

    def run(self, until: float) -> None:
        """Until that many seconds since it began."""
        while self.seconds < until - TICK / 2:
            self._step(self._begun_at + until)

    def _step(self, end_at: float) -> None:
        hosts = {host.address: host for each in self.transfers for host in (each.near, each.far)}
        for each in self.transfers:
            each.fill(self.now)
        for host in hosts.values():
            host.flush(self.now)
        times = [host.next_at for host in hosts.values()] + [each.next_at for each in self.transfers]
        due = min(*times, self.forth.next_at, self.back.next_at, end_at)
        n_ticks = max(1, math.ceil((due - self.now) / TICK - 1e-6))
        self.now = round(self.now + n_ticks * TICK, 6)
        for link in (self.forth, self.back):
            for source, target, data in link.arrived(self.now):
                hosts[target].receive(source, data, self.now)
        for host in hosts.values():
            host.wake(self.now)
