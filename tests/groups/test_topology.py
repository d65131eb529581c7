"""How many neighbours, and which."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.groups.topology import plan_dials, target_links


@pytest.mark.parametrize(("members", "links"), [(1, 13), (2, 14), (18, 17), (100, 19), (1000, 22), (10**6, 32)])
def test_the_target_is_that_of_flash(members: int, links: int) -> None:
    assert target_links(members) == links


def test_preferred_ones_come_first_and_all_get_their_turn() -> None:
    preferred, others = list("abc"), list("xyz")
    assert set(plan_dials(preferred, others, 3, SeededRng(1))) == set("abc")
    assert set(plan_dials(preferred, others, 5, SeededRng(1))[:3]) == set("abc")
    assert set(plan_dials(preferred, others, 9, SeededRng(1))) == set("abcxyz")
    assert plan_dials(preferred, others, 0, SeededRng(1)) == []
    assert {plan_dials(preferred, others, 1, SeededRng(seed))[0] for seed in range(30)} == set("abc")
