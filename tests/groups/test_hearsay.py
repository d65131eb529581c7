"""On whose word members are known, and the share of each."""

from __future__ import annotations

import pytest

from swarmd.groups import hearsay as module
from swarmd.groups.hearsay import DISTRUST_AFTER, MAX_HEARSAY, MAX_INTRODUCED, MIN_SHARE, Hearsay

from .builders import peer_id

HONEST, HOSTILE = peer_id(1), peer_id(2)


def test_one_introducer_is_bounded_and_displaces_its_own() -> None:
    made = Hearsay()
    made.hear(peer_id(50), HONEST, 2)
    displaced = [made.hear(peer_id(number), HOSTILE, 2) for number in range(100, 100 + 2 * MAX_INTRODUCED)]
    assert displaced[MAX_INTRODUCED:] == [[peer_id(number)] for number in range(100, 100 + MAX_INTRODUCED)]
    assert len(made) == MAX_INTRODUCED + 1


def test_where_it_is_full_each_has_the_same_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEARSAY", 40)
    made, held = Hearsay(), dict.fromkeys(range(100, 130), HOSTILE)
    for number in held:
        assert made.hear(peer_id(number), HOSTILE, 1) == []
    for number in range(200, 240):
        introducer = peer_id(1000 + number % 4)
        held[number] = introducer
        gone = made.hear(peer_id(number), introducer, 1)
        held = {each: who for each, who in held.items() if peer_id(each) not in gone}
    assert len(made) == len(held) == 40
    assert sum(who == HOSTILE for who in held.values()) <= 8


def test_the_share_falls_with_the_number_of_neighbours() -> None:
    made = Hearsay()
    for number in range(200):
        made.hear(peer_id(100 + number), HOSTILE, 25)
    assert len(made) == MAX_HEARSAY // 25


def test_of_so_many_introducers_each_has_a_share() -> None:
    made = Hearsay()
    assert [made.hear(peer_id(number), HOSTILE, 2 * MAX_HEARSAY) for number in range(10, 13)] == [
        [],
        [],
        [peer_id(10)],
    ]


def test_who_names_more_when_its_share_has_fallen_loses_what_is_above_it() -> None:
    made = Hearsay()
    for number in range(100, 100 + MAX_INTRODUCED):
        made.hear(peer_id(number), HOSTILE, 1)
    share = MAX_HEARSAY // 32
    gone = made.hear(peer_id(300), HOSTILE, 32)
    assert gone == [peer_id(number) for number in range(100, 101 + MAX_INTRODUCED - share)]
    assert len(made) == share


def test_whose_words_are_false_loses_the_share_and_wins_it_back() -> None:
    made = Hearsay()
    for number in range(100, 100 + DISTRUST_AFTER):
        made.hear(peer_id(number), HOSTILE, 4)
        made.judge(peer_id(number), is_true=False)
        made.forget(peer_id(number))
    for number in range(200, 230):
        made.hear(peer_id(number), HOSTILE, 4)
    assert len(made) == MIN_SHARE
    for number in range(300, 300 + DISTRUST_AFTER):
        made.hear(peer_id(number), HOSTILE, 4)
        made.judge(peer_id(number), is_true=True)
        made.forget(peer_id(number))
    for number in range(400, 430):
        made.hear(peer_id(number), HOSTILE, 4)
    assert len(made) > 30


def test_what_is_forgotten_leaves_room() -> None:
    made = Hearsay()
    for number in range(MAX_INTRODUCED):
        made.hear(peer_id(100 + number), HONEST, 1)
    made.forget(peer_id(100))
    made.forget(peer_id(100))
    assert made.hear(peer_id(99), HONEST, 1) == []
    assert len(made) == MAX_INTRODUCED <= MAX_HEARSAY
