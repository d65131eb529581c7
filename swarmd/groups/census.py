"""How many members a group has, reckoned from how dense the ring is.

Each member measures the span from its first to its third neighbour on either side: `GAPS` gaps, of 1/N of the ring on
average. (The two beside itself are left out: who has much room around him is found more often, and is the neighbour of
more members, so that all estimates were a fifth too low.) One span alone is off by half (Flash used four gaps, and was
off by 0.6 to 2.3 x). So neighbours tell theirs: the median of a member's own span and those of its neighbours gives a
first figure, which is told too, and the median of the first figures is the estimate. Medians, so that some who lie move
it little.

In: spans, neighbours' words. Out: the estimate. Invariant: at most one word for each neighbour. Not here: small groups,
which are counted (`groups.membership`).
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from swarmd.core.ids import PeerId
from swarmd.groups.topology import RING_SIDE

GAPS = 2 * (RING_SIDE - 1)
SPAN_BITS = 64
"""Spans are told in units of 2^-64 of the ring."""
MAX_ESTIMATE = 2**32 - 1
"""What a message holds: whatever neighbours say, what is told of it can be read."""
_MEDIAN_GAPS = GAPS - 0.33
"""Median of the sum of `GAPS` gaps that are 1 on average, which are spread exponentially (Gamma distribution)."""


class Census:
    """What this node and its neighbours reckon."""

    def __init__(self) -> None:
        self._told: dict[PeerId, tuple[int, int]] = {}

    def hear(self, peer: PeerId, span: int, first: int) -> None:
        """A neighbour's span and first figure; 0 for what it cannot tell."""
        self._told[peer] = span, first

    def forget(self, peer: PeerId) -> None:
        """It is no neighbour any more."""
        self._told.pop(peer, None)

    def first(self, own_span: int) -> int:
        """From spans; 0 where there is none."""
        spans = _positive((own_span, *(span for span, _ in self._told.values())))
        return min(MAX_ESTIMATE, round(_MEDIAN_GAPS * (1 << SPAN_BITS) / median(spans))) if spans else 0

    def estimate(self, own_first: int) -> int:
        """From first figures; 0 where there is none."""
        figures = _positive((own_first, *(first for _, first in self._told.values())))
        return round(median(figures)) if figures else 0


def _positive(numbers: Iterable[int]) -> list[int]:
    return [number for number in numbers if number > 0]
