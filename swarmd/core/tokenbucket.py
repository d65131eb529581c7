"""A rate limit: tokens flow in at `rate` a second, up to `burst`, and each byte sent takes one.

Invariant: over any span of t seconds at most `burst + rate * t` tokens are taken, plus what one `take`
larger than the burst, or a `charge`, overdraws; that debt is paid off before the next one succeeds. So a
record larger than the burst passes, and the average still holds. Rate None lets everything through; rate 0
nothing beyond the first burst.
"""

from __future__ import annotations

import math

from swarmd.core.errors import InvalidArgument

SLACK = 1e-3
"""Tokens forgiven: a take at exactly `ready_at` must succeed although floats round.
`ready_at` itself is rounded up, since one step of `now` may be worth more tokens than this."""


class TokenBucket:
    """Starts full. `now` is monotonic seconds; a `now` in the past counts as the latest one seen."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated_at")

    def __init__(self, rate: float | None, burst: float, now: float) -> None:
        _check(rate, burst)
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated_at = now

    @property
    def rate(self) -> float | None:
        """Tokens a second; None is unlimited."""
        return self._rate

    def available(self, now: float) -> float:
        """Tokens there are: up to the burst, negative while in debt, infinite when unlimited."""
        if self._rate is None:
            return math.inf
        self._refill(now)
        return self._tokens

    def take(self, n: float, now: float) -> bool:
        """Take `n` tokens if they are there (a full bucket is enough for any `n`); False takes none."""
        if self._rate is None:
            return True
        self._refill(now)
        if self._tokens + SLACK < min(n, self._burst):
            return False
        self._tokens -= n
        return True

    def charge(self, n: float, now: float) -> None:
        """Take `n` tokens, there or not: what is lacking is a debt."""
        if self._rate is not None:
            self._refill(now)
            self._tokens -= n

    def ready_at(self, n: float, now: float) -> float:
        """When `take(n)` will succeed: `now` if it would already, infinity if it never will."""
        lacking = min(n, self._burst) - self.available(now)
        if self._rate is None or lacking <= SLACK:
            return now
        return math.nextafter(now + lacking / self._rate, math.inf) if self._rate else math.inf

    def set_rate(self, rate: float | None, burst: float, now: float) -> None:
        """Change both; what has been saved up (or is owed) stays, cut to the new burst."""
        _check(rate, burst)
        if self._rate is None:
            self._tokens = burst
        else:
            self._refill(now)
        self._updated_at = max(now, self._updated_at)
        self._rate = rate
        self._burst = burst
        self._tokens = min(self._tokens, burst)

    def _refill(self, now: float) -> None:
        if self._rate is None or now <= self._updated_at:
            return
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._updated_at))
        self._updated_at = now


def _check(rate: float | None, burst: float) -> None:
    if rate is not None and not rate >= 0:
        raise InvalidArgument(f"a rate is None or at least 0, not {rate}")
    if not burst > 0:
        raise InvalidArgument(f"a burst is more than 0, not {burst}")
