"""A ring of some dozens in virtual time; the figures for thousands: `python -m tests.sim providers`."""

from __future__ import annotations

from tests.sim.providers import Plan, simulate


def test_a_quiet_group() -> None:
    result = simulate(Plan(members=60, objects=20, searches=60, period=20.0))
    assert (result.counted, result.found, result.false_contacts_a_search) == (60, 1.0, 0.0)
    assert result.max_seconds < 2.0
    assert result.penalties == {}


def test_members_come_and_go() -> None:
    """At ten times the pace of what the figures are for."""
    result = simulate(Plan(members=60, objects=20, searches=60, period=20.0, loss=0.05, churn=2.0, seed=2))
    assert result.found >= 0.9
    assert result.penalties == {}, "nobody honest is charged with anything"


def test_members_who_lie_and_drop() -> None:
    result = simulate(Plan(members=60, objects=20, searches=60, period=20.0, hostile=0.2, seed=3))
    assert result.found >= 0.85
    assert not [name for name in result.penalties if name != "hostile"]
