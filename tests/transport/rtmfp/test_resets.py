"""Sessions that one end has lost: it says so, in a way that nobody else can, and no stranger gains by."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import Closed, CloseReason, Priority, State
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.liveness import HUSH_PERIOD, KEEPALIVE_PERIOD
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packet import scramble
from swarmd.transport.rtmfp.resets import (
    KEEPALIVE,
    RESET_BYTES,
    RESET_PERIOD,
    RESETS,
    RESETS_A_HOST,
    TOKEN_BYTES,
    Resets,
    reset_key,
)
from swarmd.transport.rtmfp.session import RtmfpSession
from tests.transport.rtmfp.network import Network, Node
from tests.transport.rtmfp.scenes import received

ALICE, BOB = (Identity.generate(SeededRng(seed)) for seed in range(2))
HERE, THERE = Address("192.0.2.1", 1935), Address("198.51.100.7", 4000)


def endpoint(identity: Identity, network: Network) -> Endpoint:
    """Of a daemon that has just started."""
    profile = NoiseProfile(identity, network.rng)
    return Endpoint(profile, network.rng, network.now, reset_key=reset_key(identity))


@dataclass
class Two:
    """An open session; `near` has called."""

    network: Network
    near: Node
    far: Node
    one: RtmfpSession
    other: RtmfpSession


def two(seed: int = 1) -> Two:
    network = Network(seed)
    near, far = network.add("near", ALICE), network.add("far", BOB)
    near.endpoint, far.endpoint = endpoint(ALICE, network), endpoint(BOB, network)
    session = near.endpoint.connect(BOB.peer_id, [far.address], network.now)
    assert network.run(lambda: bool(far.incoming), 5)
    network.run_for(0.5)
    return Two(network, near, far, session, far.incoming[0])


def noticed_after(it: Two, node: Node, session: RtmfpSession) -> float:
    """Seconds."""
    since = it.network.now
    assert it.network.run(lambda: session.state is State.CLOSED, 60)
    events = node.events[session]
    while (event := session.next_event()) is not None:  # perhaps forgotten by the endpoint already
        events.append(event)
    last = events[-1]
    assert isinstance(last, Closed) and last.reason is CloseReason.LOST and not last.by_peer
    return it.network.now - since


@pytest.mark.parametrize("is_responder", [False, True])
def test_who_sends_to_a_peer_that_was_restarted_hears_of_it_in_one_round_trip(is_responder: bool) -> None:
    it = two()
    if is_responder:
        it.far.endpoint = endpoint(BOB, it.network)
        node, session = it.near, it.one
    else:
        it.near.endpoint = endpoint(ALICE, it.network)
        node, session = it.far, it.other
    flow = session.open_flow(b"bulk", Priority.BULK)
    session.send(flow, [bytes(500_000)])
    assert noticed_after(it, node, session) < 0.05
    assert len(node.endpoint) == 0 or it.network.run(lambda: len(node.endpoint) == 0, 10)
    assert len(node.endpoint._resets) == 0


def test_who_was_receiving_asks_when_nothing_comes_any_more() -> None:
    it = two()
    flow = it.one.open_flow(b"bulk", Priority.BULK)
    it.one.send(flow, [b"data"])
    assert it.network.run(lambda: received(it.far, it.other, flow) == [b"data"], 5)
    it.near.endpoint = endpoint(ALICE, it.network)
    assert noticed_after(it, it.far, it.other) < HUSH_PERIOD + 0.2


def test_on_an_idle_session_the_next_keepalive_shows_it() -> None:
    it = two()
    it.network.run_for(5)
    it.near.endpoint = endpoint(ALICE, it.network)
    assert noticed_after(it, it.far, it.other) < KEEPALIVE_PERIOD + 1


def test_also_after_the_peer_that_asks_has_moved() -> None:
    it = two()
    it.network.move(it.near, THERE)
    it.one.ping(it.network.now)
    it.network.run_for(2)
    assert it.other.address == THERE
    it.far.endpoint = endpoint(BOB, it.network)
    it.one.ping(it.network.now)
    assert noticed_after(it, it.near, it.one) < 0.1


def test_another_identity_at_the_same_place_ends_nothing() -> None:
    it = two()
    it.near.endpoint = endpoint(Identity.generate(SeededRng(9)), it.network)
    it.other.ping(it.network.now)
    it.network.run_for(5)
    assert it.other.state is State.OPEN
    assert any(len(data) == RESET_BYTES for _, data in it.near.sent), "it has answered, for what that is worth"


def test_a_forged_reset_ends_nothing() -> None:
    it = two()
    told = it.near.endpoint._resets._tokens[it.one.near_id]
    rng = SeededRng(3)
    for _ in range(1000):
        data = rng.bytes(RESET_BYTES)
        it.near.endpoint.receive(memoryview(data), len(data), it.far.address, it.network.now)
    for number in range(TOKEN_BYTES * 8):
        wrong = (int.from_bytes(told, "big") ^ 1 << number).to_bytes(TOKEN_BYTES, "big")
        data = rng.bytes(RESET_BYTES - TOKEN_BYTES) + wrong
        it.near.endpoint.receive(memoryview(data), len(data), it.far.address, it.network.now)
    assert it.one.state is State.OPEN
    data = rng.bytes(RESET_BYTES - TOKEN_BYTES) + told
    it.near.endpoint.receive(memoryview(data), len(data), it.far.address, it.network.now)
    assert it.one.state.value == State.CLOSED.value


def test_the_token_of_a_session_in_use_is_told_to_nobody() -> None:
    """Nor is what somebody else is told for the same number, before or after, of any use."""
    it = two()
    told = it.near.endpoint._resets._tokens[it.one.near_id]
    sealed = bytes(60)
    data = scramble(it.other.near_id, sealed) + sealed
    it.far.endpoint.receive(memoryview(data), len(data), THERE, it.network.now)
    assert not list(it.far.endpoint.datagrams_to_send())
    idle = endpoint(BOB, it.network)  # the same node, before there was the session
    idle.receive(memoryview(data), len(data), THERE, it.network.now)
    (answer,) = idle.datagrams_to_send()
    assert len(answer.data) == RESET_BYTES and answer.data[-TOKEN_BYTES:] != told
    idle.receive(memoryview(data), len(data), it.near.address, it.network.now)
    (answer,) = idle.datagrams_to_send()
    assert answer.data[-TOKEN_BYTES:] == told


def test_two_that_know_nothing_of_each_other_fall_silent() -> None:
    network = Network(1)
    near, far = network.add("near", ALICE), network.add("far", BOB)
    near.endpoint, far.endpoint = endpoint(ALICE, network), endpoint(BOB, network)
    for size in range(12, 80):
        network.send(near, far.address, network.rng.bytes(size))
        network.run_for(RESET_PERIOD)
    assert len(near.sent) == 68 and all(len(data) == RESET_BYTES for _, data in far.sent)
    assert len(far.sent) == sum(size > RESET_BYTES for size in range(12, 80))


def test_what_strangers_can_have_us_send_is_bounded() -> None:
    resets, rng = Resets(reset_key(ALICE), SeededRng(1)), SeededRng(2)
    one_host = [resets.answer(rng.randrange(1 << 32), 100, Address("192.0.2.1", port), 10.0) for port in range(1, 99)]
    assert sum(answer is not None for answer in one_host) == RESETS_A_HOST
    many = [resets.answer(7, 100, Address(f"192.0.2.{number}", 9), 10.0) for number in range(2, 200)]
    assert sum(answer is not None for answer in many) == RESETS - RESETS_A_HOST
    assert resets.answer(7, 100, HERE, 10.0 + RESET_PERIOD) is not None
    one_network = [resets.answer(7, 100, Address(f"2001:db8::{n:x}", 9), 20.0) for n in range(1, 200)]
    assert sum(answer is not None for answer in one_network) == RESETS_A_HOST
    assert len(resets) == 0, "nothing is remembered of them"


def test_without_a_key_nothing_is_told_and_nothing_answered() -> None:
    resets = Resets(None, SeededRng(1))
    assert resets.keepalive(7, HERE) == KEEPALIVE
    assert resets.answer(7, 1000, HERE, 10.0) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.binary(max_size=3) | st.sampled_from([KEEPALIVE + bytes(16)]))))
def test_any_ping_of_a_peer_is_remembered_once_for_a_session_or_not(pings: list[tuple[int, bytes]]) -> None:
    resets = Resets(reset_key(ALICE), SeededRng(1))
    for number, message in pings:
        resets.told(number, message)
        assert len(resets) <= 4
    for number in range(4):
        resets.forget(number)
    assert len(resets) == 0 and not resets._tokens
