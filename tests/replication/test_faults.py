"""What goes wrong on the way: false bytes, denials, silence, full disks; who is blamed, and how soon it goes on."""

from __future__ import annotations

import pytest

from swarmd.core.ranges import RangeSet
from swarmd.replication.link import MAX_META_REQUESTS
from swarmd.replication.pickers import Order
from swarmd.replication.progress import Waiting
from swarmd.replication.shape import MetaKind
from tests.replication.mesh import GROUP, LINE_RATE, Content, Mesh, assert_clean, assert_fetched_once

SETTLE_PERIOD = 1.0
A_FEW_SECONDS = 20.0
"""What a silent peer may cost: not minutes."""


def test_false_bytes_are_blamed_on_who_sent_them_and_fetched_from_the_other() -> None:
    mesh = Mesh(3)
    honest, liar, leecher = mesh.members
    content = Content(1, n_chunks=60, chunk_size=64 << 10)
    honest.seed(content)
    liar.seed(content)
    liar.faults.lies = set(range(60))
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert leecher.penalties
    assert {(penalty.group, penalty.peer) for penalty in leecher.penalties} == {(GROUP, liar.peer)}
    assert all(penalty.points >= 10 for penalty in leecher.penalties)
    assert all(peers[-1] == honest.peer for peers in leecher.got_from.values())
    assert mesh.faults == []


def test_a_false_chunk_is_not_asked_of_its_sender_again() -> None:
    mesh = Mesh(2)
    liar, leecher = mesh.members
    content = Content(1, n_chunks=10)
    liar.seed(content)
    liar.faults.lies = {4}
    mesh.join()
    leecher.fetch(content)
    mesh.run(60)
    assert set(range(10)) - set(leecher.disk[content.content_id]) == {4}
    assert leecher.got_from[content.content_id, 4] == [liar.peer]
    assert len(leecher.penalties) == 1


def test_a_false_chunk_from_everybody_but_one() -> None:
    mesh = Mesh(5)
    *liars, leecher = mesh.members
    content = Content(1, n_chunks=20)
    for liar in liars:
        liar.seed(content)
        liar.faults.lies = {7}
    mesh.join(leecher, *liars)
    liars[2].faults.lies = set()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    assert leecher.got_from[content.content_id, 7][-1] == liars[2].peer
    assert {penalty.peer for penalty in leecher.penalties} == set(leecher.got_from[content.content_id, 7][:-1])
    assert_fetched_once(leecher, content)


@pytest.mark.parametrize("kind", MetaKind)
def test_a_false_page_is_blamed_and_asked_of_the_other(kind: MetaKind) -> None:
    mesh = Mesh(3)
    one, other, leecher = mesh.members
    content = Content(1, entry_pages=3)
    one.seed(content)
    other.seed(content)
    mesh.join()
    one.faults.false_pages = {kind}
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert {penalty.peer for penalty in leecher.penalties} <= {one.peer}
    assert mesh.faults == []


def test_a_denied_chunk_comes_from_the_other() -> None:
    mesh = Mesh(3)
    one, other, leecher = mesh.members
    content = Content(1, n_chunks=40)
    one.seed(content)
    other.seed(content)
    mesh.join()
    one.faults.unreadable = {3, 4, 5}
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    mesh.run(SETTLE_PERIOD)
    assert {leecher.got_from[content.content_id, index][0] for index in (3, 4, 5)} == {other.peer}
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_a_denial_is_soft() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=10)
    seeder.seed(content)
    mesh.join()
    seeder.faults.unreadable = {3}
    leecher.fetch(content)
    mesh.run(12)
    assert set(range(10)) - set(leecher.disk[content.content_id]) == {3}
    seeder.faults.unreadable = set()
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_everything_denied_for_long_does_not_end_it() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=10)
    seeder.seed(content)
    mesh.join()
    seeder.faults.unreadable = set(range(10))
    leecher.fetch(content)
    mesh.run(300)
    assert leecher.n_chunks(content) == 0
    assert_clean(mesh)
    seeder.faults.unreadable = set()
    assert mesh.run_until(lambda: leecher.has(content), 60)
    assert_clean(mesh)


