"""The TCP session machine: bytes in, bytes out, events up. It implements `transport.api.Session`.

In:  bytes from the connection (`receive_buffer` + `bytes_received`, so that the kernel writes straight into the place
     where records are opened), `connection_lost`, commands of the API, `handle_timer`.
Out: sealed records (`data_to_send`, `data_sent`), events (`next_event`), `next_deadline`.

States:  KEYING  -> OPEN    the keys are made and, at the responder, the first record has opened
         any     -> CLOSED  close() by us, CLOSE of the peer, a fault, a time-out, the connection lost
Invariant: an event list holds `Closed` exactly once and last. After CLOSED nothing is read; what was sealed before may
still be sent (`data_to_send`), so that the peer hears why.

Records grow with the rate at which the connection takes them (about 20 ms each, 64 KiB to 1 MiB): on a slow link a
control message waits for one small record, on a fast one the cost of a record is spread over 1 MiB.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from swarmd.core.errors import LocalError, RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.identity import Identity
from swarmd.transport.api import (
    MAX_FLOWS,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    Buffer,
    Closed,
    CloseReason,
    Event,
    Opened,
    Priority,
    State,
)
from swarmd.transport.tcp import frames
from swarmd.transport.tcp.buffers import BufferPool
from swarmd.transport.tcp.frames import HEADER, HEADER_BYTES, FrameType
from swarmd.transport.tcp.inbox import Inbox
from swarmd.transport.tcp.keying import InitiatorKeying, Keys, ResponderKeying, WrongPeer, WrongVersion
from swarmd.transport.tcp.outbox import Outbox, SendFlow
from swarmd.transport.tcp.pace import RecordSize
from swarmd.transport.tcp.receive import ReceiveBuffer
from swarmd.transport.tcp.record import MAX_PLAIN_BYTES, Opener, Sealer

KEYING_TIMEOUT = 10.0  # design §5: half a handshake and silence
KEEPALIVE_PERIOD = 25.0  # under the 30 s after which the meanest NATs forget a mapping
SILENCE_TIMEOUT = 80.0  # three keepalives unanswered
STALL_TIMEOUT = 60.0  # the peer reads nothing although we have something for it
MAX_QUEUED_BYTES = 32 << 20  # a peer that does not read costs at most this


class TcpSession:
    """One session over one connection. `wanted` is the peer ID that must answer (initiator only; None: anybody).

    `pool`: where opened records lie; one for all sessions of a node saves memory.
    """

    def __init__(
        self,
        identity: Identity,
        rng: Rng,
        now: float,
        *,
        is_initiator: bool,
        wanted: PeerId | None = None,
        pool: BufferPool | None = None,
    ) -> None:
        self._is_initiator = is_initiator
        self._state = State.KEYING
        self._events: deque[Event] = deque()
        self._keys: Keys | None = None
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._pool = pool
        self._received = ReceiveBuffer()
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._flows: dict[int, SendFlow] = {}
        self._next_flow = 1
        self._record_size = RecordSize()
        self._sealed: deque[memoryview] = deque()
        self._created_at = self._heard_at = self._progress_at = now
        self._ping_sent = self._pong_due = False
        if is_initiator:
            initiator = InitiatorKeying(identity, rng, wanted)
            self._keying: InitiatorKeying | ResponderKeying = initiator
            self._sealed.append(memoryview(initiator.hello()))
        else:
            self._keying = ResponderKeying(identity, rng)

    # What the API gives -----------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_initiator(self) -> bool:
        return self._is_initiator

    @property
    def peer_id(self) -> PeerId:
        return self._proved().certificate.peer_id

    @property
    def handshake_hash(self) -> bytes:
        return self._proved().handshake_hash

    @property
    def queued_bytes(self) -> int:
        return self._outbox.queued_bytes

    def open_flow(self, metadata: bytes, priority: Priority, *, report_sent: bool = False) -> int:
        if len(metadata) > MAX_METADATA_BYTES or len(self._flows) >= MAX_FLOWS:
            raise LocalError("too many flows or too much metadata")
        number = self._next_flow
        self._next_flow += 1
        self._flows[number] = flow = SendFlow(number, priority, report_sent, metadata)
        self._outbox.open(flow)
        return number

    def set_priority(self, flow: int, priority: Priority) -> None:
        if self._state is State.CLOSED:
            return
        target = self._flows.get(flow)
        if target is None:
            raise LocalError(f"flow {flow} is not open")
        self._outbox.set_priority(target, priority)

    @property
    def is_background(self) -> bool:
        return self._outbox.is_background

    def send(self, flow: int, parts: Sequence[Buffer]) -> None:
        if self._state is State.CLOSED:
            return  # the Closed event tells; whoever sends meanwhile is not at fault
        target = self._flows.get(flow)
        if target is None or target.closing:
            raise LocalError(f"flow {flow} is not open")
        if self._outbox.add(target, parts) > MAX_MESSAGE_BYTES:
            raise LocalError("a message is larger than MAX_MESSAGE_BYTES")
        if self._outbox.queued_bytes > MAX_QUEUED_BYTES:
            self.close(CloseReason.OVERLOADED, "the peer does not read what it is sent")

    def close_flow(self, flow: int) -> None:
        target = self._flows.pop(flow, None)
        if target is not None and self._state is not State.CLOSED:
            self._outbox.finish(target)

    def close(self, reason: CloseReason = CloseReason.NORMAL, detail: str = "") -> None:
        if self._state is State.CLOSED:
            return
        if self._sealer is not None and self._state is State.OPEN:
            self._sealed.append(self._sealer.seal(frames.encode_close(reason, detail)))
        self._end(Closed(reason, detail))

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        if self._state is State.CLOSED:
            return None
        if self._state is State.KEYING:
            return self._created_at + KEYING_TIMEOUT
        silence = self._heard_at + (SILENCE_TIMEOUT if self._ping_sent else KEEPALIVE_PERIOD)
        return min(silence, self._progress_at + STALL_TIMEOUT) if self._has_output() else silence

    def handle_timer(self, now: float) -> None:
        if self._state is State.CLOSED:
            return
        if self._state is State.KEYING:
            if now >= self._created_at + KEYING_TIMEOUT:
                self._end(Closed(CloseReason.TIMED_OUT, "the handshake was not finished in time"))
            return
        if self._has_output() and now >= self._progress_at + STALL_TIMEOUT:
            self._end(Closed(CloseReason.TIMED_OUT, "the peer takes no data any more"))
        elif now >= self._heard_at + SILENCE_TIMEOUT:
            self._end(Closed(CloseReason.TIMED_OUT, "nothing was heard from the peer"))
        elif now >= self._heard_at + KEEPALIVE_PERIOD and not self._ping_sent:
            self._ping_sent = True
            self._received.shrink()
            if self._sealer is not None:
                self._sealer.shrink()
            self._outbox.add_frame(frames.encode_frame(FrameType.PING))

    # Receiving --------------------------------------------------------------------------------------------------

    def receive_buffer(self) -> memoryview:
        """Where the next bytes of the connection go."""
        return self._received.space()

    @property
    def record_bytes(self) -> int:
        """How large a record may be now: about 20 ms of what the connection takes."""
        return self._record_size.limit

    @property
    def missing_bytes(self) -> int:
        """How much of the record at hand has not arrived: less than that is not worth a turn of the loop."""
        return self._received.missing if self._opener is not None else 0

    def bytes_received(self, count: int, now: float) -> None:
        """`count` bytes were written at the start of `receive_buffer()`."""
        self._heard_at = now
        self._ping_sent = False
        self._received.filled(count)
        try:
            while self._state is not State.CLOSED and self._receive_unit():
                pass
        except RemoteError as error:
            self._fail(error)

    def connection_lost(self, detail: str) -> None:
        """The connection is gone; nothing more can be sent."""
        self._sealed.clear()
        self._end(Closed(CloseReason.LOST, detail))

    def _receive_unit(self) -> bool:
        """One keying frame or one record, if it is there whole."""
        if self._opener is None:
            body = self._received.take_frame()
            if body is None:
                return False
            self._receive_keying(body)
            return True
        record = self._received.take_record()
        if record is None:
            return False
        plain = self._opener.open(*record)
        if self._state is State.KEYING:
            self._open()
        self._receive_frames(plain)
        return True

    def _receive_keying(self, body: bytes) -> None:
        answer = self._keying.receive(body)
        if answer:
            self._sealed.append(memoryview(answer))
        self._keys = keys = self._keying.result
        if keys is None:
            return
        self._sealer, self._opener = Sealer(keys.send_key), Opener(keys.receive_key, self._pool)
        if self._is_initiator:
            self._outbox.add_frame(frames.encode_frame(FrameType.PING))  # confirms the keys to the responder
            self._open()

    def _open(self) -> None:
        self._state = State.OPEN
        self._progress_at = self._heard_at
        keys = self._proved()
        self._events.append(Opened(keys.certificate, keys.handshake_hash))

    def _receive_frames(self, plain: memoryview) -> None:
        offset, end = 0, len(plain)
        while offset < end:
            if end - offset < HEADER_BYTES:
                raise RemoteError("a record ends within a frame header")
            kind, flags, flow, length = HEADER.unpack_from(plain, offset)
            offset += HEADER_BYTES + length
            if offset > end:
                raise RemoteError("a frame is longer than its record")
            body = plain[offset - length : offset]
            if kind == FrameType.DATA:
                message = self._inbox.receive(flow, flags, body, end)
                if message is not None:
                    self._events.append(message)
            else:
                self._receive_control(kind, flow, body, is_last=offset == end)

    def _receive_control(self, kind: int, flow: int, body: memoryview, *, is_last: bool) -> None:
        if kind == FrameType.OPEN:
            self._events.append(self._inbox.open(flow, body))
        elif kind == FrameType.FINISH:
            self._events.append(self._inbox.finish(flow))
        elif kind == FrameType.PING:
            self._pong_due = True  # one answer for however many: a flood of pings queues nothing
        elif kind == FrameType.PONG:
            pass  # having heard it is all there is to it
        elif kind == FrameType.CLOSE:
            reason, detail = frames.decode_close(body)
            self._end(Closed(reason, detail, by_peer=True))
        elif kind == FrameType.REKEY and is_last and self._opener is not None:
            self._opener.rekey()
        else:
            raise RemoteError(f"a frame of unknown type {kind}")

    # Sending ----------------------------------------------------------------------------------------------------

    def data_to_send(self) -> memoryview | None:
        """The next sealed bytes for the connection, None when there are none. Follow with `data_sent`."""
        if not self._sealed and self._state is State.OPEN:
            self._seal_next()
        return self._sealed[0] if self._sealed else None

    def data_sent(self, count: int, now: float) -> None:
        """The connection took the first `count` bytes of what `data_to_send` gave."""
        self._progress_at = now
        self._record_size.sent(count, now)
        head = self._sealed[0]
        if count == len(head):
            self._sealed.popleft()
        else:
            self._sealed[0] = head[count:]

    def _seal_next(self) -> None:
        sealer = self._sealer
        assert sealer is not None
        limit = self._record_size.limit
        if self._pong_due:
            self._pong_due = False
            self._outbox.add_frame(frames.encode_frame(FrameType.PONG))
        limit = min(limit, MAX_PLAIN_BYTES)
        pieces = self._outbox.fill(limit - HEADER_BYTES, min(2 * limit, MAX_PLAIN_BYTES) - HEADER_BYTES)
        if not pieces:
            return
        rekey = sealer.wants_rekey
        if rekey:
            pieces.append(frames.encode_frame(FrameType.REKEY))
        self._sealed.append(sealer.seal(*pieces, is_passing=True))
        if rekey:
            sealer.rekey()
        if self._outbox.sent:
            self._events.extend(self._outbox.sent)
            self._outbox.sent.clear()

    # Ends -------------------------------------------------------------------------------------------------------

    def _has_output(self) -> bool:
        return bool(self._sealed) or bool(self._outbox) or self._pong_due

    def _proved(self) -> Keys:
        if self._keys is None:
            raise LocalError("the session is not open yet")
        return self._keys

    def _fail(self, error: RemoteError) -> None:
        reason = CloseReason.PROTOCOL
        if isinstance(error, WrongPeer):
            reason = CloseReason.WRONG_PEER
        elif isinstance(error, WrongVersion):
            reason = CloseReason.VERSION
        self.close(reason, str(error))

    def _end(self, event: Closed) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._outbox.clear()
        self._flows.clear()
        self._received.clear()
        self._events.append(event)
