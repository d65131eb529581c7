"""Two machines open a session: over a bad network, with the wrong peer, by introduction, and both at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.identity.certificate import Certificate
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
from swarmd.transport.rtmfp.glare import HOLD_PERIOD, Glare, decide_glare, find_rival, is_overridden
from swarmd.transport.rtmfp.opening import MAX_ANSWERS, Failed, Opened, Opening, Stage
from swarmd.transport.rtmfp.profile import WrongPeer
from swarmd.transport.rtmfp.responder import Introduction
from swarmd.transport.rtmfp.startup import ATTEMPT_TIMEOUT, MAX_CANDIDATES, TAG_BYTES
from swarmd.transport.sessions import GLARE_PERIOD
from tests.transport.rtmfp.startup_network import START, Network, Node

SEEDS = range(100)
HERE, THERE = Address("198.51.100.1", 7000), Address("198.51.100.2", 7000)
LOOPBACK = Address("127.0.0.1", 7000)


@pytest.fixture(params=["noise", "plain"])
def kind(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def two(kind: str, network: Network) -> tuple[Node, Node]:
    return Node(network, "alice", kind), Node(network, "bob", kind)


def error_of(node: Node) -> Exception:
    (failure,) = node.failures
    return failure.error


def is_one_session(one: Node, other: Node) -> bool:
    return one.heard() == other.heard() and len(one.heard()) == 1


class TestHandshake:
    def test_four_messages_open_a_session(self, kind: str) -> None:
        network = Network()
        alice, bob = two(kind, network)
        alice.call(bob.peer_id, bob.address)
        network.run()
        assert [type(sent.outgoing.chunk) for sent in network.startup] == [IHello, RHello, IIKeying, RIKeying]
        assert is_one_session(alice, bob)
        (at_alice,), (at_bob,) = alice.sessions.values(), bob.sessions.values()
        assert at_alice.keyed.certificate.peer_id == bob.peer_id
        assert at_bob.keyed.certificate.peer_id == alice.peer_id

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_bad_network_only_delays_it(self, kind: str, seed: int) -> None:
        """A quarter of the packets is lost, a quarter doubled, a tenth corrupted, and they overtake each other."""
        network = Network(SeededRng(seed), loss=0.25, doubling=0.25, corruption=0.1, max_delay=2.0)
        alice, bob = two(kind, network)
        alice.call(bob.peer_id, bob.address)
        network.run()
        assert is_one_session(alice, bob), alice.failures
        assert bob.calls == 1

    def test_asking_for_anybody(self) -> None:
        network = Network()
        alice, bob = two("noise", network)
        alice.call(None, bob.address)
        network.run()
        assert is_one_session(alice, bob)

    def test_the_first_good_answer_decides_the_address(self) -> None:
        network = Network()
        alice, bob = two("noise", network)
        network.nodes[THERE] = bob
        opening = alice.call(bob.peer_id, THERE, bob.address)
        assert set(opening.addresses) == {THERE, bob.address}
        network.run()
        assert len(network.chunks(RHello)) == 2
        assert len(network.chunks(IIKeying)) == len(opening.addresses) == 1
        assert is_one_session(alice, bob)

    def test_another_port_in_the_middle_of_it(self, kind: str) -> None:
        """The cookie is not this address's any more: a new one comes, for the same keys."""
        network = Network(max_delay=0.0)
        alice, bob = two(kind, network)
        alice.call(bob.peer_id, bob.address)
        while not network.chunks(RHello):
            network.step()
        network.nodes[HERE], home = alice, alice.address  # what is under way still arrives
        alice.address = HERE
        network.run()
        assert is_one_session(alice, bob) and home != HERE
        assert len(network.chunks(CookieChange)) == 1 and bob.calls == 1
        one, other = network.chunks(IIKeying)
        assert one.key_component == other.key_component and one.cookie_echo != other.cookie_echo


