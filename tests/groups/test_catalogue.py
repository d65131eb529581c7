"""What a catalogue takes in, keeps, refuses and forgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swarmd.core.errors import NotAllowed, NotFound, RemoteError
from swarmd.core.ids import GroupId
from swarmd.groups import catalogue as module
from swarmd.groups.authorisation import Authorisation, Authority, Right
from swarmd.groups.catalogue import TOMBSTONE_PERIOD, Catalogue, Outcome, Refusal
from swarmd.groups.groupspec import Capability
from swarmd.groups.records import Record
from swarmd.groups.recordtable import decode_held

from .builders import (
    DAY,
    WALL,
    authority,
    catalogue,
    content_id,
    identity,
    publish_in,
    record,
    restricted_spec,
    share,
    spec,
    tombstone,
    unpublish_in,
)


def put(held: Catalogue, each: Record, wall: float = WALL) -> Outcome:
    return held.put(each, wall).outcome


def test_shares_come_in_and_are_listed_oldest_first() -> None:
    late, early = record(1, name="b", wall=WALL + 5), record(2, name="a")
    held = catalogue(late, early)
    assert held.shares() == [early, late]
    assert len(held) == 2
    assert early.digest in held
    assert held.get(early.digest) == early
    assert held.find(identity(2).peer_id, "a") == early
    assert put(held, early) is Outcome.KNOWN


def test_a_newer_record_takes_the_place_of_an_older_one_and_never_the_other_way() -> None:
    older, newer = record(seq=5), record(seq=6, number=2)
    held = catalogue(older)
    change = held.put(newer, WALL)
    assert (change.outcome, change.previous) == (Outcome.ADDED, older)
    assert put(held, older) is Outcome.STALE
    assert held.shares() == [newer]
    assert older.digest not in held


def test_equal_names_of_two_publishers_are_two_shares() -> None:
    assert len(catalogue(record(1), record(2)).shares()) == 2


def test_of_two_records_with_one_seq_all_keep_the_same() -> None:
    one, other = record(seq=5, number=1), record(seq=5, number=2)
    assert catalogue(one, other).shares() == catalogue(other, one).shares()


def test_a_tombstone_removes_and_keeps_removed() -> None:
    held = catalogue(record(seq=1), tombstone(seq=2))
    assert held.shares() == []
    assert put(held, record(seq=1)) is Outcome.STALE
    assert put(held, record(seq=3)) is Outcome.ADDED
    assert len(held.shares()) == 1


def test_a_forged_record_is_refused_and_changes_nothing() -> None:
    held = catalogue(record(seq=1))
    with pytest.raises(RemoteError) as caught:
        held.put(replace(record(seq=2), share=share(number=9)), WALL)
    assert caught.value.penalty == 10
    assert held.shares() == [record(seq=1)]


def test_a_record_of_another_group_is_refused() -> None:
    with pytest.raises(RemoteError, match="another group") as caught:
        catalogue().put(record(group_id=GroupId(bytes(32))), WALL)
    assert caught.value.penalty == 10


def test_without_replication_there_are_no_shares() -> None:
    chat = spec("chat", Capability.POSTING)
    held = Catalogue(chat)
    with pytest.raises(RemoteError, match="without replication"):
        held.put(record(group_id=chat.group_id), WALL)
    with pytest.raises(NotAllowed, match="without replication"):
        publish_in(held, identity(1), share(), None, WALL)
    assert not held.may_publish(identity(1).peer_id, None, WALL)


def test_an_authorisation_nobody_asked_for_is_refused() -> None:
    given = authority().authorise(spec().group_id, identity(1).peer_id, Right.PUBLISH)
    with pytest.raises(RemoteError, match="does not ask for"):
        catalogue().put(replace(record(), authorisation=given), WALL)


def test_publishing_and_unpublishing_our_own() -> None:
    held = catalogue()
    first, change = publish_in(held, identity(1), share(), None, WALL)
    assert (change.outcome, change.previous) == (Outcome.ADDED, None)
    first.verify()
    second, change = publish_in(held, identity(1), share(number=2), None, WALL)
    assert change.previous == first
    assert second.seq > first.seq
    removed, change = unpublish_in(held, identity(1), "disk.iso", None, WALL)
    assert change.previous == second
    assert removed.is_tombstone
    assert removed.seq > second.seq
    assert held.shares() == []
    other = catalogue()
    assert [put(other, each) for each in (removed, second, first)] == [Outcome.ADDED, Outcome.STALE, Outcome.STALE]


def test_unpublishing_what_is_not_there() -> None:
    held = catalogue(record(2), tombstone(1, name="gone"))
    for name in ("disk.iso", "gone", "never"):
        with pytest.raises(NotFound, match=name):
            unpublish_in(held, identity(1), name, None, WALL)


def test_seq_rises_even_when_the_clock_goes_back_or_the_memory_is_lost() -> None:
    held = catalogue()
    first, _ = publish_in(held, identity(1), share(), None, WALL)
    second, _ = publish_in(held, identity(1), share(), None, WALL - 9 * DAY)
    assert second.seq == first.seq + 1
    after_loss, _ = publish_in(catalogue(), identity(1), share(), None, WALL + 1)
    assert after_loss.seq > second.seq


# restricted groups


def authorised(publisher: int, expires_at: float = WALL + DAY, by: Authority | None = None) -> Authorisation:
    peer = identity(publisher).peer_id
    return (by or authority()).authorise(restricted_spec().group_id, peer, Right.PUBLISH, int(expires_at * 1000))


def restricted_record(publisher: int, given: Authorisation | None) -> Record:
    unsigned = replace(record(publisher, group_id=restricted_spec().group_id), authorisation=given)
    return unsigned.signed_by(identity(publisher))


def test_who_is_authorised_publishes_in_a_restricted_group() -> None:
    held = Catalogue(restricted_spec())
    made, _ = publish_in(held, identity(1), share(), authorised(1), WALL)
    assert held.may_publish(identity(1).peer_id, authorised(1), WALL)
    assert put(Catalogue(restricted_spec()), made) is Outcome.ADDED
    assert put(Catalogue(restricted_spec()), restricted_record(2, authorised(2))) is Outcome.ADDED


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "lacks the authorisation"),
        (authorised(2), "of another"),
        (replace(authorised(1), rights=Right.POST), "of another"),
        (authorised(1, by=Authority(bytes(32))), "authority"),
        (replace(authorised(1), expires_at=2**60), "authority"),
    ],
)
def test_who_is_not_authorised_does_not(given: Authorisation | None, told: str) -> None:
    held = Catalogue(restricted_spec())
    with pytest.raises(RemoteError, match=told) as caught:
        held.put(restricted_record(1, given), WALL)
    assert caught.value.penalty == 10
    with pytest.raises(NotAllowed):
        publish_in(held, identity(1), share(), given, WALL)
    assert not held.may_publish(identity(1).peer_id, given, WALL)
    assert len(held) == 0


def test_where_only_posting_is_restricted_all_publish_and_show_no_authorisation() -> None:
    posting = replace(restricted_spec(), restricted=Right.POST)
    given = authority().authorise(posting.group_id, identity(1).peer_id, Right.POST)
    made, _ = publish_in(Catalogue(posting), identity(1), share(), given, WALL)
    assert made.authorisation is None
    assert put(Catalogue(posting), made) is Outcome.ADDED


def test_shares_go_when_the_authorisation_expires_and_do_not_come_back() -> None:
    held = Catalogue(restricted_spec())
    made = restricted_record(1, authorised(1))
    held.put(made, WALL)
    assert held.expire(WALL + DAY - 1) == []
    assert held.expire(WALL + DAY) == [made]
    assert held.shares() == []
    assert put(held, made, WALL + DAY) is Outcome.REFUSED
    with pytest.raises(NotAllowed, match="expired"):
        publish_in(held, identity(1), share(), authorised(1), WALL + DAY)


def test_a_longer_authorisation_brings_a_new_record_in() -> None:
    held = Catalogue(restricted_spec())
    publish_in(held, identity(1), share(), authorised(1), WALL)
    renewed, change = publish_in(held, identity(1), share(), authorised(1, WALL + 9 * DAY), WALL + 1)
    assert change.previous is not None
    assert held.expire(WALL + 2 * DAY) == []
    assert held.shares() == [renewed]


# time


def test_tombstones_go_after_thirty_days() -> None:
    held = catalogue(tombstone())
    assert held.expire(WALL + TOMBSTONE_PERIOD - 1) == []
    assert held.expire(WALL + TOMBSTONE_PERIOD) == [tombstone()]
    assert len(held) == 0


def test_a_tombstone_from_the_future_goes_thirty_days_after_it_came() -> None:
    made = tombstone(wall=WALL + 999 * DAY)
    held = catalogue(made)
    assert held.expire(WALL + TOMBSTONE_PERIOD) == [made]


def test_an_old_tombstone_is_not_taken_in_but_still_removes_a_share() -> None:
    old = tombstone(seq=5, wall=WALL - TOMBSTONE_PERIOD)
    assert put(catalogue(), old) is Outcome.REFUSED
    held = catalogue(record(seq=1))
    assert put(held, old) is Outcome.ADDED
    assert held.shares() == []


# bounds


def test_a_publisher_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES_PER_PUBLISHER", 3)
    held = catalogue(*(record(1, name=f"{number}") for number in range(3)))
    assert put(held, record(1, name="one more")) is Outcome.REFUSED
    assert put(held, record(1, name="0", seq=2)) is Outcome.ADDED
    assert put(held, record(2, name="another's")) is Outcome.ADDED
    with pytest.raises(NotAllowed, match="limit"):
        publish_in(held, identity(1), share("one more"), None, WALL)
    publish_in(held, identity(1), share("1"), None, WALL)
    unpublish_in(held, identity(1), "2", None, WALL)
    publish_in(held, identity(1), share("one more"), None, WALL)


def test_a_group_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 3)
    held = catalogue(*(record(number) for number in range(3)))
    assert put(held, record(4)) is Outcome.REFUSED
    assert put(held, tombstone(1)) is Outcome.ADDED
    assert put(held, record(4)) is Outcome.ADDED
    with pytest.raises(NotAllowed, match="limit"):
        publish_in(held, identity(5), share(), None, WALL)


def test_the_oldest_tombstones_of_a_publisher_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOMBSTONES_PER_PUBLISHER", 2)
    made = [tombstone(1, name=f"{seq}", seq=seq) for seq in range(1, 4)]
    held = catalogue(*made[:2])
    assert held.put(made[2], WALL).evicted == (made[0],)
    assert sorted(held.digests) == sorted(each.digest for each in made[1:])


def test_too_many_tombstones_go_from_who_has_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOMBSTONES", 3)
    made = [tombstone(1, name=f"{seq}", seq=seq) for seq in range(1, 3)]
    held = catalogue(*made, tombstone(2))
    assert held.put(tombstone(3), WALL).evicted == (made[0],)


def test_where_a_group_is_full_who_has_most_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 6)
    flood = [record(1, name=f"{number}", number=number) for number in range(6)]
    held = catalogue(*flood)
    for number in (2, 3):
        change = held.put(record(number, number=9), WALL)
        assert (change.outcome, change.evicted) == (Outcome.ADDED, (flood[7 - number],))
    assert put(held, record(2, name="b")) is Outcome.ADDED
    assert put(held, record(3, name="b")) is Outcome.ADDED
    assert put(held, record(3, name="c")) is Outcome.REFUSED, "as many as anybody has, by now"
    assert put(held, flood[5]) is Outcome.REFUSED
    assert held.refused == {identity(3).peer_id: 1, identity(1).peer_id: 1}
    assert [len(held.shares_of(identity(number).peer_id)) for number in (1, 2, 3)] == [2, 2, 2]
    assert len(held) == len(list(held.digests)) == 6


def test_our_own_shares_give_way_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 3)
    own = [record(1, name=f"{number}") for number in range(3)]
    held = Catalogue(spec(), identity(1).peer_id)
    for each in own:
        held.restore(each.encode(), WALL)
    assert put(held, record(2)) is Outcome.REFUSED
    assert held.shares_of(identity(1).peer_id) == sorted(own, key=lambda each: each.digest)


def test_who_shares_less_than_others_may_publish_in_a_full_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 3)
    held = catalogue(*(record(1, name=f"{number}") for number in range(3)))
    made, change = publish_in(held, identity(2), share(), None, WALL)
    assert change.evicted == (record(1, name="2"),)
    assert held.find(identity(2).peer_id, "disk.iso") == made
    with pytest.raises(NotAllowed, match="limit"):
        publish_in(held, identity(2), share("another"), None, WALL)


def test_refused_records_are_counted_for_so_many_publishers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 0)
    monkeypatch.setattr(module, "MAX_REFUSED_PUBLISHERS", 2)
    held = catalogue(*(record(number, name=name) for name in "ab" for number in (1, 2, 3)))
    assert held.refused == {identity(1).peer_id: 2, identity(2).peer_id: 2}


def test_what_gave_way_does_not_come_back_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full group, a share that has given way in its newest state, and somebody who kept an older one."""
    monkeypatch.setattr(module, "MAX_SHARES", 3)
    held = catalogue(*(record(1, name=name, number=2, seq=5) for name in "abc"))
    assert held.put(record(2), WALL).evicted == (record(1, name="c", number=2, seq=5),)
    held.put(tombstone(1, name="a", seq=6), WALL)
    older, same, newer = (record(1, name="c", number=2, seq=seq) for seq in (4, 5, 6))
    assert put(held, older) is Outcome.REFUSED
    assert put(held, tombstone(1, name="c", seq=4)) is Outcome.REFUSED
    assert held.refusals == {Refusal.ROLLED_BACK: 2}
    assert put(held, record(2, name="c", seq=4)) is Outcome.ADDED, "another's of that name"
    held.put(tombstone(2, seq=2), WALL)
    assert put(held, same) is Outcome.ADDED, "there is room for it again"
    assert put(held, newer) is Outcome.ADDED


