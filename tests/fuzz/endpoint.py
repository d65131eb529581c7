"""Any packets into a whole endpoint, in every state of a session, also from behind the cryptography.

`python -m tests.fuzz.endpoint -max_len=4000 CORPUS` runs until it is stopped or something breaks.

The bytes are a script: one that says in which state the victim is, with which profile and in which role, then steps of
`kind u8 | size u16 | body`. What a step of the peer's holds is sealed here with the session's own keys, and what a
stranger may know (a tag, a cookie) is filled in; so a mutation reaches what is behind them. After each step the victim
says all it has to say, and is looked at: nothing may be raised, nothing may grow without bound, and no stranger is
answered with more than it has sent.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from enum import IntEnum

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import MAX_FLOWS, Priority, State
from swarmd.transport.rtmfp import responder
from swarmd.transport.rtmfp.chunks import IHello, IIKeying, RHello, decode_chunks, encode_chunk
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packet import Mode, decode_header, scramble
from swarmd.transport.rtmfp.packing import BATCH_BYTES
from swarmd.transport.rtmfp.profile import Keyed, PacketCipher, Profile
from swarmd.transport.rtmfp.resets import RESET_BYTES
from swarmd.transport.rtmfp.session import MAX_PINGS, MAX_QUEUED_BYTES, RtmfpSession
from swarmd.transport.rtmfp.vlu import encode_field
from tests.fuzz import chunks
from tests.transport.rtmfp.plain import PlainProfile, peer_id_of

VICTIM, PEER, STRANGER = (Address(f"192.0.2.{number}", 1935) for number in (1, 2, 3))
START = 100.0
MAX_STEPS = 40
MAX_BATCHES = 200
"""That an endpoint says at once, after one step: a window's worth, and answers."""
_IDENTITIES = tuple(Identity.generate(SeededRng(seed)) for seed in (1, 2))
PEER_CERTIFICATE = _IDENTITIES[1].certificate.encode()
_RESET_KEY = bytes(32)


class Stage(IntEnum):
    """Of the victim's session with the peer."""

    NONE = 0
    HELLO = 1
    KEYING = 2
    UNHEARD = 3  # keyed by the peer's call, and no packet of it has opened
    OPEN_CALLED = 4
    OPEN_CALLING = 5
    CLOSING = 6


class Kind(IntEnum):
    """Of a step."""

    RAW = 0  # a datagram
    STARTUP = 1  # flags and chunks, under the startup key, from a stranger
    HELLO_ANSWER = 2  # the same, an RHello or a Redirect behind the right tag
    KEYING_ANSWER = 3  # flags and chunks under the startup key, for the session that is being opened
    KEYING = 4  # an IIKeying with a good cookie
    SEALED = 5  # flags and chunks under the session's keys
    CHUNKS = 6  # chunks in a sound packet of the session
    UNSEALED = 7  # behind the session's ID
    TIME = 8  # passes
    COMMAND = 9  # of the victim's own
    MOVED = 10  # as CHUNKS, from another address
    HEARSAY = 11  # what the network says


def script(stage: Stage, *steps: tuple[Kind, bytes], is_plain: bool = False) -> bytes:
    head = bytes((stage | 0x80 * is_plain,))
    return head + b"".join(bytes((kind,)) + len(body).to_bytes(2, "big") + body for kind, body in steps)