@pytest.mark.parametrize("order", Order)
@pytest.mark.parametrize("stall_at", [0, 20, 98])
def test_a_silent_peer_loses_its_requests_to_another_within_seconds(stall_at: int, order: Order) -> None:
    mesh = Mesh(3, LINE_RATE)
    one, other, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    one.seed(content)
    other.seed(content)
    mesh.join()
    leecher.fetch(content, order=order)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= stall_at)
    one.fall_silent()
    assert not leecher.has(content)
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    one.speak()
    mesh.run(30)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_metadata_that_does_not_come_is_asked_of_the_other() -> None:
    mesh = Mesh(3)
    one, other, leecher = mesh.members
    content = Content(1, entry_pages=5)
    one.seed(content)
    other.seed(content)
    mesh.join()
    one.faults.is_mute = True
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    one.speak()
    mesh.run(30)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_a_peer_that_was_silent_for_minutes_is_still_good_for_the_rest() -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 50)
    seeder.fall_silent()
    assert not leecher.has(content)
    mesh.run(200)
    assert leecher.progress(content).waiting is Waiting.SLOW_PEERS
    seeder.speak()
    assert mesh.run_until(lambda: leecher.has(content), 70)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_many_objects_at_once_from_one_peer_do_not_flood_it_with_questions() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    contents = [Content(number, n_chunks=2, entry_pages=3) for number in range(1, 3 * MAX_META_REQUESTS)]
    seeder.seed(*contents)
    mesh.join()
    leecher.fetch(*contents)
    assert mesh.run_until(lambda: all(map(leecher.has, contents)), 120)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, *contents)
    assert_clean(mesh)


# our own disk


def test_a_full_disk_halts_the_download_and_is_nobodys_fault() -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 10)
    leecher.faults.is_disk_full = True
    mesh.run(2)
    assert leecher.progress(content).waiting is Waiting.DISK
    had, tried = leecher.n_chunks(content), sum(map(len, leecher.got_from.values()))
    mesh.run(2)
    assert (leecher.n_chunks(content), sum(map(len, leecher.got_from.values()))) == (had, tried)
    leecher.faults.is_disk_full = False
    leecher.replicator.resume(content.content_id, mesh.now)
    assert mesh.run_until(lambda: leecher.has(content), 1.0)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_it_goes_on_by_itself_when_the_disk_takes_more() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=20)
    seeder.seed(content)
    mesh.join()
    leecher.faults.is_disk_full = True
    leecher.fetch(content)
    mesh.run(40)
    assert leecher.n_chunks(content) == 0
    leecher.faults.is_disk_full = False
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_what_is_open_is_bounded_when_the_disk_is_slow() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=60, chunk_size=1 << 20)
    seeder.seed(content)
    mesh.join()
    leecher.faults.is_disk_slow = True
    leecher.fetch(content)
    mesh.run(30)
    assert leecher.unwritten
    assert leecher.progress(content).open_bytes <= (33 << 20)
    assert len(leecher.unwritten) <= 33
    leecher.write()
    assert mesh.run_until(lambda: leecher.has(content))
    assert_fetched_once(leecher, content)


def test_the_last_chunk_withdrawn_by_its_only_holder() -> None:
    mesh = Mesh(3)
    one, other, leecher = mesh.members
    content = Content(1, n_chunks=10)
    one.seed(content)
    other.seed(content)
    other.replicator.withdraw(content.content_id, RangeSet.single(9, 10), mesh.now)
    one.faults.unreadable = {9}
    mesh.join()
    leecher.fetch(content)
    mesh.run(3)
    one.replicator.withdraw(content.content_id, RangeSet.single(9, 10), mesh.now)
    mesh.run(10)
    assert leecher.progress(content).waiting is Waiting.MISSING_CHUNKS
    assert leecher.n_chunks(content) == 9
    other.serve(content, RangeSet.single(9, 10))
    assert mesh.run_until(lambda: leecher.has(content), A_FEW_SECONDS)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)