def test_a_tombstone_that_gave_way_still_keeps_its_share_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOMBSTONES_PER_PUBLISHER", 1)
    held = catalogue(tombstone(1, name="a", seq=5))
    assert len(held.put(tombstone(1, name="b", seq=5, wall=WALL + 1), WALL + 1).evicted) == 1
    assert put(held, record(1, name="a", seq=4)) is Outcome.REFUSED
    assert put(held, record(1, name="a", seq=6)) is Outcome.ADDED


def test_so_many_numbers_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOMBSTONES_PER_PUBLISHER", 1)
    monkeypatch.setattr(module, "MAX_LEFT", 2)
    held = catalogue()
    for number, name in enumerate("abcd"):
        held.put(tombstone(1, name=name, seq=5, wall=WALL + number), WALL + 9)
    outcomes = [put(held, record(1, name=name, seq=4)) for name in "abc"]
    assert outcomes == [Outcome.ADDED, Outcome.REFUSED, Outcome.REFUSED]


def test_what_is_refused_is_counted_by_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 3)
    monkeypatch.setattr(module, "MAX_SHARES_PER_PUBLISHER", 2)
    held = catalogue(record(1, name="a"), record(1, name="b"))
    put(held, record(1, name="c"))
    put(held, record(2))
    put(held, record(3, name="a"))
    put(held, record(3, name="b"))
    put(held, tombstone(3, wall=WALL - TOMBSTONE_PERIOD))
    with pytest.raises(RemoteError):
        held.put(replace(record(1, name="a", seq=2), share=share("a", 9)), WALL)
    with pytest.raises(RemoteError):
        held.put(record(group_id=GroupId(bytes(32))), WALL)
    with pytest.raises(RemoteError):
        held.decode(b"no record")
    assert held.refusals == {Refusal.QUOTA: 1, Refusal.FULL: 1, Refusal.EXPIRED: 1, Refusal.FALSE: 3}
    assert held.refused == {identity(1).peer_id: 1, identity(3).peer_id: 1}


