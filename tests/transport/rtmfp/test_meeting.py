"""How two endpoints come to one session: identity, both calling at once, a restart, a third that introduces them."""

from __future__ import annotations

import pytest

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import Closed, CloseReason, Opened, Priority, State
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.resets import reset_key
from swarmd.transport.rtmfp.responder import Introduction
from swarmd.transport.rtmfp.session import RtmfpSession
from tests.transport.rtmfp.network import Network, Node, Weather
from tests.transport.rtmfp.scenes import received

NOWHERE = Address("192.0.2.200", 1)
ALICE, BOB, CAROL = (Identity.generate(SeededRng(seed)) for seed in range(3))


def open_sessions(node: Node) -> list[RtmfpSession]:
    return [session for session in node.endpoint.sessions() if session.state is State.OPEN]


def ending(node: Node, session: RtmfpSession) -> Closed:
    last = node.events[session][-1]
    assert isinstance(last, Closed)
    return last


def exchange(network: Network, near: Node, one: RtmfpSession, far: Node, other: RtmfpSession) -> None:
    """A message each way."""
    there, back = one.open_flow(b"there", Priority.DATA), other.open_flow(b"back", Priority.DATA)
    one.send(there, [b"there"])
    other.send(back, [b"back"])
    assert network.run(lambda: received(far, other, there) == [b"there"], 10)
    assert network.run(lambda: received(near, one, back) == [b"back"], 10)


def test_somebody_else_is_there() -> None:
    network = Network(1)
    near, far = network.add("near", ALICE), network.add("far", BOB)
    session = near.endpoint.connect(CAROL.peer_id, [far.address], network.now)
    assert network.run(lambda: session.state is State.CLOSED, 5)
    network.collect()
    last = ending(near, session)
    assert last.reason is CloseReason.WRONG_PEER and BOB.peer_id.short in last.detail
    assert not far.incoming and not any(isinstance(event, Opened) for event in near.events[session])


def test_it_is_ourselves() -> None:
    network = Network(1)
    near = network.add("near", ALICE)
    session = near.endpoint.connect(None, [near.address], network.now)
    assert network.run(lambda: session.state is State.CLOSED, 5)
    network.collect()
    assert ending(near, session).reason in (CloseReason.SELF, CloseReason.WRONG_PEER)


def test_nobody_is_there() -> None:
    network = Network(1)
    near = network.add("near", ALICE)
    session = near.endpoint.connect(BOB.peer_id, [NOWHERE], network.now, timeout=7.0)
    assert network.run(lambda: session.state is State.CLOSED, 8)
    network.run_for(10)
    assert ending(near, session).reason is CloseReason.UNREACHABLE and len(near.endpoint) == 0
    asked = len(near.sent)
    network.run_for(100)
    assert len(near.sent) == asked


@pytest.mark.parametrize("offset", [number * 0.005 for number in range(-24, 25)])
@pytest.mark.parametrize("swapped", [False, True])
def test_of_two_calls_at_any_time_one_session_remains(offset: float, swapped: bool) -> None:
    network = Network(7, Weather(delay=0.02))
    names = (BOB, ALICE) if swapped else (ALICE, BOB)
    near, far = network.add("near", names[0]), network.add("far", names[1])

    def call(caller: Node, other: Node, wanted: PeerId) -> RtmfpSession:
        return caller.endpoint.connect(wanted, [other.address], network.now)

    callers = [(near, far, names[1].peer_id), (far, near, names[0].peer_id)]
    if offset < 0:
        callers.reverse()
    calls = [call(*callers[0])]
    network.run_for(abs(offset))
    calls.append(call(*callers[1]))
    network.run_for(12)
    ours, theirs = open_sessions(near), open_sessions(far)
    if abs(offset) > 0.095:  # who calls second has an open session already: two, for others to choose from
        assert 1 <= len(ours) == len(theirs) <= 2
        return
    assert all(session.state is not State.KEYING for session in calls)
    assert len(ours) == len(theirs) == 1
    assert ours[0].handshake_hash == theirs[0].handshake_hash
    exchange(network, near, ours[0], far, theirs[0])
    for node, session in ((near, calls[0]), (far, calls[1]), (near, calls[1]), (far, calls[0])):
        if session in node.endpoint.sessions() and session.state is State.CLOSED:
            assert ending(node, session).reason is CloseReason.DUPLICATE


def test_after_a_restart_of_one_end_the_newer_session_works() -> None:
    network = Network(3)
    near, far = network.add("near", ALICE), network.add("far", BOB)
    near.endpoint.connect(BOB.peer_id, [far.address], network.now)
    assert network.run(lambda: bool(far.incoming), 5)
    old = far.incoming[0]
    near.endpoint = Endpoint(NoiseProfile(ALICE, network.rng), network.rng, network.now)  # knows nothing of it
    session = near.endpoint.connect(BOB.peer_id, [far.address], network.now)
    assert network.run(lambda: len(far.incoming) == 2, 5)
    exchange(network, near, session, far, far.incoming[1])
    old.close(CloseReason.DUPLICATE)  # as `transport.sessions` does
    network.run_for(120)
    assert open_sessions(far) == [far.incoming[1]] and len(far.endpoint) == 1


