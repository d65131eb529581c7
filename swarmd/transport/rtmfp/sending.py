"""The sending half of a session: flows that have something to send, what is under way, and when the next may leave.

In:  `open`, `send`, `set_priority`, `finish`; acknowledgements and rejections of the peer's; `handle_timer`.
Out: `fill`, which writes User Data chunks into a packet, and `packet_sent` behind it; events (`MessageSent`);
     `next_deadline`.

Priorities are strict between levels and take turns inside one; which of them there are decides what the path is driven
by (`choice`). Data waits for three things: the congestion window,
the pacer, and the receiver's buffer (each flow's own).

What is not acknowledged for long is asked for in two steps: first the oldest packet is sent again (its acknowledgement
shows what else is missing; RFC 8985's tail loss probe), twice; then all that is under way is taken for lost and the
window falls (RFC 7016 §3.5.2.2).

Bounds: MAX_FLOWS; what waits in all is the session's to bound (`queued_bytes`).
"""

from __future__ import annotations

from collections import deque
from math import inf, sqrt
from typing import NamedTuple

from swarmd.core.errors import LocalError
from swarmd.transport.api import MAX_FLOWS, MAX_MESSAGE_BYTES, Event, MessageSent, Priority
from swarmd.transport.rtmfp.choice import Choice
from swarmd.transport.rtmfp.chunks import CHUNK_HEADER_BYTES, FLAG_OPTIONS, USER_DATA
from swarmd.transport.rtmfp.congestion import Controller
from swarmd.transport.rtmfp.fragments import Fragment
from swarmd.transport.rtmfp.inflight import InFlight
from swarmd.transport.rtmfp.messages import Message
from swarmd.transport.rtmfp.options import FIRST_IGNORABLE, METADATA, RETURN_FLOW, Option, encode_options
from swarmd.transport.rtmfp.pacer import Pacer
from swarmd.transport.rtmfp.packet import TICK
from swarmd.transport.rtmfp.pathmtu import PathMtu
from swarmd.transport.rtmfp.rtt import ECHO_LIMIT_TICKS, RttEstimator
from swarmd.transport.rtmfp.sendflow import SendFlow
from swarmd.transport.rtmfp.vlu import encode_vlu

PRIORITY = FIRST_IGNORABLE + 0x100  # an option of ours: a flow's priority, one byte
MAX_PLAIN_BYTES = 9216  # of one packet, also of one that is sent in Packet Fragments
ACKNOWLEDGEMENT_DELAY = 0.05  # how long our own receivers hold an acknowledgement of a single packet back
MIN_HEADER_BYTES = 1
ECHO_SLACK = 0.01  # an echo is up to two ticks of 4 ms too long
MAX_PROBES = 2
FIRST_PROBE_TIMEOUT = 1.0
_TIME_CRITICAL = int(Priority.TIME_CRITICAL)  # looking it up takes longer than the comparison
PERSIST_PERIOD, MAX_PERSIST_PERIOD = 1.0, 60.0  # of asking about a closed receive buffer; RFC 7016 §3.6.2.9


class _Probed(NamedTuple):
    """A packet that was sent again as a probe, `asked_at`; `fragment`: one of it that was unacknowledged then."""

    fragment: Fragment
    size: int
    sent_at: float
    asked_at: float


