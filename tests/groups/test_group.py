"""Two or three groups joined by calls."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NotAllowed, NotFound, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.groups import mesh as module
from swarmd.groups.authorisation import Authority, Right
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Candidate, Source
from swarmd.groups.events import (
    AddressObserved,
    LinkReleased,
    MemberJoined,
    OwnRecordReturned,
    RecordDropped,
    RecordStored,
    ShareAdded,
    ShareRemoved,
)
from swarmd.groups.group import EXPIRY_PERIOD, MAX_CORRECTIONS, Group
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.hearsay import MAX_INTRODUCED
from swarmd.groups.mesh import ASK_PERIOD, MAX_ANSWERS, PUSH_DELAY
from swarmd.groups.messages import MESSAGE_BYTES_LIMIT, Ask, Density, Hello, MemberEntry, Members, Offer, Status, decode
from swarmd.groups.records import Record

from .builders import (
    DAY,
    WALL,
    authority,
    content_id,
    correct,
    identity,
    peer_id,
    publish,
    record,
    restricted_spec,
    share,
    spec,
    tombstone,
    unpublish,
)

NOTHING = Status(0, sha256(b"").digest()[:16])
"""The sum of an empty catalogue."""


def at(number: int) -> Address:
    return Address(f"192.0.2.{number}", 7927)


def seen_at(number: int) -> Address:
    """Where a connection from that node comes from."""
    return Address(f"192.0.2.{number}", 40_000 + number)


def group(number: int, group_spec: GroupSpec | None = None) -> Group:
    made = Group(group_spec or spec(), identity(number), SeededRng(number), 0.0)
    made.set_addresses(7927, [at(number)], 0.0)
    return made


def link(one: Group, one_number: int, other: Group, other_number: int, now: float = 0.0) -> None:
    assert one.open_link(identity(other_number).peer_id, at(other_number), now)
    assert other.open_link(identity(one_number).peer_id, seen_at(one_number), now)


def pump(groups: dict[int, Group], now: float = 0.0) -> int:
    """Deliver until all is quiet; how many bytes it took."""
    numbers = {identity(number).peer_id: number for number in groups}
    size = 0
    while True:
        batches = {number: each.messages_to_send() for number, each in groups.items()}
        if not any(batches.values()):
            return size
        for number, batch in batches.items():
            for peer, data in batch:
                size += len(data)
                groups[numbers[peer]].receive_message(identity(number).peer_id, data, now, WALL + now)


def pair(group_spec: GroupSpec | None = None) -> tuple[Group, Group]:
    one, other = group(1, group_spec), group(2, group_spec)
    link(one, 1, other, 2)
    pump({1: one, 2: other})
    return one, other


def events(made: Group) -> list[object]:
    found = []
    while (event := made.next_event()) is not None:
        found.append(event)
    return found


def test_two_members_meet() -> None:
    one, other = pair()
    assert events(one) == [AddressObserved(identity(2).peer_id, seen_at(1)), MemberJoined(identity(2).peer_id)]
    assert one.members(0.0)[0].addresses == (at(2),)
    assert other.members(0.0)[0].addresses == (at(1),)
    assert one.neighbours == {identity(2).peer_id}
    assert one.n_members == 1
    assert one.group_id == spec().group_id


def test_hello_density_and_status_are_said_first() -> None:
    one = group(1)
    one.open_link(identity(2).peer_id, at(2), 0.0)
    said = [decode(data) for _, data in one.messages_to_send()]
    assert said == [Hello(7927, (at(1),), at(2)), Density(0, 0), NOTHING]


def test_a_third_one_is_told_of_at_once() -> None:
    groups = {number: group(number) for number in (1, 2, 3)}
    link(groups[1], 1, groups[2], 2)
    pump(groups)
    link(groups[2], 2, groups[3], 3, now=1.0)
    pump(groups, 1.0)
    assert {info.peer_id for info in groups[3].members(1.0)} == {identity(1).peer_id, identity(2).peer_id}
    assert groups[3].candidates(1.0)[0].peer_id == identity(1).peer_id
    assert groups[2].next_deadline() <= 1.0 + PUSH_DELAY
    groups[2].handle_timer(1.0 + PUSH_DELAY, WALL)
    pump(groups, 1.0 + PUSH_DELAY)
    assert groups[1].candidates(1.1) == [Candidate(identity(3).peer_id, (at(3),))]


def test_new_addresses_are_told_to_neighbours() -> None:
    one, other = pair()
    one.set_addresses(7927, [at(1)], 1.0)
    assert one.messages_to_send() == []
    one.set_addresses(8000, [Address("0.0.0.0", 8000), at(77)], 1.0)
    pump({1: one, 2: other})
    assert set(other.members(1.0)[0].addresses) == {Address("192.0.2.1", 8000), at(77)}


def test_sharing_and_finding() -> None:
    one, other = pair()
    made = publish(one, share("a.iso", 1), 1.0, WALL)
    publish(one, share("b.iso", 2), 1.0, WALL + 1)
    publish(other, share("a.iso", 3), 1.0, WALL + 2)
    pump({1: one, 2: other})
    assert one.shares() == other.shares()
    assert [each.share.content_id for each in one.find_shares(name="a.iso")] == [content_id(3), content_id(1)]
    assert other.find_shares(content_id=content_id(1)) == [made]
    assert other.find_shares(name="b.iso", content_id=content_id(1)) == []
    with pytest.raises(InvalidArgument):
        one.find_shares()
    removed = unpublish(one, "a.iso", 2.0, WALL + 3)
    pump({1: one, 2: other})
    assert len(other.shares()) == 2
    assert [event for event in events(other) if isinstance(event, RecordStored)][-1] == RecordStored(removed)
    with pytest.raises(NotFound):
        unpublish(other, "b.iso", 2.0, WALL)


def returned(made: Group) -> list[OwnRecordReturned]:
    return [event for event in events(made) if isinstance(event, OwnRecordReturned)]


def after_a_loss(*lost: Record, kept: tuple[Record, ...] = ()) -> tuple[Group, Group, OwnRecordReturned]:
    """A node that remembers `kept`, a member that remembers all that it once said, and what comes back."""
    one, other = group(1), group(2)
    one.restore([each.encode() for each in kept], WALL)
    other.restore([each.encode() for each in lost], WALL)
    link(one, 1, other, 2)
    pump({1: one, 2: other})
    (event,) = returned(one)
    return one, other, event


def test_what_was_forgotten_is_not_shared_any_more() -> None:
    """A share that comes back may have been removed long ago: whether its data is still here is no reason to share."""
    lost = record(1, seq=2**45)
    one, other, event = after_a_loss(lost)
    correction = correct(one, event, 0.0, WALL)
    assert correction is not None
    assert (correction.is_tombstone, correction.seq) == (True, lost.seq + 1)
    pump({1: one, 2: other})
    assert (one.shares(), other.shares()) == ([], [])
    assert events(one)[-1] == ShareRemoved(lost)


def test_what_is_still_shared_displaces_what_came_back() -> None:
    """After a restore of the state from a backup, or when the clock was put back."""
    lost = record(1, number=2, seq=2**45)
    one, other, event = after_a_loss(lost, kept=(record(1, number=1, seq=1),))
    correction = correct(one, event, 0.0, WALL)
    assert correction is not None
    assert (correction.share, correction.seq) == (share(number=1), lost.seq + 1)
    pump({1: one, 2: other})
    assert one.shares() == other.shares() == [correction]


def test_what_is_shared_displaces_a_tombstone_that_came_back() -> None:
    kept = record(1, seq=1)
    one, other, event = after_a_loss(tombstone(1, seq=2**45), kept=(kept,))
    assert other.shares() == []
    correct(one, event, 0.0, WALL)
    pump({1: one, 2: other})
    assert [each.share for each in other.shares()] == [kept.share]


def test_what_was_unshared_stays_so() -> None:
    one, other, event = after_a_loss(record(1, seq=2**45), kept=(tombstone(1, seq=2),))
    correct(one, event, 0.0, WALL)
    pump({1: one, 2: other})
    assert other.shares() == []


def test_a_tombstone_that_comes_back_is_true_already() -> None:
    one, _, event = after_a_loss(tombstone(1, seq=2**45))
    assert correct(one, event, 0.0, WALL) is None


def test_what_has_been_replaced_meanwhile_needs_no_correction() -> None:
    one, _, event = after_a_loss(record(1, seq=2**45))
    newer = publish(one, share(number=3), 0.0, WALL)
    assert correct(one, event, 0.0, WALL) is None
    assert one.shares() == [newer]


def test_two_nodes_with_one_identity_do_not_correct_each_other_for_ever() -> None:
    """Somebody copied the state folder: both tell a third one."""
    twins = [group(1), group(1)]
    for number, twin in enumerate(twins):
        publish(twin, share(number=number), 0.0, WALL)
    n_corrections = 0
    while events_of := [(twin, event) for twin in twins for event in _exchanged(twin, twins)]:
        for twin, event in events_of:
            n_corrections += correct(twin, event, 0.0, WALL) is not None
    assert 0 < n_corrections <= 2 * MAX_CORRECTIONS


def _exchanged(twin: Group, twins: list[Group]) -> list[OwnRecordReturned]:
    """What comes back to a twin of what the other one has, by way of a member that they are not linked with at once."""
    (other,) = (each for each in twins if each is not twin)
    between = group(2)
    between.restore([each.encode() for each in other.shares()], WALL)
    twin.close_link(identity(2).peer_id, 0.0)
    link(twin, 1, between, 2)
    pump({1: twin, 2: between})
    return returned(twin)


def test_what_was_stored_is_restored_and_damage_is_counted() -> None:
    made = group(1)
    stored = [record(1).encode(), tombstone(2).encode(), b"damaged"]
    assert made.restore(stored, WALL) == 1
    assert made.shares() == [record(1)]
    assert events(made) == []


def test_records_expire_by_the_timer() -> None:
    made = group(1)
    made.restore([tombstone(2).encode()], WALL)
    made.handle_timer(EXPIRY_PERIOD, WALL + 33 * DAY)
    assert events(made) == [RecordDropped(tombstone(2))]


def test_restricted_groups_need_an_authorisation() -> None:
    one, other = pair(restricted_spec())
    assert not one.may_publish(WALL)
    with pytest.raises(NotAllowed, match="only authorised members"):
        publish(one, share(), 1.0, WALL)
    given = authority().authorise(one.group_id, identity(1).peer_id, Right.PUBLISH, int((WALL + DAY) * 1000))
    one.set_authorisation(given, WALL)
    assert one.may_publish(WALL)
    made = publish(one, share(), 1.0, WALL)
    pump({1: one, 2: other})
    assert other.shares() == [made]
    other.handle_timer(EXPIRY_PERIOD, WALL + DAY)
    assert events(other)[-1] == ShareRemoved(made)
    assert not one.may_publish(WALL + DAY)


def test_authorisations_that_do_not_hold() -> None:
    made = group(1, restricted_spec())
    own = identity(1).peer_id
    with pytest.raises(NotAllowed, match="authority"):
        made.set_authorisation(Authority(bytes(32)).authorise(made.group_id, own, Right.PUBLISH), WALL)
    with pytest.raises(NotAllowed, match="is for the node"):
        made.set_authorisation(authority().authorise(made.group_id, identity(2).peer_id, Right.PUBLISH), WALL)
    with pytest.raises(NotAllowed, match="expired"):
        made.set_authorisation(authority().authorise(made.group_id, own, Right.PUBLISH, 5), WALL)


def test_a_closed_link_is_forgotten_and_dialed_again() -> None:
    one, other = pair()
    events(one)
    publish(one, share(), 50.0, WALL)
    one.close_link(identity(2).peer_id, 50.0)
    one.close_link(identity(2).peer_id, 50.0)
    assert one.messages_to_send() == []
    assert one.neighbours == frozenset()
    assert one.n_members == 1
    assert one.candidates(51.0) == [Candidate(identity(2).peer_id, (at(2),))]
    one.dial_succeeded(at(2), identity(2).peer_id, 51.1)
    other.close_link(identity(1).peer_id, 50.0)
    link(one, 1, other, 2, 51.1)
    pump({1: one, 2: other}, 51.1)
    assert len(other.shares()) == 1


def test_messages_without_a_link_are_ignored() -> None:
    made = group(1)
    made.receive_message(peer_id(9), b"whatever", 0.0, WALL)
    assert made.messages_to_send() == []


def test_hints_and_contacts_lead_to_candidates() -> None:
    made = group(1)
    made.add_contact(Contact(None, (at(5), at(1))), Source.MDNS, 0.0)
    made.add_contact(Contact(peer_id(7), (at(7),)), Source.TICKET, 0.0)
    assert set(made.candidates(0.0)) == {Candidate(None, (at(5),)), Candidate(peer_id(7), (at(7),))}
    assert [contact for contact, _ in made.remembered(0.0)] == [Contact(peer_id(7), (at(7),))]
    made.dial_failed(at(5), 1.0)
    made.forget_address(at(5))
    assert made.candidates(1000.0) == [Candidate(peer_id(7), (at(7),))]


def test_links_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINKS", 2)
    made = group(1)
    assert [made.open_link(peer_id(number), None, 0.0) for number in (5, 6, 7, 8, 9, 5)] == [True] * 4 + [False, True]
    assert made.neighbours == {peer_id(number) for number in (5, 6, 7, 8)}
    released = [event.peer_id for event in events(made) if isinstance(event, LinkReleased)]
    assert released == [peer_id(5), peer_id(6)]


def test_gossip_goes_to_one_neighbour_every_ten_seconds() -> None:
    made, asked = group(1), []
    for number in range(5, 8):
        made.open_link(peer_id(number), at(number), 0.0)
        made.receive_message(peer_id(number), FIRST, 0.0, WALL)
    made.handle_timer(PUSH_DELAY, WALL)
    made.messages_to_send()
    now = 0.0
    while now < 300.0:
        now = max(now, made.next_deadline())
        made.handle_timer(now, WALL)
        made.candidates(now)
        sent = made.messages_to_send()
        assert len({peer for peer, _ in sent}) <= 1
        asked += [peer for peer, data in sent if decode(data) == Ask()]
    assert 27 <= len(asked) <= 33
    assert set(asked) == made.neighbours


def test_a_question_is_answered_with_members_and_status() -> None:
    one, _ = pair()
    one.open_link(peer_id(5), at(5), 0.0)
    one.messages_to_send()
    one.receive_message(identity(2).peer_id, Ask().encode(), 1.0, WALL)
    answer = [decode(data) for _, data in one.messages_to_send()]
    assert answer == [Members((MemberEntry(peer_id(5), 0, ()),)), NOTHING]
    one.receive_message(identity(2).peer_id, Ask().encode(), 1.0 + ASK_PERIOD - 0.1, WALL)
    assert one.messages_to_send() == []
    one.receive_message(identity(2).peer_id, Ask().encode(), 1.0 + ASK_PERIOD, WALL)
    assert len(one.messages_to_send()) == 2


def test_no_more_questions_are_answered_than_a_node_can_afford() -> None:
    made = group(1)
    for number in range(5, 50):
        made.open_link(peer_id(number), at(number), 0.0)
        made.receive_message(peer_id(number), FIRST, 0.0, WALL)
    made.messages_to_send()
    for number in range(5, 50):
        made.receive_message(peer_id(number), Ask().encode(), 1.0, WALL)
    answered = {peer for peer, data in made.messages_to_send() if decode(data) == NOTHING}
    assert len(answered) == MAX_ANSWERS


# faults

MALLORY = peer_id(66)


def visited() -> tuple[Group, Group]:
    """A pair, one of which has a hostile neighbour too."""
    one, other = pair()
    one.open_link(MALLORY, at(66), 0.0)
    one.messages_to_send()
    return one, other


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "ends early"),
        (b"garbage", "unknown type"),
        (bytes(MESSAGE_BYTES_LIMIT + 1), "bytes; 65536 are allowed"),
        (b"\x02\xc0\x84\x3d", "over the limit"),
        (Status(0, bytes(16)).encode(), "begin with its Hello"),
        (Offer(()).encode(), "begin with its Hello"),
    ],
)
def test_a_hostile_neighbour_disturbs_nothing(data: bytes, told: str) -> None:
    one, other = visited()
    with pytest.raises(RemoteError, match=told):
        one.receive_message(MALLORY, data, 1.0, WALL)
    one.close_link(MALLORY, 1.0)
    made = publish(other, share(), 2.0, WALL)
    pump({1: one, 2: other}, 2.0)
    assert one.shares() == [made]
    assert ShareAdded(made, None) in events(one)


def test_a_flood_of_hellos_and_invented_members_is_not_passed_on() -> None:
    one, _ = visited()
    one.receive_message(MALLORY, Hello(1, (), None).encode(), 1.0, WALL)
    for number in range(200):
        invented = tuple(MemberEntry(peer_id(number * 50 + n), 0, (at(n),)) for n in range(1, 25))
        one.receive_message(MALLORY, Hello(number, (), None).encode(), 1.0, WALL)
        one.receive_message(MALLORY, Members(invented).encode(), 1.0, WALL)
    one.handle_timer(1.0 + PUSH_DELAY, WALL)
    size = sum(len(data) for peer, data in one.messages_to_send() if peer != MALLORY)
    assert size < 200
    assert one.n_members <= 2 + MAX_INTRODUCED
    assert len(one.candidates(2.0)) <= 16


def test_gossip_with_a_million_members_is_refused() -> None:
    """Its length is read before anything is made of it; and a neighbour that sends it in pieces gains its share."""
    one, _ = visited()
    one.receive_message(MALLORY, FIRST, 1.0, WALL)
    entry = MemberEntry(peer_id(1), 0, ()).peer_id + b"\x00\x00"
    with pytest.raises(RemoteError, match="over the limit"):
        one.receive_message(MALLORY, b"\x02\xc0\x84\x3d" + entry * 1500, 1.0, WALL)
    for number in range(1000):
        pieces = tuple(MemberEntry(peer_id(10_000 + number * 24 + n), 0, ()) for n in range(24))
        one.receive_message(MALLORY, Members(pieces).encode(), 2.0, WALL)
    assert one.n_members <= 2 + MAX_INTRODUCED
    assert identity(2).peer_id in one.neighbours


def test_a_neighbour_that_lies_about_the_density_changes_no_count() -> None:
    one, _ = visited()
    one.receive_message(MALLORY, FIRST, 1.0, WALL)
    one.receive_message(MALLORY, Density(2**64 - 1, 1).encode(), 1.0, WALL)
    one.handle_timer(3.0, WALL)
    assert one.estimated_member_count == 3


FIRST = Hello(7927, (), None).encode()


@given(st.lists(st.binary(max_size=80) | st.tuples(st.integers(2, 12), st.binary(max_size=80)), max_size=8))
def test_any_bytes_are_taken_or_a_remote_error(messages: list[bytes | tuple[int, bytes]]) -> None:
    made = group(1)
    made.open_link(MALLORY, at(66), 0.0)
    made.receive_message(MALLORY, FIRST, 0.0, WALL)
    for message in messages:
        data = message if isinstance(message, bytes) else bytes([message[0]]) + message[1]
        try:
            made.receive_message(MALLORY, data, 1.0, WALL)
        except RemoteError:
            return
        made.messages_to_send()
        made.handle_timer(2.0, WALL)


def test_what_is_signed_holds_for_nobody_until_it_is_adopted() -> None:
    """The driver writes it down in between."""
    one, other = group(1), group(2)
    link(one, 1, other, 2)
    pump({1: one, 2: other})
    signed = one.sign_share(share(), WALL)
    pump({1: one, 2: other})
    assert one.shares() == other.shares() == []
    assert one.adopt(signed, 0.0, WALL)
    pump({1: one, 2: other})
    assert other.shares() == [signed]
    removal = one.sign_tombstone("disk.iso", WALL)
    pump({1: one, 2: other})
    assert other.shares() == [signed]
    assert one.adopt(removal, 0.0, WALL)
    assert one.shares() == []


def test_what_was_signed_before_a_newer_one_came_is_not_adopted() -> None:
    one = group(1)
    early = one.sign_share(share(number=1), WALL)
    newer = publish(one, share(number=2), 0.0, WALL + 1)
    events(one)
    assert not one.adopt(early, 0.0, WALL)
    assert one.shares() == [newer] == [one.held(early)]
    assert events(one) == []
