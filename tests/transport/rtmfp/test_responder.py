"""What strangers can make a responder do: answer, never with more than they sent, and remember almost nothing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.rtmfp.chunks import (
    Chunk,
    CookieChange,
    ForwardedIHello,
    IHello,
    IIKeying,
    Ping,
    Redirect,
    RHello,
    RIKeying,
    encode_chunk,
)
from swarmd.transport.rtmfp.cookies import COOKIE_BYTES, COOKIE_LIFETIME
from swarmd.transport.rtmfp.noise import NoiseProfile, NoiseResponse
from swarmd.transport.rtmfp.packet import Mode, encode_header
from swarmd.transport.rtmfp.responder import (
    FORWARD_PERIOD,
    FORWARDS,
    MAX_REMEMBERED,
    MAX_WAITING,
    PUBLIC_KEY_OPERATIONS,
    PUBLIC_KEY_PERIOD,
    Answer,
    Call,
    Forward,
    Introducer,
    Introduction,
    Responder,
)
from swarmd.transport.rtmfp.startup import ATTEMPT_TIMEOUT, MAX_CANDIDATES, Outgoing
from tests.transport.rtmfp.plain import PlainProfile

T = TypeVar("T")
START = 50.0
HERE, THERE = Address("198.51.100.1", 7000), Address("198.51.100.2", 7000)
LOOPBACK = Address("127.0.0.1", 7000)
TAG = bytes(range(16))


class CountingProfile(NoiseProfile):
    """Counts its public-key work."""

    __slots__ = ("operations",)

    def __init__(self, identity: Identity) -> None:
        super().__init__(identity, SeededRng(5))
        self.operations = 0

    def respond(self, question: IIKeying) -> NoiseResponse:
        self.operations += 1
        return super().respond(question)


ALICE = NoiseProfile(Identity.generate(SeededRng(1)), SeededRng(3))
BOB_IDENTITY = Identity.generate(SeededRng(2))
FOR_BOB = IHello(ALICE.epd_for(BOB_IDENTITY.peer_id), TAG)
FOR_CAROL = IHello(ALICE.epd_for(Identity.generate(SeededRng(3)).peer_id), TAG)
KEY_COMPONENT = ALICE.initiate(BOB_IDENTITY.certificate).question(7, b"").key_component


def datagram_bytes(chunks: Iterable[Chunk], *, header_bytes: int = 1) -> int:
    header = encode_header(Mode.STARTUP, timestamp=1, echo=1) if header_bytes == 5 else b"\x03"
    assert len(header) == header_bytes
    return 4 + len(ALICE.startup.seal(header + b"".join(map(encode_chunk, chunks))))


def one(answers: list[Answer], kind: type[T]) -> T:
    """The one chunk of this kind that is the whole answer."""
    (answer,) = answers
    assert isinstance(answer, Outgoing) and isinstance(answer.chunk, kind)
    return answer.chunk


class Bob:
    """A responder; questions come in packets with the shortest header, answers leave in those with the longest."""

    def __init__(self, introducer: Introducer | None = None) -> None:
        self.profile = CountingProfile(BOB_IDENTITY)
        self.responder = Responder(self.profile, SeededRng(7), START, introducer)

    def ask(self, *chunks: Chunk, address: Address = HERE, now: float = START) -> list[Answer]:
        size = datagram_bytes(chunks)
        answers = self.responder.receive(chunks, address, size, now)
        for answer in answers:
            if isinstance(answer, Outgoing):
                assert answer.address == address
                assert datagram_bytes([answer.chunk], header_bytes=5) <= size
        return answers

    def question(self, session_id: int = 7, address: Address = HERE, now: float = START) -> IIKeying:
        cookie = one(self.ask(FOR_BOB, address=address, now=now), RHello).cookie
        return ALICE.initiate(BOB_IDENTITY.certificate).question(session_id, cookie)

    def call(self, question: IIKeying, address: Address = HERE, now: float = START) -> Call:
        (call,) = self.ask(question, address=address, now=now)
        assert isinstance(call, Call)
        return call


@dataclass
class Table:
    introduction: Introduction | None
    wanted: PeerId | None = None

    def introduce(self, wanted: PeerId, asker: Address) -> Introduction | None:
        self.wanted = wanted
        return self.introduction


class TestKeying:
    def test_a_call_is_answered_once_accepted(self) -> None:
        bob = Bob()
        call = bob.call(bob.question())
        assert call.certificate.encode() == ALICE.certificate
        outgoing = bob.responder.accept(call, 9, START)
        assert outgoing.address == HERE and outgoing.session_id == 7
        assert isinstance(outgoing.chunk, RIKeying) and outgoing.chunk.session_id == 9

    def test_the_same_question_has_the_same_answer_and_costs_nothing(self) -> None:
        bob = Bob()
        question = bob.question()
        outgoing = bob.responder.accept(bob.call(question), 9, START)
        for _ in range(100):
            assert bob.ask(question) == [outgoing]
        assert bob.profile.operations == 1 and len(bob.responder) == 1

    def test_with_a_newer_cookie_it_is_still_the_same(self) -> None:
        bob = Bob()
        question = bob.question()
        outgoing = bob.responder.accept(bob.call(question), 9, START)
        newer = bob.question(now=START + 50.0).cookie_echo
        assert newer != question.cookie_echo
        assert bob.ask(replace(question, cookie_echo=newer), now=START + 50.0) == [outgoing]
        assert bob.profile.operations == 1

    @pytest.mark.parametrize("change", [{"session_id": 8}, {"key_component": KEY_COMPONENT}])
    def test_another_question_is_another_call(self, change: dict[str, int | bytes]) -> None:
        bob = Bob()
        question = bob.question()
        bob.responder.accept(bob.call(question), 9, START)
        bob.call(replace(question, **change))  # type: ignore[arg-type]
        assert bob.profile.operations == 2

    def test_what_is_refused_stays_unanswered(self) -> None:
        bob = Bob()
        question = bob.question()
        bob.responder.refuse(bob.call(question), START)
        assert not bob.ask(question)
        assert bob.profile.operations == 1

    def test_what_is_left_alone_is_asked_anew(self) -> None:
        bob = Bob()
        question = bob.question()
        bob.call(question)
        bob.call(question)
        assert len(bob.responder) == 0

    def test_forged_keys_are_not_answered(self) -> None:
        bob = Bob()
        question = bob.question()
        for component in (b"", bytes(200), question.key_component[:-1] + b"\0"):
            assert not bob.ask(replace(question, key_component=component))
        assert not bob.ask(replace(question, session_id=0))
        assert len(bob.responder) == 0

    def test_public_key_work_is_bounded(self) -> None:
        bob = Bob()
        hosts = [Address(f"203.0.113.{number}", 7000) for number in range(200)]
        questions = [bob.question(address=host) for host in hosts]
        calls = sum(len(bob.ask(q, address=host)) for q, host in zip(questions, hosts, strict=True))
        assert calls == bob.profile.operations == PUBLIC_KEY_OPERATIONS
        assert len(bob.responder.handle_timer(START + PUBLIC_KEY_PERIOD)) == PUBLIC_KEY_OPERATIONS

    def test_who_waits_is_served_without_asking_again(self) -> None:
        """A fleet behind one address, all at once."""
        bob = Bob()
        ports = [Address("203.0.113.1", port) for port in range(1, 101)]
        calls = [call for port in ports for call in bob.ask(bob.question(address=port), address=port)]
        while (due := bob.responder.next_deadline()) is not None:
            assert due <= START + 100 / PUBLIC_KEY_OPERATIONS * PUBLIC_KEY_PERIOD
            calls += bob.responder.handle_timer(due)
        assert [call.address for call in calls if isinstance(call, Call)] == ports

    def test_asked_again_while_it_waits_it_is_one_call(self) -> None:
        bob = Bob()
        for port in range(1, PUBLIC_KEY_OPERATIONS + 1):
            bob.call(bob.question(address=Address("203.0.113.1", port)), address=Address("203.0.113.1", port))
        question = bob.question()
        assert not bob.ask(question) and not bob.ask(question)
        assert len(bob.responder.handle_timer(START + PUBLIC_KEY_PERIOD)) == 1
        assert bob.responder.next_deadline() is None

    @pytest.mark.parametrize("flooder", ["203.0.113.1", "2001:db8::{0:x}"])
    def test_a_host_that_floods_delays_others_by_one_question_each(self, flooder: str) -> None:
        bob = Bob()
        for port in range(1, 3 * MAX_WAITING):
            address = Address(flooder.format(port), port)
            bob.ask(bob.question(address=address), address=address)
        others = [Address(f"198.51.100.{number}", 7000) for number in range(1, 9)]
        for other in others:
            assert not bob.ask(bob.question(address=other), address=other)
        calls = bob.responder.handle_timer(START + PUBLIC_KEY_PERIOD)
        assert len(calls) == PUBLIC_KEY_OPERATIONS
        assert {call.address for call in calls if isinstance(call, Call)} > set(others)

    def test_what_waits_is_bounded(self) -> None:
        bob = Bob()
        for number in range(MAX_WAITING + 100):
            address = Address(f"203.0.{number >> 8}.{number & 0xFF}", 7000)
            bob.ask(bob.question(address=address), address=address)
        now, served = START, 0
        while bob.responder.next_deadline() is not None:
            now += PUBLIC_KEY_PERIOD
            served += len(bob.responder.handle_timer(now))
        assert served == MAX_WAITING


class TestCookies:
    def test_of_another_address_it_is_changed(self) -> None:
        bob = Bob()
        question = bob.question()
        (outgoing,) = bob.ask(question, address=THERE)
        assert isinstance(outgoing, Outgoing) and outgoing.session_id == question.session_id
        change = one([outgoing], CookieChange)
        assert change.old_cookie == question.cookie_echo
        bob.call(replace(question, cookie_echo=change.new_cookie), address=THERE)
        assert bob.ask(replace(question, cookie_echo=change.new_cookie), address=HERE) != []
        assert bob.profile.operations == 1

    @given(st.binary(max_size=2 * COOKIE_BYTES))
    def test_any_other_is_nothing(self, cookie: bytes) -> None:
        bob = Bob()
        assert not bob.ask(IIKeying(7, cookie, b"", KEY_COMPONENT, b""))
        assert bob.profile.operations == 0

    def test_after_its_time_neither(self) -> None:
        bob = Bob()
        question = bob.question()
        bob.call(question, now=START + COOKIE_LIFETIME)
        assert not bob.ask(question, now=START + COOKIE_LIFETIME + 1)


class TestHello:
    def test_it_has_our_certificate_and_the_tag(self) -> None:
        hello = one(Bob().ask(FOR_BOB), RHello)
        assert (hello.tag_echo, hello.certificate) == (TAG, BOB_IDENTITY.certificate.encode())

    def test_who_asks_for_somebody_else_learns_who_is_there(self) -> None:
        assert one(Bob().ask(FOR_CAROL), RHello).certificate == BOB_IDENTITY.certificate.encode()
        assert one(Bob(Table(None)).ask(FOR_CAROL), RHello).certificate == BOB_IDENTITY.certificate.encode()

    def test_many_in_one_packet_are_one_question(self) -> None:
        bob = Bob()
        assert len(bob.ask(*[FOR_BOB] * 5)) == 1
        question = bob.question()
        assert len(bob.ask(Ping(b""), question, *[FOR_BOB] * 5, question)) == 1
        assert bob.profile.operations == 1

    def test_a_short_one_is_not_answered(self) -> None:
        """Not one byte shorter than the answer may be."""
        bob = Bob()
        short = IHello(b"\0", TAG)
        assert not bob.ask(short)
        needed = datagram_bytes([one(bob.ask(FOR_BOB), RHello)], header_bytes=5)
        assert not bob.responder.receive([short], HERE, needed - 1, START)
        assert len(bob.responder.receive([short], HERE, needed, START)) == 1

    def test_the_plain_profile_answers_all(self) -> None:
        responder = Responder(PlainProfile(b"bob", SeededRng(1)), SeededRng(2), START)
        assert one(responder.receive([IHello(b"bob", TAG)], HERE, 40, START), RHello).certificate == b"bob"

    @given(st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 400))
    def test_no_answer_is_longer_than_its_question(self, epd: bytes, tag: bytes, n: int) -> None:
        """`ask` looks at all of them."""
        destinations = tuple(Address("2001:db8::1", port) for port in range(1, n % 40 + 2))
        bob = Bob(Table(Introduction(destinations, session=1) if n < 300 else None))
        bob.ask(IHello(epd, tag))
        bob.ask(IHello(FOR_CAROL.epd, tag))
        bob.ask(IIKeying(n, epd, tag, epd, tag))
        bob.ask(replace(bob.question(), signature=tag), address=THERE)


class TestIntroduction:
    ADDRESSES = tuple(Address("203.0.113.7", port) for port in range(1, 100))

    def test_a_stranger_is_redirected_and_the_peer_told(self) -> None:
        table = Table(Introduction(self.ADDRESSES[:3], session=5))
        redirect, forward = Bob(table).ask(FOR_CAROL)
        assert one([redirect], Redirect) == Redirect(TAG, self.ADDRESSES[:3])
        assert forward == Forward(5, ForwardedIHello(FOR_CAROL.epd, HERE, TAG))
        assert table.wanted == Identity.generate(SeededRng(3)).peer_id

    def test_only_as_many_addresses_as_the_question_pays_for(self) -> None:
        v4 = one(Bob(Table(Introduction(self.ADDRESSES))).ask(FOR_CAROL), Redirect)
        v6 = tuple(Address("2001:db8::1", port) for port in range(1, 100))
        assert v4 == Redirect(TAG, self.ADDRESSES[: len(v4.destinations)])
        assert MAX_CANDIDATES >= len(v4.destinations) > 20
        assert len(one(Bob(Table(Introduction(v6))).ask(FOR_CAROL), Redirect).destinations) > 7

    def test_we_are_not_introduced_to_ourselves(self) -> None:
        table = Table(Introduction(self.ADDRESSES))
        one(Bob(table).ask(FOR_BOB), RHello)
        assert table.wanted is None

    def test_nobody_is_told_of_an_address_that_cannot_be(self) -> None:
        assert not Bob(Table(Introduction((), session=5))).ask(FOR_CAROL, address=Address("203.0.113.1", 0))

    def test_passing_on_is_bounded(self) -> None:
        bob = Bob(Table(Introduction((), session=5)))
        assert sum(len(bob.ask(FOR_CAROL)) for _ in range(10 * FORWARDS)) == FORWARDS
        assert len(bob.ask(FOR_CAROL, now=START + FORWARD_PERIOD)) == 1


class TestForwardedHello:
    QUESTION = ForwardedIHello(FOR_BOB.epd, THERE, TAG)

    def test_it_is_answered_straight(self) -> None:
        bob = Bob()
        (answer,) = bob.responder.receive_forwarded(self.QUESTION, HERE, START, is_enabled=True)
        assert isinstance(answer, Outgoing) and answer.address == THERE and answer.session_id == 0
        cookie = one([answer], RHello).cookie
        bob.call(ALICE.initiate(BOB_IDENTITY.certificate).question(7, cookie), address=THERE)

    @pytest.mark.parametrize(
        "forged",
        [
            replace(QUESTION, epd=FOR_CAROL.epd),
            replace(QUESTION, epd=b""),
            replace(QUESTION, epd=b"\0"),  # for anybody, and shorter than the answer
            replace(QUESTION, reply_address=LOOPBACK),
            replace(QUESTION, reply_address=Address("224.0.0.1", 7000)),
            replace(QUESTION, reply_address=Address("198.51.100.2", 0)),
        ],
    )
    def test_a_forged_one_is_not(self, forged: ForwardedIHello) -> None:
        assert not Bob().responder.receive_forwarded(forged, HERE, START, is_enabled=True)

    def test_unless_the_session_may_introduce_nothing_is_sent(self) -> None:
        assert not Bob().responder.receive_forwarded(self.QUESTION, HERE, START, is_enabled=False)

    def test_on_one_machine_loopback_may_be_named(self) -> None:
        local = replace(self.QUESTION, reply_address=LOOPBACK)
        assert Bob().responder.receive_forwarded(local, LOOPBACK, START, is_enabled=True)

    def test_a_peer_cannot_have_us_send_at_will(self) -> None:
        bob = Bob()
        ask = bob.responder.receive_forwarded
        assert sum(len(ask(self.QUESTION, HERE, START, is_enabled=True)) for _ in range(500)) == FORWARDS
        assert len(ask(self.QUESTION, HERE, START + FORWARD_PERIOD, is_enabled=True)) == 1


class TestMemory:
    def test_forged_questions_leave_nothing(self) -> None:
        bob, rng = Bob(), SeededRng(9)
        receive = bob.responder.receive

        def forge(n: int) -> None:
            for number in range(n):
                address = Address(f"203.0.{rng.randrange(256)}.{rng.randrange(256)}", 1 + rng.randrange(65535))
                now = START + number / 10_000
                receive([IHello(rng.bytes(176), rng.bytes(16))], address, 250, now)
                receive([IHello(FOR_BOB.epd, rng.bytes(16))], address, 250, now)
                receive([IIKeying(7, rng.bytes(COOKIE_BYTES), b"", rng.bytes(225), b"")], address, 350, now)

        tracemalloc.start()
        try:
            forge(100)
            before = tracemalloc.get_traced_memory()[0]
            forge(10_000)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert len(bob.responder) == 0 and bob.profile.operations == 0
        assert grown < 10_000

    def test_keyed_calls_are_bounded_and_forgotten(self) -> None:
        """As fast as the allowance lets them, from as many hosts."""
        responder = Responder(PlainProfile(b"bob", SeededRng(1)), SeededRng(2), START)
        now = START
        for number in range(MAX_REMEMBERED + 500):
            now = START + number * PUBLIC_KEY_PERIOD / PUBLIC_KEY_OPERATIONS
            host = Address(f"203.0.{number >> 8}.{number & 255}", 7000)
            cookie = one(responder.receive([IHello(b"bob", TAG)], host, 1000, now), RHello).cookie
            for answer in responder.receive([IIKeying(7, cookie, b"alice", b"ab", b"X")], host, 1000, now):
                assert isinstance(answer, Call)
                responder.accept(answer, 9, now)
        while responder.next_deadline() is not None:
            now += PUBLIC_KEY_PERIOD
            for answer in responder.handle_timer(now):
                assert isinstance(answer, Call)
                responder.accept(answer, 9, now)
        assert len(responder) == MAX_REMEMBERED
        now += ATTEMPT_TIMEOUT
        cookie = one(responder.receive([IHello(b"bob", TAG)], HERE, 1000, now), RHello).cookie
        (call,) = responder.receive([IIKeying(7, cookie, b"alice", b"ab", b"X")], HERE, 1000, now)
        assert isinstance(call, Call)
        responder.accept(call, 9, now)
        assert len(responder) == 1
