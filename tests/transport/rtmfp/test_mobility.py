"""Addresses that change (RFC 7016 §3.5.4.2): a session follows its peer, and nobody else's say."""

from __future__ import annotations

from math import inf

import pytest

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.transport.api import MessageReceived, Priority, State
from swarmd.transport.rtmfp.mobility import LIFETIME, MARK, QUESTION_PERIOD, REPEAT_PERIOD, Mobility
from tests.transport.rtmfp.network import Node, Weather
from tests.transport.rtmfp.scenes import Scene, scene

HERE, THERE = Address("192.0.2.1", 1935), Address("198.51.100.7", 4000)


@pytest.fixture
def mobility() -> Mobility:
    return Mobility(SeededRng(1))


def question(mobility: Mobility, address: Address, now: float) -> bytes:
    message = mobility.question(address, now)
    assert message is not None and message.startswith(MARK)
    return message


def test_an_answer_from_there_is_a_proof_once(mobility: Mobility) -> None:
    message = question(mobility, THERE, 100.0)
    assert not mobility.is_proof(message, HERE, 100.1)
    assert mobility.is_proof(message, THERE, 100.1)
    assert not mobility.is_proof(message, THERE, 100.2)


def test_one_question_a_second(mobility: Mobility) -> None:
    question(mobility, THERE, 100.0)
    assert mobility.question(HERE, 100.5) is None
    question(mobility, HERE, 100.0 + QUESTION_PERIOD)


def test_a_question_is_repeated_until_it_is_answered_or_nobody_seems_to_be_there(mobility: Mobility) -> None:
    assert mobility.repeat(99.0) is None and mobility.repeat_at() == inf
    first = question(mobility, THERE, 100.0)
    assert mobility.repeat(100.2) is None and mobility.repeat_at() == 100.0 + REPEAT_PERIOD
    asked = [mobility.repeat(now) for now in (100.3, 100.6, 100.9, 101.2)]
    assert [each is not None and each[0] == THERE for each in asked] == [True, True, True, False]
    assert mobility.repeat_at() == inf
    assert mobility.is_proof(first, THERE, 104.1), "late, but from there"
    last = question(mobility, HERE, 105.0)
    assert mobility.is_proof(last, HERE, 105.1)
    assert mobility.repeat(106.0) is None and mobility.repeat_at() == inf


def test_an_older_proof_does_not_undo_a_newer(mobility: Mobility) -> None:
    older, newer = question(mobility, THERE, 100.0), question(mobility, HERE, 102.0)
    assert mobility.is_proof(newer, HERE, 102.1)
    assert not mobility.is_proof(older, THERE, 102.2)


def test_a_proof_gets_old(mobility: Mobility) -> None:
    message = question(mobility, THERE, 100.0)
    assert not mobility.is_proof(message, THERE, 100.1 + LIFETIME)


def test_what_was_not_asked_proves_nothing(mobility: Mobility) -> None:
    message = question(mobility, THERE, 100.0)
    assert not Mobility(SeededRng(2)).is_proof(message, THERE, 100.1)
    for forged in (b"", MARK, message[:-1], message + b"x", MARK + b"\xff" * 8 + message[9:], MARK + bytes(24)):
        assert not mobility.is_proof(forged, THERE, 100.1)


class Bulk:
    """A transfer, and the longest time in which nothing of it came."""

    def __init__(self, it: Scene, is_from_near: bool) -> None:
        self.it = it
        self._from, self._to = (it.one, it.other) if is_from_near else (it.other, it.one)
        self._at = it.far if is_from_near else it.near
        self._flow = self._from.open_flow(b"bulk", Priority.BULK)
        self._count = 0
        self.longest, self._last = 0.0, it.network.now

    def run(self, period: float) -> None:
        ends_at = self.it.network.now + period
        while self.it.network.now < ends_at:
            while self._from.queued_bytes < 500_000:
                self._from.send(self._flow, [bytes(20_000)])
            self.it.network.run_for(0.01)
            count = sum(isinstance(each, MessageReceived) for each in self._at.events[self._to])
            if count > self._count:
                self._count, self._last = count, self.it.network.now
            self.longest = max(self.longest, self.it.network.now - self._last)


@pytest.mark.parametrize("is_from_near", [True, False])
@pytest.mark.parametrize("is_near_moved", [True, False])
@pytest.mark.parametrize("is_port_only", [True, False])
def test_a_transfer_goes_on(is_from_near: bool, is_near_moved: bool, is_port_only: bool) -> None:
    """Also where the one who receives is moved by his NAT, and cannot know."""
    it = scene(weather=Weather(delay=0.03, loss=0.01))
    mover, moved_of = (it.near, it.other) if is_near_moved else (it.far, it.one)
    bulk = Bulk(it, is_from_near)
    bulk.run(2)
    new = Address(mover.address.host, 3999) if is_port_only else THERE
    it.network.move(mover, new)
    bulk.run(5)
    assert moved_of.address == new
    assert bulk.longest < 2.0
    assert it.one.state is it.other.state is State.OPEN


def data_sent_to(node: Node, address: Address) -> list[bytes]:
    return [data for target, data in node.sent if target == address]


def test_nothing_but_questions_goes_to_an_address_that_has_not_answered() -> None:
    """Somebody on the path sends our packets on from a victim's address."""
    it = scene()
    flow = it.other.open_flow(b"bulk", Priority.BULK)
    diverted: list[bytes] = []

    def divert(source: Address, target: Address, data: bytes) -> bool:
        if source == it.near.address:
            diverted.append(data)
        return source == it.near.address

    it.network.lose = divert
    for _ in range(100):
        it.other.send(flow, [bytes(20_000)])
        it.one.ping(it.network.now)
        it.network.run_for(0.05)
        for data in diverted:
            it.far.endpoint.receive(memoryview(data), len(data), THERE, it.network.now)
        diverted.clear()
    assert it.other.address == it.near.address
    questions = data_sent_to(it.far, THERE)
    assert questions and sum(map(len, questions)) < 15_000
    assert all(len(data) < 200 for data in questions)


def test_a_question_that_goes_astray_is_asked_again() -> None:
    it = scene()
    it.network.move(it.near, THERE)
    it.network.lose = lambda source, target, data: target == THERE
    it.one.ping(it.network.now)
    it.network.run_for(1.5)
    assert it.other.address != THERE
    it.network.lose = lambda source, target, data: False
    it.one.ping(it.network.now)
    assert it.until(lambda: it.other.address == THERE, 3)


def test_there_and_back_again() -> None:
    it = scene()
    home = it.near.address
    for address in (THERE, home, THERE, home):
        it.network.move(it.near, address)
        it.network.run_for(1.1)
        it.one.ping(it.network.now)
        assert it.until(lambda address=address: it.other.address == address, 3)  # type: ignore[misc]
