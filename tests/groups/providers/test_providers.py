"""Who holds an object is announced, kept by those nearest to its key, and found by who asks."""

from __future__ import annotations

import pytest

from swarmd.core.errors import Conflict
from swarmd.groups.providers.announcing import REFRESH_PERIOD
from swarmd.groups.providers.messages import Announce, Find
from swarmd.groups.providers.record import LIFETIME
from swarmd.groups.providers.searching import MAX_SEARCHES
from tests.groups.builders import content_id
from tests.groups.providers.members import OBJECT, Members

N = 40


def far(members: Members, *but: int) -> int:
    """Somebody who keeps nothing, and is not one of these."""
    return next(number for number in reversed(members.by_distance()) if number not in but)


def test_who_holds_it_is_found() -> None:
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members.provide(holder)
    assert set(members.keepers()) >= set(members.by_distance()[:2])
    assert len(members.keepers()) < N / 4
    asker = far(members, holder)
    assert members.find(asker) == [members.peer(holder)]
    assert members.faults == []


def test_the_contact_says_where() -> None:
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members.provide(holder)
    asker = far(members, holder)
    members[asker].find(OBJECT, members.now)
    members.pump()
    (contact,) = members.events[asker][0].contacts
    assert str(contact.addresses[0]) == f"192.0.2.{holder + 1}:7000"


def test_nobody_holds_it() -> None:
    members = Members(N).ring()
    assert members.find(0) == []
    assert members[0].info.n_searches == 0


def test_a_holder_on_the_way_answers_though_nobody_keeps_its_record() -> None:
    """Every announcement is lost."""
    members = Members(N).ring()
    nearest, *_, asker = members.by_distance()
    members.tap = lambda sender, receiver, data: None if data[0] == Announce.type else data
    members.provide(nearest)
    assert members.keepers() == []
    assert members.find(asker) == [members.peer(nearest)]


def test_a_group_where_all_are_linked_says_nothing() -> None:
    members = Members(5)
    for one in range(5):
        for other in range(one):
            members.link(one, other)
    for each in members.all:
        each.set_member_count(5, 0.0)
    members[0].provide([OBJECT], 0.0)
    members.run(3 * REFRESH_PERIOD)
    assert members.carried == []
    members[0].set_member_count(50, members.now)
    members.run(10.0)
    assert members.carried != [], "and begins when it has grown"


def test_what_is_withdrawn_is_found_no_longer() -> None:
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members.provide(holder)
    members[holder].withdraw([OBJECT], members.now)
    members.run(40.0)
    assert members.find(far(members, holder)) == []
    members.provide(holder)
    assert members.find(far(members, holder)) == [members.peer(holder)], "and again when it is held again"


def test_what_is_not_announced_anew_expires() -> None:
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members.provide(holder)
    members.run(LIFETIME)
    assert members.find(far(members, holder)) == [members.peer(holder)], "it is announced anew"
    members.tap = lambda sender, receiver, data: None if sender == members.peer(holder) else data
    members.run(LIFETIME + 10.0)
    assert members.keepers() == []


def test_somebody_new_beside_the_key_is_told() -> None:
    members = Members(N)
    nearest, second, *_ = members.by_distance()
    for one in range(N):
        for other in range(one):
            if nearest not in (one, other):
                members.link(one, other)
    for each in members.all:
        each.set_member_count(1000, 0.0)
    members.provide(members.by_distance()[20])
    assert nearest not in members.keepers()
    members.link(nearest, second)
    members.pump()
    assert nearest in members.keepers()


def test_a_way_that_breaks_is_replaced() -> None:
    """The neighbours asked first go away without an answer."""
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members.provide(holder)
    asker = far(members, holder)
    members.tap = lambda sender, receiver, data: None if sender == members.peer(asker) and data[0] == 49 else data
    members[asker].find(OBJECT, members.now)
    members.pump()
    lost = {receiver for sender, receiver, _ in members.messages(Find) if sender == members.peer(asker)}
    members.tap = lambda sender, receiver, data: data
    for number in range(N):
        if members.peer(number) in lost:
            members.cut(asker, number)
    members.run(20.0)
    found = [contact.peer_id for event in members.events[asker] for contact in event.contacts]
    assert found == [members.peer(holder)]


def test_without_links_a_search_ends_at_once() -> None:
    members = Members(1)
    members[0].find(OBJECT, 0.0)
    members.pump()
    (event,) = members.events[0]
    assert event.is_over
    assert not event.contacts


def test_searches_are_bounded_and_can_be_cancelled() -> None:
    members = Members(2)
    members.link(0, 1)
    ids = [members[0].find(content_id(number), 0.0) for number in range(MAX_SEARCHES)]
    with pytest.raises(Conflict):
        members[0].find(OBJECT, 0.0)
    for each in ids:
        members[0].cancel(each)
    members.pump()
    assert not members.events[0]
    members[0].find(OBJECT, 0.0)


def test_many_holders_are_shared_out() -> None:
    members = Members(N).ring()
    holders = members.by_distance()[10:30]
    for holder in holders:
        members[holder].provide([OBJECT], 0.0)
    members.run(40.0)
    found = {peer for asker in members.by_distance()[30:] for peer in members.find(asker)}
    assert found <= {members.peer(holder) for holder in holders}
    assert len(found) > 8, "not always the same few"
