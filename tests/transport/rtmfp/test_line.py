"""Whole endpoints on one line of 20 Mbit/s and 50 ms; `python -m tests.sim path --goals` is the same at 100 Mbit/s."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.path import Figure, Line, critical, fill, scavenge, share


@pytest.mark.parametrize("scene", [fill, share, scavenge, critical])
def test_a_slow_line(scene: Callable[[Line], list[Figure]]) -> None:
    figures = scene(Line(rate=20.0, seed=11))
    assert any(figure.goal for figure in figures)
    for figure in figures:
        assert figure.is_reached, figure


def test_a_line_that_lost_nothing_delivers_what_it_can_carry() -> None:
    """The bytes counted are those that came out of the far end's messages, not those that left."""
    wire = Line(rate=20.0, loss=0.0).wire()
    transfer = wire.transfer()
    wire.run(5)
    assert 0.9 < transfer.rate(1, 5) / wire.rate < 0.97  # headers of IP, UDP and packets take 3 to 5 %
