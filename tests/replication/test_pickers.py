"""One conformance suite for every picker, and what each promises beyond it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.rng import SeededRng
from swarmd.replication import bits
from swarmd.replication.availability import Availability
from swarmd.replication.pickers import PICKERS, Order, Picker, lowest_first, rarest_first

SPAN = 200
DRAWS = 4000

sets = st.integers(0, (1 << SPAN) - 1)
peers = st.lists(sets, max_size=5)
seeds = st.integers(0, 2**32)
every_picker = pytest.mark.parametrize("picker", PICKERS.values(), ids=lambda picker: picker.__name__)


def known(held: list[int]) -> Availability:
    availability = Availability()
    for chunks in held:
        availability.add(chunks)
    return availability


def of(*chunks: int) -> int:
    return sum(1 << chunk for chunk in chunks)


def test_there_is_one_for_every_order() -> None:
    assert set(PICKERS) == set(Order)


# every picker


@every_picker
@given(held=peers, seed=seeds)
def test_of_nothing_it_picks_nothing(picker: Picker, held: list[int], seed: int) -> None:
    assert picker(0, known(held), SeededRng(seed)) is None


@every_picker
@given(candidates=sets.filter(bool), held=peers, seed=seeds)
def test_it_picks_one_of_the_candidates(picker: Picker, candidates: int, held: list[int], seed: int) -> None:
    picked = picker(candidates, known(held), SeededRng(seed))
    assert picked is not None
    assert bits.has(candidates, picked)


@every_picker
@given(chunk=st.integers(0, 2**18), held=peers, seed=seeds)
def test_of_one_it_picks_that(picker: Picker, chunk: int, held: list[int], seed: int) -> None:
    assert picker(1 << chunk, known(held), SeededRng(seed)) == chunk


@every_picker
@given(candidates=sets, held=peers, seed=seeds)
def test_it_is_pure(picker: Picker, candidates: int, held: list[int], seed: int) -> None:
    """Equal arguments and equal chance give equal answers, and nothing is changed."""
    availability = known(held)
    first = picker(candidates, availability, SeededRng(seed))
    assert picker(candidates, availability, SeededRng(seed)) == first
    assert [availability.count(i) for i in range(SPAN)] == [known(held).count(i) for i in range(SPAN)]


@every_picker
@given(candidates=sets, held=peers, seed=seeds)
def test_picked_one_after_the_other_each_comes_once(
    picker: Picker, candidates: int, held: list[int], seed: int
) -> None:
    availability, rng = known(held), SeededRng(seed)
    picked = []
    left = candidates
    while (chunk := picker(left, availability, rng)) is not None:
        picked.append(chunk)
        left = bits.without(left, 1 << chunk)
    assert sorted(picked) == list(bits.members(candidates))


# lowest first


@given(candidates=sets.filter(bool), held=peers, seed=seeds)
def test_lowest_first_is_in_order(candidates: int, held: list[int], seed: int) -> None:
    assert lowest_first(candidates, known(held), SeededRng(seed)) == min(bits.members(candidates))


# rarest first


@given(candidates=sets.filter(bool), held=peers, seed=seeds)
def test_rarest_first_picks_what_the_fewest_have(candidates: int, held: list[int], seed: int) -> None:
    picked = rarest_first(candidates, known(held), SeededRng(seed))
    assert picked is not None
    assert sum(bits.has(one, picked) for one in held) == min(
        sum(bits.has(one, chunk) for one in held) for chunk in bits.members(candidates)
    )


def test_rarest_first_does_not_look_at_what_is_no_candidate() -> None:
    availability = known([of(0, 1, 2), of(0, 1), of(0)])
    assert rarest_first(of(0, 1), availability, SeededRng(1)) == 1


@pytest.mark.parametrize("tied", [(3, 4), (0, 63, 64, 127, 128), tuple(range(0, 150, 7))])
def test_ties_are_drawn_evenly(tied: tuple[int, ...]) -> None:
    """Each within five standard deviations of its share."""
    availability = known([of(*tied), of(*tied), of(200), of(200), of(200)])
    rng = SeededRng(11)
    drawn = [rarest_first(of(*tied, 200), availability, rng) for _ in range(DRAWS)]
    share = 1 / len(tied)
    deviation = (DRAWS * share * (1 - share)) ** 0.5
    assert set(drawn) == set(tied)
    for chunk in tied:
        assert abs(drawn.count(chunk) - DRAWS * share) < 5 * deviation
