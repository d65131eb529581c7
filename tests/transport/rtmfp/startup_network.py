"""Nodes that open sessions with each other in virtual time, over a network that loses, doubles, delays and corrupts.

A `Node` is the least endpoint there can be: an Opening for each call of its own and a Responder, real datagrams, and
the decisions of `glare`. Whoever opens a session sends one Ping in it, which proves it to the other end.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng, SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.rtmfp.chunks import (
    Chunk,
    ForwardedIHello,
    Ping,
    Redirect,
    RHello,
    decode_chunks,
    encode_chunk,
)
from swarmd.transport.rtmfp.glare import HOLD_PERIOD, Glare, decide_glare, find_rival
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.opening import Failed, Opened, Opening
from swarmd.transport.rtmfp.packet import Mode, decode_header, encode_header, scramble, session_id_of, ticks
from swarmd.transport.rtmfp.profile import Keyed, PacketCipher, Profile
from swarmd.transport.rtmfp.responder import Answer, Call, Forward, Introducer, Responder
from swarmd.transport.rtmfp.startup import Outgoing
from tests.transport.rtmfp.plain import PlainProfile, peer_id_of

T = TypeVar("T")
START = 50.0
NAMES = ("alice", "bob", "carol")


def make_profile(kind: str, name: str, rng: Rng) -> Profile:
    if kind == "plain":
        return PlainProfile(name.encode(), rng)
    return NoiseProfile(Identity.generate(SeededRng(NAMES.index(name))), rng)


def datagram(cipher: PacketCipher, mode: Mode, chunk: Chunk, session_id: int, now: float = START) -> bytes:
    """As an endpoint makes it, with the longest header that a question has."""
    sealed = cipher.seal(encode_header(mode, timestamp=ticks(now), echo=None) + encode_chunk(chunk))
    return scramble(session_id, sealed) + sealed


def chunks_of(cipher: PacketCipher, data: bytes) -> list[Chunk]:
    plain = cipher.open(memoryview(data)[4:])
    return list(decode_chunks(plain[decode_header(plain).size :]))


@dataclass(frozen=True)
class Sent:
    """A startup chunk on its way."""

    at: float
    source: Address
    outgoing: Outgoing


@dataclass
class Session:
    """One that is keyed at our end; `is_heard` once a packet under its keys has come."""

    keyed: Keyed
    session_id: int
    is_heard: bool = False
    opened_at: float | None = None
    """When, if we have called for it."""


class Node:
    def __init__(self, network: Network, name: str, kind: str, introducer: Introducer | None = None) -> None:
        self.network = network
        self.address = Address(f"192.0.2.{NAMES.index(name) + 1}", 7000)
        self.profile = make_profile(kind, name, network.rng)
        self.peer_id = _peer_id(kind, name)
        self.responder = Responder(self.profile, network.rng, START, introducer)
        self.openings: list[Opening] = []
        self.sessions: dict[int, Session] = {}
        self.failures: list[Failed] = []
        self.calls = 0
        self.mute: type[Chunk] | None = None
        """Chunks of this kind get lost."""
        self._ids = count(1000 * (NAMES.index(name) + 1))
        network.nodes[self.address] = self

    def call(self, wanted: PeerId | None, *candidates: Address) -> Opening:
        now = self.network.now
        opening = Opening(self.profile, self.network.rng, next(self._ids), wanted, candidates, now)
        self.openings.append(opening)
        self.turn()
        return opening

    def receive(self, data: bytes, source: Address) -> None:
        session_id = session_id_of(data)
        session = self.sessions.get(session_id)
        try:
            if session is not None:
                chunks_of(session.keyed.cipher, data)
                self._hear(session)
            else:
                self._receive_startup(chunks_of(self.profile.startup, data), session_id, source, len(data))
        except RemoteError:
            return
        self.turn()

    def _receive_startup(self, chunks: list[Chunk], session_id: int, source: Address, size: int) -> None:
        now = self.network.now
        for opening in list(self.openings):
            for chunk in chunks:
                is_hello = isinstance(chunk, RHello | Redirect) and chunk.tag_echo == opening.tag
                if is_hello or session_id == opening.session_id:
                    opening.receive(chunk, source, now)
        if session_id == 0:
            self.act(self.responder.receive(chunks, source, size, now))

    def act(self, answers: list[Answer]) -> None:
        for answer in answers:
            match answer:
                case Outgoing():
                    self.send(answer)
                case Call():
                    self._decide(answer)
                case Forward():
                    self.network.forward(self, answer)

    def _decide(self, call: Call) -> None:
        self.calls += 1
        now = self.network.now
        rival = find_rival(self.openings, call.certificate, call.address)
        opened = [s.opened_at for s in self.sessions.values() if s.keyed.certificate == call.certificate]
        opened_ago = min((now - at for at in opened if at is not None), default=None)
        verdict = decide_glare(self.profile, rival, call.certificate, opened_ago=opened_ago)
        if verdict is Glare.PREVAIL:
            return
        if verdict is Glare.YIELD:
            assert rival is not None
            rival.hold(now + HOLD_PERIOD)
        session_id = next(self._ids)
        self.sessions[session_id] = Session(call.keyed, session_id)
        self.send(self.responder.accept(call, session_id, now))

    def _hear(self, session: Session) -> None:
        session.is_heard = True
        while (rival := find_rival(self.openings, session.keyed.certificate, self.address)) is not None:
            self.openings.remove(rival)

    def turn(self) -> None:
        """After anything has happened."""
        for opening in list(self.openings):
            opening.handle_timer(self.network.now)
            for outgoing in opening.to_send(self.network.now):
                self.send(outgoing)
            if opening.outcome is None:
                continue
            self.openings.remove(opening)
            if isinstance(opening.outcome, Opened):
                self._open(opening, opening.outcome)
            else:
                self.failures.append(opening.outcome)

    def _open(self, opening: Opening, opened: Opened) -> None:
        session = Session(opened.keyed, opening.session_id, opened_at=self.network.now)
        self.sessions[opening.session_id] = session
        self._hear(session)
        for _ in range(8):  # one of them gets through
            ping = datagram(opened.keyed.cipher, Mode.INITIATOR, Ping(b""), opened.far_session_id)
            self.network.carry(self, opened.address, ping)

    def send(self, outgoing: Outgoing) -> None:
        self.network.startup.append(Sent(self.network.now, self.address, outgoing))
        if self.mute is not None and isinstance(outgoing.chunk, self.mute):
            return
        data = datagram(self.profile.startup, Mode.STARTUP, outgoing.chunk, outgoing.session_id, self.network.now)
        self.network.carry(self, outgoing.address, data)

    def heard(self) -> list[bytes]:
        return [session.keyed.handshake_hash for session in self.sessions.values() if session.is_heard]

    def next_deadline(self) -> float:
        deadlines = [deadline for opening in self.openings if (deadline := opening.next_deadline()) is not None]
        return min(deadlines, default=float("inf"))


def _peer_id(kind: str, name: str) -> PeerId:
    if kind == "plain":
        return peer_id_of(name.encode())
    return Identity.generate(SeededRng(NAMES.index(name))).peer_id


@dataclass
class Network:
    """Each datagram is lost, doubled or corrupted with these probabilities, and takes up to `max_delay` seconds."""

    rng: Rng = field(default_factory=lambda: SeededRng(1))
    loss: float = 0.0
    doubling: float = 0.0
    corruption: float = 0.0
    max_delay: float = 0.05
    now: float = START
    nodes: dict[Address, Node] = field(default_factory=dict)
    startup: list[Sent] = field(default_factory=list)
    _flying: list[tuple[float, int, Address, Address, bytes]] = field(default_factory=list)
    _order: count[int] = field(default_factory=count)

    def carry(self, sender: Node, destination: Address, data: bytes) -> None:
        for _ in range(2 if self.rng.random() < self.doubling else 1):
            if self.rng.random() < self.loss:
                continue
            arrives_at = self.now + self.rng.random() * self.max_delay
            heapq.heappush(self._flying, (arrives_at, next(self._order), sender.address, destination, data))

    def forward(self, introducer: Node, forward: Forward) -> None:
        """A session between introducer and peer, which is not what is tested here: its number picks the node."""
        peer = list(self.nodes.values())[forward.session]
        assert isinstance(forward.chunk, ForwardedIHello)
        chunk = next(decode_chunks(memoryview(encode_chunk(forward.chunk))))
        assert chunk == forward.chunk
        peer.act(peer.responder.receive_forwarded(forward.chunk, introducer.address, self.now, is_enabled=True))

    def chunks(self, kind: type[T]) -> list[T]:
        """All of this kind that were sent."""
        return [sent.outgoing.chunk for sent in self.startup if isinstance(sent.outgoing.chunk, kind)]

    def run(self, seconds: float = 200.0) -> None:
        end = self.now + seconds
        while self._next_at() <= end:
            self.step()
        self.now = end

    def step(self) -> None:
        """The next thing that happens: one datagram arrives, or timers are due."""
        self.now = max(self.now, self._next_at())
        if not self._flying or self._flying[0][0] > self.now:
            for node in list(self.nodes.values()):
                node.turn()
            return
        _, _, source, destination, data = heapq.heappop(self._flying)
        if (receiver := self.nodes.get(destination)) is not None:
            receiver.receive(self._corrupted(data), source)

    def _next_at(self) -> float:
        arrival = self._flying[0][0] if self._flying else float("inf")
        return min(arrival, *(node.next_deadline() for node in self.nodes.values()))

    def _corrupted(self, data: bytes) -> bytes:
        if self.rng.random() >= self.corruption:
            return data
        changed = bytearray(data)
        changed[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        return bytes(changed)
