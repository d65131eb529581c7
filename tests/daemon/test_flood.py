"""Many records at once, between two nodes over a real connection: taken in by and by, and written down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from swarmd.core.clock import ManualClock
from swarmd.groups import exchange
from swarmd.groups.records import Record
from tests.daemon.hosts import PATIENCE
from tests.daemon.test_memberships import Member, all_in_one_group
from tests.groups.builders import record

COUNT = 200


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[list[Member]]:
    clock = ManualClock(1000.0, 1.7e9)
    made = [Member(tmp_path / name, clock) for name in "ab"]
    yield made
    for member in made:
        await member.close()


async def test_a_newcomer_takes_in_a_catalogue_between_other_things(
    pair: list[Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "SLICE", 5)
    first, second = pair
    spec = await all_in_one_group(pair)
    group = spec.group_id
    held: list[Record] = [record(1, name=f"{number}", group_id=group) for number in range(COUNT)]
    assert first.memberships.get(group).group.restore([each.encode() for each in held], 1.7e9) == 0
    catalogue = second.memberships.get(group).group.catalogue
    seen: list[int] = []
    await second.peers.dial(first.address, first.identity.peer_id)
    async with asyncio.timeout(PATIENCE):
        while catalogue.n_shares < COUNT:
            seen.append(catalogue.n_shares)
            await asyncio.sleep(0)
    steps = [after - before for before, after in pairwise(seen)]
    assert 0 < max(steps) <= 3 * 5, "a few slices at the most between two looks"
    second.rest()
    await second.ledger.run(lambda: None)
    stored = await second.ledger.run(lambda: second.store.records.rows(group))
    assert sorted(row.record for row in stored) == sorted(each.encode() for each in held)
