"""Messages carried all the way: what arrives, what is said of it, and what becomes of those that do not."""

from __future__ import annotations

import pytest

from swarmd.core.errors import Conflict, InvalidArgument, NotFound
from swarmd.core.ids import PeerId
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import Arrived, Routed, RouteResult
from swarmd.groups.routing.journey import ROUTE_TIMEOUT
from swarmd.groups.routing.messages import MESSAGE_BYTES, Answer, Envelope, Failed, Locate, Located, decode
from swarmd.groups.routing.receiving import EPOCH_PERIOD, MAX_SERVED, SERVED_PERIOD
from swarmd.groups.routing.sending import MAX_JOURNEYS

from .members import Members

SECRET = b"for number four only"


def just_above(members: Members, number: int) -> GroupAddress:
    return GroupAddress.at(members.address(number).number + 1)


def dropping(*numbers: int, members: Members) -> None:
    """What these are sent is lost."""
    gone = {members.peer(number) for number in numbers}
    members.tap = lambda sender, receiver, data: None if receiver in gone else data


def test_to_a_member_hops_away() -> None:
    members = Members(6).line()
    route_id = members[0].route(members.address(4), SECRET, 0.0, is_exact=True)
    members.pump()
    assert members.arrived(4) == [Arrived(SECRET, members.peer(0), members.address(4), None)]
    assert members.routed(0) == [Routed(route_id, RouteResult.DELIVERED, None, members.peer(4), 4)]
    assert not any(members.events[number] for number in (1, 2, 3, 5))
    assert not members.faults


def test_to_whoever_is_nearest() -> None:
    members = Members(6).line()
    target = just_above(members, 4)
    members[0].route(target, SECRET, 0.0)
    members.pump()
    assert members.arrived(4) == [Arrived(SECRET, members.peer(0), target, None)]
    assert members.routed(0)[0].peer_id == members.peer(4)


def test_members_on_the_way_cannot_read_it() -> None:
    members = Members(6).line()
    members[0].route(members.address(4), SECRET, 0.0, reply_wanted=True)
    members.pump()
    (event,) = members.arrived(4)
    assert event.reply_id is not None
    members[4].reply(event.reply_id, b"from number four")
    members.pump()
    assert members.routed(0)[0].reply == b"from number four"
    carried = b"".join(data for _, _, data in members.carried)
    assert len(members.carried) > 15
    for clear in (SECRET, b"from number four", members.peer(0), members.identities[0].certificate.encode()):
        assert clear not in carried, "nor who sends it"


def test_an_empty_and_the_longest_message() -> None:
    members = Members(3).line()
    for message in (b"", bytes(MESSAGE_BYTES)):
        members[0].route(members.address(2), message, 0.0, reply_wanted=True)
        members.pump()
        event = members.arrived(2)[-1]
        assert event.message == message
        assert event.reply_id is not None
        members[2].reply(event.reply_id, message)
        members.pump()
        assert members.routed(0)[-1].reply == message
    with pytest.raises(InvalidArgument):
        members[0].route(members.address(2), bytes(MESSAGE_BYTES + 1), 0.0)


def test_the_second_message_goes_without_asking() -> None:
    members = Members(4).line()
    members[0].route(members.address(3), b"1", 0.0)
    members.pump()
    members.carried.clear()
    members[0].route(members.address(3), b"2", 0.0)
    members.pump()
    assert not [each for each in members.messages(0, 1) if isinstance(each, Locate)]
    assert [event.message for event in members.arrived(3)] == [b"1", b"2"]


def test_after_two_epochs_the_receiver_names_a_new_key() -> None:
    members = Members(3).line()
    members[0].route(members.address(2), b"1", 0.0)
    members.pump()
    (envelope,) = [each for each in members.messages(0, 1) if isinstance(each, Envelope)]
    members.run(2 * EPOCH_PERIOD + 20)
    members[1].route(members.address(2), b"2", members.now)  # somebody else has it make a new one
    members.pump()
    members.carried.clear()
    members.send(1, envelope.onward(), 2)
    assert [type(each) for each in members.messages(2, 1)] == [Located], "not opened, but answered"
    assert [event.message for event in members.arrived(2)] == [b"1", b"2"]


def test_a_message_under_way_when_the_epoch_ends_is_sealed_anew() -> None:
    members = Members(3).line()
    members[0].route(members.address(2), b"1", 0.0)
    members.pump()
    fresh = Members(3)  # number 2 comes back without its memory
    members.routings[2] = fresh.routings[2]
    members[1].close_link(members.peer(2), 0.0)
    members[1].open_link(members.peer(2), 0.0)
    members[2].open_link(members.peer(1), 0.0)
    members.settled()
    members[0].route(members.address(2), b"2", 0.0)
    members.pump()
    assert [event.message for event in members.arrived(2)] == [b"2"]
    assert members.routed(0)[-1].result is RouteResult.DELIVERED


