"""One UDP port's worth of RTMFP: tells datagrams apart, opens sessions, and answers whoever opens one with us.

In:  datagrams with their source (`receive`), `connect`, `handle_timer`.
Out: new sessions (`next_incoming`), startup datagrams (`datagrams_to_send`), `next_deadline`. Sessions are driven
     by themselves: `receive` gives those that something has come for, and the driver asks them for batches and events.

A datagram with session ID 0 is a startup packet; one with the ID of a session that is not keyed yet may be an answer
to our question; everything else belongs to the session, or to nobody. Nothing that is sent to us makes us send more
than it, or keeps memory, before its sender has done the work of keying (`responder`).

Which of two sessions with one peer is kept is `transport.sessions`' to decide, since the other one may be TCP; only
glare, both ends calling each other at once, is settled here, before a second session exists.

Bounds: MAX_SESSIONS, those that linger included; startup packets of MAX_STARTUP_BYTES.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError, RemoteError, SwarmError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import Certificate
from swarmd.transport.api import CloseReason, State
from swarmd.transport.rtmfp import glare
from swarmd.transport.rtmfp.alerts import Alerts
from swarmd.transport.rtmfp.choice import Choice, Maker
from swarmd.transport.rtmfp.chunks import Chunk, decode_chunks, encode_chunk
from swarmd.transport.rtmfp.cubic import Cubic
from swarmd.transport.rtmfp.ledbat import Ledbat
from swarmd.transport.rtmfp.opening import Failed, Opened, Opening
from swarmd.transport.rtmfp.packet import (
    MIN_DATAGRAM_BYTES,
    Mode,
    decode_header,
    encode_header,
    scramble,
    session_id_of,
)
from swarmd.transport.rtmfp.packing import BATCH_BYTES, SCRATCH_BYTES
from swarmd.transport.rtmfp.pathmtu import PathMtu
from swarmd.transport.rtmfp.profile import OwnAddress, Profile, WrongPeer
from swarmd.transport.rtmfp.resets import Resets
from swarmd.transport.rtmfp.responder import Answer, Call, Forward, Introducer, Responder
from swarmd.transport.rtmfp.session import KEYING_TIMEOUT, RtmfpSession
from swarmd.transport.rtmfp.startup import ATTEMPT_TIMEOUT, Outgoing

MAX_SESSIONS = 4096
MAX_STARTUP_BYTES = 4256  # as in the RFC author's implementation
MAX_UNHEARD = 256  # sessions keyed with us of which no packet has come, the oldest given up: one round trip's worth
SWEEP_PERIOD = 2.0
_ID_LIMIT = 1 << 32


class Datagram(NamedTuple):
    """One, for an address that no session of ours stands behind yet."""

    address: Address
    data: bytes


class Endpoint:
    def __init__(
        self,
        profile: Profile,
        rng: Rng,
        now: float,
        *,
        foreground: Maker = Cubic,
        background: Maker = Ledbat,
        introducer: Introducer | None = None,
        reset_key: bytes | None = None,
    ) -> None:
        """`foreground`, `background`: make the congestion controllers of a session; `choice` says which drives."""
        self._profile, self._rng = profile, rng
        self._controllers = (foreground, background)
        self._responder = Responder(profile, rng, now, introducer)
        self._alerts = Alerts()
        self._resets = Resets(reset_key, rng)
        self._sessions: dict[int, RtmfpSession] = {}
        self._openings: dict[int, Opening] = {}
        self._tags: dict[bytes, int] = {}
        self._unheard: dict[int, Call] = {}  # sessions opened with us of which no packet has opened yet
        self._incoming: deque[RtmfpSession] = deque()
        self._told: list[RtmfpSession] = []  # failed, or to ask something, by what was said outside of them
        self._datagrams: deque[Datagram] = deque()
        self._sweep_at = now
        self._scratch = bytearray(SCRATCH_BYTES)
        self._batch = memoryview(bytearray(BATCH_BYTES))

    def __len__(self) -> int:
        return len(self._sessions)

    def connect(
        self,
        wanted: PeerId | None,
        candidates: Iterable[Address],
        now: float,
        timeout: float = ATTEMPT_TIMEOUT,
    ) -> RtmfpSession:
        """Open a session with this peer (None: whoever answers) at one of these addresses; it opens, or closes."""
        candidates = list(candidates)
        has_ipv6 = any(candidate.is_ipv6 for candidate in candidates)
        session = self._make(is_initiator=True, has_ipv6=has_ipv6, now=now, keying_timeout=timeout)
        opening = Opening(self._profile, self._rng, session.near_id, wanted, candidates, now)
        self._openings[session.near_id] = opening
        self._tags[opening.tag] = session.near_id
        self._send_startup(opening.to_send(now), now)
        return session

    def add_candidate(self, session: RtmfpSession, address: Address, now: float) -> None:
        """Ask there too, while the session is not keyed."""
        opening = self._openings.get(session.near_id)
        if opening is not None and opening.add_candidate(address, now):
            self._send_startup(opening.to_send(now), now)

    def next_incoming(self) -> RtmfpSession | None:
        """The next session that somebody has opened with us. Its identity is proved once it says `Opened`."""
        return self._incoming.popleft() if self._incoming else None

    def datagrams_to_send(self) -> Iterator[Datagram]:
        while self._datagrams:
            yield self._datagrams.popleft()

    def sessions(self) -> list[RtmfpSession]:
        return list(self._sessions.values())

    # Receiving --------------------------------------------------------------------------------------------------

    def receive(self, data: memoryview, segment_bytes: int, address: Address, now: float) -> list[RtmfpSession]:
        """Datagrams of one source, `segment_bytes` each but for the last; the sessions that something came of."""
        touched: list[RtmfpSession] = []
        session: RtmfpSession | None = None
        for start in range(0, len(data), segment_bytes or len(data) or 1):
            datagram = data[start : start + segment_bytes] if segment_bytes else data
            if len(datagram) < MIN_DATAGRAM_BYTES:
                continue
            number = session_id_of(datagram)
            if not number:
                self._receive_startup(datagram, address, now)
                continue
            found = self._sessions.get(number)
            if found is None:
                self._receive_unknown(number, datagram, address, now)
                continue
            if found is not session:
                session = found
                touched.append(found)
            if self._openings and session.state is State.KEYING and number in self._openings:
                self._receive_answer(number, datagram, address, now)
            else:
                session.receive_packet(datagram[4:], address, now)
                if self._unheard:
                    self._check_heard(session)
        for session in touched:
            self._answer_forwarded(session, address, now)
        if self._told:
            touched += self._told
            self._told.clear()
        return touched

    def _answer_forwarded(self, session: RtmfpSession, address: Address, now: float) -> None:
        while (forwarded := session.forwarded()) is not None:
            answers = self._responder.receive_forwarded(
                forwarded, session.address or address, now, is_enabled=session.accepts_introductions
            )
            self._answer(answers, now)

    def _receive_startup(self, datagram: memoryview, address: Address, now: float) -> None:
        chunks = self._startup_chunks(datagram)
        for chunk in chunks:
            number = self._tags.get(getattr(chunk, "tag_echo", b""))
            if number is not None:
                self._advance(number, chunk, address, now)
                return
        self._answer(self._responder.receive(chunks, address, len(datagram), now), now)

    def _receive_answer(self, number: int, datagram: memoryview, address: Address, now: float) -> None:
        for chunk in self._startup_chunks(datagram):
            if number in self._openings:
                self._advance(number, chunk, address, now)

    def _receive_unknown(self, number: int, datagram: memoryview, address: Address, now: float) -> None:
        """Of no session of ours: is one of ours none of its sender's any more, or the other way round?"""
        lost = self._sessions.get(self._resets.session_of(datagram) or 0)
        if lost is not None:
            self._fail(lost, CloseReason.LOST, "the peer knows nothing of this session any more")
        elif (reset := self._resets.answer(number, len(datagram), address, now)) is not None:
            self._datagrams.append(Datagram(address, reset))

    def _startup_chunks(self, datagram: memoryview) -> list[Chunk]:
        """Of a startup packet; none when it is none: anybody may have sent it."""
        if len(datagram) > MAX_STARTUP_BYTES:
            return []
        try:
            plain = self._profile.startup.open(datagram[4:])
            header = decode_header(plain)
            return list(decode_chunks(plain[header.size :])) if header.mode is Mode.STARTUP else []
        except RemoteError:
            return []

    def _advance(self, number: int, chunk: Chunk, address: Address, now: float) -> None:
        opening = self._openings[number]
        opening.receive(chunk, address, now)
        self._send_startup(opening.to_send(now), now)
        self._settle(number, now)

    def _settle(self, number: int, now: float) -> None:
        """See whether an opening has come to its end."""
        opening, session = self._openings[number], self._sessions[number]
        outcome = opening.outcome
        if outcome is None:
            return
        self._drop_opening(number)
        if isinstance(outcome, Opened):
            session.keyed(outcome.keyed, outcome.far_session_id, outcome.address, now)
        elif isinstance(outcome, Failed):
            self._fail(session, *_reason(outcome.error))

    def _fail(self, session: RtmfpSession, reason: CloseReason, detail: str, peer: PeerId | None = None) -> None:
        session.failed(reason, detail, peer)
        self._told.append(session)

    def _answer(self, answers: list[Answer], now: float) -> None:
        for answer in answers:
            if isinstance(answer, Call):
                self._receive_call(answer, now)
            elif isinstance(answer, Forward):
                session = self._sessions.get(answer.session)
                if session is not None and session.state is State.OPEN:
                    session.forward(answer.chunk)
            else:
                self._send_startup([answer], now)

    def _receive_call(self, call: Call, now: float) -> None:
        """Somebody has keyed a session with us. If we have one with him, he may have lost it: ask there."""
        for session in self._sessions.values():
            if session.state is State.OPEN and session.certificate == call.certificate:
                session.ping(now)
                self._told.append(session)
        rival = glare.find_rival(self._openings.values(), call.certificate, call.address)
        decision = glare.decide_glare(
            self._profile, rival, call.certificate, opened_ago=self._opened_ago(call.certificate, now)
        )
        if decision is glare.Glare.PREVAIL:
            return
        if len(self._sessions) >= MAX_SESSIONS:
            return  # said nothing, it asks again
        if len(self._unheard) >= MAX_UNHEARD:
            self._drop_unheard(next(iter(self._unheard)))
        session = self._make(is_initiator=False, has_ipv6=call.address.is_ipv6, now=now)
        session.keyed(call.keyed, call.far_session_id, call.address, now)
        self._unheard[session.near_id] = call
        if decision is glare.Glare.YIELD and rival is not None:
            rival.hold(now + glare.HOLD_PERIOD)
        self._send_startup([self._responder.accept(call, session.near_id, now)], now)

    def _check_heard(self, session: RtmfpSession) -> None:
        """A session opened with us is handed up when a first packet of it has opened."""
        number = session.near_id
        if number not in self._unheard or session.state is State.KEYING:
            return
        del self._unheard[number]
        self._incoming.append(session)
        assert session.address is not None
        while (rival := glare.find_rival(self._openings.values(), session.certificate, session.address)) is not None:
            self._drop_opening(rival.session_id)
            detail = "the peer has called at the same time"
            self._fail(self._sessions[rival.session_id], CloseReason.DUPLICATE, detail, session.certificate.peer_id)

    def _opened_ago(self, far: Certificate, now: float) -> float | None:
        """Since a session that we have called this peer for opened, and is open."""
        ours = (session for session in self._sessions.values() if session.is_initiator and session.state is State.OPEN)
        return min((now - session.opened_at for session in ours if session.certificate == far), default=None)

    # Time -------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        deadlines = [
            each for each in (opening.next_deadline() for opening in self._openings.values()) if each is not None
        ]
        waiting = self._responder.next_deadline()
        if waiting is not None:
            deadlines.append(waiting)
        if self._unheard or any(session.state is State.CLOSED for session in self._sessions.values()):
            deadlines.append(self._sweep_at + SWEEP_PERIOD)
        closing = (session.close_deadline for session in self._sessions.values())
        deadlines.extend(each for each in closing if each is not None)
        return min(deadlines, default=None)

    def handle_timer(self, now: float) -> None:
        for number, opening in list(self._openings.items()):
            if self._sessions[number].state is State.CLOSED:
                self._drop_opening(number)
                continue
            opening.handle_timer(now)
            self._send_startup(opening.to_send(now), now)
            self._settle(number, now)
        self._told.clear()  # whoever drives the endpoint looks at all sessions now
        self._answer(self._responder.handle_timer(now), now)
        self._say_closed(now)
        if now >= self._sweep_at + SWEEP_PERIOD:
            self._sweep(now)

    def _say_closed(self, now: float) -> None:
        """Sessions that have ended go on saying so until the peer has heard it."""
        for session in self._sessions.values():
            due = session.close_deadline
            if due is not None and due <= now and (batch := session.next_batch(self._batch, now)) is not None:
                self._datagrams.append(Datagram(batch.address, bytes(batch.data)))

    def _sweep(self, now: float) -> None:
        """Forget sessions that are over, those that were keyed and never heard of among them."""
        self._sweep_at = now
        for number in list(self._unheard):
            session = self._sessions[number]
            session.handle_timer(now)
            if session.state is State.CLOSED:
                self._drop_unheard(number)
        for number, session in list(self._sessions.items()):
            if session.is_gone(now) and number not in self._openings:
                del self._sessions[number]

    # Both ways --------------------------------------------------------------------------------------------------

    def _make(
        self, *, is_initiator: bool, has_ipv6: bool, now: float, keying_timeout: float = KEYING_TIMEOUT
    ) -> RtmfpSession:
        if len(self._sessions) >= MAX_SESSIONS:
            raise LocalError("too many sessions")
        near_id = 0
        while not near_id or near_id in self._sessions:
            near_id = self._rng.randrange(_ID_LIMIT)
        path = PathMtu(has_ipv6)
        session = self._sessions[near_id] = RtmfpSession(
            self._rng,
            now,
            near_id=near_id,
            is_initiator=is_initiator,
            choice=Choice(*self._controllers, path.packet_bytes, now),
            path=path,
            alerts=self._alerts,
            resets=self._resets,
            scratch=self._scratch,
            keying_timeout=keying_timeout,
        )
        return session

    def _drop_unheard(self, number: int) -> None:
        self._responder.forget(self._unheard.pop(number))
        del self._sessions[number]

    def _drop_opening(self, number: int) -> None:
        opening = self._openings.pop(number)
        self._tags.pop(opening.tag, None)

    def _send_startup(self, outgoing: Iterable[Outgoing], now: float) -> None:
        for each in outgoing:
            plain = encode_header(Mode.STARTUP, timestamp=None, echo=None) + encode_chunk(each.chunk)
            sealed = self._profile.startup.seal(plain)
            self._datagrams.append(Datagram(each.address, scramble(each.session_id, sealed) + sealed))


def _reason(error: SwarmError) -> tuple[CloseReason, str]:
    if isinstance(error, OwnAddress):
        return CloseReason.SELF, str(error)
    if isinstance(error, WrongPeer):
        return CloseReason.WRONG_PEER, str(error)
    if isinstance(error, RemoteError):
        return CloseReason.PROTOCOL, str(error)
    return CloseReason.UNREACHABLE, str(error)
