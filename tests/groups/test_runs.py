"""With whom catalogues are compared, and when."""

from __future__ import annotations

import pytest

from swarmd.groups.messages import Status
from swarmd.groups.runs import QUIET_PERIOD, RERUN_LIMIT, RERUN_PERIOD, RUN_TIMEOUT, Runs, State

from .builders import peer_id

A, B, C = sorted(peer_id(number) for number in range(3))
EMPTY, SOME, MANY = Status(0, bytes(16)), Status(5, b"s" * 16), Status(9, b"m" * 16)


def runs(*statuses: Status, sent: Status = EMPTY) -> Runs:
    """B's, with a link to A and one to C for as many statuses as are given, each received."""
    made = Runs(B)
    for peer, status in zip((A, C), statuses, strict=False):
        made.open(peer, sent)
        made.receive_status(peer, status, sent, 0.0)
    return made


@pytest.mark.parametrize(
    ("peer", "sent", "theirs", "state"),
    [
        (A, EMPTY, SOME, State.WAITING),
        (A, SOME, EMPTY, State.LIVE),
        (A, SOME, SOME, State.LIVE),
        (A, SOME, Status(5, b"x" * 16), State.LIVE),
        (C, SOME, Status(5, b"x" * 16), State.WAITING),
    ],
)
def test_who_has_less_starts_and_of_two_alike_the_lower_id(
    peer: bytes, sent: Status, theirs: Status, state: State
) -> None:
    made = Runs(B)
    made.open(A if peer == A else C, sent)
    assert made.state(A if peer == A else C) is State.OPENING
    made.receive_status(A if peer == A else C, theirs, sent, 0.0)
    assert made.state(A if peer == A else C) is state


def test_one_after_the_other() -> None:
    made = runs(SOME, SOME)
    assert made.start_next(lambda: EMPTY, 0.0) == A
    assert made.start_next(lambda: EMPTY, 0.0) is None
    assert (made.state(A), made.state(C)) == (State.RUNNING, State.WAITING)
    made.handle_timer(QUIET_PERIOD)
    assert made.start_next(lambda: EMPTY, QUIET_PERIOD) == C


def test_who_has_become_equal_needs_no_run() -> None:
    made = runs(SOME, SOME)
    made.start_next(lambda: EMPTY, 0.0)
    made.handle_timer(QUIET_PERIOD)
    assert made.start_next(lambda: SOME, QUIET_PERIOD) is None
    assert made.state(C) is State.LIVE


def test_a_run_lasts_while_something_is_heard_but_not_for_ever() -> None:
    made = runs(SOME)
    made.start_next(lambda: EMPTY, 0.0)
    now = 0.0
    while made.state(A) is State.RUNNING:
        deadline = made.next_deadline()
        assert deadline is not None
        now = max(now, deadline - 0.1)
        made.heard(A, now)
        made.handle_timer(now)
        now += 0.2
    assert RUN_TIMEOUT <= now < RUN_TIMEOUT + QUIET_PERIOD
    assert made.next_deadline() is None


def test_a_closed_link_gives_way() -> None:
    made = runs(SOME, SOME)
    made.start_next(lambda: EMPTY, 0.0)
    made.close(A)
    assert made.next_deadline() is None
    assert made.start_next(lambda: EMPTY, 0.0) == C


def test_a_later_status_that_differs_leads_to_a_run_at_most_once_a_period() -> None:
    made = runs(SOME)
    made.start_next(lambda: EMPTY, 0.0)
    made.gained(A, 0.0)
    made.handle_timer(QUIET_PERIOD)
    for now, state in ((30.0, State.LIVE), (QUIET_PERIOD + RERUN_PERIOD, State.WAITING)):
        made.receive_status(A, MANY, SOME, now)
        assert made.state(A) is state
    made = runs(SOME, sent=SOME)
    made.receive_status(A, SOME, SOME, 500.0)
    assert made.state(A) is State.LIVE


def test_runs_that_gain_nothing_become_rare() -> None:
    made, now, pauses = runs(SOME), 0.0, []
    for _ in range(8):
        assert made.start_next(lambda: EMPTY, now) == A
        now += QUIET_PERIOD
        made.handle_timer(now)
        ended = now
        while made.state(A) is not State.WAITING:
            now += 10.0
            made.request(A, now)
        pauses.append(now - ended)
    assert pauses == sorted(pauses)
    assert pauses[0] == 2 * RERUN_PERIOD
    assert pauses[-1] == RERUN_LIMIT


def test_who_had_a_run_lately_waits_behind_who_had_none() -> None:
    made = runs(SOME)
    made.start_next(lambda: EMPTY, 0.0)
    made.handle_timer(QUIET_PERIOD)
    made.request(A, 4000.0)
    made.open(C, EMPTY)
    made.receive_status(C, SOME, EMPTY, 4000.0)
    assert made.start_next(lambda: EMPTY, 4000.0) == C