def test_to_oneself() -> None:
    members = Members(3).mesh()
    route_id = members[0].route(members.address(0), b"x", 0.0)
    members.pump()
    assert members.arrived(0) == [Arrived(b"x", members.peer(0), members.address(0), None)]
    assert members.routed(0) == [Routed(route_id, RouteResult.DELIVERED, None, members.peer(0), 0)]
    route_id = members[0].route(just_above(members, 0), b"y", 0.0, reply_wanted=True)
    members.pump()
    reply_id = members.arrived(0)[1].reply_id
    assert reply_id is not None
    members[0].reply(reply_id, b"z")
    members.pump()
    assert members.routed(0)[1] == Routed(route_id, RouteResult.DELIVERED, b"z", members.peer(0), 0)


def test_to_oneself_without_an_answer() -> None:
    members = Members(1)
    members[0].route(members.address(0), b"x", 0.0, reply_wanted=True)
    members.run(SERVED_PERIOD + 20)
    assert [event.result for event in members.routed(0)] == [RouteResult.NO_REPLY]


def test_alone() -> None:
    members = Members(2)
    members[0].route(members.address(1), b"x", 0.0, is_exact=True)
    members.pump()
    assert [event.result for event in members.routed(0)] == [RouteResult.NO_ROUTE]


@pytest.mark.parametrize("number", [0, 3])
def test_nobody_has_that_address(number: int) -> None:
    members = Members(8).mesh()
    members[0].route(just_above(members, number), b"x", 0.0, is_exact=True)
    members.run(ROUTE_TIMEOUT)
    assert [event.result for event in members.routed(0)] == [RouteResult.NOT_FOUND]
    assert not any(members.arrived(each) for each in range(8))


def test_a_receiver_that_does_not_answer() -> None:
    members = Members(5).mesh()
    dropping(3, members=members)
    members[0].route(members.address(3), b"x", 0.0, is_exact=True, timeout=5.0)
    members.run(4.9)
    assert members.routed(0) == []
    members.run(0.2)
    assert [event.result for event in members.routed(0)] == [RouteResult.TIMED_OUT]
    members.run(120.0)
    assert len(members.routed(0)) == 1


def test_a_program_that_never_replies() -> None:
    members = Members(4).line()
    members[0].route(members.address(3), b"x", 0.0, reply_wanted=True)
    members.run(ROUTE_TIMEOUT - 0.1)
    assert members.routed(0) == []
    assert len(members.arrived(3)) == 1, "asked after, but not delivered again"
    members.run(0.2)
    (event,) = members.routed(0)
    assert (event.result, event.peer_id, event.n_hops) == (RouteResult.NO_REPLY, members.peer(3), 3)
    reply_id = members.arrived(3)[0].reply_id
    assert reply_id is not None
    members.run(SERVED_PERIOD)
    with pytest.raises(NotFound):
        members[3].reply(reply_id, b"too late")


def test_a_reply_is_given_once() -> None:
    members = Members(2).mesh()
    members[0].route(members.address(1), b"x", 0.0, reply_wanted=True)
    members.pump()
    reply_id = members.arrived(1)[0].reply_id
    assert reply_id is not None
    with pytest.raises(InvalidArgument):
        members[1].reply(reply_id, bytes(MESSAGE_BYTES + 1))
    members[1].reply(reply_id, b"yes")
    with pytest.raises(NotFound):
        members[1].reply(reply_id, b"no")
    members.pump()
    assert [event.reply for event in members.routed(0)] == [b"yes"]


def test_a_lost_acknowledgement_is_made_up_for() -> None:
    """The same message comes again over another way, is not delivered again, and is acknowledged again."""
    members = Members(5).mesh()
    n_lost = 0

    def lose_one(sender: PeerId, receiver: PeerId, data: bytes) -> bytes | None:
        nonlocal n_lost
        if isinstance(decode(data), Answer) and n_lost < 1:
            n_lost += 1
            return None
        return data

    members.tap = lose_one
    members[0].route(members.address(3), b"x", 0.0)
    members.run(3.0)
    assert n_lost == 1
    assert [event.result for event in members.routed(0)] == [RouteResult.DELIVERED]
    assert len(members.arrived(3)) == 1


