"""Whole downloads between two and three replicators: what comes, in which order, and what is said to whom."""

from __future__ import annotations

import pytest

from swarmd.replication import messages
from swarmd.replication.pickers import Order
from swarmd.replication.progress import Waiting
from swarmd.replication.shape import MetaKind
from tests.replication.mesh import GROUP, LINE_RATE, OTHER_GROUP, Content, Mesh, assert_clean, assert_fetched_once

SETTLE_PERIOD = 1.0
"""After which whatever was on its way has arrived."""


@pytest.mark.parametrize("order", Order)
def test_a_whole_object_with_its_metadata(order: Order) -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=2100, chunk_size=64, entry_pages=3)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content, order=order)
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert leecher.pages == seeder.pages
    assert_clean(mesh)
    progress = leecher.progress(content)
    assert progress.is_complete
    assert progress.waiting is None
    assert progress.have_bytes == progress.total_bytes == progress.received_bytes == len(content.data)
    assert progress.wasted_bytes == progress.open_bytes == 0


def test_chunks_of_several_blocks_arrive_whole() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=5, chunk_size=1 << 20)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_an_object_without_chunks_is_complete_with_its_names() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=0)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: bool(leecher.completed))
    assert_fetched_once(leecher, content)


def test_in_order_the_chunks_are_asked_for_from_the_first_to_the_last() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=40)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content, order=Order.LOWEST)
    assert mesh.run_until(lambda: leecher.has(content))
    asked = [
        message.chunk for _, message in leecher.heard_of(messages.Request) if isinstance(message, messages.Request)
    ]
    assert asked == list(range(40))


def test_only_chunks_that_can_be_verified_are_asked_for() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=2060, chunk_size=16)
    seeder.seed(content)
    seeder.pages[content.content_id].discard((MetaKind.HASHES, 1))
    mesh.join()
    leecher.fetch(content)
    mesh.run(10)
    assert set(leecher.disk[content.content_id]) == set(range(2048))
    assert leecher.progress(content).waiting is Waiting.METADATA
    seeder.pages[content.content_id].add((MetaKind.HASHES, 1))
    assert mesh.run_until(lambda: leecher.has(content), 15)
    assert_fetched_once(leecher, content)


def test_no_data_is_asked_for_before_all_names_are_here() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, entry_pages=2)
    seeder.seed(content)
    seeder.pages[content.content_id].discard((MetaKind.ENTRIES, 1))
    mesh.join()
    leecher.fetch(content)
    mesh.run(10)
    assert leecher.heard_of(messages.Request) == []
    assert leecher.progress(content).waiting is Waiting.METADATA
    seeder.pages[content.content_id].add((MetaKind.ENTRIES, 1))
    assert mesh.run_until(lambda: leecher.has(content), 15)


def test_after_a_restart_only_the_rest_is_fetched() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=20)
    seeder.seed(content)
    mesh.join()
    kept = {0, 3, 4, 5, 19}
    leecher.disk[content.content_id] = {index: content.chunk(index) for index in kept}
    leecher.pages[content.content_id] = set(seeder.pages[content.content_id])
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert {index for _, index in leecher.writes} == set(range(20)) - kept
    assert leecher.heard_of(messages.AskMeta) == []
    assert_fetched_once(leecher, content)


def test_what_is_all_there_is_completed_at_once_and_served() -> None:
    mesh = Mesh(2)
    owner, leecher = mesh.members
    content = Content(1)
    owner.disk[content.content_id] = {index: content.chunk(index) for index in range(16)}
    owner.pages[content.content_id] = {(MetaKind.ROOT, 0), (MetaKind.ENTRIES, 0), (MetaKind.HASHES, 0)}
    mesh.join()
    owner.fetch(content)
    mesh.run(0)
    assert owner.completed == [content.content_id]
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), 1.0)
    mesh.run(SETTLE_PERIOD)
    assert owner.completed == [content.content_id]
    assert_fetched_once(leecher, content)


def test_a_chunk_is_announced_only_once_it_is_stored() -> None:
    mesh = Mesh(3)
    seeder, middle, leecher = mesh.members
    content = Content(1)
    seeder.seed(content)
    mesh.join(seeder, middle)
    mesh.join(middle, leecher)
    middle.faults.is_disk_slow = True
    middle.fetch(content)
    leecher.fetch(content)
    mesh.run(5)
    assert middle.unwritten
    assert middle.heard_of(messages.Have) == []
    assert leecher.n_chunks(content) == 0
    middle.write()
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(middle, content)
    assert_fetched_once(leecher, content)
    assert leecher.sources_of(content) == {middle.peer}
    assert_clean(mesh)


def test_two_leechers_get_some_of_it_from_each_other() -> None:
    mesh = Mesh(3)
    seeder, *leechers = mesh.members
    content = Content(1, n_chunks=64, chunk_size=16 << 10)
    seeder.seed(content)
    mesh.join()
    for leecher in leechers:
        leecher.fetch(content)
    assert mesh.run_until(lambda: all(leecher.has(content) for leecher in leechers))
    mesh.run(SETTLE_PERIOD)
    for leecher in leechers:
        assert_fetched_once(leecher, content)
        assert len(leecher.sources_of(content)) == 2
    assert_clean(mesh)


