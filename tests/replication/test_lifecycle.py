"""What a user does to a transfer under way: pause, resume, cancel, withdraw; and what the store finds meanwhile."""

from __future__ import annotations

import pytest

from swarmd.core.ranges import RangeSet
from swarmd.replication.progress import Waiting
from swarmd.replication.shape import MetaKind
from tests.replication.mesh import GROUP, LINE_RATE, Content, Mesh, assert_clean, assert_fetched_once

SETTLE_PERIOD = 1.0
"""After which whatever was on its way has arrived."""


@pytest.mark.parametrize("stop_at", [0, 1, 20, 99])
def test_while_paused_nothing_comes_and_nothing_is_given(stop_at: int) -> None:
    mesh = Mesh(3, LINE_RATE)
    seeder, leecher, other = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join(seeder, leecher)
    mesh.join(leecher, other)
    leecher.fetch(content)
    other.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= stop_at)
    leecher.replicator.pause(content.content_id, mesh.now)
    mesh.run(SETTLE_PERIOD)
    before = leecher.n_chunks(content), other.n_chunks(content), leecher.sent_bytes[GROUP]
    mesh.run(30)
    assert (leecher.n_chunks(content), other.n_chunks(content), leecher.sent_bytes[GROUP]) == before
    assert leecher.progress(content).waiting in (Waiting.PAUSED, None)
    leecher.replicator.resume(content.content_id, mesh.now)
    assert mesh.run_until(lambda: leecher.has(content) and other.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_fetched_once(other, content)
    assert_clean(mesh)


def test_a_paused_download_says_so() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1)
    seeder.seed(content)
    leecher.fetch(content)
    leecher.replicator.pause(content.content_id, mesh.now)
    mesh.join()
    mesh.run(10)
    assert leecher.progress(content).waiting is Waiting.PAUSED
    assert leecher.n_chunks(content) == 0


@pytest.mark.parametrize("is_disk_slow", [False, True])
@pytest.mark.parametrize("stop_at", [0, 1, 20])
def test_a_cancelled_download_stops_and_can_be_started_anew(stop_at: int, is_disk_slow: bool) -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= stop_at)
    leecher.faults.is_disk_slow = is_disk_slow
    mesh.run(0.005)
    assert not leecher.has(content)
    assert bool(leecher.unwritten) == (is_disk_slow and stop_at > 0)
    leecher.replicator.cancel(content.content_id, mesh.now)
    assert leecher.replicator.progress(content.content_id) is None
    mesh.run(SETTLE_PERIOD)
    before = seeder.sent_bytes[GROUP]
    mesh.run(30)
    assert seeder.sent_bytes[GROUP] == before
    assert leecher.completed == []
    assert_clean(mesh)
    leecher.unwritten.clear()
    leecher.faults.is_disk_slow = False
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_answers_that_come_after_a_cancel_do_no_harm() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1)
    seeder.seed(content)
    mesh.join()
    leecher.faults.is_disk_slow = True
    leecher.fetch(content)
    assert mesh.run_until(lambda: len(leecher.unwritten) >= 3)
    leecher.replicator.cancel(content.content_id, mesh.now)
    index = leecher.unwritten[0].index
    leecher.replicator.chunk_stored(content.content_id, index, mesh.now)
    leecher.replicator.chunk_rejected(content.content_id, index, mesh.now)
    leecher.replicator.chunk_failed(content.content_id, index, mesh.now)
    leecher.replicator.meta_accepted(content.content_id, MetaKind.HASHES, 0, mesh.now)
    leecher.replicator.meta_rejected(content.content_id, MetaKind.HASHES, 0, mesh.now)
    leecher.replicator.shape_known(content.content_id, content.shape, mesh.now)
    leecher.replicator.verifiable(content.content_id, content.everything, mesh.now)
    leecher.replicator.resume(content.content_id, mesh.now)
    leecher.replicator.pause(content.content_id, mesh.now)
    leecher.replicator.cancel(content.content_id, mesh.now)
    leecher.replicator.unserve(GROUP, content.content_id, mesh.now)
    leecher.replicator.withdraw(content.content_id, content.everything, mesh.now)
    mesh.run(SETTLE_PERIOD)
    assert leecher.completed == []
    assert_clean(mesh)


def test_the_giver_may_cancel_too() -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 5)
    seeder.replicator.unserve(GROUP, content.content_id, mesh.now)
    mesh.run(10)
    assert leecher.n_chunks(content) < 100
    assert leecher.progress(content).waiting is Waiting.NOBODY_HAS_IT
    assert_clean(mesh)
    seeder.seed(content)
    assert mesh.run_until(lambda: leecher.has(content))
    assert_fetched_once(leecher, content)


def test_withdrawn_chunks_are_not_given_until_they_are_served_again() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=20)
    seeder.seed(content)
    mesh.join()
    seeder.replicator.withdraw(content.content_id, RangeSet.single(5, 8), mesh.now)
    leecher.fetch(content)
    mesh.run(20)
    assert set(range(20)) - set(leecher.disk[content.content_id]) == {5, 6, 7}
    progress = leecher.progress(content)
    assert progress.waiting is Waiting.MISSING_CHUNKS
    assert progress.missing == 3
    assert leecher.completed == []
    seeder.serve(content, RangeSet.single(5, 8))
    assert mesh.run_until(lambda: leecher.has(content), 15)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_chunks_withdrawn_in_the_middle_come_from_elsewhere() -> None:
    mesh = Mesh(3, LINE_RATE)
    one, other, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    one.seed(content)
    other.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 10)
    assert not leecher.has(content)
    one.replicator.withdraw(content.content_id, content.everything, mesh.now)
    assert mesh.run_until(lambda: leecher.has(content), 15)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_a_download_that_loses_chunks_fetches_them_again() -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 10)
    assert not leecher.has(content)
    lost = sorted(leecher.disk[content.content_id])[:4]
    for index in lost:
        del leecher.disk[content.content_id][index]
    leecher.replicator.withdraw(content.content_id, RangeSet((index, index + 1) for index in lost), mesh.now)
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert {index for (_, index), count in leecher.writes.items() if count == 2} == set(lost)
    assert leecher.completed == [content.content_id]
    assert_clean(mesh)


def test_chunks_found_elsewhere_are_not_fetched() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=20)
    seeder.seed(content)
    leecher.fetch(content)
    leecher.replicator.shape_known(content.content_id, content.shape, mesh.now)
    found = RangeSet.single(4, 12)
    leecher.disk[content.content_id] = {index: content.chunk(index) for index in found}
    leecher.serve(content, found)
    mesh.join()
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert not {index for _, index in leecher.writes} & set(found)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)