def test_a_lost_reply_is_asked_for() -> None:
    members = Members(5).mesh()
    members[0].route(members.address(3), b"x", 0.0, reply_wanted=True)
    members.pump()
    reply_id = members.arrived(3)[0].reply_id
    assert reply_id is not None
    members.tap = lambda sender, receiver, data: None
    members[3].reply(reply_id, b"yes")
    members.pump()
    members.tap = lambda sender, receiver, data: data
    members.run(3.0)
    assert [event.reply for event in members.routed(0)] == [b"yes"]


def test_a_link_that_breaks_is_noticed_at_once() -> None:
    """The member before the break says so, and the asker takes another way without waiting."""
    members = Members(5)
    for one, other in ((0, 1), (1, 4), (0, 2), (2, 3), (3, 4)):
        members.link(one, other)
    members.settled()
    members.tap = lambda sender, receiver, data: None if receiver == members.peer(4) and data[0] == 35 else data
    members[0].route(members.address(4), b"x", 0.0, is_exact=True)
    members.pump()
    members.tap = lambda sender, receiver, data: data
    members.cut(1, 4)
    members.cut(3, 4)
    members.link(3, 4)
    members.pump()
    assert [event.result for event in members.routed(0)] == [RouteResult.DELIVERED]
    assert members.now == 0.0


def test_members_that_drop_are_gone_round() -> None:
    """Two of three ways swallow everything."""
    members = Members(8)
    for middle in (2, 3, 4):
        members.link(0, middle)
        members.link(middle, 6)
    members.settled()
    dropping(2, 4, members=members)
    members[0].route(members.address(6), b"x", 0.0, is_exact=True)
    members.run(10.0)
    assert [event.result for event in members.routed(0)] == [RouteResult.DELIVERED]


def test_too_many_at_once() -> None:
    members = Members(3).mesh()
    dropping(1, 2, members=members)
    for _ in range(MAX_JOURNEYS):
        members[0].route(members.address(1), b"x", 0.0)
    with pytest.raises(Conflict):
        members[0].route(members.address(1), b"x", 0.0)
    members.run(ROUTE_TIMEOUT)
    assert len(members.routed(0)) == MAX_JOURNEYS
    members[0].route(members.address(1), b"x", members.now)


def test_what_a_receiver_keeps_is_bounded() -> None:
    """Here of several senders, for one has fewer messages under way."""
    members = Members(4).mesh()
    for _ in range(MAX_SERVED // 3 + 1):
        for number in (1, 2, 3):
            members[number].route(members.address(0), b"x", members.now, reply_wanted=True)
        members.run(0.2)
    first, last = members.arrived(0)[0].reply_id, members.arrived(0)[-1].reply_id
    assert len(members.arrived(0)) > MAX_SERVED
    assert first is not None
    assert last is not None
    with pytest.raises(NotFound):
        members[0].reply(first, b"yes")
    members[0].reply(last, b"yes")


def test_counters() -> None:
    members = Members(4).line()
    members[0].route(members.address(3), b"x", 0.0)
    members.pump()
    info = members[1].info
    assert info.n_relayed >= 2
    assert info.sent_bytes == sum(len(data) for one, _, data in members.carried if one == members.peer(1))
    assert info.received_bytes == sum(len(data) for _, other, data in members.carried if other == members.peer(1))


def test_it_is_quiet_when_nothing_is_under_way() -> None:
    members = Members(4).line()
    members[0].route(members.address(3), b"x", 0.0, reply_wanted=True)
    members.run(2 * EPOCH_PERIOD + 100)
    assert [each.next_deadline() for each in members.routings] == [None] * 4
    assert not [each for each in members.messages(1, 0) if isinstance(each, Failed)]


def test_nobody_answers_at_all() -> None:
    """Silence is no proof that there is no way: it is tried until the time is up, or enough."""
    members = Members(8).mesh()
    members.cut(0, 4)
    members.tap = lambda sender, receiver, data: None
    for address in (members.address(4), just_above(members, 4)):
        members[0].route(address, b"x", members.now, is_exact=address == members.address(4))
    members.run(ROUTE_TIMEOUT)
    assert [event.result for event in members.routed(0)] == [RouteResult.TIMED_OUT] * 2
    assert len(members.carried) < 500
    members.carried.clear()
    members.run(ROUTE_TIMEOUT)
    assert members.carried == []


def test_the_nearest_has_gone_without_a_word() -> None:
    """All others still think that number 4 is there; whoever is nearest but for it takes the message meanwhile."""
    members = Members(8).mesh()
    target = just_above(members, 4)
    for number in (3, 5, 6, 7):
        members.cut(number, 4)
    members.settled()
    dropping(4, members=members)
    members[0].route(target, b"x", members.now)
    members.run(10.0)
    (event,) = members.routed(0)
    assert event.result is RouteResult.DELIVERED
    assert event.peer_id in (members.peer(3), members.peer(5))
