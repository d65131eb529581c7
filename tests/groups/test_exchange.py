"""Catalogues joined by calls: what each side sends is handed to the other, in rounds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.groups import catalogue as catalogue_module
from swarmd.groups import exchange as module
from swarmd.groups.catalogue import TOMBSTONE_PERIOD, Catalogue
from swarmd.groups.events import (
    OwnRecordReturned,
    PeerFaulted,
    RecordDropped,
    RecordStored,
    ShareAdded,
    ShareRemoved,
)
from swarmd.groups.exchange import Exchange
from swarmd.groups.fetch import ANSWER_TIMEOUT
from swarmd.groups.messages import Compare, Gone, Inventory, Offer, Records, Request, Status
from swarmd.groups.reconciliation import ROOT, Listing, Summary

from .builders import WALL, identity, record, share, spec, tombstone
from .net import THOUSAND, A, B, Net, events, many, receiver


def test_a_publication_reaches_all_along_a_line() -> None:
    net = Net(1, 2, 3, 4)
    for one in (1, 2, 3):
        net.link(one, one + 1)
    net.settle()
    made = net.publish(1, "disk.iso")
    net.pump()
    assert all(net.names(number) == ["disk.iso"] for number in (1, 2, 3, 4))
    assert events(net[4]) == [RecordStored(made), ShareAdded(made, None)]
    assert net.sent["Records"] == 3


def test_a_removal_reaches_all_and_so_does_a_new_content() -> None:
    net = Net(1, 2, 3)
    net.link(1, 2)
    net.link(2, 3)
    first = net.publish(1, "disk.iso")
    net.settle()
    second = net.publish(1, "disk.iso", 2)
    net.pump()
    removed = net.unpublish(1, "disk.iso")
    net.pump()
    assert net.are_alike()
    assert net.names(3) == []
    assert events(net[3]) == [
        RecordStored(first),
        ShareAdded(first, None),
        RecordStored(second),
        ShareAdded(second, first),
        RecordStored(removed),
        ShareRemoved(second),
    ]


def test_a_late_comer_gets_everything_including_removals() -> None:
    net = Net(1, 2, 3)
    net.hold(1, [*THOUSAND, tombstone(2, name="gone")])
    net.hold(2, [record(2, name="gone")])
    net.link(1, 2)
    net.settle()
    assert net.are_alike(1, 2)
    assert len(net.names(2)) == 1000
    net.link(2, 3)
    net.settle()
    assert net.are_alike()


def test_a_late_comer_with_many_neighbours_is_sent_the_catalogue_once() -> None:
    net = Net(*range(1, 9))
    for number in range(1, 8):
        net.hold(number, THOUSAND)
    for number in range(1, 8):
        net.link(8, number)
    size = sum(len(each.encode()) for each in THOUSAND)
    net.settle()
    assert net.are_alike()
    assert net.sent_bytes < 1.2 * size + 1000 * 16 * 2


def test_equal_catalogues_cost_two_messages() -> None:
    net = Net(1, 2)
    net.hold(1, THOUSAND)
    net.hold(2, THOUSAND)
    net.link(1, 2)
    net.settle()
    assert net.sent == {"Status": 2}


def test_two_halves_that_grew_apart_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """With more to fetch than a neighbour may queue outside of a run."""
    monkeypatch.setattr(module, "MAX_QUEUED", 50)
    net = Net(1, 2, 3, 4)
    net.hold(1, many(200, 1))
    net.hold(2, many(220, 2))
    net.hold(3, many(180, 3))
    net.hold(4, many(190, 4))
    net.link(1, 2)
    net.link(3, 4)
    net.settle()
    assert net.are_alike(1, 2)
    assert net.are_alike(3, 4)
    net.link(2, 3)
    for _ in range(3):
        net.settle(100.0)
        net.gossip()
    net.settle(100.0)
    assert net.are_alike()
    assert len(net.names(1)) == 790


def test_a_neighbour_that_goes_away_in_the_middle_is_replaced() -> None:
    net = Net(1, 2, 3)
    net.hold(1, THOUSAND)
    net.hold(2, THOUSAND)
    net.link(1, 3)
    net.link(2, 3)
    net.deliver_rounds(6)
    assert 0 < len(net.names(3)) < 1000
    net.cut(1, 3)
    net.settle()
    assert net.are_alike(2, 3)
    assert len(net.names(3)) == 1000


def test_who_offers_and_does_not_give_is_reported_and_the_next_is_asked() -> None:
    net = Net(1, 2, 3)
    net.hold(1, THOUSAND[:5])
    liar = identity(2).peer_id
    net[3].open_link(liar, 0.0)
    net[3].receive(liar, Offer(tuple(each.digest for each in THOUSAND[:5])), 0.0, WALL)
    net.link(1, 3)
    net.pump()
    assert net.names(3) == []
    net.settle(ANSWER_TIMEOUT + 1)
    assert len(net.names(3)) == 5
    assert PeerFaulted(liar, 1, "offers share records and does not give them") in events(net[3])


def test_nothing_is_asked_for_twice_and_nothing_that_is_held() -> None:
    net = Net(1, 2, 3)
    net.hold(3, THOUSAND[:3])
    net.link(1, 3)
    net.link(2, 3)
    net.settle()
    for number in (1, 2):
        offer = Offer(tuple(each.digest for each in THOUSAND[:6]))
        net[3].receive(identity(number).peer_id, offer, net.now, WALL)
    asked = [data for _, data in net[3].messages_to_send()]
    assert asked == [Request(tuple(each.digest for each in THOUSAND[3:6])).encode()]


def test_our_own_records_come_back_after_a_loss_of_memory() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    lost = net.publish(1, "disk.iso")
    net.settle()
    net.exchanges[1] = Exchange(identity(1).peer_id, Catalogue(spec()))
    net[2].close_link(identity(1).peer_id, net.now)
    net.link(1, 2)
    net.settle()
    assert OwnRecordReturned(lost, None) in events(net[1])
    removed = net.unpublish(1, "disk.iso")
    net.settle()
    assert removed.seq > lost.seq
    assert net.are_alike()
    assert net.names(2) == []


def test_old_news_is_answered_with_the_new() -> None:
    """A neighbour that comes with an older record is told the newer one, and is no wrongdoer."""
    net = Net(1, 2)
    net.hold(1, [record(3, seq=2)])
    net.hold(2, [record(3, seq=1)])
    net.link(1, 2)
    net.settle()
    assert net.are_alike()
    assert net[2].catalogue.shares() == [record(3, seq=2)]


# faults


def refused(exchange: Exchange, message: module.ExchangeMessage, told: str) -> int:
    """The penalty; and nothing else is disturbed: B still works, and the status is the same."""
    before = exchange.status()
    with pytest.raises(RemoteError, match=told) as caught:
        exchange.receive(A, message, 1.0, WALL)
    assert exchange.status() == before
    exchange.close_link(A, 1.0)
    exchange.receive(B, Records((record(2, name="good").encode(),)), 1.0, WALL)
    assert exchange.catalogue.find(B, "good") is not None
    return caught.value.penalty


def test_garbage_in_the_place_of_a_record() -> None:
    assert refused(receiver(), Records((b"garbage",)), "version") == 1


def test_a_forged_signature() -> None:
    forged = replace(record(1), signature=bytes(64))
    assert refused(receiver(), Records((forged.encode(),)), "signature") == 10


def test_somebody_elses_record_altered() -> None:
    held = record(2, seq=1)
    altered = replace(record(2, seq=5), share=share(number=66))
    exchange = receiver(held)
    assert refused(exchange, Records((altered.encode(),)), "signature") == 10
    assert held in exchange.catalogue.shares()


def test_a_roll_back() -> None:
    exchange = receiver()
    exchange.receive(A, Records((record(1, seq=5).encode(),)), 0.5, WALL)
    assert refused(exchange, Records((record(1, seq=4).encode(),)), "rolls a share back") == 10
    assert exchange.catalogue.find(A, "disk.iso") == record(1, seq=5)


def test_a_roll_back_by_who_never_had_the_newer_is_only_old_news() -> None:
    exchange = receiver()
    exchange.receive(A, Records((record(1, seq=5).encode(),)), 0.5, WALL)
    exchange.messages_to_send()
    exchange.receive(B, Records((record(1, seq=4).encode(),)), 0.6, WALL)
    assert exchange.catalogue.find(A, "disk.iso") == record(1, seq=5)
    assert exchange.messages_to_send() == [(B, Offer((record(1, seq=5).digest,)).encode())]


def test_asking_for_everything_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_BURST_BYTES", 1 << 20)
    exchange = receiver(*many(500))
    inventory = Inventory(Listing(ROOT, ()))
    with pytest.raises(RemoteError, match="over and over"):
        for _ in range(1000):
            exchange.receive(A, inventory, 1.0, WALL)
            exchange.messages_to_send()


def test_comparing_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_BURST_BYTES", 1 << 20)
    exchange = receiver(*many(500))
    with pytest.raises(RemoteError, match="over and over"):
        for _ in range(1000):
            exchange.receive(A, Compare((Summary(ROOT, 9999, bytes(16)),)), 1.0, WALL)
            exchange.messages_to_send()


def test_requests_for_what_is_not_there_are_answered_so() -> None:
    exchange = receiver(record(1))
    exchange.receive(A, Request((bytes(16), record(1).digest)), 1.0, WALL)
    answers = [data for _, data in exchange.messages_to_send()]
    assert answers == [Records((record(1).encode(),)).encode(), Gone((bytes(16),)).encode()]


def test_what_a_neighbour_offers_is_bounded() -> None:
    exchange = receiver()
    for start in range(0, 40_000, 4000):
        offered = tuple(number.to_bytes(16, "big") for number in range(start, start + 4000))
        exchange.receive(A, Offer(offered), 1.0, WALL)
    assert exchange._fetcher.n_wanted <= catalogue_module.MAX_RECORDS
    assert len(exchange._links[A].known) <= module.MAX_QUEUED
    exchange = receiver()
    exchange.receive(B, Status(1, bytes(16)), 1.0, WALL)
    exchange.receive(A, Offer(tuple(number.to_bytes(16, "big") for number in range(4000))), 1.0, WALL)
    assert exchange._fetcher.n_wanted <= module.MAX_QUEUED


def test_what_was_refused_is_not_fetched_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "MAX_SHARES", 1)
    exchange = receiver(record(1))
    exchange.receive(A, Records((record(2).encode(),)), 1.0, WALL)
    exchange.messages_to_send()
    offer = Offer((record(2).digest,))
    exchange.receive(A, offer, 2.0, WALL)
    assert exchange.messages_to_send() == []
    exchange.receive(A, offer, 2.0 + module.REFUSED_PERIOD, WALL)
    assert exchange.messages_to_send() == [(A, Request((record(2).digest,)).encode())]


def test_the_list_of_what_was_refused_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "MAX_SHARES", 0)
    monkeypatch.setattr(module, "MAX_REFUSED", 10)
    exchange = receiver()
    for each in THOUSAND[:30]:
        exchange.receive(A, Records((each.encode(),)), 1.0, WALL)
    assert len(exchange._refused) == 10


def test_records_expire_with_events_and_are_not_taken_in_again() -> None:
    exchange = receiver(tombstone(1), record(2))
    assert exchange.expire(5.0, WALL + TOMBSTONE_PERIOD), "there may be more"
    assert not exchange.expire(5.0, WALL + TOMBSTONE_PERIOD)
    assert events(exchange) == [RecordDropped(tombstone(1))]
    assert exchange.status().count == 1
    exchange.receive(A, Offer((tombstone(1).digest,)), 6.0, WALL)
    assert exchange.messages_to_send() == []


def test_a_link_that_closes_leaves_nothing_behind() -> None:
    exchange = receiver()
    exchange.receive(A, Offer(tuple(each.digest for each in THOUSAND[:9])), 1.0, WALL)
    exchange.close_link(A, 1.0)
    assert exchange.messages_to_send() == []
    assert exchange._fetcher.n_wanted == 0
    assert exchange.next_deadline() is None


EVERY = many(12, 1) + many(12, 2) + [tombstone(1, name=f"1-{number}", seq=2) for number in range(6)]


@settings(max_examples=60)
@given(
    holdings=st.lists(st.sets(st.integers(0, len(EVERY) - 1)), min_size=2, max_size=5),
    chords=st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=6),
)
def test_whatever_each_holds_all_end_alike(holdings: list[set[int]], chords: set[tuple[int, int]]) -> None:
    numbers = range(1, len(holdings) + 1)
    net = Net(*numbers)
    for number, holding in zip(numbers, holdings, strict=True):
        net.hold(number, [EVERY[place] for place in sorted(holding)])
    pairs = {(number, number + 1) for number in numbers[:-1]}
    pairs |= {(one + 1, other + 1) for one, other in chords if one < other < len(holdings)}
    for one, other in sorted(pairs):
        net.link(one, other)
    net.settle()
    assert net.are_alike()
    union = {place for holding in holdings for place in holding}
    removed = {EVERY[place].key for place in union if EVERY[place].is_tombstone}
    shared = {EVERY[place].key for place in union} - removed
    assert {each.key for each in net[1].catalogue.shares()} == shared