class TestRetries:
    def test_when_it_asks(self, kind: str) -> None:
        network = Network()
        alice, bob = two(kind, network)
        alice.call(bob.peer_id, THERE)
        network.run(ATTEMPT_TIMEOUT - 0.1)
        times = [sent.at - START for sent in network.startup]
        assert times == [0, 1.0, 3.5, 7.5, 13.0, 20.0, 28.5, 38.5, 50.0, 63.0, 77.5, 93.5]
        assert not alice.failures and len({sent.outgoing.chunk for sent in network.startup}) == 1
        network.run(0.2)
        assert isinstance(error := error_of(alice), Unreachable)
        assert bob.peer_id.short in str(error) and str(THERE) in str(error)

    def test_keying_is_asked_for_in_the_same_way(self) -> None:
        network = Network(max_delay=0.0)
        alice, bob = two("noise", network)
        bob.mute = RIKeying
        alice.call(bob.peer_id, bob.address)
        network.run()
        times = [sent.at - START for sent in network.startup if isinstance(sent.outgoing.chunk, IIKeying)]
        assert times == [0, 1.0, 3.5, 7.5, 13.0, 20.0, 28.5, 38.5, 50.0, 63.0, 77.5, 93.5]
        assert len(set(network.chunks(IIKeying))) == 1 and len(set(network.chunks(RIKeying))) == 1
        assert bob.calls == 1
        assert isinstance(error_of(alice), Unreachable)

    def test_a_candidate_that_comes_later_is_asked_at_once(self) -> None:
        network = Network()
        alice, bob = two("noise", network)
        opening = alice.call(bob.peer_id)
        network.run(10.0)
        assert not network.startup
        assert opening.add_candidate(bob.address, network.now)
        assert not opening.add_candidate(bob.address, network.now)
        network.run(0.5)
        assert is_one_session(alice, bob)
        assert not opening.add_candidate(THERE, network.now)

    def test_candidates_are_bounded(self) -> None:
        alice, bob = two("noise", Network())
        opening = alice.call(bob.peer_id)
        taken = [opening.add_candidate(Address("198.51.100.9", port), START) for port in range(1, 100)]
        assert sum(taken) == MAX_CANDIDATES == len(opening.to_send(START))


class TestWrongPeer:
    def test_it_fails_at_once_and_says_who_is_there(self) -> None:
        network = Network()
        alice, bob, carol = (Node(network, name, "noise") for name in ("alice", "bob", "carol"))
        alice.call(bob.peer_id, carol.address)
        network.run(1.0)
        assert isinstance(error := error_of(alice), WrongPeer)
        assert bob.peer_id.short in str(error) and carol.peer_id.short in str(error)
        assert not network.chunks(IIKeying)

    def test_it_does_not_hinder_the_right_one(self, kind: str) -> None:
        network = Network(max_delay=0.0)
        alice, bob, carol = (Node(network, name, kind) for name in ("alice", "bob", "carol"))
        opening = alice.call(bob.peer_id, carol.address, THERE)
        network.run(2.0)
        assert not alice.failures and opening.addresses == (THERE,)
        opening.add_candidate(bob.address, network.now)
        network.run(2.0)
        assert is_one_session(alice, bob) and not carol.sessions

    def test_it_is_the_reason_given_when_the_others_are_silent(self) -> None:
        network = Network()
        alice, bob, carol = (Node(network, name, "noise") for name in ("alice", "bob", "carol"))
        alice.call(bob.peer_id, carol.address, THERE)
        network.run()
        assert isinstance(error_of(alice), WrongPeer)
        to_carol = [sent for sent in network.startup if sent.outgoing.address == carol.address]
        assert len(to_carol) == 1

    def test_our_own_answer_is_not_a_peers(self) -> None:
        network = Network()
        (alice, _) = two("noise", network)
        alice.call(None, alice.address)
        network.run(1.0)
        assert isinstance(error := error_of(alice), WrongPeer)
        assert "this node" in str(error)

    def test_a_stolen_certificate_does_not_open(self) -> None:
        """Carol answers with Bob's certificate, and cannot go on."""
        network = Network()
        alice, bob, carol = (Node(network, name, "noise") for name in ("alice", "bob", "carol"))
        opening = alice.call(bob.peer_id, carol.address)
        opening.receive(RHello(opening.tag, b"cookie", bob.profile.certificate), carol.address, START)
        network.run()
        assert isinstance(error_of(alice), Unreachable) and not carol.sessions


