"""Whole endpoints on one line of 20 Mbit/s and 50 ms; `python -m tests.sim path --goals` is the same at 100 Mbit/s."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from swarmd.transport.rtmfp.inflight import InFlight, Sent
from tests.sim.path import CRITICAL_RATE, Figure, Line, critical, fill, scavenge, share


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


def test_nothing_is_taken_for_lost_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet acknowledges several flows, one after the other: the first tells nothing of the others' packets."""
    lost: list[Sent] = []
    take_lost = InFlight.take_lost

    def watch(in_flight: InFlight) -> list[Sent]:
        taken = take_lost(in_flight)
        lost.extend(taken)
        return taken

    monkeypatch.setattr(InFlight, "take_lost", watch)
    wire = Line(rate=100.0, loss=0.0, queue=4.0).wire()
    transfer = wire.transfer(critical_rate=CRITICAL_RATE)
    transfer.begin_critical()
    wire.run(2)
    assert len(transfer.waits) > 200
    assert not lost
