"""Going down the tree no faster than what is found is fetched."""

from __future__ import annotations

import pytest

from swarmd.groups import descent as module
from swarmd.groups.descent import Descent
from swarmd.groups.reconciliation import ROOT, DigestSet, Listing, Summary

MANY = [Summary(child, 6000, bytes(16)) for child in ROOT.children()]


def test_a_newcomer_lists_no_more_than_it_can_take() -> None:
    made = Descent()
    made.add(MANY)
    first = made.steps(DigestSet(), 0)
    assert first == [Listing(MANY[-1].prefix, ()), Listing(MANY[-2].prefix, ())], "8,192 ahead, begun with the last"
    assert made.steps(DigestSet(), 0) == []
    made.answered()
    assert made.steps(DigestSet(), 6000) == [], "what was offered is queued now"
    assert made.steps(DigestSet(), 100) == [Listing(MANY[-3].prefix, ())]
    assert made.is_waiting


def test_what_has_become_equal_is_passed_over() -> None:
    held = DigestSet(number.to_bytes(2, "big") + bytes(14) for number in range(100))
    made = Descent()
    made.add([Summary(ROOT, 1, bytes(16)), held.root()])
    assert made.steps(held, 0) == [held.root()], "the other holds one: it is to list it"
    assert not made.is_waiting


def test_where_both_hold_much_the_children_are_compared() -> None:
    held = DigestSet((number * 257 % 65_536).to_bytes(2, "big") + bytes(14) for number in range(3000))
    made = Descent()
    made.add([Summary(ROOT, 3001, bytes(16))])
    assert made.steps(held, 0) == [held.summary(child) for child in ROOT.children()]


def test_steps_and_what_waits_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STEPS", 4)
    monkeypatch.setattr(module, "MAX_PENDING", 10)
    made = Descent()
    made.add([Summary(child, 1, bytes(16)) for child in ROOT.children()])
    assert made.is_cut_short
    assert [len(made.steps(DigestSet(), 0)) for _ in range(4)] == [4, 4, 2, 0]


def test_an_answer_that_nobody_asked_for_frees_nothing_twice() -> None:
    made = Descent()
    made.answered()
    made.add(MANY)
    assert len(made.steps(DigestSet(), 0)) == 2
