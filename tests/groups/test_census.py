"""How well the size of a group is reckoned, from places alone."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.groups.census import MAX_ESTIMATE, SPAN_BITS, Census

from .builders import peer_id

UNIT = 1 << SPAN_BITS


def estimates(n: int, seed: int, n_lying: int = 0, lie: tuple[int, int] = (0, 0)) -> list[float]:
    """What 100 of n members come to who have 22 neighbours each, as a part of n."""
    rng = SeededRng(seed)
    places = sorted(rng.randrange(UNIT) for _ in range(n))

    def span(at: int) -> int:
        outer = (places[(at + 3) % n] - places[at - 3]) % UNIT
        return outer - (places[(at + 1) % n] - places[at - 1]) % UNIT

    def census(at: int) -> Census:
        made = Census()
        for number, neighbour in enumerate(neighbours[at]):
            is_lie = number < n_lying
            made.hear(peer_id(number), *(lie if is_lie else (span(neighbour), firsts.get(neighbour, 0))))
        return made

    neighbours = [rng.sample(range(n), 22) for _ in range(n)]
    firsts: dict[int, int] = {}
    for _ in range(3):
        firsts = {at: census(at).reckon(span(at))[0] for at in range(n)}
    return [census(at).reckon(span(at))[1] / n for at in rng.sample(range(n), 100)]


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_estimate_is_within_a_fifth(n: int, seed: int) -> None:
    found = estimates(n, seed)
    assert sum(abs(ratio - 1) <= 0.2 for ratio in found) == 100
    assert 0.85 <= sum(found) / len(found) <= 1.15


@pytest.mark.parametrize("lie", [(1, MAX_ESTIMATE), (UNIT - 1, 1)])
def test_a_fifth_of_liars_moves_it_little(lie: tuple[int, int]) -> None:
    found = sorted(estimates(1000, 1, 4, lie))
    assert found[5] >= 0.8
    assert found[-6] <= 1.2


def test_who_knows_nothing_is_not_counted() -> None:
    census = Census()
    assert census.reckon(0) == (0, 0)
    census.hear(peer_id(1), 0, 0)
    assert census.reckon(0) == (0, 0)
    census.hear(peer_id(2), UNIT // 100, 367)
    assert census.reckon(0) == (0, 0), "nor is the group large because one of two says so"
    census.hear(peer_id(3), UNIT // 100, 367)
    assert census.reckon(0) == (367, 367)
    census.forget(peer_id(2))
    census.forget(peer_id(2))
    census.forget(peer_id(3))
    assert census.reckon(0) == (0, 0)


def test_what_is_told_is_bounded() -> None:
    census = Census()
    census.hear(peer_id(1), 1, MAX_ESTIMATE)
    assert census.reckon(1) == (MAX_ESTIMATE, MAX_ESTIMATE)