def test_what_has_had_its_time_goes_a_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPIRED_AT_ONCE", 2)
    held = catalogue(*(tombstone(1, name=name) for name in "abc"))
    assert [len(held.expire(WALL + TOMBSTONE_PERIOD)) for _ in range(3)] == [2, 1, 0]


def test_tombstones_that_are_too_many_go_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOMBSTONES_PER_PUBLISHER", 31)
    made = [tombstone(1, name=f"{n}", wall=WALL + n) for n in range(32)]
    held = catalogue(*made[:31])
    assert held.put(made[31], WALL + 99).evicted == tuple(made[:2])
    assert len(held) == len(list(held.digests)) == 30


def test_bounds_do_not_let_a_forgery_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SHARES", 1)
    held = catalogue(record(1))
    assert put(held, replace(record(2), signature=bytes(64))) is Outcome.REFUSED
    assert held.shares() == [record(1)]


# looking


def test_shares_are_found_by_name_and_by_content() -> None:
    one, other, third = record(1, number=1), record(2, number=2, wall=WALL - 1), record(3, name="b", number=1)
    held = catalogue(one, other, third, tombstone(4))
    assert held.find_shares(name="disk.iso") == [other, one]
    assert held.find_shares(content_id=content_id(1)) == sorted((one, third), key=lambda each: each.digest)
    assert held.find_shares(name="b", content_id=content_id(1)) == [third]
    assert held.find_shares(name="b", content_id=content_id(2)) == []
    assert held.n_shares == 3


