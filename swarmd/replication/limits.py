"""Rate limits: all groups together and each group by itself, up and down. None is unlimited.

A byte that goes up takes from two buckets, and goes only when both have it. Uploads are counted when a block is handed
to the transport, downloads when a chunk is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swarmd.core.ids import GroupId
from swarmd.core.tokenbucket import TokenBucket

BURST_PERIOD = 0.25
"""Seconds of the rate that may go at once after a pause."""
MIN_BURST_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second."""

    upload: float | None = None
    download: float | None = None


class Meter:
    """One direction: the bucket of all, and those of the groups that have one.

    A bucket that refused holds back until it can give what was asked of it: everything, or its group alone.
    """

    __slots__ = ("_all", "_groups", "_held", "all_held_until", "is_limited", "rate")

    def __init__(self) -> None:
        self._all: TokenBucket | None = None
        self._groups: dict[GroupId, TokenBucket] = {}
        self._held: dict[GroupId, float] = {}
        self.all_held_until = 0.0
        self.is_limited = False
        self.rate: float | None = None

    def set_rates(self, rate: float | None, groups: Mapping[GroupId, float | None], now: float) -> None:
        self.rate = rate
        self._all = _bucket(self._all, rate, now)
        buckets = {group: _bucket(self._groups.get(group), value, now) for group, value in groups.items()}
        self._groups = {group: bucket for group, bucket in buckets.items() if bucket is not None}
        self.is_limited = self._all is not None or bool(self._groups)
        self._held.clear()
        self.all_held_until = now

    def take(self, group: GroupId, count: int, now: float) -> bool:
        """Whether so much may go now; if not, nothing is taken, and it, or all, is held."""
        if not self.is_limited:
            return True
        own = self._groups.get(group)
        if own is not None and (ready_at := own.ready_at(count, now)) > now:
            self._held[group] = ready_at
            return False
        if self._all is not None and (ready_at := self._all.ready_at(count, now)) > now:
            self.all_held_until = ready_at
            return False
        for bucket in (own, self._all):
            if bucket is not None:
                bucket.take(count, now)
        return True

    def charge(self, group: GroupId, count: int, now: float) -> None:
        """So much has come that nobody knew of before: it is made up for by what comes next."""
        if not self.is_limited:
            return
        for bucket in (self._groups.get(group), self._all):
            if bucket is not None:
                bucket.charge(count, now)

    def is_held(self, group: GroupId, now: float) -> bool:
        """Whether the group's own limit holds it back."""
        return bool(self._held) and now < self._held.get(group, 0.0)

    def held_until(self, now: float) -> float | None:
        """When the next of what is held may go; None when nothing is."""
        held = [until for until in (self.all_held_until, *self._held.values()) if until > now]
        return min(held, default=None)


def _bucket(old: TokenBucket | None, rate: float | None, now: float) -> TokenBucket | None:
    if rate is None:
        return None
    burst = max(MIN_BURST_BYTES, rate * BURST_PERIOD)
    if old is None:
        return TokenBucket(rate, burst, now)
    old.set_rate(rate, burst, now)
    return old


class Limits:
    """Both directions."""

    __slots__ = ("down", "up")

    def __init__(self) -> None:
        self.up = Meter()
        self.down = Meter()

    def set_rates(self, node: Rates, groups: Mapping[GroupId, Rates], now: float) -> None:
        self.up.set_rates(node.upload, {group: rates.upload for group, rates in groups.items()}, now)
        self.down.set_rates(node.download, {group: rates.download for group, rates in groups.items()}, now)
