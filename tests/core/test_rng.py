"""One suite for both generators, and what only the seeded one promises."""

from __future__ import annotations

import pytest

from swarmd.core.rng import Rng, SeededRng, SystemRng


@pytest.fixture(params=[SystemRng(), SeededRng(7)], ids=["system", "seeded"])
def rng(request: pytest.FixtureRequest) -> Rng:
    generator: Rng = request.param
    return generator


def test_draws_stay_in_range(rng: Rng) -> None:
    assert all(0 <= rng.random() < 1 for _ in range(100))
    assert {rng.randrange(3) for _ in range(200)} == {0, 1, 2}
    assert {rng.choice("ab") for _ in range(100)} == {"a", "b"}
    assert len(rng.bytes(32)) == 32
    assert rng.bytes(0) == b""
    assert rng.bytes(32) != rng.bytes(32)


def test_shuffle_and_sample_keep_the_items(rng: Rng) -> None:
    items = list(range(50))
    rng.shuffle(items)
    assert items != list(range(50))
    assert sorted(items) == list(range(50))
    drawn = rng.sample(range(50), 10)
    assert len(set(drawn)) == 10


def test_nothing_to_draw_from(rng: Rng) -> None:
    with pytest.raises(ValueError):
        rng.randrange(0)
    with pytest.raises(IndexError):
        rng.choice([])
    with pytest.raises(ValueError):
        rng.sample([1], 2)


def test_a_seed_repeats_itself() -> None:
    def draws(rng: Rng) -> tuple[object, ...]:
        return rng.random(), rng.randrange(1000), rng.bytes(8), rng.choice(range(1000)), rng.sample(range(99), 5)

    assert draws(SeededRng(1)) == draws(SeededRng(1))
    assert draws(SeededRng(1)) != draws(SeededRng(2))