class TestForgedAnswers:
    def opening(self) -> tuple[Node, Node, Opening]:
        network = Network(max_delay=0.0)
        alice, bob = two("noise", network)
        opening = Opening(alice.profile, network.rng, 7, bob.peer_id, [bob.address], START)
        opening.to_send(START)
        return alice, bob, opening

    def test_only_who_knows_the_tag_is_heard(self) -> None:
        _, bob, opening = self.opening()
        for tag in (b"", bytes(TAG_BYTES), opening.tag + b"\0"):
            opening.receive(RHello(tag, b"cookie", bob.profile.certificate), bob.address, START)
            opening.receive(Redirect(tag, (THERE,)), bob.address, START)
        assert opening.stage is Stage.HELLO and opening.addresses == (bob.address,)

    def test_a_certificate_that_is_none(self) -> None:
        _, bob, opening = self.opening()
        opening.add_candidate(THERE, START)
        opening.receive(RHello(opening.tag, b"cookie", bytes(129)), THERE, START)
        assert opening.addresses == (bob.address,)
        opening.receive(RHello(opening.tag, b"cookie", b""), bob.address, START)
        assert isinstance(opening.outcome, Failed)

    def test_a_cookie_is_changed_once_and_only_for_ours(self) -> None:
        _, bob, opening = self.opening()
        opening.receive(RHello(opening.tag, b"first", bob.profile.certificate), bob.address, START)
        opening.to_send(START)
        opening.receive(CookieChange(b"other", b"forged"), bob.address, START)
        assert not opening.to_send(START)
        opening.receive(CookieChange(b"first", b"second"), bob.address, START)
        (outgoing,) = opening.to_send(START)
        assert isinstance(outgoing.chunk, IIKeying) and outgoing.chunk.cookie_echo == b"second"
        opening.receive(CookieChange(b"second", b"third"), bob.address, START)
        assert not opening.to_send(START)

    def test_forged_keying_does_not_spoil_the_true_one_and_costs_a_bounded_effort(self) -> None:
        _, bob, opening = self.opening()
        opening.receive(RHello(opening.tag, b"cookie", bob.profile.certificate), bob.address, START)
        (outgoing,) = opening.to_send(START)
        assert isinstance(outgoing.chunk, IIKeying)
        answer = bob.profile.respond(outgoing.chunk).answer(9)
        for _ in range(2 * MAX_ANSWERS):
            opening.receive(replace(answer, key_component=bytes(48)), bob.address, START)
        opening.receive(answer, bob.address, START)
        assert opening.outcome is None
        opening.to_send(START + 1.0)
        opening.receive(replace(answer, session_id=0), bob.address, START)
        opening.receive(replace(answer, key_component=bytes(48)), bob.address, START)
        assert opening.outcome is None
        opening.receive(answer, bob.address, START)
        assert isinstance(opening.outcome, Opened) and opening.outcome.far_session_id == 9
        assert opening.next_deadline() is None and not opening.to_send(START + 50.0)

    @given(st.binary(max_size=200), st.binary(max_size=60), st.booleans())
    def test_any_fields_are_ignored_or_a_failure(self, data: bytes, other: bytes, is_keying: bool) -> None:
        _, bob, opening = self.opening()
        if is_keying:
            opening.receive(RHello(opening.tag, b"cookie", bob.profile.certificate), bob.address, START)
        chunks: list[Chunk] = [
            RHello(opening.tag, other, data),
            Redirect(opening.tag, ()),
            CookieChange(b"cookie", data),
            RIKeying(1, data, other),
            IHello(data, other),
            IIKeying(1, data, other, data, other),
            ForwardedIHello(data, THERE, other),
        ]
        for chunk in chunks:
            opening.receive(chunk, THERE, START)
            opening.to_send(START)
        assert not isinstance(opening.outcome, Opened)


