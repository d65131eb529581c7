"""The responder's side: keeps nothing about strangers until they have done the work (RFC 7016 §3.5.1.2).

In: the chunks of each startup packet with session ID 0, its address and its size; the Forwarded IHellos of open
sessions. Out, as the answer to the call: `Outgoing` to send, `Forward` to send inside an open session, and `Call`
when somebody has keyed a session: the endpoint decides (`glare`), then `accept`s it or `refuse`s it. The calls of those
who had to wait come out of `handle_timer`.

Invariants:
- no state until an IIKeying with a good cookie has been keyed; then one entry of a bounded table, for as long as the
  initiator may ask again: the same question is answered with the same RIKeying before any public-key work;
- public-key work is bounded by PUBLIC_KEY_OPERATIONS a PUBLIC_KEY_PERIOD; questions with a good cookie beyond that
  wait, MAX_WAITING at the most, and each host that asks has its turn: many nodes behind one address are served as fast
  as we serve at all, and one that floods delays the others by one question of its own each;
- one packet has at most one answer, no longer than itself, in bytes of whole datagrams (unless the profile says
  otherwise); and it may cause one Forwarded IHello.

An IHello for somebody else: we redirect and forward if the `Introducer` says to; else we answer for ourselves, so that
the caller learns that somebody else is here now (the RFC would have us say nothing; who we are is no secret, since an
IHello for anybody is answered too).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2s
from typing import NamedTuple, Protocol

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import Certificate
from swarmd.transport.rtmfp.allowance import Allowance, host_of
from swarmd.transport.rtmfp.chunks import (
    Chunk,
    CookieChange,
    ForwardedIHello,
    IHello,
    IIKeying,
    Redirect,
    RHello,
    RIKeying,
)
from swarmd.transport.rtmfp.cookies import CookieJar, Verdict
from swarmd.transport.rtmfp.profile import Keyed, Profile, Response
from swarmd.transport.rtmfp.startup import ATTEMPT_TIMEOUT, MAX_CANDIDATES, Outgoing, is_usable, longest_datagram

PUBLIC_KEY_OPERATIONS = 16
PUBLIC_KEY_PERIOD = 0.1
"""160 sessions a second: 0.5 ms each makes at most 8 % of a core, on a slow machine a third; and 100 nodes, behind one
address or many, are served in 0.7 s."""
MAX_WAITING = 256
"""IIKeyings with a good cookie that wait for their keying: 1.6 s of work. When there are more, the host that has most
of them loses its newest. At most 1 MB, as startup packets are short."""
FORWARDS = 16
FORWARD_PERIOD = 0.5
"""Forwarded IHellos that we pass on, and such that we answer, each: what a stranger, or a peer, can have us send."""
MAX_REMEMBERED = 2048
"""Answered IIKeyings, the oldest dropped first: its initiator, should he ask again, is keyed again. About 1 MB."""


class _Asked(NamedTuple):
    """What makes an IIKeying the same one again; its cookie may have changed."""

    address: Address
    far_session_id: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody has keyed a session with us; nothing has been sent yet."""

    address: Address
    far_session_id: int
    response: Response
    asked: _Asked

    @property
    def keyed(self) -> Keyed:
        return self.response.keyed

    @property
    def certificate(self) -> Certificate:
        return self.response.keyed.certificate


@dataclass(frozen=True, slots=True)
class Forward:
    """To be sent inside the open session that the `Introducer` named."""

    session: int
    chunk: ForwardedIHello


@dataclass(frozen=True, slots=True)
class Introduction:
    """How somebody may reach a peer: addresses to tell him, and our session with that peer, who is to answer too."""

    destinations: tuple[Address, ...] = ()
    session: int | None = None


class Introducer(Protocol):
    """Who of the peers we are connected to is introduced to strangers that ask for them."""

    def introduce(self, wanted: PeerId, asker: Address) -> Introduction | None: ...


Answer = Outgoing | Forward | Call


