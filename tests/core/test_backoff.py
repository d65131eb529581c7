"""Back-off: doubles, stays in its bounds, starts again."""

from __future__ import annotations

import pytest

from swarmd.core.backoff import Backoff
from swarmd.core.errors import InvalidArgument
from swarmd.core.rng import SeededRng


def test_periods_double_up_to_the_limit_with_jitter() -> None:
    backoff = Backoff(1.0, 300.0, SeededRng(3))
    steps = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    periods = [backoff.next_period() for _ in steps]
    assert all(step / 2 <= period <= step for step, period in zip(steps, periods, strict=True))
    assert len(set(periods)) == len(periods), "no two nodes should wait equally long"
    assert backoff.failures == len(steps)


def test_a_success_starts_it_again() -> None:
    backoff = Backoff(1.0, 300.0, SeededRng(3))
    for _ in range(10):
        backoff.next_period()
    backoff.reset()
    assert backoff.failures == 0
    assert 0.5 <= backoff.next_period() <= 1.0


@pytest.mark.parametrize(("first", "limit"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_bounds_that_make_no_sense(first: float, limit: float) -> None:
    with pytest.raises(InvalidArgument):
        Backoff(first, limit, SeededRng(1))