@dataclass
class Table:
    """Introduces anybody in the same way; a session's number is its peer's place among the nodes of the network."""

    introduction: Introduction | None

    def introduce(self, wanted: PeerId, asker: Address) -> Introduction | None:
        return self.introduction


class TestIntroduction:
    def three(self, kind: str, introduction: Introduction | None) -> tuple[Network, Node, Node, Node]:
        network = Network()
        bob = Node(network, "bob", kind)
        carol = Node(network, "carol", kind, Table(introduction))
        return network, Node(network, "alice", kind), bob, carol

    def test_a_redirect_leads_there(self, kind: str) -> None:
        network, alice, bob, carol = self.three(kind, Introduction((THERE, Address("192.0.2.2", 7000))))
        alice.call(bob.peer_id, carol.address)
        network.run()
        assert is_one_session(alice, bob) and not carol.sessions
        assert not alice.failures

    def test_a_forwarded_question_is_answered_straight(self, kind: str) -> None:
        """From an address that Alice has never heard of, for instance a NAT's."""
        network, alice, bob, carol = self.three(kind, Introduction((), session=0))
        alice.call(bob.peer_id, carol.address)
        network.run()
        assert is_one_session(alice, bob)
        assert not network.chunks(Redirect)

    @pytest.mark.parametrize("seed", range(30))
    def test_both_over_a_bad_network(self, kind: str, seed: int) -> None:
        introduction = Introduction((Address("192.0.2.2", 7000),), session=0)
        network, alice, bob, carol = self.three(kind, introduction)
        network.rng = SeededRng(seed)
        network.loss, network.doubling, network.max_delay = 0.25, 0.25, 2.0
        alice.call(bob.peer_id, carol.address)
        network.run()
        assert is_one_session(alice, bob)

    def test_who_introduces_nobody_says_who_it_is(self) -> None:
        network, alice, bob, carol = self.three("noise", None)
        alice.call(bob.peer_id, carol.address)
        network.run(1.0)
        assert isinstance(error_of(alice), WrongPeer)

    def test_redirects_are_bounded_and_lead_nowhere_silly(self) -> None:
        _, alice, bob, carol = self.three("noise", None)
        opening = alice.call(bob.peer_id, carol.address)
        silly = (LOOPBACK, Address("0.0.0.0", 1), Address("224.0.0.1", 1), Address("192.0.2.9", 0))
        opening.receive(Redirect(opening.tag, silly), carol.address, START)
        assert opening.addresses == (carol.address,)
        opening.receive(Redirect(opening.tag, (LOOPBACK,)), LOOPBACK, START)
        assert set(opening.addresses) == {carol.address, LOOPBACK}
        many = tuple(Address("198.51.100.9", port) for port in range(1, 65))
        opening.receive(Redirect(opening.tag, many), carol.address, START)
        assert len(opening.addresses) == MAX_CANDIDATES

    def test_a_redirect_to_nowhere_means_where_it_came_from(self) -> None:
        _, alice, bob, carol = self.three("noise", None)
        opening = alice.call(bob.peer_id, carol.address)
        opening.receive(Redirect(opening.tag, ()), THERE, START)
        assert opening.addresses == (carol.address, THERE)


