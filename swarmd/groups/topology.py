"""Which members to be linked with: pure decisions, and the place where a large group's shape is decided.

Up to `target_links` members everybody is linked with everybody. Beyond that each dials at random until it has
its target; such a graph of degree 13 and more is connected for all practical purposes, and its diameter is
two or three for some hundred members. Links that others opened count, and are never refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from swarmd.core.rng import Rng

T = TypeVar("T")
EXTRA_LINKS = 13
"""As in Flash: target = floor(log2 members) + 13."""


def target_links(n_members: int) -> int:
    """How many neighbours a member wants in a group of `n_members`, itself included (at least 1)."""
    return n_members.bit_length() - 1 + EXTRA_LINKS


def plan_dials(preferred: Sequence[T], others: Sequence[T], room: int, rng: Rng) -> list[T]:
    """Whom to dial, at most `room`: the preferred ones first, each kind in random order, so that members who
    know the same others do not all dial the same ones."""
    return [
        *rng.sample(preferred, min(room, len(preferred))),
        *rng.sample(others, max(0, min(room - len(preferred), len(others)))),
    ]
