"""How many members a group has, reckoned from how dense the ring is.

Each member measures the span from its first to its third neighbour on either side: `GAPS` gaps, of 1/N of the ring on
average. (The two beside itself are left out: who has much room around him is found more often, and is the neighbour of
more members, so that all estimates were a fifth too low.) One span alone is off by half (Flash used four gaps, and was
off by 0.6 to 2.3 x). So neighbours tell theirs: the median of a member's own span and those of its neighbours gives a
first figure; half way (by factors) from that to the median of what neighbours tell is what it tells them in turn, and
the median of that and what they tell is the estimate. So figures spread over more than one step, and each is held by
what its member sees itself. Medians, so that some who lie move
it little; what is more than `FAR` times off the median is left out, and lies that are larger move it not at all. Where
most know nothing the group is small, whatever the others say.

In: spans, neighbours' words. Out: the estimate. Invariant: at most one word for each neighbour. Not here: small groups,
which are counted (`groups.membership`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from swarmd.core.ids import PeerId
from swarmd.groups.topology import RING_SIDE

GAPS = 2 * (RING_SIDE - 1)
SPAN_BITS = 64
"""Spans are told in units of 2^-64 of the ring."""
MAX_ESTIMATE = 2**32 - 1
"""What a message holds: whatever neighbours say, what is told of it can be read."""
FAR = 8
"""One honest span in a thousand is as small as an eighth of the median, and none that large."""
_MEDIAN_GAPS = GAPS - 0.33
"""Median of the sum of `GAPS` gaps that are 1 on average, which are spread exponentially (Gamma distribution)."""


class Census:
    """What this node and its neighbours reckon."""

    def __init__(self) -> None:
        self._told: dict[PeerId, tuple[int, int]] = {}

    def hear(self, peer: PeerId, span: int, first: int) -> None:
        """A neighbour's span and figure; 0 for what it cannot tell."""
        self._told[peer] = span, first

    def forget(self, peer: PeerId) -> None:
        """It is no neighbour any more."""
        self._told.pop(peer, None)

    def reckon(self, own_span: int) -> tuple[int, int]:
        """What is to be told, and the estimate; 0 where there is none."""
        span = _agreed(own_span, [span for span, _ in self._told.values()])
        first = min(MAX_ESTIMATE, round(_MEDIAN_GAPS * (1 << SPAN_BITS) / span)) if span else 0
        told = [first for _, first in self._told.values()]
        middle = _agreed(first, told)
        figure = round(math.sqrt(first * middle)) if middle else first
        return figure, round(_agreed(figure, told))


def _agreed(own: int, told: Sequence[int]) -> float:
    """The median of what is known, without what is far off it; 0 where most of the neighbours know nothing."""
    known = [number for number in (own, *told) if number > 0]
    if not known or 2 * len(known) <= len(told):
        return 0
    middle = median(known)
    return median(number for number in known if middle / FAR <= number <= middle * FAR)
