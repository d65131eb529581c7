"""A member that has crashed, whom nobody has missed yet."""

from __future__ import annotations

import math

from swarmd.groups.routing.events import RouteResult
from swarmd.groups.routing.links import SETTLED_AFTER
from swarmd.groups.routing.silence import PATIENCE, PROBE_TIMEOUT, SILENT_PERIOD, Changes, Silence

from ..builders import peer_id
from .members import Members
from .test_route import dropping, just_above

A, B = peer_id(1), peer_id(2)
NOTHING = Changes([], [], [])


def test_who_says_nothing_is_probed_then_silent_then_asked_again() -> None:
    made = Silence()
    made.ask(A, 0.0)
    made.ask(A, 0.5)
    assert made.next_deadline() == PATIENCE
    assert made.handle_timer(PATIENCE - 0.01) == NOTHING
    assert made.handle_timer(PATIENCE) == Changes([A], [], [])
    fallen_at = made.next_deadline()
    assert fallen_at == PATIENCE + PROBE_TIMEOUT
    assert made.handle_timer(fallen_at) == Changes([], [A], [])
    made.ask(A, fallen_at + 1.0)
    assert made.next_deadline() == fallen_at + SILENT_PERIOD
    assert made.handle_timer(fallen_at + SILENT_PERIOD) == Changes([], [], [A])
    assert made.next_deadline() == math.inf


def test_a_word_at_any_time_will_do() -> None:
    made = Silence()
    made.ask(A, 0.0)
    made.ask(B, 0.0)
    made.hear(A)
    assert made.handle_timer(PATIENCE) == Changes([B], [], [])
    made.hear(B)
    assert made.next_deadline() == math.inf


def test_whoever_is_nearest_then_gets_it_long_before_the_crashed_one_is_missed() -> None:
    members = Members(9).mesh()
    target = just_above(members, 4)
    nearest = sorted(range(9), key=lambda number: abs(members.address(number).number - target.number))
    dropping(nearest[0], members=members)
    sender = nearest[-1]
    members[sender].route(target, b"x", 0.0)
    members.run(2 * (PATIENCE + PROBE_TIMEOUT))
    (event,) = members.routed(sender)
    assert (event.result, event.peer_id) == (RouteResult.DELIVERED, members.peer(nearest[1]))


def test_somebody_slow_is_not_passed_over() -> None:
    """An answer that takes long, since others further on are silent, is no sign; that it says who it is, is."""
    members = Members(6).line()
    dropping(4, members=members)
    members[0].route(members.address(4), b"x", 0.0, is_exact=True, timeout=20.0)
    members.run(10.0)
    assert [members.address(4) in members[number]._links._awake for number in (3, 5)] == [False, True]
    for number in (0, 1, 2):
        assert len(members[number]._links._awake) == len(members[number]._links), f"of member {number}"


def test_a_newcomer_does_not_say_that_it_is_the_nearest() -> None:
    """It is linked with one who is far, and knows nobody beside it yet."""
    members = Members(6)
    for number in range(4):
        members.link(number, number + 1)
    members.settled()
    members.link(0, 5)
    members.pump()
    members[0].route(just_above(members, 5), b"x", 0.0)
    members.run(SETTLED_AFTER - 0.1)
    assert members.arrived(5) == []
    members.run(5.0)
    assert len(members.arrived(5)) == 1


def test_where_all_are_silent_it_is_our_own_line() -> None:
    members = Members(6).mesh()
    members.tap = lambda sender, receiver, data: None
    members[0].route(just_above(members, 4), b"x", 0.0, timeout=20.0)
    members.run(21.0)
    assert [event.result for event in members.routed(0)] == [RouteResult.TIMED_OUT]
