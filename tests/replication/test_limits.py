"""Rate limits, of the node and of a group, up and down: obeyed, and used."""

from __future__ import annotations

import pytest

from swarmd.replication.limits import BURST_PERIOD, Rates
from swarmd.replication.progress import Waiting
from tests.replication.mesh import GROUP, OTHER_GROUP, Content, Mesh, assert_clean, assert_fetched_once

RATE = 1_000_000.0
PERIOD = 10.0
SLACK_BYTES = 2 * 64 << 10
"""A block or a chunk under way at either end of the time that is looked at."""


@pytest.mark.parametrize("is_group", [False, True])
@pytest.mark.parametrize("is_upload", [False, True])
def test_a_limit_is_obeyed_and_used(is_upload: bool, is_group: bool) -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=400, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    rates = Rates(upload=RATE) if is_upload else Rates(download=RATE)
    limited = seeder if is_upload else leecher
    node, groups = (Rates(), {GROUP: rates}) if is_group else (rates, {})
    limited.replicator.set_limits(node, groups, mesh.now)
    leecher.fetch(content)
    mesh.run(PERIOD)
    sent = seeder.sent_bytes[GROUP]
    assert sent <= RATE * (PERIOD + BURST_PERIOD) + SLACK_BYTES
    assert sent >= 0.9 * RATE * PERIOD
    limited.replicator.set_limits(Rates(), {}, mesh.now)
    assert mesh.run_until(lambda: leecher.has(content), 2.0)
    mesh.run(1)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_the_limit_of_one_group_leaves_the_other_alone() -> None:
    mesh = Mesh(3)
    seeder, one, other = mesh.members
    content, second = Content(1, n_chunks=100, chunk_size=64 << 10), Content(2, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    seeder.seed(second, group=OTHER_GROUP)
    mesh.join(seeder, one)
    mesh.join(seeder, other, group=OTHER_GROUP)
    seeder.replicator.set_limits(Rates(), {GROUP: Rates(upload=RATE / 10)}, mesh.now)
    one.fetch(content)
    other.fetch(second, group=OTHER_GROUP)
    assert mesh.run_until(lambda: other.has(second), 5.0)
    assert seeder.sent_bytes[GROUP] <= RATE / 10 * 5.3 + SLACK_BYTES
    seeder.replicator.set_limits(Rates(), {}, mesh.now)
    assert mesh.run_until(lambda: one.has(content), 5.0)
    mesh.run(1)
    assert_fetched_once(one, content)
    assert_clean(mesh)


def test_a_download_in_two_groups_is_held_back_only_where_there_is_a_limit() -> None:
    mesh = Mesh(3)
    slow, fast, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    slow.seed(content)
    fast.seed(content, group=OTHER_GROUP)
    mesh.join(slow, leecher)
    mesh.join(fast, leecher, group=OTHER_GROUP)
    leecher.replicator.set_limits(Rates(), {GROUP: Rates(download=RATE / 10)}, mesh.now)
    leecher.fetch(content)
    leecher.fetch(content, group=OTHER_GROUP)
    assert mesh.run_until(lambda: leecher.has(content), 5.0)
    mesh.run(1)
    assert slow.sent_bytes[GROUP] <= RATE / 10 * 5.3 + SLACK_BYTES
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_a_limit_far_below_one_chunk_a_second_still_moves() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=3, chunk_size=1 << 20)
    seeder.seed(content)
    mesh.join()
    leecher.replicator.set_limits(Rates(download=100_000), {}, mesh.now)
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 1, 30)
    mesh.run(4)
    assert leecher.progress(content).waiting is Waiting.RATE_LIMITED
    assert mesh.run_until(lambda: leecher.has(content), 60)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_a_limit_of_nothing_sends_nothing_and_can_be_lifted() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=20)
    seeder.seed(content)
    mesh.join()
    leecher.replicator.set_limits(Rates(download=1), {}, mesh.now)
    seeder.replicator.set_limits(Rates(upload=1), {}, mesh.now)
    leecher.fetch(content)
    mesh.run(10)
    assert leecher.n_chunks(content) < 20
    seeder.replicator.set_limits(Rates(), {}, mesh.now)
    leecher.replicator.set_limits(Rates(), {}, mesh.now)
    assert mesh.run_until(lambda: leecher.has(content), 5)
    assert_fetched_once(leecher, content)