def test_whoever_completed_goes_on_serving() -> None:
    mesh = Mesh(3)
    seeder, first, second = mesh.members
    content = Content(1)
    seeder.seed(content)
    mesh.join(seeder, first)
    first.fetch(content)
    assert mesh.run_until(lambda: first.has(content))
    mesh.part(seeder, first)
    mesh.join(first, second)
    second.fetch(content)
    assert mesh.run_until(lambda: second.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(second, content)
    assert first.completed == [content.content_id]


def test_several_objects_at_once() -> None:
    mesh = Mesh(2)
    one, other = mesh.members
    theirs = [Content(number, n_chunks=10 + number) for number in range(1, 6)]
    mine = Content(9, n_chunks=30)
    one.seed(*theirs)
    other.seed(mine)
    mesh.join()
    other.fetch(*theirs)
    one.fetch(mine, order=Order.LOWEST)
    assert mesh.run_until(lambda: all(map(other.has, theirs)) and one.has(mine))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(other, *theirs)
    assert_fetched_once(one, mine)
    assert_clean(mesh)


def test_a_seeder_that_goes_away_and_comes_back() -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=200, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    for chunks in (1, 30, 90):
        assert mesh.run_until(lambda chunks=chunks: leecher.n_chunks(content) >= chunks)  # type: ignore[misc]
        mesh.part(seeder, leecher)
        mesh.run(2.5)
        assert leecher.progress(content).waiting is Waiting.NO_MEMBERS
        assert leecher.progress(content).open_bytes == 0
        assert seeder.released == seeder.lent
        mesh.join()
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


def test_a_link_that_is_joined_again_is_a_new_one() -> None:
    mesh = Mesh(2, LINE_RATE)
    seeder, leecher = mesh.members
    content = Content(1, n_chunks=100, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.n_chunks(content) >= 1)
    mesh.part(seeder, leecher)
    mesh.join()
    mesh.join()
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)


# groups


def test_an_object_is_given_in_its_groups_and_in_no_other() -> None:
    mesh = Mesh(4)
    seeder, one, other, stranger = mesh.members
    content = Content(1)
    seeder.seed(content)
    seeder.seed(content, group=OTHER_GROUP)
    third = type(GROUP)(bytes(31) + b"\3")
    mesh.join(seeder, one)
    mesh.join(seeder, other, group=OTHER_GROUP)
    mesh.join(seeder, stranger, group=third)
    one.fetch(content)
    other.fetch(content, group=OTHER_GROUP)
    stranger.fetch(content, group=third)
    assert mesh.run_until(lambda: one.has(content) and other.has(content))
    mesh.run(10)
    assert_fetched_once(one, content)
    assert_fetched_once(other, content)
    assert stranger.n_chunks(content) == 0
    assert not stranger.pages[content.content_id]
    assert stranger.progress(content).waiting is Waiting.NOBODY_HAS_IT
    assert_clean(mesh)


def test_unserved_in_one_group_it_is_still_given_in_the_other() -> None:
    mesh = Mesh(3)
    seeder, one, other = mesh.members
    content = Content(1)
    seeder.seed(content)
    seeder.seed(content, group=OTHER_GROUP)
    mesh.join(seeder, one)
    mesh.join(seeder, other, group=OTHER_GROUP)
    seeder.replicator.unserve(GROUP, content.content_id, mesh.now)
    one.fetch(content)
    other.fetch(content, group=OTHER_GROUP)
    assert mesh.run_until(lambda: other.has(content))
    mesh.run(5)
    assert one.n_chunks(content) == 0
    assert_clean(mesh)


def test_a_download_from_members_of_two_groups() -> None:
    mesh = Mesh(3)
    one, other, leecher = mesh.members
    content = Content(1, n_chunks=200, chunk_size=16 << 10)
    one.seed(content)
    other.seed(content, group=OTHER_GROUP)
    mesh.join(one, leecher)
    mesh.join(other, leecher, group=OTHER_GROUP)
    leecher.fetch(content)
    leecher.fetch(content, group=OTHER_GROUP)
    assert mesh.run_until(lambda: leecher.has(content))
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
    assert leecher.sources_of(content) == {one.peer, other.peer}
    assert_clean(mesh)


def test_nothing_is_said_of_objects_that_nobody_asks_about() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    contents = [Content(number) for number in range(1, 50)]
    seeder.seed(*contents)
    mesh.join()
    leecher.fetch(contents[7])
    assert mesh.run_until(lambda: leecher.has(contents[7]))
    assert len(seeder.heard_of(messages.Open)) == 1


def test_idle_members_have_nothing_to_say_and_no_deadline() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1)
    seeder.seed(content)
    mesh.join()
    leecher.fetch(content)
    mesh.run(10)
    assert leecher.has(content)
    said = len(seeder.said), len(leecher.said)
    mesh.run(600)
    assert (len(seeder.said), len(leecher.said)) == said
    assert seeder.replicator.next_deadline() is None
    assert leecher.replicator.next_deadline() is None


def test_why_a_download_stands_still() -> None:
    mesh = Mesh(2)
    seeder, leecher = mesh.members
    content = Content(1)
    leecher.fetch(content)
    mesh.run(5)
    assert leecher.progress(content).waiting is Waiting.NO_MEMBERS
    mesh.join()
    mesh.run(5)
    assert leecher.progress(content).waiting is Waiting.NOBODY_HAS_IT
    assert leecher.progress(content).members == 1
    seeder.seed(content)
    assert mesh.run_until(lambda: leecher.has(content), 15)
    mesh.run(SETTLE_PERIOD)
    assert_fetched_once(leecher, content)
