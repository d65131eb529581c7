"""A peer that does what no peer may: RemoteError or a penalty, bounded memory, and the other links go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId
from swarmd.core.ranges import RangeSet
from swarmd.replication import messages
from swarmd.replication.blocks import MAX_BLOCK_BYTES, BulkType
from swarmd.replication.exchange import MAX_DENIES
from swarmd.replication.link import MAX_CHANNELS, MAX_META_REQUESTS, MAX_REQUESTS
from swarmd.replication.messages import MAX_PACKET_BYTES, VERSION, Message, Reason, Wish
from swarmd.replication.pickers import Order
from swarmd.replication.shape import MAX_CHUNKS, MetaKind
from swarmd.replication.uploads import MAX_BACKLOG_BYTES, MAX_SLOTS
from tests.replication.attacker import HELD, HELD_HANDLE, PEER, WANTED, WANTED_HANDLE, Victim
from tests.replication.mesh import GROUP, Content, Mesh, Payload, assert_fetched_once

UNKNOWN_HANDLE = 77
STRANGE = ContentId(b"\xee" * 32)


@pytest.fixture
def victim() -> Victim:
    victim = Victim()
    victim.introduce()
    return victim


def refused(victim: Victim, *said: Message) -> RemoteError:
    with pytest.raises(RemoteError) as caught:
        victim.say(*said)
    return caught.value


# control


def test_the_first_message_has_to_be_hello() -> None:
    assert refused(Victim(), messages.Open(1, HELD.content_id, Wish.CHUNKS)).penalty


def test_a_second_hello(victim: Victim) -> None:
    assert refused(victim, messages.Hello(VERSION, VERSION)).penalty


@pytest.mark.parametrize(("lowest", "highest"), [(0, 0), (1, 1), (VERSION + 1, 9), (VERSION, VERSION - 1)])
def test_versions_that_do_not_meet_are_an_error_without_blame(lowest: int, highest: int) -> None:
    error = refused(Victim(), messages.Hello(lowest, highest))
    assert error.penalty == 0
    assert "upgrade" in str(error)


@pytest.mark.parametrize("data", [b"\x00", b"\xff", b"\x08", b"\x08\x01", b"\x02\x05" + bytes(31), b"\x0e\x00"])
def test_garbage(victim: Victim, data: bytes) -> None:
    with pytest.raises(RemoteError):
        victim.say_bytes(data)


def test_a_packet_that_is_too_long(victim: Victim) -> None:
    with pytest.raises(RemoteError):
        victim.say_bytes(messages.encode(messages.Want(HELD_HANDLE, Wish.CHUNKS)) * (MAX_PACKET_BYTES // 3 + 1))


@pytest.mark.parametrize(
    "message",
    [
        messages.Close(UNKNOWN_HANDLE, 0),
        messages.Want(UNKNOWN_HANDLE, Wish.CHUNKS),
        messages.Have(UNKNOWN_HANDLE, 1),
        messages.Withdraw(UNKNOWN_HANDLE, 1),
        messages.Request(UNKNOWN_HANDLE, 0),
        messages.Cancel(UNKNOWN_HANDLE, 0, if_untouched=False),
        messages.Deny(UNKNOWN_HANDLE, 0, Reason.NOT_HELD, 0),
        messages.AskMeta(UNKNOWN_HANDLE, MetaKind.ROOT, 0),
        messages.DenyMeta(UNKNOWN_HANDLE, MetaKind.ROOT, 0),
        messages.Request(0, 0),
        messages.Close(0, 0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_handle_that_was_never_opened(victim: Victim, message: Message) -> None:
    assert refused(victim, message).penalty


@pytest.mark.parametrize(
    "message",
    [
        messages.Open(3, HELD.content_id, Wish.NOTHING),  # open already
        messages.Open(WANTED_HANDLE, STRANGE, Wish.NOTHING),  # handles rise
        messages.Open(0, STRANGE, Wish.NOTHING),
        messages.Request(HELD_HANDLE, HELD.shape.n_chunks),
        messages.Request(HELD_HANDLE, MAX_CHUNKS - 1),
        messages.AskMeta(HELD_HANDLE, MetaKind.ROOT, 1),
        messages.AskMeta(HELD_HANDLE, MetaKind.ENTRIES, 1),
        messages.AskMeta(HELD_HANDLE, MetaKind.HASHES, 4095),
        messages.Have(WANTED_HANDLE, 1 << WANTED.shape.n_chunks),
        messages.Have(WANTED_HANDLE, 1 << (MAX_CHUNKS - 1)),
        messages.Have(HELD_HANDLE, 1 << 10),
        messages.Status(1, 0, 0, 0),  # more than was sent
        messages.Status(2**62, 0, 0, 0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_cannot_be(victim: Victim, message: Message) -> None:
    assert refused(victim, message).penalty


def test_answers_to_what_was_not_asked(victim: Victim) -> None:
    handle = victim.victim_handle
    assert refused(victim, messages.Deny(handle, 3, Reason.NOT_HELD, 0)).penalty
    assert refused(victim, messages.DenyMeta(handle, MetaKind.HASHES, 0)).penalty
    answer = next(m for m in victim.heard if isinstance(m, messages.Open) and m.content_id == HELD.content_id)
    assert refused(victim, messages.Deny(answer.handle, 3, Reason.NOT_HELD, 0)).penalty
    assert refused(victim, messages.DenyMeta(answer.handle, MetaKind.ROOT, 0)).penalty


def test_a_request_is_denied_twice(victim: Victim) -> None:
    victim.say(messages.Have(WANTED_HANDLE, 1))
    assert victim.requested() == [0]
    victim.say(messages.Deny(victim.victim_handle, 0, Reason.NOT_HELD, 0))
    assert refused(victim, messages.Deny(victim.victim_handle, 0, Reason.NOT_HELD, 0)).penalty


@pytest.mark.parametrize("sent", [1000, 4 << 20])
def test_a_denial_of_what_has_been_sent(victim: Victim, sent: int) -> None:
    victim.say(messages.Have(WANTED_HANDLE, 1))
    assert refused(victim, messages.Deny(victim.victim_handle, 0, Reason.NOT_HELD, sent)).penalty


def test_a_receipt_that_takes_back(victim: Victim) -> None:
    victim.say(messages.Request(HELD_HANDLE, 0))
    victim.say(messages.Status(victim.bulk_bytes, 0, 0, 0))
    assert refused(victim, messages.Status(victim.bulk_bytes - 1, 0, 0, 0)).penalty


def test_a_have_outside_an_object_whose_size_is_not_known_yet_is_paid_for_later() -> None:
    victim = Victim(knows_shape=False)
    victim.introduce()
    victim.say(messages.Have(WANTED_HANDLE, 1 << WANTED.shape.n_chunks))
    victim.send_bulk(BulkType.PAGE, victim.victim_handle, MetaKind.ROOT, 0, WANTED.page((MetaKind.ROOT, 0)))
    assert [(penalty.group, penalty.peer) for penalty in victim.penalties] == [(GROUP, PEER)]
    progress = victim.replicator.progress(WANTED.content_id)
    assert progress is not None
    assert progress.peers == 0


# floods


def test_the_same_chunk_asked_for_twice() -> None:
    victim = Victim(answers=False)
    victim.introduce()
    assert refused(victim, messages.Request(HELD_HANDLE, 0), messages.Request(HELD_HANDLE, 0)).penalty


def test_more_requests_than_may_be_open_and_no_more_buffers_than_slots() -> None:
    content = Content(3, n_chunks=2 * MAX_REQUESTS, chunk_size=1000)
    victim = Victim(answers=False)
    victim.replicator.serve(GROUP, content.content_id, content.shape, content.everything, victim.now)
    victim.introduce()
    victim.say(messages.Open(3, content.content_id, Wish.CHUNKS))
    victim.say(*(messages.Request(3, chunk) for chunk in range(MAX_REQUESTS)))
    assert refused(victim, messages.Request(3, MAX_REQUESTS)).penalty
    assert len(victim.reads) <= MAX_SLOTS


def test_requests_cancelled_and_asked_again_hold_no_more_buffers_than_slots() -> None:
    victim = Victim(answers=False)
    victim.introduce()
    for _ in range(200):
        victim.say(messages.Request(HELD_HANDLE, 0))
        victim.say(messages.Cancel(HELD_HANDLE, 0, if_untouched=False))
    assert len(victim.reads) <= MAX_SLOTS


def test_a_peer_that_never_confirms_is_sent_a_bounded_number_of_bytes() -> None:
    content = Content(3, n_chunks=100, chunk_size=1 << 20)
    victim = Victim(answers=False)
    victim.replicator.serve(GROUP, content.content_id, content.shape, content.everything, victim.now)
    victim.introduce()
    victim.say(messages.Open(3, content.content_id, Wish.CHUNKS))
    victim.say(*(messages.Request(3, chunk) for chunk in range(100)))
    for command in victim.reads:
        victim.replicator.chunk_read(command.read_id, content.chunk(command.index), victim.now)
    victim.drain()
    victim.pass_time(60)
    assert 0 < victim.undrained <= MAX_BACKLOG_BYTES + MAX_BLOCK_BYTES


def test_a_flood_of_questions_for_pages() -> None:
    victim = Victim(answers=False)
    victim.introduce()
    victim.say(*[messages.AskMeta(HELD_HANDLE, MetaKind.ROOT, 0)] * MAX_META_REQUESTS)
    assert refused(victim, messages.AskMeta(HELD_HANDLE, MetaKind.ROOT, 0)).penalty
    assert len(victim.page_reads) == MAX_META_REQUESTS


def test_a_flood_of_requests_for_what_we_have_not_got(victim: Victim) -> None:
    request = messages.Request(WANTED_HANDLE, 0)
    victim.say(*[request] * MAX_DENIES)
    assert sum(isinstance(message, messages.Deny) for message in victim.heard) == MAX_DENIES
    assert refused(victim, request).penalty


def test_a_flood_of_objects(victim: Victim) -> None:
    def open_one(number: int) -> messages.Open:
        return messages.Open(number, ContentId(number.to_bytes(32, "big")), Wish.NOTHING)

    first = WANTED_HANDLE + 1
    for start in range(first, MAX_CHANNELS + 1, 1000):
        victim.say(*map(open_one, range(start, min(start + 1000, MAX_CHANNELS + 1))))
    assert refused(victim, open_one(MAX_CHANNELS + 1)).penalty


def test_a_flood_of_haves() -> None:
    """Of objects whose size we do not know yet, each Have costs us up to 512 KiB."""
    victim = Victim(knows_shape=False)
    wanted = [Content(number, n_chunks=1) for number in range(100, 160)]
    for content in wanted:
        victim.replicator.fetch(GROUP, content.content_id, Order.RAREST, None, RangeSet(), RangeSet(), victim.now)
    victim.introduce()
    with pytest.raises(RemoteError):
        for handle, content in enumerate(wanted, 3):
            victim.say(messages.Open(handle, content.content_id, Wish.NOTHING))
            victim.say(messages.Have(handle, 1 << (MAX_CHUNKS - 1)))


# bulk


@pytest.fixture
def asked(victim: Victim) -> Victim:
    """It has asked us for chunk 2, of 1,000 bytes."""
    victim.say(messages.Have(WANTED_HANDLE, 1 << 2))
    assert victim.requested() == [2]
    return victim


HALF = WANTED.chunk(2)[:500]


@pytest.mark.parametrize(
    "send",
    [
        lambda v: v.send_block(3, 0, WANTED.chunk(3)),  # not asked for
        lambda v: v.send_block(2, 500, HALF),  # a gap
        lambda v: v.send_block(2, 0, WANTED.chunk(2) + b"x"),  # too long
        lambda v: v.send_block(2, 0, b""),
        lambda v: v.send_block(2, 0, bytes(MAX_BLOCK_BYTES + 1)),
        lambda v: v.send_block(2**32 - 1, 2**32 - 1, b"x"),
        lambda v: (v.send_block(2, 0, HALF), v.send_block(2, 0, HALF)),  # the same again
        lambda v: (v.send_block(2, 0, HALF), v.send_block(2, 499, HALF)),  # overlapping
        lambda v: (v.send_block(2, 0, HALF), v.send_block(2, 500, HALF + b"x")),
        lambda v: (v.send_block(2, 0, WANTED.chunk(2)), v.send_block(2, 0, WANTED.chunk(2))),  # twice
        lambda v: v.send_bulk(BulkType.BLOCK, UNKNOWN_HANDLE, 2, 0, b"x"),
        lambda v: v.send_bulk(BulkType.BLOCK, 0, 2, 0, b"x"),
        lambda v: v.send_bulk(0, v.victim_handle, 2, 0, b"x"),
        lambda v: v.send_bulk(9, v.victim_handle, 2, 0, b"x"),
        lambda v: v.send_bulk(BulkType.PAGE, v.victim_handle, MetaKind.ROOT, 0, b"x"),  # not asked for
        lambda v: v.send_bulk(BulkType.PAGE, v.victim_handle, 3, 0, b"x"),  # no such kind
        lambda v: v.send_bulk(BulkType.PAGE, v.victim_handle, 0, 2**32 - 1, b"x"),
        lambda v: v.send_bulk_bytes(b""),
        lambda v: v.send_bulk_bytes(b"\x01\x00\x00"),
    ],
)
def test_blocks_and_pages_that_were_not_asked_for(asked: Victim, send: Callable[[Victim], object]) -> None:
    with pytest.raises(RemoteError) as caught:
        send(asked)
    assert caught.value.penalty
    asked.leave()
    progress = asked.replicator.progress(WANTED.content_id)
    assert progress is not None
    assert progress.open_bytes == 0


def test_a_block_of_an_object_that_is_only_served(victim: Victim) -> None:
    answer = next(m for m in victim.heard if isinstance(m, messages.Open) and m.content_id == HELD.content_id)
    for type_ in BulkType:
        with pytest.raises(RemoteError):
            victim.send_bulk(type_, answer.handle, 0, 0, b"x")


def test_false_bytes_cost_ten_points_and_are_not_announced(asked: Victim) -> None:
    asked.send_block(2, 0, bytes(1000))
    asked.pass_time(1)
    assert [penalty.points for penalty in asked.penalties] == [10]
    assert not any(
        isinstance(m, messages.Have) and m.chunks >> 2 & 1 and m.handle == asked.victim_handle for m in asked.heard
    )


def test_haves_that_were_a_lie_do_not_hold_the_download_up() -> None:
    """One peer says that it has everything and denies everything; the other has it."""
    mesh = Mesh(3)
    honest, liar, leecher = mesh.members
    content = Content(1, n_chunks=80, chunk_size=64 << 10)
    honest.seed(content)
    liar.seed(content)
    liar.faults.unreadable = set(range(80))
    mesh.join()
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), 20)
    assert_fetched_once(leecher, content)
    assert leecher.sources_of(content) == {honest.peer}


def test_the_other_links_are_not_disturbed() -> None:
    """While two exchange an object, a third sends each of them rubbish, is cut off, and comes again."""
    mesh = Mesh(3)
    seeder, leecher, vandal = mesh.members
    content = Content(1, n_chunks=200, chunk_size=64 << 10)
    seeder.seed(content)
    mesh.join(seeder, leecher)
    leecher.fetch(content)
    rubbish: list[Payload] = [
        b"\xff\xff",
        messages.encode(messages.Request(5, 5)),
        [memoryview(b"")],
        [memoryview(b"\x01" * 100)],
        messages.encode(messages.Open(1, content.content_id, Wish.CHUNKS)) * 2,
    ]
    for number in range(100):
        mesh.join(vandal, seeder)
        mesh.join(vandal, leecher)
        for victim in (seeder, leecher):
            mesh.forge(vandal, victim, rubbish[number % len(rubbish)])
        mesh.run(0.005)
        mesh.isolate(vandal)
    assert mesh.run_until(lambda: leecher.has(content), 10)
    mesh.run(1)
    assert_fetched_once(leecher, content)
    assert {peer for peer, _ in mesh.faults} == {vandal.peer}
    assert seeder.released == seeder.lent


# anything at all

handles = st.integers(0, 5)
chunks = st.integers(0, 13)
sets = st.integers(1, (1 << 13) - 1)
kinds = st.sampled_from(MetaKind)
wishes = st.sampled_from(Wish)
SAID = st.one_of(
    st.builds(messages.Open, handles, st.sampled_from([HELD.content_id, WANTED.content_id, STRANGE]), wishes),
    st.builds(messages.Close, handles, handles),
    st.builds(messages.Want, handles, wishes),
    st.builds(messages.Have, handles, sets),
    st.builds(messages.Withdraw, handles, sets),
    st.builds(messages.Request, handles, chunks),
    st.builds(messages.Cancel, handles, chunks, st.booleans()),
    st.builds(messages.Deny, handles, chunks, st.sampled_from(Reason), st.sampled_from([0, 0, 500, 1000])),
    st.builds(messages.AskMeta, handles, kinds, st.integers(0, 1)),
    st.builds(messages.DenyMeta, handles, kinds, st.integers(0, 1)),
    st.builds(messages.Status, st.integers(0, 3000), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
)
BULK = st.tuples(
    st.integers(1, 2), handles, st.one_of(chunks, st.integers(0, 2)), st.sampled_from([0, 0, 500, 1]),
    st.sampled_from([500, 1000, 667, 1]),
)  # fmt: skip
PAUSES = st.sampled_from([0.01, 0.2, 6.0, 40.0])
ORDERS = st.sampled_from(["pause", "resume", "withdraw", "unserve", "serve", "cancel", "fetch", "rejoin", "answer"])


@settings(max_examples=150)
@given(st.booleans(), st.booleans(), st.lists(st.one_of(SAID, SAID, SAID, BULK, PAUSES, ORDERS), max_size=40))
def test_whatever_is_said_in_whatever_order(knows_shape: bool, answers: bool, script: list[object]) -> None:
    """Only RemoteError; and when the peer is gone nothing of it is left: no open bytes, no buffer."""
    victim = Victim(knows_shape=knows_shape, answers=answers)
    victim.introduce()
    for step in script:
        try:
            _play(victim, step)
        except RemoteError:
            rejoin(victim)
    _play(victim, "answer")
    victim.leave()
    victim.pass_time(5)
    assert victim.released == victim.lent
    progress = victim.replicator.progress(WANTED.content_id)
    assert progress is None or progress.open_bytes == 0
    assert victim.replicator._context.open_bytes == 0
    assert victim.replicator._uploads.queued_bytes == 0
    assert victim.replicator._context.uplink.under_way == 0


def rejoin(victim: Victim) -> None:
    victim.undrained = 0
    victim.replicator.peer_left(GROUP, PEER, victim.now)
    victim.replicator.peer_joined(GROUP, PEER, victim.now)
    victim.drain()
    victim.introduce()


def _play(victim: Victim, step: object) -> None:
    replicator, now = victim.replicator, victim.now
    match step:
        case float():
            victim.pass_time(step)
        case (int(type_), int(handle), int(first), int(second), int(length)):
            victim.send_bulk(type_, handle, first, second, WANTED.chunk(first)[second : second + length] or b"x")
        case "pause":
            replicator.pause(WANTED.content_id, now)
        case "resume":
            replicator.resume(WANTED.content_id, now)
        case "withdraw":
            replicator.withdraw(HELD.content_id, HELD.everything, now)
        case "unserve":
            replicator.unserve(GROUP, HELD.content_id, now)
        case "serve":
            replicator.serve(GROUP, HELD.content_id, HELD.shape, HELD.everything, now)
        case "cancel":
            replicator.cancel(WANTED.content_id, now)
        case "fetch":
            victim.fetch()
        case "rejoin":
            rejoin(victim)
        case "answer":
            victim.catch_up()
        case _:
            victim.say(step)  # type: ignore[arg-type]
    victim.drain()
