"""The session table: one session for each pair, and both ends keep the same one without asking."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng, SeededRng
from swarmd.transport.sessions import GLARE_PERIOD, SessionTable, Verdict

LOWER = PeerId(bytes(32))
HIGHER = PeerId(b"\xff" * 32)
OTHER = PeerId(b"\x80" * 32)


def binding(number: int) -> bytes:
    return bytes([number]) * 32


def admit(
    table: SessionTable, key: int, peer: PeerId, *, we_started: bool = True, now: float = 0.0
) -> tuple[Verdict, int | None]:
    return table.admit(key, peer, we_started=we_started, handshake_hash=binding(key), now=now)


# Both ends --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One session of a pair; `key` is its number at both ends, as if they had agreed on it."""

    key: int
    by_lower: bool
    handshake_hash: bytes
    grade: int = 3


class End:
    """One end: its table, and which sessions it has open."""

    def __init__(self, own_id: PeerId, peer: PeerId) -> None:
        self.table = SessionTable(own_id)
        self._peer, self._is_lower = peer, own_id < peer
        self.kept: set[int] = set()
        self.over: set[int] = set()

    def open(self, call: Call, now: float) -> None:
        """The session has opened here; nothing happens when the other end has closed it already."""
        if call.key in self.over:
            return
        started = call.by_lower == self._is_lower
        verdict, replaced = self.table.admit(
            call.key,
            self._peer,
            we_started=started,
            handshake_hash=call.handshake_hash,
            now=now,
            grade=call.grade,
        )
        if verdict is Verdict.KEEP_NEW:
            self.kept.add(call.key)
        else:
            assert verdict is Verdict.KEEP_OLD and replaced is None
            self.close(call.key)
        if replaced is not None:
            self.close(replaced)

    def close(self, key: int) -> None:
        self.kept.discard(key)
        self.over.add(key)
        self.table.remove(key, self._peer)


def play(rng: Rng, calls: list[Call], ends: tuple[End, End]) -> None:
    """The openings at both ends in any order, with the news of closed sessions arriving at any time between."""
    openings = [(end, call) for end in ends for call in calls]
    rng.shuffle(openings)
    for position, (end, call) in enumerate(openings):
        end.open(call, now=GLARE_PERIOD * position / len(openings))
        if rng.random() < 0.5:
            tell(ends)
    tell(ends)


def tell(ends: tuple[End, End]) -> None:
    """Each end hears what the other has closed."""
    for near, far in (ends, ends[::-1]):
        for key in near.over - far.over:
            far.close(key)


@pytest.mark.parametrize("seed", range(500))
def test_both_ends_keep_the_same_session_whatever_the_order(seed: int) -> None:
    """Called at once by both, and by each over several of the other's addresses."""
    rng = SeededRng(seed)
    calls = [Call(key, rng.random() < 0.5, rng.bytes(32), rng.randrange(4)) for key in range(2 + rng.randrange(5))]
    ends = End(LOWER, HIGHER), End(HIGHER, LOWER)
    play(rng, calls, ends)
    assert ends[0].kept == ends[1].kept, calls
    assert len(ends[0].kept) == len(ends[0].table) == len(ends[1].table) == 1


def test_one_call_each_way_keeps_that_of_the_lower_id() -> None:
    calls = [Call(1, True, binding(9)), Call(2, False, binding(3))]
    for order in (calls, calls[::-1]):
        ends = End(LOWER, HIGHER), End(HIGHER, LOWER)
        for end in ends:
            for call in order:
                end.open(call, now=0.0)
        assert ends[0].kept == ends[1].kept == {1}


def test_the_better_transport_is_kept_whoever_has_called() -> None:
    calls = [Call(1, True, binding(1), grade=1), Call(2, False, binding(3), grade=2)]
    for order in (calls, calls[::-1]):
        ends = End(LOWER, HIGHER), End(HIGHER, LOWER)
        for end in ends:
            for call in order:
                end.open(call, now=0.0)
        assert ends[0].kept == ends[1].kept == {2}


# One end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("we_started", [True, False])
def test_a_later_session_takes_the_place_of_a_stale_one(we_started: bool) -> None:
    """Whoever calls again after a while has lost the first one: a restart, a changed address."""
    table = SessionTable(LOWER)
    assert admit(table, 1, HIGHER, now=100.0) == (Verdict.KEEP_NEW, None)
    assert admit(table, 2, HIGHER, we_started=we_started, now=100.0 + GLARE_PERIOD) == (Verdict.KEEP_NEW, 1)
    assert table.key(HIGHER) == 2


def test_the_end_of_a_replaced_session_leaves_its_successor() -> None:
    table = SessionTable(LOWER)
    admit(table, 1, HIGHER, now=0.0)
    admit(table, 2, HIGHER, now=GLARE_PERIOD)
    assert not table.remove(1, HIGHER)
    assert HIGHER in table and table.key(HIGHER) == 2
    assert table.remove(2, HIGHER)
    assert HIGHER not in table and table.key(HIGHER) is None and len(table) == 0
    assert not table.remove(2, HIGHER), "it is over already"


def test_a_session_with_ourselves_is_told_and_not_kept() -> None:
    table = SessionTable(LOWER)
    assert admit(table, 1, LOWER) == (Verdict.IS_SELF, None)
    assert len(table) == 0


def test_a_full_table_refuses_new_peers_but_not_new_sessions_of_old_ones() -> None:
    table = SessionTable(LOWER, max_sessions=1)
    assert admit(table, 1, HIGHER, now=0.0) == (Verdict.KEEP_NEW, None)
    assert admit(table, 2, OTHER, now=0.0) == (Verdict.FULL, None)
    assert admit(table, 3, HIGHER, now=GLARE_PERIOD) == (Verdict.KEEP_NEW, 1)
    table.remove(3, HIGHER)
    assert admit(table, 4, OTHER, now=GLARE_PERIOD) == (Verdict.KEEP_NEW, None)
