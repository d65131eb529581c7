"""A model of one bottleneck, in virtual time: controllers are driven by abstract packets, without any wire format.

The link serves packets first in, first out at its rate, drops what does not fit its queue, and loses some behind it
at random; nothing is reordered, and acknowledgements are never lost. Senders use the real pacer, controller and
round-trip estimator, acknowledge every second packet, take a packet for lost when three later ones arrived, and wake
up for the pacer on whole milliseconds, as an event loop does.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from swarmd.core.rng import Rng
from swarmd.transport.rtmfp.congestion import Controller
from swarmd.transport.rtmfp.pacer import Pacer
from swarmd.transport.rtmfp.rtt import RttEstimator

PACKET_BYTES = 1200
TIMER_PERIOD = 0.001
LONE_PACKET_PERIOD = 0.005
"""A packet whose successor comes later than this is acknowledged alone."""
LATER_ARRIVALS = 3


@dataclass(slots=True)
class Link:
    """`rate` bytes a second, `rtt` seconds both ways without a queue, `loss` the share lost at random."""

    rate: float
    rtt: float
    queue_bytes: float
    rng: Rng
    loss: float = 0.0
    free_at: float = 0.0
    sent: int = 0
    dropped: int = 0

    def send(self, n_bytes: int, now: float) -> float:
        """When the packet's acknowledgement is back; infinity when it is lost."""
        self.sent += 1
        start = self.free_at if self.free_at > now else now
        if (start - now) * self.rate + n_bytes > self.queue_bytes:
            self.dropped += 1
            return math.inf
        self.free_at = start + n_bytes / self.rate
        if self.loss and self.rng.random() < self.loss:
            return math.inf
        return self.free_at + self.rtt

    def queue(self, now: float) -> float:
        """Seconds of packets that wait."""
        return max(self.free_at - now, 0.0)


@dataclass(slots=True)
class Flow:
    """A transfer without end from `start` to `stop`. `arrived` counts bytes for each second of the run."""

    controller: Controller
    link: Link
    start: float = 0.0
    stop: float = math.inf
    packet_bytes: int = PACKET_BYTES
    outstanding: int = 0
    lost: int = 0
    timeouts: int = 0
    arrived: dict[int, int] = field(default_factory=dict)
    rtt: RttEstimator = field(default_factory=RttEstimator)
    pacer: Pacer = field(init=False)
    _flying: deque[tuple[float, float]] = field(default_factory=deque)  # (arrival, sent at)
    _alarm_at: float = math.inf
    _wake_at: float = math.inf

    def __post_init__(self) -> None:
        self.pacer = Pacer(self.packet_bytes)
        self._wake_at = self.start

    def next_at(self) -> float:
        return min(self._acknowledgement_at(), self._wake_at, self._alarm_at)

    def _acknowledgement_at(self) -> float:
        """Of the second packet to arrive from now, or of the first when it stands alone."""
        first = math.inf
        for arrival, _ in self._flying:
            if arrival == math.inf:
                continue
            if first < math.inf:
                return arrival if arrival - first < LONE_PACKET_PERIOD else first
            first = arrival
        return first

    def handle(self, now: float) -> None:
        self._receive(now)
        if now >= self._alarm_at:
            self._time_out(now)
        self._send(now)

    def _receive(self, now: float) -> None:
        flying, passed, arrived, sample = self._flying, [], 0, 0.0
        last = -1
        for place, (arrival, sent_at) in enumerate(flying):
            if arrival <= now:
                arrived, last, sample = arrived + 1, place, now - sent_at
            elif arrival < math.inf:
                break
        if not arrived:
            return
        for _ in range(last + 1):
            arrival, sent_at = flying.popleft()
            if arrival == math.inf:
                passed.append(sent_at)
        n_bytes = arrived * self.packet_bytes
        self.rtt.add(sample, now)
        self.controller.on_acknowledged(n_bytes, self.outstanding, self.rtt, now)
        self.outstanding -= n_bytes
        self.arrived[int(now)] = self.arrived.get(int(now), 0) + n_bytes
        for sent_at in passed:  # three later arrivals are one or two acknowledgements later: left out
            self.lost += 1
            self.outstanding -= self.packet_bytes
            self.controller.on_loss(self.packet_bytes, sent_at, now)
        self.pacer.set_rate(self.controller.pacing_rate, self.rtt.smoothed, self.packet_bytes, now)
        self._alarm_at = now + self.rtt.timeout if self.outstanding else math.inf

    def _time_out(self, now: float) -> None:
        self.timeouts += 1
        self.lost += len(self._flying)
        self._flying.clear()
        self.outstanding = 0
        self.controller.on_timeout(now)
        self.rtt.back_off()
        self._alarm_at = math.inf

    def _send(self, now: float) -> None:
        self._wake_at = math.inf
        while self.start <= now < self.stop and self.outstanding < self.controller.window:
            release_at = self.pacer.release_at(now)
            if release_at > now:
                self._wake_at = math.ceil(release_at / TIMER_PERIOD) * TIMER_PERIOD
                return
            n_bytes = 0
            while self.outstanding < self.controller.window and n_bytes < self.pacer.burst_bytes:
                self._flying.append((self.link.send(self.packet_bytes, now), now))
                self.outstanding += self.packet_bytes
                n_bytes += self.packet_bytes
            self.controller.on_sent(n_bytes, now)
            self.pacer.sent(n_bytes, now)
            if self._alarm_at == math.inf:
                self._alarm_at = now + self.rtt.timeout

    def rate(self, start: int, stop: int) -> float:
        """Bytes a second that arrived in these whole seconds."""
        return sum(self.arrived.get(second, 0) for second in range(start, stop)) / (stop - start)


def run(flows: list[Flow], until: float) -> None:
    while True:
        flow = min(flows, key=Flow.next_at) if len(flows) > 1 else flows[0]
        now = flow.next_at()
        if now >= until:
            return
        flow.handle(now)