class TestGlare:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_of_two_calls_one_session_remains(self, kind: str, seed: int) -> None:
        alice, bob = self.two_calls(kind, Network(SeededRng(seed), doubling=0.2, max_delay=1.0))
        assert is_one_session(alice, bob)

    def test_on_a_bad_network_nearly_always(self, kind: str) -> None:
        """What is left over is the same for both ends."""
        doubles = 0
        for seed in SEEDS:
            alice, bob = self.two_calls(kind, Network(SeededRng(seed), loss=0.2, doubling=0.2, max_delay=1.0))
            assert set(alice.heard()) == set(bob.heard())
            doubles += len(alice.heard()) - 1
        assert doubles <= 3

    def two_calls(self, kind: str, network: Network) -> tuple[Node, Node]:
        alice, bob = two(kind, network)
        alice.call(bob.peer_id, bob.address)
        network.run(network.rng.random() * 2)
        if not bob.heard():
            bob.call(alice.peer_id, alice.address)
        network.run()
        assert not alice.failures and not bob.failures and not alice.openings and not bob.openings
        assert alice.heard()
        return alice, bob

    def test_the_same_end_prevails_in_the_eyes_of_both(self, kind: str) -> None:
        network = Network(max_delay=0.0)
        alice, bob = two(kind, network)
        keying = [self.in_keying(alice, bob), self.in_keying(bob, alice)]
        alice_says = decide_glare(alice.profile, keying[0], certificate_of(alice, bob))
        bob_says = decide_glare(bob.profile, keying[1], certificate_of(bob, alice))
        assert {alice_says, bob_says} == {Glare.PREVAIL, Glare.YIELD}

    def test_who_has_only_asked_yields(self, kind: str) -> None:
        for near, far in (("alice", "bob"), ("bob", "alice")):
            network = Network()
            one, other = Node(network, near, kind), Node(network, far, kind)
            opening = one.call(other.peer_id, other.address)
            assert decide_glare(one.profile, opening, certificate_of(one, other)) is Glare.YIELD
        assert decide_glare(one.profile, None, certificate_of(one, other)) is Glare.NONE

    def test_a_late_call_does_not_undo_what_has_prevailed(self) -> None:
        alice, bob = two("plain", Network())  # by their names, Alice has precedence
        far, near = certificate_of(alice, bob), certificate_of(bob, alice)
        assert decide_glare(alice.profile, None, far, opened_ago=GLARE_PERIOD - 1) is Glare.PREVAIL
        assert decide_glare(alice.profile, None, far, opened_ago=GLARE_PERIOD) is Glare.NONE
        assert decide_glare(bob.profile, None, near, opened_ago=0.0) is Glare.NONE

    def test_a_held_opening_goes_on_when_the_call_was_a_replay(self, kind: str) -> None:
        network = Network()
        alice, bob = two(kind, network)
        opening = alice.call(bob.peer_id, bob.address)
        opening.hold(START + HOLD_PERIOD)
        network.run(HOLD_PERIOD - 1.0)
        assert opening.stage is Stage.HELLO and len(network.startup) == 2
        network.run(5.0)
        assert is_one_session(alice, bob)

    def test_the_rival_is_found_by_whom_it_leads_to(self) -> None:
        network = Network(max_delay=0.0)
        alice, bob, carol = (Node(network, name, "noise") for name in ("alice", "bob", "carol"))
        to_carol, to_anybody = alice.call(carol.peer_id, bob.address), alice.call(None, THERE)
        keyed = self.in_keying(alice, bob)
        far = certificate_of(alice, bob)
        assert find_rival([to_carol, to_anybody, keyed], far, HERE) is keyed
        assert find_rival([to_carol, to_anybody], far, bob.address) is None
        assert find_rival([to_carol, to_anybody], far, THERE) is to_anybody
        assert find_rival([], far, THERE) is None

    def test_a_newer_session_overrides_the_same_peers_only(self) -> None:
        alice, bob = two("noise", Network())
        at_alice, at_bob = certificate_of(alice, bob), certificate_of(bob, alice)
        assert is_overridden(at_alice, at_alice) and not is_overridden(at_alice, at_bob)

    def in_keying(self, near: Node, far: Node) -> Opening:
        opening = Opening(near.profile, near.network.rng, 7, far.peer_id, [far.address], START)
        opening.receive(RHello(opening.tag, b"cookie", far.profile.certificate), far.address, START)
        assert opening.stage is Stage.KEYING
        return opening


def certificate_of(near: Node, far: Node) -> Certificate:
    """As `near` sees it."""
    return near.profile.check_certificate(far.profile.certificate, near.profile.epd_for(far.peer_id))
