"""The announcer: when, with a fresh nonce each time, and what becomes of more groups than fit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from swarmd.core.rng import SeededRng
from swarmd.discovery.announcement import MAX_TAGS, TAG_BYTES, Announcement
from swarmd.discovery.announcer import FULL_PERIOD, QUIET_PERIOD, ROTATION_PERIOD, Announcer


class Tags:
    """Makes `count` tags from each nonce it is asked for."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.nonces: list[bytes] = []

    def __call__(self, nonce: bytes) -> Sequence[bytes]:
        self.nonces.append(nonce)
        return [nonce[: TAG_BYTES - 1] + bytes([i]) for i in range(self.count)]


def announcer(tags: Tags) -> Announcer:
    return Announcer(tags, SeededRng(1), 100.0)


def test_the_first_is_due_at_once_and_the_next_after_a_rotation() -> None:
    tags = Tags(4)
    machine = announcer(tags)
    assert machine.next_deadline() == 100.0
    first = machine.announcement_to_send(100.0)
    assert first == Announcement(tags.nonces[0], tuple(tags(tags.nonces[0])))
    assert machine.announcement_to_send(100.0) is None
    due_at = machine.next_deadline()
    assert 0.75 * ROTATION_PERIOD <= due_at - 100.0 <= ROTATION_PERIOD
    assert machine.announcement_to_send(due_at - 0.1) is None
    second = machine.announcement_to_send(due_at)
    assert second is not None
    assert second.nonce != first.nonce


def test_a_change_of_groups_is_announced_soon_with_a_new_nonce() -> None:
    tags = Tags(4)
    machine = announcer(tags)
    machine.announcement_to_send(100.0)
    machine.groups_changed(150.0)
    assert machine.next_deadline() == 150.0
    assert machine.announcement_to_send(150.0) is not None
    assert len(set(tags.nonces)) == 2


def test_many_changes_are_announced_once_a_second_at_most() -> None:
    machine = announcer(Tags(4))
    sent_at = []
    for tenth in range(1000, 1100):
        now = tenth / 10
        machine.groups_changed(now)
        if machine.announcement_to_send(now):
            sent_at.append(now)
    assert len(sent_at) == 10
    assert all(later - earlier >= QUIET_PERIOD for earlier, later in pairwise(sent_at))


def test_a_change_does_not_put_off_what_is_due() -> None:
    machine = announcer(Tags(4))
    machine.announcement_to_send(100.0)
    machine.groups_changed(100.5)
    machine.groups_changed(100.9)
    assert machine.next_deadline() == 100.0 + QUIET_PERIOD


@pytest.mark.parametrize(("count", "period"), [(MAX_TAGS - 1, ROTATION_PERIOD), (MAX_TAGS, FULL_PERIOD)])
def test_a_full_announcement_is_followed_sooner(count: int, period: float) -> None:
    machine = announcer(Tags(count))
    machine.announcement_to_send(100.0)
    assert 0.75 * period <= machine.next_deadline() - 100.0 <= period


def test_more_tags_than_fit_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="more tags than fit"):
        announcer(Tags(MAX_TAGS + 1)).announcement_to_send(100.0)
