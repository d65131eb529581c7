"""Stands for room: which are news, since when they last, how soon the place is looked at."""

from __future__ import annotations

from swarmd.core.errors import DiskFull
from swarmd.daemon.stands import FIRST_PERIOD, LONGEST_PERIOD, SAME_PERIOD, Stands
from swarmd.store.database import StateFull


def test_stands_that_follow_each_other_are_one() -> None:
    """A file system that says it has room and takes nothing: one line in the log, and ever fewer attempts."""
    stands, now, periods = Stands(), 100.0, []
    assert stands.begin(DiskFull("1 byte is needed"), now)
    for _ in range(6):
        periods.append(stands.period)
        now += stands.period
        stands.end(now)
        assert stands.current is None
        now += 1.0
        assert not stands.begin(DiskFull("2 bytes are needed"), now)
    assert stands.current is not None and stands.current.since == 100.0
    assert periods[0] == FIRST_PERIOD and periods[-1] == LONGEST_PERIOD
    assert periods == sorted(periods)


def test_another_reason_is_news_and_so_is_the_same_one_later() -> None:
    stands = Stands()
    assert stands.begin(DiskFull("the folder"), 0.0)
    stands.end(10.0)
    assert stands.begin(StateFull("the database"), 11.0)
    stands.end(20.0)
    assert stands.begin(StateFull("the database"), 20.0 + SAME_PERIOD)
    assert stands.current is not None and stands.current.since == 20.0 + SAME_PERIOD
    assert stands.period == FIRST_PERIOD
