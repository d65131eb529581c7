"""A model of hosts with narrow lines and the reliable streams between them, honest where it matters to a swarm.

- A host's uplink is shared by all its streams, in turns of QUANTUM bytes; so is its downlink, first come first served.
- What is handed to a stream goes first to the session's queue, where control overtakes bulk and where the sender still
  learns when a message leaves (`drained`); and from there into a kernel buffer of `kernel_bytes`, where nothing
  overtakes anything and nothing can be called back. A control message waits behind what is in that buffer.
- A stream has at most `WINDOW` bytes in the network, and pauses while the receiver's downlink is more than
  DOWN_QUEUE_PERIOD behind: what congestion control comes to, without its losses.
- Each message costs its framing; the lines carry GOODPUT of their nominal rate (headers, acknowledgements).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.sim.clockwork import Clockwork

QUANTUM = 16 << 10
WINDOW = 256 << 10
DOWN_QUEUE_PERIOD = 0.1
MIN_DOWN_QUEUE = 64 << 10
GOODPUT = 0.93
CONTROL_OVERHEAD = 100
"""Record, TCP and IP headers of a small message that travels alone."""
BULK_OVERHEAD = 40


@dataclass
class Message:
    size: int
    payload: Any
    is_bulk: bool
    left: int = field(init=False)  # in the session's queue
    unsent: int = field(init=False)  # there or in the kernel

    def __post_init__(self) -> None:
        self.left = self.unsent = self.size


class Host:
    """Rates in bytes a second."""

    def __init__(self, up: float, down: float) -> None:
        self.up = up
        self.down = down
        self.ready: deque[Stream] = deque()
        self.is_sending = False
        self.inbound: deque[tuple[Stream, int, list[Message]]] = deque()
        self.inbound_bytes = 0
        self.is_receiving = False
        self.blocked: deque[Stream] = deque()
        self.sent_bytes = 0
        self.received_bytes = 0

    @property
    def inbound_limit(self) -> float:
        return max(MIN_DOWN_QUEUE, self.down * DOWN_QUEUE_PERIOD)


class Stream:
    """One way of one session. `deliver` gets what arrives, `drained` the size of each bulk message that left."""

    def __init__(
        self,
        network: Network,
        source: Host,
        target: Host,
        latency: float,
        deliver: Callable[[Any, bool], None],
        drained: Callable[[int], None],
    ) -> None:
        self.network = network
        self.source = source
        self.target = target
        self.latency = latency
        self.deliver = deliver
        self.drained = drained
        self.control: deque[Message] = deque()
        self.bulk: deque[Message] = deque()
        self.kernel: deque[tuple[Message, int]] = deque()
        self.kernel_bytes = 0
        self.in_network = 0
        self.is_listed = False
        self.is_cut = False

    def send(self, payload: Any, size: int, *, is_bulk: bool) -> None:
        if self.is_cut:
            return
        queue, overhead = (self.bulk, BULK_OVERHEAD) if is_bulk else (self.control, CONTROL_OVERHEAD)
        queue.append(Message(size + overhead, payload, is_bulk))
        self.network.fill(self)

    def cut(self) -> None:
        """The session is over: what has not arrived never will."""
        self.is_cut = True
        self.control.clear()
        self.bulk.clear()
        self.kernel.clear()
        self.kernel_bytes = 0


class Network:
    def __init__(self, clockwork: Clockwork, kernel_bytes: int) -> None:
        self._clockwork = clockwork
        self._kernel_bytes = max(kernel_bytes, QUANTUM)

    def fill(self, stream: Stream) -> None:
        """Session queue -> kernel buffer."""
        left_sizes = []
        while stream.kernel_bytes < self._kernel_bytes and (stream.control or stream.bulk):
            queue = stream.control or stream.bulk
            message = queue[0]
            taken = min(message.left, self._kernel_bytes - stream.kernel_bytes, QUANTUM)
            message.left -= taken
            stream.kernel.append((message, taken))
            stream.kernel_bytes += taken
            if not message.left:
                queue.popleft()
                if message.is_bulk:
                    left_sizes.append(message.size - BULK_OVERHEAD)
        self._list(stream)
        for size in left_sizes:
            self._clockwork.after(0.0, self._report, stream, size)

    def _report(self, stream: Stream, size: int) -> None:
        if not stream.is_cut:
            stream.drained(size)

    def _list(self, stream: Stream) -> None:
        """Give it a turn at the uplink if it may have one."""
        if stream.is_listed or not stream.kernel_bytes or stream.in_network >= WINDOW:
            return
        stream.is_listed = True
        target = stream.target
        if target.inbound_bytes >= target.inbound_limit:
            target.blocked.append(stream)
            return
        stream.source.ready.append(stream)
        self._send_next(stream.source)

    def _send_next(self, host: Host) -> None:
        if host.is_sending:
            return
        while host.ready:
            stream = host.ready.popleft()
            if stream.is_cut or not stream.kernel_bytes:
                stream.is_listed = False
                continue
            if stream.target.inbound_bytes >= stream.target.inbound_limit:
                stream.target.blocked.append(stream)
                continue
            host.is_sending = True
            taken, whole = self._take(stream)
            stream.target.inbound_bytes += taken
            self._clockwork.after(taken / host.up, self._sent, stream, taken, whole)
            return

    def _take(self, stream: Stream) -> tuple[int, list[Message]]:
        """Up to a quantum from the kernel buffer, and the messages that end in it."""
        taken = 0
        whole: list[Message] = []
        while stream.kernel and taken < QUANTUM:
            message, size = stream.kernel.popleft()
            part = min(size, QUANTUM - taken)
            if part < size:
                stream.kernel.appendleft((message, size - part))
            taken += part
            message.unsent -= part
            if not message.unsent:
                whole.append(message)
        stream.kernel_bytes -= taken
        stream.in_network += taken
        return taken, whole

    def _sent(self, stream: Stream, taken: int, whole: list[Message]) -> None:
        host = stream.source
        host.is_sending = False
        host.sent_bytes += taken
        self._clockwork.after(stream.latency, self._arrived, stream, taken, whole)
        stream.is_listed = False
        if not stream.is_cut:
            self.fill(stream)
        self._send_next(host)

    def _arrived(self, stream: Stream, taken: int, whole: list[Message]) -> None:
        host = stream.target
        host.inbound.append((stream, taken, whole))
        self._receive_next(host)

    def _receive_next(self, host: Host) -> None:
        if host.is_receiving or not host.inbound:
            return
        host.is_receiving = True
        self._clockwork.after(host.inbound[0][1] / host.down, self._received, host)

    def _received(self, host: Host) -> None:
        stream, taken, whole = host.inbound.popleft()
        host.is_receiving = False
        host.inbound_bytes -= taken
        host.received_bytes += taken
        self._receive_next(host)
        while host.blocked and host.inbound_bytes < host.inbound_limit:
            blocked = host.blocked.popleft()
            blocked.source.ready.append(blocked)
            self._send_next(blocked.source)
        self._clockwork.after(stream.latency, self._acknowledged, stream, taken)
        for message in whole:
            if not stream.is_cut:
                stream.deliver(message.payload, message.is_bulk)

    def _acknowledged(self, stream: Stream, taken: int) -> None:
        stream.in_network -= taken
        if not stream.is_cut:
            self._list(stream)