class Victim:
    """An endpoint in some stage of a session, and what it takes to speak to it."""

    def __init__(self, stage: Stage, *, is_plain: bool) -> None:
        self.now, self.is_plain = START, is_plain
        self._rng = SeededRng(7)
        own, far = (self._profile(number) for number in (0, 1))
        self.endpoint = Endpoint(own, self._rng, START, reset_key=None if is_plain else _RESET_KEY)
        self._peer = Endpoint(far, self._rng, START, reset_key=None if is_plain else _RESET_KEY)
        self._startup: PacketCipher = own.startup
        self._batch = memoryview(bytearray(BATCH_BYTES))
        self.session: RtmfpSession | None = None  # the victim's,
        self._its: RtmfpSession | None = None  # and the peer's end of it
        self._flows: list[int] = []
        self._epd = far.epd_for(peer_id_of(b"0")) if is_plain else far.epd_for(None)
        self.cookie = self._cookie()
        self._reach(stage)

    def _profile(self, number: int) -> Profile:
        if self.is_plain:
            peer_id_of(b"%d" % number)
            return PlainProfile(b"%d" % number, self._rng)
        return NoiseProfile(_IDENTITIES[number], self._rng)

    def _cookie(self) -> bytes:
        """Made for the stranger."""
        hello = encode_chunk(IHello(self._epd, bytes(16)))
        self.receive(self.sealed(self._startup, 0, bytes((Mode.STARTUP,)) + hello), STRANGER)
        (answer,) = self.endpoint.datagrams_to_send()
        plain = self._startup.open(memoryview(answer.data)[4:])
        chunk = next(decode_chunks(plain[decode_header(plain).size :]))
        assert isinstance(chunk, RHello)
        return chunk.cookie

    def _reach(self, stage: Stage) -> None:
        if stage is Stage.NONE:
            return
        is_calling = stage in (Stage.HELLO, Stage.KEYING, Stage.OPEN_CALLING)
        caller, called = (self.endpoint, self._peer) if is_calling else (self._peer, self.endpoint)
        number = 1 if is_calling else 0
        wanted = peer_id_of(b"%d" % number) if self.is_plain else _IDENTITIES[number].peer_id
        session = caller.connect(wanted, [PEER if is_calling else VICTIM], START)
        if is_calling:
            self.session = session
        else:
            self._its = session
        for _ in range({Stage.HELLO: 0, Stage.KEYING: 1, Stage.UNHEARD: 2}.get(stage, 6)):
            self._carry(caller, called, is_calling)
            self._carry(called, caller, not is_calling)
        if is_calling:
            self._its = next(iter(self._peer.sessions()), None)
        else:
            self.session = self.endpoint.sessions()[0]
        assert self.session is not None
        expected = State.KEYING if stage <= Stage.UNHEARD else State.OPEN
        assert self.session.state is expected, "the script begins elsewhere than it says"
        self.say()
        if stage is Stage.CLOSING:
            self.session.close()

    def _carry(self, near: Endpoint, far: Endpoint, is_victims: bool) -> None:
        source = VICTIM if is_victims else PEER
        for datagram in list(near.datagrams_to_send()):
            far.receive(memoryview(datagram.data), 0, source, self.now)
        while far.next_incoming() is not None:
            pass
        session = self.session if is_victims else self._its
        if session is None or session.state is State.KEYING:
            session = next(iter(near.sessions()), None)
        if session is not None and session.state is State.OPEN:
            while (batch := session.next_batch(self._batch, self.now)) is not None:
                far.receive(memoryview(bytes(batch.data)), batch.segment_bytes, source, self.now)

    def sealed(self, cipher: PacketCipher, number: int, plain: bytes) -> bytes:
        data = cipher.seal(plain)
        return scramble(number, data) + data

    def receive(self, data: bytes, source: Address) -> None:
        self.endpoint.receive(memoryview(data), 0, source, self.now)

    # Steps ------------------------------------------------------------------------------------------------------

    def step(self, kind: int, body: bytes) -> None:
        steps: tuple[Callable[[bytes], None], ...] = (
            self._raw,
            self._startup_packet,
            self._hello_answer,
            self._keying_answer,
            self._keying,
            self._sealed,
            self._chunks,
            self._unsealed,
            self._time,
            self._command,
            self._moved,
            self._hearsay,
        )
        steps[kind % len(steps)](body)

    def _strange(self, data: bytes) -> None:
        """One packet of a stranger's: its answers are no longer than it."""
        self.receive(data, STRANGER)
        answers = [each for each in self.endpoint.datagrams_to_send() if each.address == STRANGER]
        assert self.is_plain or sum(len(answer.data) for answer in answers) <= len(data), "amplified"

    def _raw(self, body: bytes) -> None:
        self._strange(body)

    def _startup_packet(self, body: bytes) -> None:
        self._strange(self.sealed(self._startup, 0, body))

    def _hello_answer(self, body: bytes) -> None:
        tag = next(iter(self.endpoint._tags), bytes(16))
        inside = encode_field(tag) + body[1:]
        kind = b"\x70" if body[:1] < b"\x80" else b"\x71"
        self.receive(self.sealed(self._startup, 0, b"\x03" + kind + len(inside).to_bytes(2, "big") + inside), STRANGER)

    def _keying_answer(self, body: bytes) -> None:
        number = self.session.near_id if self.session is not None else 0
        self.receive(self.sealed(self._startup, number, body), STRANGER)

    def _keying(self, body: bytes) -> None:
        half = len(body) // 2
        name = b"1" if self.is_plain else b""
        question = IIKeying(int.from_bytes(body[:2], "big"), self.cookie, name, body[2:half], body[half:])
        self._strange(self.sealed(self._startup, 0, b"\x03" + encode_chunk(question)))

    def _keys(self) -> tuple[Keyed, int] | None:
        """Of the peer's end, and the ID that its packets bear."""
        its = self._its
        if its is None or self.session is None or its._keyed is None:
            return None
        return its._keyed, self.session.near_id

    def _from_peer(self, plain: bytes, source: Address) -> None:
        if (keys := self._keys()) is not None:
            self.receive(self.sealed(keys[0].cipher, keys[1], plain), source)

    def _sealed(self, body: bytes) -> None:
        self._from_peer(body, PEER)

    def _chunks(self, body: bytes) -> None:
        self._from_peer(self._peers_mode() + body, PEER)

    def _moved(self, body: bytes) -> None:
        self._from_peer(self._peers_mode() + body, STRANGER)

    def _peers_mode(self) -> bytes:
        is_initiator = self.session is not None and self.session.is_initiator
        return bytes((Mode.RESPONDER if is_initiator else Mode.INITIATOR,))

    def _unsealed(self, body: bytes) -> None:
        if self.session is not None and len(body) >= 8:
            self.receive(scramble(self.session.near_id, body) + body, PEER)

    def _time(self, body: bytes) -> None:
        for period in body[:8]:
            self.now += period * 0.01
            self.endpoint.handle_timer(self.now)
            for session in self.endpoint.sessions():
                session.handle_timer(self.now)
            self.say()

    def _hearsay(self, body: bytes) -> None:
        session = self.session
        if session is None or session.state is not State.OPEN:
            return
        if len(body) > 1:
            session.hearsay.too_big(int.from_bytes(body[:4], "big", signed=True), self.now)
        else:
            session.hearsay.nobody_there(self.now, is_sure=bool(body))

    def _command(self, body: bytes) -> None:
        """What our own code may do at any moment; what is misuse is said so."""
        session = self.session
        if session is None:
            return
        for number, each in enumerate(body[:8]):
            try:
                match each % 6:
                    case 0:
                        self._flows.append(session.open_flow(b"about", Priority(each >> 5)))
                    case 1 if self._flows:
                        session.send(self._flows[each % len(self._flows)], [bytes(each * 40)])
                    case 2 if self._flows:
                        session.close_flow(self._flows[each % len(self._flows)])
                    case 3:
                        session.reject_flow(each, number, self.now)
                    case 4:
                        session.ping(self.now)
                    case 5 if each > 250:
                        session.close()
            except LocalError:
                pass

    # What comes of them -----------------------------------------------------------------------------------------

    def say(self) -> None:
        """Everything that is due, as a driver asks for it."""
        while self.endpoint.next_incoming() is not None:
            pass
        for _ in self.endpoint.datagrams_to_send():
            pass
        for session in self.endpoint.sessions():
            for _ in range(MAX_BATCHES):
                if session.next_batch(self._batch, self.now) is None:
                    break
            else:
                raise AssertionError("it never stops talking")
            while session.next_event() is not None:
                pass
        self.endpoint.next_deadline()

    def check(self) -> None:
        """The bounds that packets could break; generous, for what counts is that there are any."""
        endpoint = self.endpoint
        assert len(endpoint) <= 1 + MAX_STEPS
        assert len(endpoint._resets) <= len(endpoint) + 1
        assert len(endpoint._responder) <= responder.MAX_REMEMBERED
        for session in endpoint.sessions():
            session.next_deadline()
            assert len(session._packer.waiting) <= 2 * MAX_PINGS + MAX_FLOWS
            assert len(session._elsewhere) <= MAX_PINGS and len(session._forwarded) <= 1
            assert len(session._receiving.flows) <= MAX_FLOWS and len(session._sending.flows) <= MAX_FLOWS
            assert session.queued_bytes <= MAX_QUEUED_BYTES and session._sending._in_flight.in_flight_bytes >= 0
            if session.state is State.OPEN:
                assert not session._receiving.is_overrun


