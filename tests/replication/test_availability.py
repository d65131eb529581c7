"""Availability against the plain thing it stands for: one counter for each chunk."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swarmd.replication import bits
from swarmd.replication.availability import Availability

SPAN = 80
sets = st.integers(0, (1 << SPAN) - 1)


class AgainstCounters(RuleBasedStateMachine):
    """Peers come with what they have, get more, lose some, and go."""

    def __init__(self) -> None:
        super().__init__()
        self.availability = Availability()
        self.peers: list[int] = []

    @rule(chunks=sets)
    def come(self, chunks: int) -> None:
        self.peers.append(chunks)
        self.availability.add(chunks)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), chunks=sets)
    def get(self, data: st.DataObject, chunks: int) -> None:
        peer = data.draw(st.integers(0, len(self.peers) - 1))
        news = bits.without(chunks, self.peers[peer])
        self.peers[peer] |= news
        self.availability.add(news)

    @precondition(lambda self: self.peers)
    @rule(data=st.data(), chunks=sets)
    def lose(self, data: st.DataObject, chunks: int) -> None:
        peer = data.draw(st.integers(0, len(self.peers) - 1))
        lost = chunks & self.peers[peer]
        self.peers[peer] ^= lost
        self.availability.remove(lost)

    @precondition(lambda self: self.peers)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        peer = data.draw(st.integers(0, len(self.peers) - 1))
        self.availability.remove(self.peers.pop(peer))

    @rule(candidates=sets)
    def rarest(self, candidates: int) -> None:
        counts = self.counts()
        fewest = min((counts[i] for i in bits.members(candidates)), default=0)
        assert self.availability.rarest(candidates) == sum(
            1 << i for i in bits.members(candidates) if counts[i] == fewest
        )

    def counts(self) -> Counter[int]:
        return Counter(chunk for peer in self.peers for chunk in bits.members(peer))

    @invariant()
    def agrees(self) -> None:
        counts = self.counts()
        assert all(self.availability.count(chunk) == counts[chunk] for chunk in range(SPAN + 1))
        assert set(bits.members(self.availability.held())) == set(counts)


TestAgainstCounters = AgainstCounters.TestCase


def test_many_peers_with_everything() -> None:
    availability = Availability()
    everything = bits.single(0, 1 << 18)
    for _ in range(1000):
        availability.add(everything)
    assert availability.count(0) == availability.count((1 << 18) - 1) == 1000
    for _ in range(1000):
        availability.remove(everything)
    assert availability.held() == 0


@given(sets, sets)
def test_taking_out_what_nobody_has_is_a_bug_that_shows(present: int, lost: int) -> None:
    availability = Availability()
    availability.add(present)
    if bits.without(lost, present):
        with pytest.raises(ValueError, match="below zero"):
            availability.remove(lost)
    else:
        availability.remove(lost)
        assert availability.held() == present ^ lost
