"""Catalogues that are large, full, or behind: what is bounded, what is put off, what does not come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swarmd.core.rng import SeededRng
from swarmd.groups import catalogue as catalogue_module
from swarmd.groups import descent, fetch, messages
from swarmd.groups import exchange as module
from swarmd.groups.catalogue import TOMBSTONE_PERIOD, Catalogue
from swarmd.groups.events import OthersForgotten, PeerFaulted, RecordDropped, RecordStored, ShareAdded, ShareRemoved
from swarmd.groups.exchange import Exchange
from swarmd.groups.group import EXPIRY_PAUSE, EXPIRY_PERIOD, Group
from swarmd.groups.messages import Compare, Inventory, Offer, Records, Request, Status
from swarmd.groups.reconciliation import ROOT, Listing, Summary
from swarmd.groups.records import Record

from .builders import DAY, WALL, identity, record, spec, tombstone
from .net import THOUSAND, A, B, Net, events, many, receiver


def test_what_a_member_shares_beyond_its_quota_is_its_own_fault_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in (catalogue_module, module):
        monkeypatch.setattr(each, "MAX_SHARES_PER_PUBLISHER", 2)
    exchange = receiver()
    exchange.receive(B, Records(tuple(each.encode() for each in many(4, 1))), 1.0, WALL)
    assert not [event for event in events(exchange) if isinstance(event, PeerFaulted)], "B cannot know what we hold"
    exchange.receive(A, Records(tuple(each.encode() for each in many(4, 1, 10))), 1.0, WALL)
    assert events(exchange) == [PeerFaulted(A, 1, "shares more than a member may")]
    assert len(exchange.catalogue) == 2
    assert exchange.catalogue.refused == {A: 6}


def test_who_gives_way_in_a_full_group_is_dropped_with_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "MAX_SHARES", 3)
    flood = many(3)
    exchange = receiver(*flood)
    exchange.receive(B, Records((record(2).encode(),)), 1.0, WALL)
    assert events(exchange) == [
        RecordStored(record(2)),
        ShareAdded(record(2), None),
        RecordDropped(flood[2]),
        ShareRemoved(flood[2]),
    ]


def test_an_inventory_is_answered_even_if_nothing_is_lacking() -> None:
    exchange = receiver(record(1))
    exchange.receive(A, Inventory(Listing(ROOT, (record(1).digest,))), 1.0, WALL)
    assert exchange.messages_to_send() == [(A, Offer(()).encode())]


def test_who_lacks_much_is_told_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFFERED_AT_ONCE", 64)
    exchange = receiver(*many(100))
    exchange.receive(A, Inventory(Listing(ROOT, ())), 1.0, WALL)
    children = tuple(exchange.catalogue.digests.summary(child) for child in ROOT.children())
    assert exchange.messages_to_send() == [(A, Compare(children).encode())]


def test_a_newcomer_holds_little_of_what_it_is_still_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "AHEAD", 100)
    monkeypatch.setattr(module, "OFFERED_AT_ONCE", 64)
    monkeypatch.setattr(fetch, "WINDOW", 32)
    net = Net(1, 2)
    net.hold(1, THOUSAND)
    net.link(1, 2)
    wanted = []
    while net.deliver_rounds(1):
        wanted.append(net[2]._fetcher.n_wanted)
    assert net.are_alike()
    assert max(wanted) <= 100 + 100, "what is ahead, and what one more list may bring"
    assert sum(each > 30 for each in wanted) > len(wanted) / 2, "and never far less"


def test_a_run_goes_on_as_long_as_it_brings_something() -> None:
    """A neighbour that gives a record each tenth of a second loses its turn, one that is ten times as fast does not."""
    for period, count, is_running in ((0.1, 250, False), (0.01, 2500, True)):
        exchange = Exchange(identity(3).peer_id, Catalogue(spec()))
        exchange.open_link(A, 0.0)
        exchange.receive(A, Status(9999, bytes(16)), 0.0, WALL)
        for place in range(count):
            now = place * period
            made = THOUSAND[place % 1000] if place < 1000 else record(2, name=f"{place}")
            exchange.receive(A, Records((made.encode(),)), now, WALL)
            exchange.handle_timer(now)
        assert (exchange._runs.running == A) == is_running


def test_news_that_is_too_much_is_left_to_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 10)
    exchange = receiver()
    exchange.receive(A, Records(tuple(each.encode() for each in THOUSAND[:30])), 1.0, WALL)
    assert exchange._runs.running == B
    assert len(exchange._links[B].news) <= 10
    said = [data for peer, data in exchange.messages_to_send() if peer == B]
    assert said[0] == Inventory(Listing(ROOT, tuple(sorted(each.digest for each in THOUSAND[:30])))).encode()


# records in slices


def slicing(*records: Record) -> Exchange:
    exchange = receiver(*records)
    exchange.in_slices = True
    return exchange


def work(exchange: Exchange) -> int:
    turns = 0
    while exchange.has_work:
        exchange.work(1.0, WALL)
        turns += 1
    return turns


def test_many_records_are_taken_in_in_slices() -> None:
    exchange = slicing()
    for start in range(0, 300, 60):
        exchange.receive(A, Records(tuple(each.encode() for each in THOUSAND[start : start + 60])), 1.0, WALL)
    assert len(exchange.catalogue) == module.SLICE
    assert work(exchange) == -(-300 // module.SLICE) - 1
    assert len(exchange.catalogue) == 300
    exchange.receive(A, Records((THOUSAND[999].encode(),)), 1.0, WALL)
    assert not exchange.has_work, "a single one does not wait"


def test_what_is_wrong_in_a_later_slice_is_told_and_harms_nobody_else() -> None:
    forged = replace(record(1, name="forged"), signature=bytes(64))
    exchange = slicing()
    bad = [*THOUSAND[:40], forged, *THOUSAND[40:50]]
    exchange.receive(A, Records(tuple(each.encode() for each in bad)), 1.0, WALL)
    exchange.receive(B, Records(tuple(each.encode() for each in many(5, 2))), 1.0, WALL)
    work(exchange)
    (fault,) = [event for event in events(exchange) if isinstance(event, PeerFaulted)]
    assert (fault.peer_id, fault.points) == (A, 10)
    assert len(exchange.catalogue) == 40 + 5


def test_older_and_newer_of_one_neighbour_keep_their_order() -> None:
    """Else what it sent first would look like a roll-back."""
    exchange = slicing()
    older = [record(1, name=f"{number}", seq=1) for number in range(50)]
    exchange.receive(A, Records(tuple(each.encode() for each in older)), 1.0, WALL)
    exchange.receive(A, Records((record(1, name="49", seq=2).encode(),)), 1.0, WALL)
    work(exchange)
    assert not [event for event in events(exchange) if isinstance(event, PeerFaulted)]
    assert exchange.catalogue.find(A, "49") == record(1, name="49", seq=2)


def test_of_a_flood_that_nobody_asked_for_digests_are_kept_for_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BACKLOG", 100)
    exchange = slicing()
    exchange.receive(B, Records(tuple(each.encode() for each in many(40, 2))), 1.0, WALL)
    for start in range(0, 600, 60):
        exchange.receive(A, Records(tuple(each.encode() for each in THOUSAND[start : start + 60])), 1.0, WALL)
        assert len(exchange._backlog) <= 40 + 100
        assert len(exchange.catalogue) == module.SLICE, "what came is not taken in there and then"
    said = [messages.decode(data) for peer, data in exchange.messages_to_send() if peer == A]
    digests = [digest for message in said if isinstance(message, Request) for digest in message.digests]
    assert digests == [each.digest for each in THOUSAND[100:600]]
    for start in range(100, 600, 60):
        exchange.receive(A, Records(tuple(each.encode() for each in THOUSAND[start : min(start + 60, 600)])), 1.0, WALL)
    assert len(exchange._backlog) <= 40 + 100 + 500, "what was asked for is never too much"
    work(exchange)
    assert (exchange.catalogue.n_shares_of(B), len(exchange.catalogue)) == (40, 640)
    assert exchange.next_deadline() is None, "nothing is waited for"


def test_what_waits_of_a_closed_link_is_forgotten() -> None:
    exchange = slicing()
    exchange.receive(B, Records(tuple(each.encode() for each in many(40, 2))), 1.0, WALL)
    exchange.receive(A, Records(tuple(each.encode() for each in THOUSAND[:60])), 1.0, WALL)
    exchange.close_link(A, 1.0)
    assert work(exchange) == -(-(40 - module.SLICE) // module.SLICE), "of B"
    assert exchange.catalogue.n_shares_of(B) == 40


# who was away


def test_a_removal_reaches_who_was_away_for_thirty_days() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    net.publish(1, "disk.iso")
    net.settle()
    net.cut(1, 2)
    net.unpublish(1, "disk.iso")
    net.now += 30 * DAY - 100
    for exchange in (net[1], net[2]):
        exchange.expire(net.now, WALL + net.now)
    net.link(1, 2)
    net.settle()
    assert net.are_alike()
    assert (net.names(1), net.names(2)) == ([], [])


def test_very_many_that_have_had_their_time_go_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "EXPIRED_AT_ONCE", 2)
    group = Group(spec(), identity(9), SeededRng(1), 0.0)
    group.restore([tombstone(1, name=name).encode() for name in "abcde"], WALL)
    left = []
    now = EXPIRY_PERIOD
    while len(group.catalogue):
        group.handle_timer(now, WALL + TOMBSTONE_PERIOD)
        left.append(len(group.catalogue))
        now += EXPIRY_PAUSE
    assert left == [3, 1, 0]


@pytest.mark.parametrize("is_restarted", [False, True])
def test_who_was_away_for_longer_brings_nothing_back(is_restarted: bool) -> None:
    """Although nobody has the tombstone any more, and the publisher is not there."""
    net = Net(1, 2, 3)
    net.link(1, 2)
    net.link(1, 3)
    net.publish(1, "removed")
    kept = net.publish(1, "kept")
    own = net.publish(3, "own")
    net.settle()
    net.cut(1, 3)
    net.unpublish(1, "removed")
    net.settle()
    heard_at = WALL + net.now
    for _ in range(40):
        net.now += DAY
        net.gossip()
    for exchange in net.exchanges.values():
        exchange.expire(net.now, WALL + net.now)
    net.cut(1, 2)
    if is_restarted:
        stored = [each.encode() for each in net[3].catalogue.shares()]
        net.exchanges[3] = Exchange(identity(3).peer_id, Catalogue(spec(), identity(3).peer_id))
        assert net[3].restore(stored, WALL + net.now, heard_at) == 0
    assert net.names(3) == ["kept", "own", "removed"], "there to be seen, as long as nobody is met"
    events(net[3])
    net.link(2, 3)
    net.settle(100.0)
    assert net.are_alike(2, 3)
    assert net.names(3) == net.names(2) == ["kept", "own"]
    assert events(net[3])[0] == OthersForgotten()
    assert {each.digest for each in net[2].catalogue.shares()} == {kept.digest, own.digest}


# what no honest member says


def test_a_million_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offered by the neighbour in a run: a few thousand are remembered, and nobody else is disturbed."""
    exchange = receiver(record(2, name="held"))
    exchange.receive(A, Status(10**6, bytes(16)), 1.0, WALL)
    assert exchange._runs.running == A
    for start in range(0, 10**6, 4000):
        offered = tuple(number.to_bytes(16, "big") for number in range(start, start + 4000))
        exchange.receive(A, Offer(offered), 1.0, WALL)
    assert exchange._fetcher.n_wanted <= module.MAX_RUN_QUEUED
    exchange.receive(B, Records((record(2).encode(),)), 1.0, WALL)
    assert exchange.catalogue.n_shares == 2
    exchange.close_link(A, 2.0)
    assert exchange._fetcher.n_wanted == 0


def test_a_catalogue_of_a_million_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "MAX_PENDING", 500)
    exchange = receiver()
    exchange.receive(A, Status(10**6, bytes(16)), 1.0, WALL)
    for child in ROOT.children():
        for grandchild in child.children():
            summaries = tuple(Summary(each, 10**6, bytes(16)) for each in grandchild.children())
            exchange.receive(A, Compare(summaries), 1.0, WALL)
    assert len(exchange._descent._pending) <= 500
    exchange.messages_to_send()
    exchange.handle_timer(20.0)
    assert exchange._runs.running is None, "what is never given is not waited for"
