"""Real nodes on loopback, as far as their connections go: for all tests of this folder that want some."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from swarmd.core.clock import ManualClock
from swarmd.groups.groupspec import GroupSpec
from tests.daemon.hosts import Host, make_group


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1000.0)


@pytest.fixture
async def hosts(clock: ManualClock) -> AsyncIterator[list[Host]]:
    """Three nodes, and nothing wrong with what their sinks were told."""
    made = [Host(clock) for _ in range(3)]
    yield made
    for host in made:
        await host.peers.stop()
        assert not host.sink.problems
        assert not host.peers.connections() and not host.sink.linked


@pytest.fixture
def group() -> GroupSpec:
    return make_group()


@pytest.fixture
async def pair(hosts: list[Host], group: GroupSpec) -> tuple[Host, Host]:
    """Two nodes, linked in one group."""
    near, far, _ = hosts
    near.join(group)
    far.join(group)
    assert await near.dial(far) == far.peer_id
    await near.linked(far, group)
    await far.linked(near, group)
    return near, far