def test_all_records_in_pieces() -> None:
    every = [record(1, name=f"{number}") for number in range(20)] + [tombstone(2)]
    held, found, after = catalogue(*every), list[Record](), bytes(16)
    while True:
        page, reached = held.following(after, 4)
        found += map(decode_held, page)
        if reached is None:
            break
        after = reached
    assert found == sorted(every, key=lambda each: each.digest)


# restart


def test_restoring_what_was_stored() -> None:
    held = catalogue()
    for each in (record(1), tombstone(2), record(3, seq=4)):
        assert held.restore(each.encode(), WALL).outcome is Outcome.ADDED
    assert held.restore(record(3, seq=3).encode(), WALL).outcome is Outcome.STALE
    assert held.restore(record(group_id=GroupId(bytes(32)), publisher=5).encode(), WALL).outcome is Outcome.REFUSED
    assert held.restore(tombstone(4).encode(), WALL + TOMBSTONE_PERIOD).outcome is Outcome.REFUSED
    assert held.shares() == [record(1), record(3, seq=4)] or held.shares() == [record(3, seq=4), record(1)]


def test_what_is_damaged_is_not_restored() -> None:
    held = catalogue()
    with pytest.raises(RemoteError):
        held.restore(record().encode()[:-1], WALL)
    assert len(held) == 0


def test_only_our_own_is_left_when_nothing_of_others_can_be_trusted() -> None:
    held = Catalogue(spec(), identity(1).peer_id)
    removed = tombstone(1, name="gone")
    for each in (record(1), removed, record(2), tombstone(3)):
        held.restore(each.encode(), WALL)
    held.forget_others()
    assert sorted(held.digests) == sorted((record(1).digest, removed.digest))
    assert held.expire(WALL + TOMBSTONE_PERIOD) == [removed]
    assert put(held, record(2)) is Outcome.ADDED