class Responder:
    """`now` is monotonic seconds, the same clock for all calls."""

    def __init__(self, profile: Profile, rng: Rng, now: float, introducer: Introducer | None = None) -> None:
        self._profile = profile
        self._introducer = introducer
        self._cookies = CookieJar(rng, now)
        self._remembered: dict[_Asked, tuple[float, RIKeying | None]] = {}
        self._operations = Allowance(PUBLIC_KEY_OPERATIONS, PUBLIC_KEY_PERIOD)
        self._waiting = _Waiting()
        self._passed_on = Allowance(FORWARDS, FORWARD_PERIOD)
        self._answered = Allowance(FORWARDS, FORWARD_PERIOD)

    def receive(self, chunks: Iterable[Chunk], address: Address, datagram_bytes: int, now: float) -> list[Answer]:
        """Of one packet the first IHello or IIKeying counts, the others would be further questions for the price of
        one. What else there is, and what is wrong with it, is ignored: anybody may have sent it."""
        for chunk in chunks:
            if isinstance(chunk, IHello):
                return self._receive_hello(chunk, address, datagram_bytes, now)
            if isinstance(chunk, IIKeying):
                return self._receive_keying(chunk, address, datagram_bytes, now) if chunk.session_id else []
        return []

    def receive_forwarded(
        self, chunk: ForwardedIHello, session_address: Address, now: float, *, is_enabled: bool
    ) -> list[Answer]:
        """An RHello straight to who asked the introducer; `is_enabled`: whether this session's peer may introduce."""
        epd, tag, asker = chunk.epd, chunk.tag, chunk.reply_address
        if not is_enabled or not is_usable(asker, session_address) or not self._profile.is_for_us(epd):
            return []
        if not self._answered.take(now):
            return []
        question_bytes = longest_datagram(IHello(epd, tag), self._profile)
        return self._answer(self._hello(tag, asker, now), asker, 0, question_bytes)

    def next_deadline(self) -> float | None:
        """When somebody who waits can be served."""
        return self._operations.next_at() if self._waiting else None

    def handle_timer(self, now: float) -> list[Answer]:
        """The calls of those who have waited, as far as there may be public-key work now."""
        answers: list[Answer] = []
        while self._waiting and self._operations.take(now):
            answers += self._respond(*self._waiting.pop())
        return answers

    def accept(self, call: Call, session_id: int, now: float) -> Outgoing:
        """The answer to `call`, and to its repetitions; `session_id` is ours, chosen by the endpoint."""
        assert session_id
        answer = call.response.answer(session_id)
        self._remember(call.asked, answer, now)
        return Outgoing(call.address, answer, call.far_session_id)

    def refuse(self, call: Call, now: float) -> None:
        """Say nothing, and nothing to its repetitions. A call that has lost to ours (`glare`) is not refused but left
        alone: it is decided anew when it comes again, should ours have failed meanwhile."""
        self._remember(call.asked, None, now)

    def forget(self, call: Call) -> None:
        """The session of an accepted call is gone: a repetition of the question is keyed anew."""
        self._remembered.pop(call.asked, None)

    def __len__(self) -> int:
        """IIKeyings remembered: all that strangers can make grow."""
        return len(self._remembered)

    def _receive_hello(self, hello: IHello, address: Address, size: int, now: float) -> list[Answer]:
        if not self._profile.is_for_us(hello.epd) and self._introducer is not None:
            wanted = self._profile.peer_of(hello.epd)
            introduction = self._introducer.introduce(wanted, address) if wanted is not None else None
            if introduction is not None:
                return self._introduce(introduction, hello, address, size, now)
        return self._answer(self._hello(hello.tag, address, now), address, 0, size)

    def _hello(self, tag: bytes, address: Address, now: float) -> RHello:
        return RHello(tag, self._cookies.make(address, now), self._profile.certificate)

    def _introduce(
        self, introduction: Introduction, hello: IHello, address: Address, size: int, now: float
    ) -> list[Answer]:
        answers: list[Answer] = []
        if introduction.destinations:
            redirect = Redirect(hello.tag, introduction.destinations[:MAX_CANDIDATES])
            while len(redirect.destinations) > 1 and not self._fits(redirect, size):
                redirect = replace(redirect, destinations=redirect.destinations[:-1])
            answers += self._answer(redirect, address, 0, size)
        if introduction.session is not None and address.is_dialable and self._passed_on.take(now):
            answers.append(Forward(introduction.session, ForwardedIHello(hello.epd, address, hello.tag)))
        return answers

    def _receive_keying(self, question: IIKeying, address: Address, size: int, now: float) -> list[Answer]:
        cookie = question.cookie_echo
        match self._cookies.check(cookie, address, now):
            case Verdict.BAD:
                return []
            case Verdict.OTHER_ADDRESS:
                change = CookieChange(cookie, self._cookies.make(address, now))
                return self._answer(change, address, question.session_id, size)
        digest = blake2s(question.key_component, digest_size=16).digest()
        asked = _Asked(address, question.session_id, digest)
        if (known := self._remembered.get(asked)) is not None:
            answer = known[1]
            return [] if answer is None else self._answer(answer, address, question.session_id, size)
        self._waiting.add(asked, question)
        return self.handle_timer(now)

    def _respond(self, asked: _Asked, question: IIKeying) -> list[Answer]:
        try:
            response = self._profile.respond(question)
        except RemoteError:
            return []
        return [Call(asked.address, asked.far_session_id, response, asked)]

    def _remember(self, asked: _Asked, answer: RIKeying | None, now: float) -> None:
        self._remembered.pop(asked, None)  # so that the order is that of expiry
        self._remembered[asked] = (now + ATTEMPT_TIMEOUT, answer)
        while len(self._remembered) > MAX_REMEMBERED or next(iter(self._remembered.values()))[0] <= now:
            del self._remembered[next(iter(self._remembered))]

    def _answer(self, chunk: Chunk, address: Address, session_id: int, question_bytes: int) -> list[Answer]:
        return [Outgoing(address, chunk, session_id)] if self._fits(chunk, question_bytes) else []

    def _fits(self, chunk: Chunk, question_bytes: int) -> bool:
        return self._profile.answers_short_questions or longest_datagram(chunk, self._profile) <= question_bytes


class _Waiting:
    """Questions in the order in which they are answered: of each host the oldest, in turn."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[_Asked, IIKeying]] = {}  # whose turn it is first; none is empty
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, asked: _Asked, question: IIKeying) -> None:
        """Asked again, it keeps its place."""
        host = host_of(asked.address)
        questions = self._hosts.get(host, {})
        if asked not in questions and (self._count < MAX_WAITING or self._make_room(len(questions))):
            questions[asked] = question
            self._hosts[host] = questions
            self._count += 1

    def pop(self) -> tuple[_Asked, IIKeying]:
        host, questions = next(iter(self._hosts.items()))
        del self._hosts[host]
        asked = next(iter(questions))
        question = questions.pop(asked)
        if questions:
            self._hosts[host] = questions  # behind the others
        self._count -= 1
        return asked, question

    def _make_room(self, waiting: int) -> bool:
        """For a host of which so many wait already: whether another one has more of them, and lost one."""
        longest = max(self._hosts.values(), key=len)
        if len(longest) <= waiting + 1:
            return False
        longest.popitem()
        self._count -= 1
        return True