def target(data: bytes) -> None:
    if not data:
        return
    victim = Victim(Stage(data[0] % 0x80 % len(Stage)), is_plain=data[0] >= 0x80)
    offset = 1
    for _ in range(MAX_STEPS):
        if offset + 3 > len(data):
            break
        kind, size = data[offset], int.from_bytes(data[offset + 1 : offset + 3], "big")
        victim.step(kind, data[offset + 3 : offset + 3 + size])
        offset += 3 + size
        victim.say()
        victim.check()


def _seeds() -> list[bytes]:
    opened = (Stage.UNHEARD, Stage.OPEN_CALLED, Stage.OPEN_CALLING, Stage.CLOSING)
    pause, talk = (Kind.TIME, bytes((5, 200))), (Kind.COMMAND, bytes((0, 1, 99, 60)))
    found = [
        script(Stage.NONE, (Kind.RAW, bytes(RESET_BYTES + 9)), (Kind.KEYING, bytes(range(200))), pause),
        script(Stage.NONE, (Kind.STARTUP, chunks.SEEDS[0]), (Kind.STARTUP, chunks.SEEDS[5]), is_plain=True),
        script(Stage.NONE, (Kind.KEYING, b"\0\7ab" + bytes(8)), pause, pause, is_plain=True),
        script(Stage.HELLO, (Kind.HELLO_ANSWER, b"\0\4abcd1"), (Kind.KEYING_ANSWER, chunks.SEEDS[6]), is_plain=True),
        script(Stage.HELLO, (Kind.HELLO_ANSWER, b"\0\4abcd" + PEER_CERTIFICATE), pause, pause),
        script(Stage.HELLO, (Kind.HELLO_ANSWER, b"\x80\2\xc0\0\2\1\x1f\x90"), pause),
        script(Stage.KEYING, (Kind.KEYING_ANSWER, chunks.SEEDS[6]), (Kind.KEYING_ANSWER, chunks.SEEDS[4]), pause),
        script(Stage.OPEN_CALLED, talk, (Kind.HEARSAY, b"x"), (Kind.HEARSAY, b"\0\0\5\0"), pause, pause),
    ]
    for stage in opened:
        for seed in chunks.SEEDS[8:]:
            inside = seed[decode_header(seed).size :]
            steps = (talk, (Kind.CHUNKS, inside), (Kind.MOVED, inside), (Kind.SEALED, seed), pause)
            found += [script(stage, *steps), script(stage, *steps, is_plain=True)]
    return found


SEEDS = tuple(_seeds())


def main() -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("this needs atheris, the coverage-guided fuzzer for Python: pip install atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