class Sending:
    def __init__(self, choice: Choice, rtt: RttEstimator, path: PathMtu, events: deque[Event]) -> None:
        self.controller: Controller = choice.controller
        self.rtt, self.path = rtt, path
        self._choice = choice
        self._has_background = False  # there was a background flow once: without, there is nothing to choose
        self._is_unsettled = False  # whether another controller is to drive is to be looked at
        self._active: set[SendFlow] = set()  # with something to send or unacknowledged, and some that had
        self.pacer = Pacer(path.packet_bytes)
        self.flows: dict[int, SendFlow] = {}
        self._events = events
        self.has_time_critical = False  # in the packet being filled
        self.is_cramped = False
        self.queued_bytes = 0  # of messages, not cut yet
        self._ready: tuple[deque[SendFlow], ...] = tuple(deque() for _ in Priority)
        self._urgent_first = tuple(reversed(self._ready))
        self._in_flight = InFlight()
        self._fragments: list[Fragment] = []
        self._next_flow = 1
        self._probes = 0
        self._probed: list[_Probed] = []  # MAX_PROBES of them
        self._active_at = 0.0  # something was sent or confirmed
        self._progress_at = 0.0  # something was confirmed, or the first was sent
        self._may_probe = False
        self._echoed_period = 0.0
        self._blocked: set[SendFlow] = set()
        self._buffer_probes: deque[int] = deque()

    # Commands ---------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Nothing to send and nothing under way."""
        return not self._in_flight and not any(self._ready)

    def open(self, priority: Priority, options: bytes, *, report_sent: bool = False) -> int:
        if len(self.flows) >= MAX_FLOWS:
            raise LocalError("too many flows")
        number = self._next_flow
        self._next_flow += 1
        self.flows[number] = SendFlow(number, priority, options, report_sent=report_sent)
        self._has_background = self._has_background or priority == Priority.BACKGROUND
        return number

    def set_priority(self, number: int, priority: Priority) -> None:
        """LocalError when there is no such flow."""
        flow = self.flows.get(number)
        if flow is None:
            raise LocalError(f"flow {number} is not open")
        if flow.is_scheduled:
            self._ready[flow.priority].remove(flow)
            self._ready[priority].append(flow)
        flow.priority = priority
        self._has_background = self._has_background or priority == Priority.BACKGROUND
        self._is_unsettled = True

    @property
    def is_background(self) -> bool:
        return self._choice.is_background

    def choose_controller(self, now: float) -> None:
        """Before packets are made. Costs 0.1 us while no flow is a background one."""
        if not self._is_unsettled or not self._has_background:
            return
        self._is_unsettled = False
        self._active = {flow for flow in self._active if flow.is_busy}
        in_flight = self._in_flight.in_flight_bytes
        if self._choice.settle(self._active, self.rtt, in_flight, self._active_at, now):
            self.controller = self._choice.controller
            self.pacer.set_rate(self.controller.pacing_rate, self.rtt.smoothed, self.path.packet_bytes, now)

    def send(self, number: int, message: Message) -> None:
        """LocalError when there is no such flow, or no such message can be."""
        flow = self.flows.get(number)
        if flow is None or flow.is_closing:
            raise LocalError(f"flow {number} is not open")
        if message.size > MAX_MESSAGE_BYTES:
            raise LocalError("a message is larger than MAX_MESSAGE_BYTES")
        queued = flow.queued_bytes
        flow.add(message)
        self.queued_bytes += flow.queued_bytes - queued
        self._active.add(flow)
        self._is_unsettled = True
        self._report(flow)
        self._schedule(flow)

    def drop_late(self, now: float) -> None:
        """Make room for messages that are worth sending."""
        for flow in self.flows.values():
            flow.drop_late(now)
            self._report(flow)
        self.queued_bytes = sum(flow.queued_bytes for flow in self.flows.values())

    def finish(self, flow: SendFlow) -> None:
        flow.close()
        if flow.is_complete:
            self._forget(flow)  # it was rejected, and has ended
        else:
            self._schedule(flow)

    # Packets ----------------------------------------------------------------------------------------------------

    @property
    def has_data(self) -> bool:
        return any(self._ready)

    def may_send(self, now: float) -> bool:
        """Whether data may leave now; a probe for a lost tail always may."""
        if self._may_probe:
            return True
        return self._in_flight.in_flight_bytes < self.controller.window and self.pacer.release_at(now) <= now

    def burst_bytes(self, now: float) -> int:
        """How much may leave at once."""
        room = int(self.controller.window) - self._in_flight.in_flight_bytes
        return max(1, min(room, self.pacer.burst_bytes))

    def fill(self, buffer: memoryview, offset: int, limit: int, now: float) -> int:
        """Write chunks from `offset` up to `limit`; where they end. `packet_sent` is to follow if that is further.

        A fragment that is sent again may be longer than the room: then this stops (`is_cramped` if nothing was
        written), and the caller tries again with the shortest header and nothing else before it. If it is longer even
        so, the packets were larger when it was cut, and it goes beyond `limit`.
        """
        start = offset
        fragments = self._fragments
        for queue in self._urgent_first:
            while queue:
                flow = queue[0]
                queued = flow.queued_bytes
                fragment = flow.next_fragment(limit - offset - CHUNK_HEADER_BYTES, now)
                if fragment is None and flow.is_ready:
                    if offset > MIN_HEADER_BYTES:
                        self.is_cramped = offset == start
                        self.queued_bytes -= queued - flow.queued_bytes
                        return offset
                    fragment = flow.next_fragment(MAX_PLAIN_BYTES - offset - CHUNK_HEADER_BYTES, now)
                self.queued_bytes -= queued - flow.queued_bytes
                if fragment is None:
                    queue.popleft()
                    flow.is_scheduled = False
                    self._after_fill(flow, now)
                    continue
                head, data = flow.head, fragment.data
                size = 1 + len(head) + len(data)
                body = offset + CHUNK_HEADER_BYTES + 1 + len(head)
                flags = fragment.flags | FLAG_OPTIONS if flow.options else fragment.flags
                buffer[offset:body] = b"%c%c%c%c%b" % (USER_DATA, size >> 8, size & 0xFF, flags, head)
                offset = body + len(data)
                buffer[body:offset] = data
                fragments.append(fragment)
                if flow.priority >= _TIME_CRITICAL:
                    self.has_time_critical = True
                if len(queue) > 1:
                    queue.rotate(-1)
                if offset + CHUNK_HEADER_BYTES >= limit:
                    return offset
        return offset

    def packet_sent(self, size: int, now: float) -> None:
        """What `fill` has written since goes out in a packet of `size` bytes."""
        self._in_flight.sent(self._fragments, size, now)
        self._fragments = []

    def burst_sent(self, size: int, now: float) -> None:
        """The packets of data since the last call, `size` bytes together, leave at once."""
        if self._in_flight.in_flight_bytes == size:  # nothing was under way before
            self._progress_at = now
        self._active_at = now
        self._may_probe = False
        self.controller.on_sent(size, now)
        self.pacer.sent(size, now)

    def buffer_probes(self) -> list[int]:
        """Flows whose receiver is to be asked for its buffer, once."""
        probes = list(self._buffer_probes)
        self._buffer_probes.clear()
        return probes

    # What the peer says -----------------------------------------------------------------------------------------

    def acknowledged(
        self, number: int, window_bytes: int, cumulative: int, ranges: tuple[tuple[int, int], ...], now: float
    ) -> None:
        flow = self.flows.get(number)
        if flow is None:
            return
        if window_bytes > flow.window_bytes or flow.probe_at is not None:
            flow.probe_at = None
            self._blocked.discard(flow)
        flow.window_bytes = window_bytes
        fragments = flow.acknowledged(cumulative, ranges)
        if fragments:
            self._confirm(fragments, now)
            self._report(flow)
            if flow.is_complete:
                self._forget(flow)
                return
        if flow.is_ready:
            self._schedule(flow)
        elif flow.is_blocked and not flow.outstanding_bytes:
            self._block(flow, now)

    def rejected(self, number: int, code: int) -> None:
        """The receiver does not want this flow."""
        flow = self.flows.get(number)
        if flow is not None and flow.exception is None:
            self.queued_bytes -= flow.queued_bytes
            self._in_flight.forget(flow.reject(code))
            self._is_unsettled = True
            self._report(flow)
            self._blocked.discard(flow)
            self._schedule(flow)

    def _confirm(self, fragments: list[Fragment], now: float) -> None:
        in_flight, controller, rtt = self._in_flight, self.controller, self.rtt
        before = in_flight.in_flight_bytes
        confirmed = in_flight.confirm(fragments, now - self._echoed_period + ECHO_SLACK)
        self._active_at = self._progress_at = now
        self._is_unsettled = True
        self._probes = 0
        newest = in_flight.newest
        if newest is not None:
            if newest.is_first and len(fragments) > 1:
                rtt.add(now - newest.sent_at, now)
            self.path.packet_acknowledged(in_flight.largest, now)
        repaired = self._take_repaired(fragments, now) if self._probed else []
        if confirmed:
            controller.on_acknowledged(confirmed, before, rtt, now)
        for size, sent_at in repaired:
            controller.on_loss(size, sent_at, now)

    def acknowledgements_ended(self, now: float) -> None:
        """All of a packet have been read: what one says of a flow tells nothing of the packets of the others."""
        controller = self.controller
        lost = self._in_flight.take_lost()
        if lost:
            for packet in lost:
                self._lose(packet.fragments)
                self.path.packet_lost(packet.size, now)
            controller.set_packet_bytes(self.path.packet_bytes)
            controller.on_loss(sum(packet.size for packet in lost), lost[-1].sent_at, now)
        self.pacer.set_rate(controller.pacing_rate, self.rtt.smoothed, self.path.packet_bytes, now)

    def _take_repaired(self, fragments: list[Fragment], now: float) -> list[tuple[int, float]]:
        """Size and time of packets that were lost and arrived as a probe: a sign of congestion like any other loss
        (RFC 8985 §7.4). What is confirmed sooner than the path allows, or by an answer to what was sent before the
        probe, was late and not lost.
        """
        least = max(self.rtt.minimum, self._echoed_period - ECHO_SLACK)
        confirmed = {id(fragment) for fragment in fragments}
        repaired, left = [], []
        for probed in self._probed:
            if id(probed.fragment) not in confirmed:
                left.append(probed)
            elif now - probed.asked_at >= least:
                repaired.append((probed.size, probed.sent_at))
        self._probed = left
        return repaired

    def _lose(self, fragments: list[Fragment]) -> None:
        for fragment in fragments:
            if fragment.sent is not None:
                fragment.flow.lost(fragment)
                self._schedule(fragment.flow)

    def _forget(self, flow: SendFlow) -> None:
        del self.flows[flow.number]
        self._blocked.discard(flow)
        self._active.discard(flow)

    def _report(self, flow: SendFlow) -> None:
        if flow.delivered:
            if flow.report_sent:
                self._events.extend(MessageSent(flow.number, message.size) for message in flow.delivered)
            flow.delivered.clear()

    # Time -------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When something is to be done although nothing comes; in the past for at once."""
        deadlines = []
        if self._in_flight:
            deadlines.append(self._alarm_at())
        if self.has_data and (self._may_probe or self._in_flight.in_flight_bytes < self.controller.window):
            deadlines.append(0.0 if self._may_probe else self.pacer.release_at(0.0))
        deadlines.extend(flow.probe_at for flow in self._blocked if flow.probe_at is not None)
        return min(deadlines) if deadlines else None

    def handle_timer(self, now: float) -> None:
        if self._in_flight and now >= self._alarm_at():
            self._alarm(now)
        for flow in list(self._blocked):
            if flow.probe_at is not None and now >= flow.probe_at:
                self._buffer_probes.append(flow.number)
                flow.probe_period = min(flow.probe_period * sqrt(2), MAX_PERSIST_PERIOD)
                flow.probe_at = now + max(flow.probe_period, self.rtt.timeout)

    @property
    def waits_since(self) -> float:
        """Since when nothing of what is under way was acknowledged; infinity when nothing is."""
        return self._progress_at if self._in_flight else inf

    def is_stalled(self, now: float, timeout: float) -> bool:
        """Something has been under way for so long, and nothing was acknowledged."""
        return bool(self._in_flight) and now >= self._progress_at + timeout

    def path_moved(self, now: float) -> None:
        """Other addresses: what was measured holds no more."""
        self.rtt.forget_path()
        self.path.forget_path()
        self.controller.forget_path(now)
        self._active_at = now

    def echoed(self, n_ticks: int) -> None:
        """The peer says how long it took there and back: not exactly, but whatever was sent again meanwhile."""
        self._echoed_period = n_ticks * TICK if n_ticks < ECHO_LIMIT_TICKS else 0.0

    def retry(self, now: float) -> None:
        """What is under way went to the wrong address, in all likelihood: show it at once, and do not wait."""
        if self._in_flight:
            self._probes = 0
            self._alarm(now)

    def resend(self, now: float) -> None:
        """What is under way is too large for the path: all of it goes again. It says nothing about congestion."""
        self._active_at = now
        self._probed.clear()
        for packet in self._in_flight.take_all():
            self._lose(packet.fragments)

    def path_changed(self, now: float) -> None:
        """Packets are of another size now."""
        self.controller.set_packet_bytes(self.path.packet_bytes)
        self.pacer.set_rate(self.controller.pacing_rate, self.rtt.smoothed, self.path.packet_bytes, now)

    def _alarm_at(self) -> float:
        if self._probes >= MAX_PROBES:
            return self._active_at + self.rtt.timeout
        if not self.rtt.samples:
            return self._active_at + FIRST_PROBE_TIMEOUT
        return self._active_at + 2 * self.rtt.smoothed + 4 * self.rtt.variation + ACKNOWLEDGEMENT_DELAY

    def _alarm(self, now: float) -> None:
        self._active_at = now
        if self._probes < MAX_PROBES:
            self._probes += 1
            oldest = self._in_flight.take_oldest()
            assert oldest is not None
            waiting = next(fragment for fragment in oldest.fragments if fragment.sent is oldest)
            self._probed = [*self._probed[1 - MAX_PROBES :], _Probed(waiting, oldest.size, oldest.sent_at, now)]
            self._lose(oldest.fragments)
            self._may_probe = True
            return
        self._probed.clear()
        packets = self._in_flight.take_all()
        for packet in packets:
            self._lose(packet.fragments)
            self.path.packet_lost(packet.size, now)
        self.controller.set_packet_bytes(self.path.packet_bytes)
        self.controller.on_timeout(now)
        self.rtt.back_off()
        self._probes = 0
        self.pacer.set_rate(self.controller.pacing_rate, self.rtt.smoothed, self.path.packet_bytes, now)

    def _schedule(self, flow: SendFlow) -> None:
        if not flow.is_scheduled:
            flow.is_scheduled = True
            self._ready[flow.priority].append(flow)

    def _after_fill(self, flow: SendFlow, now: float) -> None:
        self._report(flow)
        if flow.is_blocked and not flow.outstanding_bytes:
            self._block(flow, now)

    def _block(self, flow: SendFlow, now: float) -> None:
        """Its receiver has no room: ask again later, for the word that it has some can be lost."""
        if flow not in self._blocked:
            self._blocked.add(flow)
            flow.probe_period = PERSIST_PERIOD
            flow.probe_at = now + max(PERSIST_PERIOD, self.rtt.timeout)


def flow_options(metadata: bytes, priority: Priority, in_return_to: int | None) -> bytes:
    """What the first fragments of a flow say of it (RFC 7016 §2.3.11.1), encoded."""
    options = [Option(METADATA, metadata), Option(PRIORITY, bytes((priority,)))]
    if in_return_to is not None:
        options.append(Option(RETURN_FLOW, encode_vlu(in_return_to)))
    return encode_options(options)
