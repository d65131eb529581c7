"""The RTMFP session machine: sealed packets in, batches of sealed packets out, events up (RFC 7016 §3.5-3.6). It
implements `transport.api.Session`.

In:  `keyed` or `failed` (what the startup came to), packets (`receive_packet`), commands of the API, `handle_timer`.
Out: batches of datagrams (`next_batch`), events (`next_event`), `next_deadline`.

States:  KEYING -> OPEN    the keys are made and, at the responder, a first packet has opened under them
         any    -> CLOSED  close() by us, a Close Request of the peer's, a fault of the peer's, silence
After CLOSED nothing is delivered; the session lingers until the peer knows, or CLOSE_TIMEOUT (`is_gone`).

A packet that does not open is nobody's: it is dropped and counted, for everybody can send it. What is wrong inside a
packet that has opened is the peer's fault and ends the session.

Address mobility (§3.5.4.2): a packet that opens may come from any address; only when a ping with a message that nobody
else can make has come back from that address do we send there.

`sending` and `receiving` hold the flows; here is what goes around them: header, pings, the path, time, the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError, RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import Certificate
from swarmd.transport.api import MAX_METADATA_BYTES, Buffer, Closed, CloseReason, Event, Opened, Priority, State
from swarmd.transport.rtmfp import mobility
from swarmd.transport.rtmfp.alerts import Alerts
from swarmd.transport.rtmfp.choice import Choice
from swarmd.transport.rtmfp.chunks import (
    BUFFER_BLOCK_BYTES,
    CHUNK_HEADER_BYTES,
    FLAG_OPTIONS,
    USER_DATA,
    AckRanges,
    BufferProbe,
    Chunk,
    CloseAck,
    CloseRequest,
    FlowException,
    ForwardedIHello,
    PacketFragment,
    Ping,
    PingReply,
    UserData,
    decode_chunks,
    encode_chunk,
)
from swarmd.transport.rtmfp.farewell import Farewell, decode_reason
from swarmd.transport.rtmfp.hearsay import Hearsay
from swarmd.transport.rtmfp.liveness import Liveness
from swarmd.transport.rtmfp.messages import Message
from swarmd.transport.rtmfp.mobility import Mobility
from swarmd.transport.rtmfp.packet import ECHO, TIME_CRITICAL, TIME_CRITICAL_REVERSE, TIMESTAMP, Mode, ticks
from swarmd.transport.rtmfp.packing import Batch, Packer
from swarmd.transport.rtmfp.pathmtu import PathMtu, Probes
from swarmd.transport.rtmfp.profile import Keyed
from swarmd.transport.rtmfp.reassembly import Reassembly
from swarmd.transport.rtmfp.receiveflow import Order
from swarmd.transport.rtmfp.receiving import Receiving
from swarmd.transport.rtmfp.resets import Resets
from swarmd.transport.rtmfp.rtt import RttEstimator
from swarmd.transport.rtmfp.sending import Sending, flow_options

KEYING_TIMEOUT = 10.0  # design §5: half a handshake and silence
STALL_TIMEOUT = 60.0  # nothing of what is under way is acknowledged, although the peer is heard
MAX_QUEUED_BYTES = 32 << 20  # a peer that does not read costs at most this
MAX_PINGS = 8  # answers and questions that wait for a packet
MAX_PING_BYTES = 1024
_MODES = 0x03
_HEADER_FLAGS = TIMESTAMP | ECHO | TIME_CRITICAL | TIME_CRITICAL_REVERSE
_MIN_PLAIN_BYTES = 9  # what `_receive_plain` looks at: a whole header, a chunk's, and flags
_MAX_HEAD_BYTES = 31  # of user data, without options


class RtmfpSession:
    """One session. `near_id` is the session ID that the peer's packets to us bear."""

    def __init__(
        self,
        rng: Rng,
        now: float,
        *,
        near_id: int,
        is_initiator: bool,
        choice: Choice,
        path: PathMtu,
        alerts: Alerts,
        resets: Resets,
        scratch: bytearray,
        keying_timeout: float = KEYING_TIMEOUT,
    ) -> None:
        self.near_id, self.far_id = near_id, 0
        self.address: Address | None = None
        self.forged_packets = 0
        self.opened_at = 0.0
        self.accepts_introductions = False  # Forwarded IHellos by this session are heeded
        self._is_initiator = is_initiator
        self._mode = Mode.INITIATOR if is_initiator else Mode.RESPONDER
        self._far_mode = Mode.RESPONDER if is_initiator else Mode.INITIATOR
        self._state = State.KEYING
        self._keyed: Keyed | None = None
        self._peer: PeerId | None = None
        self._rtt = RttEstimator()
        self._path = path
        self._events: deque[Event] = deque()
        self._sending = Sending(choice, self._rtt, path, self._events)
        self._receiving = Receiving(self._sending.flows, self._events)
        self._alerts, self._resets = alerts, resets
        self._packer = Packer(near_id, self._mode, self._sending, self._receiving, path, alerts, scratch)
        self._elsewhere: deque[tuple[Address, bytes]] = deque()  # to addresses that are not proved
        self._reassembly = Reassembly()
        self._is_in_parts = False  # what is being read was put together
        self._created_at = now
        self._liveness = Liveness(now)
        self.hearsay = Hearsay(self._sending, path, self._liveness, self.ping)
        self._keying_timeout = keying_timeout
        self._probes = Probes()
        self._mobility = Mobility(rng)
        self._forwarded: deque[ForwardedIHello] = deque()
        self._farewell = Farewell()
        self._now = now  # as it was last told

    # What the API gives -----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_initiator(self) -> bool:
        return self._is_initiator

    @property
    def peer_id(self) -> PeerId:
        return self._peer or self._proved().certificate.peer_id

    @property
    def handshake_hash(self) -> bytes:
        return self._proved().handshake_hash

    @property
    def queued_bytes(self) -> int:
        return self._sending.queued_bytes

    @property
    def rtt(self) -> float | None:
        """Seconds there and back, smoothed; None before anything was measured."""
        return self._rtt.smoothed if self._rtt.samples else None

    def open_flow(
        self, metadata: bytes, priority: Priority, *, report_sent: bool = False, in_return_to: int | None = None
    ) -> int:
        """`in_return_to`: the flow of the peer's that this one answers (RFC 7016 §3.6.1.1)."""
        if len(metadata) > MAX_METADATA_BYTES:
            raise LocalError("too much metadata")
        return self._sending.open(priority, flow_options(metadata, priority, in_return_to), report_sent=report_sent)

    def set_priority(self, flow: int, priority: Priority) -> None:
        if self._state is not State.CLOSED:
            self._sending.set_priority(flow, priority)

    @property
    def is_background(self) -> bool:
        return self._sending.is_background

    def send(self, flow: int, parts: Sequence[Buffer]) -> None:
        self.send_message(flow, parts)

    def send_message(
        self,
        flow: int,
        parts: Sequence[Buffer],
        *,
        start_by: float | None = None,
        finish_by: float | None = None,
        is_sent_once: bool = False,
    ) -> Message:
        """As `send`, for what is worth nothing when it comes late (`messages`). The receipt tells what became of it."""
        message = Message(parts, start_by, finish_by, is_sent_once=is_sent_once)
        if self._state is State.CLOSED:
            message.is_abandoned, message.done = True, False
            return message
        self._sending.send(flow, message)
        if self._sending.queued_bytes > MAX_QUEUED_BYTES:
            self._sending.drop_late(self._now)
        if self._sending.queued_bytes > MAX_QUEUED_BYTES:
            self.close(CloseReason.OVERLOADED, "the peer does not read what it is sent")
        return message

    def close_flow(self, flow: int) -> None:
        target = self._sending.flows.get(flow)
        if target is not None and self._state is not State.CLOSED:
            self._sending.finish(target)

    def reject_flow(self, flow: int, code: int, now: float) -> None:
        """Tell the sender of this flow that it is not wanted (RFC 7016 §3.6.3.7); nothing more of it is delivered."""
        self._receiving.reject(flow, code, now)

    def rejection(self, flow: int) -> int | None:
        """The code with which the peer has rejected this flow of ours. What is sent by it is given up."""
        target = self._sending.flows.get(flow)
        return target.exception if target is not None else None

    def set_order(self, flow: int, order: Order) -> None:
        """How messages of this flow of the peer's are delivered from now on."""
        self._receiving.flows[flow].order = order

    def close(self, reason: CloseReason = CloseReason.NORMAL, detail: str = "") -> None:
        if self._state is State.CLOSED:
            return
        if self._state is State.OPEN:
            self._farewell.request(reason, detail, self._now)
        self._end(Closed(reason, detail))

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        if self._state is State.CLOSED:
            return None
        if self._state is State.KEYING:
            return self._created_at + self._keying_timeout
        deadline = min(self._gone_at(), self._ask_at(), self._mobility.repeat_at())
        for other in (self._sending.next_deadline(), self._receiving.acknowledge_at):
            if other is not None and other < deadline:
                deadline = other
        return deadline

    def handle_timer(self, now: float) -> None:
        if self._state is State.KEYING and now >= self._created_at + self._keying_timeout:
            self._give_up()
        if self._state is not State.OPEN:
            return
        self._sending.handle_timer(now)
        if now >= self._gone_at():
            self._end(Closed(CloseReason.TIMED_OUT, "nothing was heard from the peer"))
        elif self._sending.is_stalled(now, STALL_TIMEOUT):
            self._end(Closed(CloseReason.TIMED_OUT, "the peer takes no data any more"))
        elif now >= self._ask_at():
            self.ping(now)
        if (again := self._mobility.repeat(now)) is not None:
            self._add_chunk(Ping(again[1]), to=again[0])

    def ping(self, now: float) -> None:
        """Ask for a sign of life; the host calls it too when its network has changed."""
        self._liveness.asked(now)
        self._add_chunk(Ping(self._resets.keepalive(self.near_id, self.address)))

    def _ask_at(self) -> float:
        return self._liveness.ask_at(self._receiving.told_at)

    def _gone_at(self) -> float:
        return self._liveness.gone_at(self._sending.waits_since)

    # Startup ----------------------------------------------------------------------------------------------------

    def keyed(self, keyed: Keyed, far_id: int, address: Address, now: float) -> None:
        """Both keying messages have passed. The initiator may send; the responder waits for a packet that opens."""
        self._keyed, self.far_id, self.address = keyed, far_id, address
        self._packer.keyed(keyed.cipher, far_id)
        self._liveness.began(now)
        if self._is_initiator:
            self._open(now)

    def failed(self, reason: CloseReason, detail: str, peer: PeerId | None = None) -> None:
        """The startup came to nothing. `peer`: who it is all the same, proved by a session of its own."""
        self._peer = peer
        self._end(Closed(reason, detail))

    @property
    def certificate(self) -> Certificate:
        return self._proved().certificate

    @property
    def close_deadline(self) -> float | None:
        """When a closed session has to say so (again)."""
        return self._farewell.due_at if self._state is State.CLOSED else None

    def is_gone(self, now: float) -> bool:
        """Closed, and nothing need be said any more."""
        return self._state is State.CLOSED and self._farewell.is_over(now)

    def forwarded(self) -> ForwardedIHello | None:
        """The next Forwarded IHello that came by this session, for the endpoint."""
        return self._forwarded.popleft() if self._forwarded else None

    def forward(self, chunk: ForwardedIHello) -> None:
        """Pass a question on to the peer."""
        self._add_chunk(chunk)

    # Receiving --------------------------------------------------------------------------------------------------

    def receive_packet(self, sealed: memoryview, address: Address, now: float) -> None:
        """What stood behind the session ID of one datagram."""
        if self._keyed is None:
            return
        try:
            plain = self._keyed.cipher.open(sealed)
        except RemoteError:
            self.forged_packets += 1
            return
        if self._state is not State.OPEN:
            if self._state is State.CLOSED:
                self._farewell.receive(plain, now)
                return
            self._open(now)
        self._now = now
        self._liveness.heard(now)
        try:
            self._receive_plain(plain, address, now)
        except RemoteError as error:
            self.close(CloseReason.PROTOCOL, str(error))
            return
        if address is not self.address and address != self.address:  # comparing takes 0.25 us
            self._check_address(address, now)

    def _receive_plain(self, plain: memoryview, address: Address, now: float) -> None:
        size = len(plain)
        if size < _MIN_PLAIN_BYTES:
            plain = memoryview(bytes(plain) + bytes(_MIN_PLAIN_BYTES - size))  # zeros are padding
        flags = plain[0]
        if flags & _MODES != self._far_mode:
            return  # our own come back, or no packet of a session
        offset = 1
        if flags & _HEADER_FLAGS:
            offset = self._receive_header(plain, flags, now)
        if plain[offset] == USER_DATA and not plain[offset + CHUNK_HEADER_BYTES] & FLAG_OPTIONS:
            end = offset + 3 + (plain[offset + 1] << 8 | plain[offset + 2])
            if end == len(plain) > offset + CHUNK_HEADER_BYTES + _MAX_HEAD_BYTES:
                self._receiving.receive_chunk(plain, offset + CHUNK_HEADER_BYTES, now)
                self._receiving.packet_ended(now)
                return
        has_data = has_acknowledgements = False
        for chunk in decode_chunks(plain[offset:]):
            if isinstance(chunk, AckRanges):
                has_acknowledgements = True
                self._sending.acknowledged(
                    chunk.flow, chunk.buffer_blocks * BUFFER_BLOCK_BYTES, chunk.cumulative, chunk.ranges, now
                )
            elif isinstance(chunk, UserData):
                has_data = True
                self._receiving.receive(
                    chunk.flow,
                    chunk.flags,
                    chunk.sequence,
                    chunk.forward_sequence,
                    memoryview(chunk.data),
                    chunk.options,
                    now,
                )
            else:
                self._receive_chunk(chunk, address, now)
                if self._state is State.CLOSED:
                    return
        if has_acknowledgements:
            self._sending.acknowledgements_ended(now)
        if has_data:
            self._receiving.packet_ended(now)

    def _receive_header(self, plain: memoryview, flags: int, now: float) -> int:
        """All that may be there besides the mode; where the chunks begin."""
        offset = 1
        if flags & TIMESTAMP:
            self._packer.timestamps.heard(plain[1] << 8 | plain[2], now)
            offset = 3
        if flags & ECHO:
            echo = plain[offset] << 8 | plain[offset + 1]
            offset += 2
            ticks_now = ticks(now)
            self._rtt.add_echo(ticks_now, echo, now)
            self._sending.echoed((ticks_now - echo) & 0xFFFF)
        if flags & TIME_CRITICAL:
            self._alerts.received(self.near_id, now)
        if flags & TIME_CRITICAL_REVERSE:
            self._sending.controller.on_time_critical_elsewhere(now)
        return offset

    def _receive_chunk(self, chunk: Chunk, address: Address, now: float) -> None:
        if isinstance(chunk, Ping):
            if len(chunk.message) <= MAX_PING_BYTES:
                self._add_chunk(PingReply(chunk.message), to=address)
                self._resets.told(self.near_id, chunk.message)
        elif isinstance(chunk, PingReply):
            self._receive_reply(chunk.message, address, now)
        elif isinstance(chunk, BufferProbe):
            self._receiving.probed(chunk.flow, now)
        elif isinstance(chunk, FlowException):
            self._sending.rejected(chunk.flow, chunk.code)
        elif isinstance(chunk, CloseRequest):
            self._farewell.acknowledge(now)
            self._end(Closed(*decode_reason(chunk.detail), by_peer=True))
        elif isinstance(chunk, CloseAck):  # the abrupt close of RFC 7016 §3.5.5: nobody waits for an answer
            self._end(Closed(CloseReason.NORMAL, "", by_peer=True))
        elif isinstance(chunk, PacketFragment):
            self._receive_part(chunk, address, now)
        elif isinstance(chunk, ForwardedIHello) and self.accepts_introductions and not self._forwarded:
            self._forwarded.append(chunk)

    def _receive_part(self, part: PacketFragment, address: Address, now: float) -> None:
        if self._is_in_parts:
            raise RemoteError("a packet in parts within a packet in parts")
        whole = self._reassembly.receive(part)
        if whole is not None:
            self._is_in_parts = True
            self._receive_plain(whole, address, now)
            self._is_in_parts = False

    def _receive_reply(self, message: bytes, address: Address, now: float) -> None:
        size = self._probes.answered(message)
        if size is not None:
            self._path.probe_acknowledged(size, now)
            self._sending.path_changed(now)
        elif (
            message[:1] == mobility.MARK and address != self.address and self._mobility.is_proof(message, address, now)
        ):
            self._move(address, now)

    def _check_address(self, address: Address, now: float) -> None:
        """The peer's packets come from elsewhere: ask there."""
        question = self._mobility.question(address, now)
        if question is not None:
            self._add_chunk(Ping(question), to=address)

    def _move(self, address: Address, now: float) -> None:
        assert self.address is not None
        is_elsewhere = address.host != self.address.host
        self.address = address
        if is_elsewhere:
            self._sending.path_moved(now)
        self._sending.retry(now)
        self.ping(now)  # a reset of ours would look otherwise there

    # Sending ----------------------------------------------------------------------------------------------------

    def next_batch(self, target: memoryview, now: float) -> Batch | None:
        """Datagrams that may leave now, written into `target` (BATCH_BYTES or more); None when there are none."""
        self._now = now
        if self._keyed is None or self.address is None:
            return None
        if self._elsewhere:
            address, chunk = self._elsewhere.popleft()
            return self._packer.single(target, address, chunk, now)
        if self._state is not State.OPEN:
            return self._next_closing(target, now)
        probe = self._path.probe_to_send(now) if self._sending.has_data else None
        if probe is not None:
            question = encode_chunk(Ping(self._probes.question(probe)))  # the answer is a small one
            return self._packer.single(target, self.address, question, now, fill_to=probe)
        if self._receiving.is_overrun:
            self.close(CloseReason.OVERLOADED, "too many messages begun and not ended")
            return None
        return self._packer.batch(target, self.address, now)

    def _next_closing(self, target: memoryview, now: float) -> Batch | None:
        chunk = self._farewell.chunk_to_send(now) if self._state is State.CLOSED else None
        if chunk is None:
            return None
        assert self.address is not None
        return self._packer.single(target, self.address, chunk, now)

    def _add_chunk(self, chunk: Chunk, to: Address | None = None) -> None:
        if to is not None and to != self.address:
            if len(self._elsewhere) < MAX_PINGS:
                self._elsewhere.append((to, encode_chunk(chunk)))
        elif len(self._packer.waiting) < MAX_PINGS:
            self._packer.waiting.append(encode_chunk(chunk))

    # Ends -------------------------------------------------------------------------------------------------------

    def _give_up(self) -> None:
        if self._is_initiator:
            self._end(Closed(CloseReason.UNREACHABLE, f"no answer over UDP (tried for {self._keying_timeout:.0f} s)"))
        else:
            self._end(Closed(CloseReason.TIMED_OUT, "the handshake was not finished in time"))

    def _open(self, now: float) -> None:
        self._state, self.opened_at = State.OPEN, now
        self.ping(now)  # confirms the keys to the responder, and tells what a reset of ours looks like
        keyed = self._proved()
        self._events.append(Opened(keyed.certificate, keyed.handshake_hash))

    def _proved(self) -> Keyed:
        if self._keyed is None:
            raise LocalError("the session is not open yet")
        return self._keyed

    def _end(self, event: Closed) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._resets.forget(self.near_id)
        self._events.append(event)
