"""The bookkeeping of a download: every chunk is in exactly one state, and the counts add up."""

from __future__ import annotations

from enum import Enum

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmd.core.ids import ContentId, PeerId
from swarmd.replication import bits
from swarmd.replication.chunks import Chunks
from swarmd.replication.link import Channel, Link, Request
from swarmd.replication.pacing import Uplink
from swarmd.replication.shape import Shape
from tests.replication.mesh import GROUP

N_CHUNKS = 12
LENGTHS = [100 + 7 * index for index in range(N_CHUNKS)]
SHAPE = Shape(N_CHUNKS, 200, sum(LENGTHS), 1, LENGTHS.__getitem__)
sets = st.integers(0, SHAPE.everything)
indices = st.integers(0, N_CHUNKS - 1)


class State(Enum):
    WANTED = 0
    REQUESTED = 1
    RECEIVED = 2
    STORED = 3


def a_channel(number: int) -> Channel:
    link = Link(GROUP, PeerId(number.to_bytes(32, "big")), Uplink(0.0), 0.0)
    return Channel(link, ContentId(bytes(32)))


def size_of(chunks: int) -> int:
    return sum(LENGTHS[index] for index in bits.members(chunks))


class Bookkeeping(RuleBasedStateMachine):
    """Each rule is a transition that the machine allows, on a chunk for which it is allowed (or nothing happens)."""

    @initialize(stored=sets)
    def begin_with(self, stored: int) -> None:
        self.chunks = Chunks(SHAPE, stored)
        self.states = {i: State.STORED if bits.has(stored, i) else State.WANTED for i in range(N_CHUNKS)}
        self.requests: dict[int, list[Request]] = {}
        self.touched: set[int] = set()
        self.senders: dict[int, Channel] = {}

    @rule(index=indices)
    def ask(self, index: int) -> None:
        state, requests = self.states[index], self.requests.get(index, [])
        if state is State.WANTED or (state is State.REQUESTED and len(requests) == 1):
            request = self.chunks.ask(a_channel(index + 50 * len(requests)), index, 1.0)
            assert (request.length, request.is_active, request.received) == (LENGTHS[index], True, 0)
            if requests:
                self.touched.add(index)
            self.requests[index] = [*requests, request]
            self.states[index] = State.REQUESTED

    @rule(index=indices, which=st.integers(0, 1))
    def begin(self, index: int, which: int) -> None:
        if request := self.request(index, which):
            self.chunks.begin(request)
            self.touched.add(index)

    @rule(index=indices, which=st.integers(0, 1))
    def give_up(self, index: int, which: int) -> None:
        if request := self.request(index, which):
            self.requests[index].remove(request)
            assert self.chunks.give_up(request) is not bool(self.requests[index])
            assert not request.is_active
            if not self.requests[index]:
                self.end_requests(index, State.WANTED)

    @rule(index=indices, which=st.integers(0, 1))
    def complete(self, index: int, which: int) -> None:
        if request := self.request(index, which):
            losers = self.chunks.complete(request)
            assert losers == [one for one in self.requests[index] if one is not request]
            assert not any(one.is_active for one in self.requests[index])
            self.senders[index] = request.channel
            self.end_requests(index, State.RECEIVED)

    @rule(index=indices)
    def store(self, index: int) -> None:
        if self.states[index] is State.RECEIVED:
            self.chunks.store(index)
            self.states[index] = State.STORED

    @rule(index=indices)
    def reject(self, index: int) -> None:
        if self.states[index] is State.RECEIVED:
            assert self.chunks.reject(index) is self.senders[index]
            self.states[index] = State.WANTED

    @rule(found=sets)
    def adopt(self, found: int) -> None:
        self.chunks.adopt(found)
        self.move(found, State.WANTED, State.STORED)

    @rule(lost=sets)
    def lose(self, lost: int) -> None:
        self.chunks.lose(lost)
        self.move(lost, State.STORED, State.WANTED)

    @rule(verifiable=sets)
    def allow(self, verifiable: int) -> None:
        self.chunks.verifiable |= verifiable

    def request(self, index: int, which: int) -> Request | None:
        requests = self.requests.get(index, [])
        return requests[which] if which < len(requests) else None

    def end_requests(self, index: int, state: State) -> None:
        del self.requests[index]
        self.touched.discard(index)
        self.states[index] = state

    def move(self, chunks: int, before: State, after: State) -> None:
        for index in bits.members(chunks):
            if self.states[index] is before:
                self.states[index] = after

    def those(self, state: State) -> int:
        return sum(1 << index for index, one in self.states.items() if one is state)

    @invariant()
    def every_chunk_is_in_exactly_one_state(self) -> None:
        chunks = self.chunks
        assert chunks.wanted == self.those(State.WANTED)
        assert chunks.stored == self.those(State.STORED)
        assert set(chunks.requested) == set(bits.members(self.those(State.REQUESTED)))
        assert set(chunks.received) == set(bits.members(self.those(State.RECEIVED)))

    @invariant()
    def the_counts_add_up(self) -> None:
        chunks = self.chunks
        assert chunks.open_bytes == size_of(self.those(State.REQUESTED) | self.those(State.RECEIVED))
        assert chunks.stored_bytes == size_of(self.those(State.STORED))
        assert chunks.is_complete is (self.those(State.STORED) == SHAPE.everything)
        assert chunks.pickable == self.those(State.WANTED) & chunks.verifiable

    @invariant()
    def untouched_are_those_of_one_peer_that_has_sent_nothing(self) -> None:
        assert set(bits.members(self.chunks.untouched)) == set(self.requests) - self.touched
        assert all(self.chunks.requested[index] == requests for index, requests in self.requests.items())


Bookkeeping.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestBookkeeping = Bookkeeping.TestCase


def test_what_is_on_disk_beyond_the_object_does_not_count() -> None:
    chunks = Chunks(SHAPE, 0b11 | 1 << N_CHUNKS)
    assert chunks.stored == 0b11
    assert chunks.stored_bytes == size_of(0b11)


@pytest.mark.parametrize("stored", [0, 1, SHAPE.everything >> 1, SHAPE.everything])
def test_bytes_stored_at_the_start(stored: int) -> None:
    assert Chunks(SHAPE, stored).stored_bytes == size_of(stored)


def test_an_object_without_chunks_is_complete() -> None:
    assert Chunks(Shape(0, 1, 0, 1, LENGTHS.__getitem__), 0).is_complete


def test_a_chunk_that_is_here_is_not_asked_for() -> None:
    with pytest.raises(AssertionError):
        Chunks(SHAPE, 1).ask(a_channel(1), 0, 0.0)