@pytest.mark.parametrize("seed", range(4))
def test_who_was_restarted_at_once_is_let_in_at_once(seed: int) -> None:
    """Its call looks like glare, the older session being young: so that is asked whether it still stands."""
    network = Network(seed)
    names = (ALICE, BOB) if seed % 2 else (BOB, ALICE)
    near, far = network.add("near"), network.add("far")
    for node, identity in zip((near, far), names, strict=True):
        node.endpoint = restarted(identity, network)
    old = far.endpoint.connect(names[0].peer_id, [near.address], network.now)
    assert network.run(lambda: bool(near.incoming), 5)
    network.run_for(0.2)
    near.endpoint = restarted(names[0], network)
    since = network.now
    session = near.endpoint.connect(names[1].peer_id, [far.address], network.now)
    assert network.run(lambda: old.state is State.CLOSED, 5) and network.now - since < 0.2
    assert network.run(lambda: bool(far.incoming), 5) and network.now - since < 1.5
    exchange(network, near, session, far, far.incoming[0])


def restarted(identity: Identity, network: Network) -> Endpoint:
    profile = NoiseProfile(identity, network.rng)
    return Endpoint(profile, network.rng, network.now, reset_key=reset_key(identity))


def test_a_restart_is_noticed_also_by_who_does_not_call() -> None:
    network = Network(3)
    near, far = network.add("near", ALICE), network.add("far", BOB)
    near.endpoint.connect(BOB.peer_id, [far.address], network.now)
    assert network.run(lambda: bool(far.incoming), 5)
    near.endpoint = Endpoint(NoiseProfile(ALICE, network.rng), network.rng, network.now)
    assert network.run(lambda: far.incoming[0].state is State.CLOSED, 90)
    network.collect()
    assert ending(far, far.incoming[0]).reason is CloseReason.TIMED_OUT


class Friend:
    """Introduces whoever it has a session with."""

    def __init__(self) -> None:
        self.sessions: list[RtmfpSession] = []
        self.names_addresses = self.passes_on = True

    def introduce(self, wanted: PeerId, asker: Address) -> Introduction | None:
        for session in self.sessions:
            if session.state is State.OPEN and session.peer_id == wanted and session.address is not None:
                destinations = (session.address,) if self.names_addresses else ()
                return Introduction(destinations, session.near_id if self.passes_on else None)
        return None


class Introduced:
    """Carol knows Bob; Alice knows only Carol's address."""

    def __init__(self, seed: int = 5, weather: Weather | None = None) -> None:
        self.network = Network(seed, weather)
        self.friend = Friend()
        self.alice, self.bob, self.carol = (
            self.network.add(name, identity) for name, identity in (("alice", ALICE), ("bob", BOB), ("carol", CAROL))
        )
        network = self.network
        self.carol.endpoint = Endpoint(
            NoiseProfile(CAROL, network.rng), network.rng, network.now, introducer=self.friend
        )
        self.to_carol = self.bob.endpoint.connect(CAROL.peer_id, [self.carol.address], network.now)
        assert network.run(lambda: bool(self.carol.incoming), 30)
        self.friend.sessions = self.carol.incoming

    def call(self, timeout: float = 20.0) -> bool:
        """Whether Alice reaches Bob, and nobody else."""
        session = self.alice.endpoint.connect(BOB.peer_id, [self.carol.address], self.network.now, timeout=timeout)
        is_open = self.network.run(lambda: session.state is State.OPEN and bool(self.bob.incoming), timeout + 1)
        if is_open:
            assert session.peer_id == BOB.peer_id and len(self.carol.incoming) == 1
            exchange(self.network, self.alice, session, self.bob, self.bob.incoming[0])
        return is_open


def test_introduced_by_redirect() -> None:
    it = Introduced()
    it.friend.passes_on = False
    assert it.call()


def test_introduced_by_forward() -> None:
    it = Introduced()
    it.friend.names_addresses = False
    it.to_carol.accepts_introductions = True
    assert it.call()


def test_a_forward_is_not_heeded_unless_that_is_wanted() -> None:
    it = Introduced()
    it.friend.names_addresses = False
    assert not it.call(5.0)
    assert all(target != it.alice.address for target, _ in it.bob.sent)


@pytest.mark.parametrize("seed", range(5))
def test_through_nats_that_let_in_only_answers(seed: int) -> None:
    """Each side's packet opens its own NAT: so both have to be told."""
    it = Introduced(seed, Weather(loss=0.1, jitter=0.02))
    it.to_carol.accepts_introductions = True
    opened: set[tuple[Address, Address]] = set()

    def is_blocked(source: Address, target: Address, data: bytes) -> bool:
        if it.carol.address in (source, target):
            return False
        opened.add((source, target))
        return (target, source) not in opened

    it.network.lose = is_blocked
    assert it.call(60.0)
