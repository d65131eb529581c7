"""NetGroup's calls: one hop each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmd.groups.ring import RING, Coverage, GroupAddress
from swarmd.groups.routing.directed import SETTLE_PERIOD, SETTLE_TIMEOUT, plan_nearest
from swarmd.groups.routing.events import CoverageChanged, Delivered, Direction, ReceiveMode, SendResult
from swarmd.groups.routing.links import VOLUME_BURST
from swarmd.groups.routing.messages import MESSAGE_BYTES

from .members import Members

EXACT, NEAREST = ReceiveMode.EXACT, ReceiveMode.NEAREST


def take_part(members: Members, *numbers: int) -> None:
    """These receive what they are nearest to."""
    for number in numbers:
        members[number].set_receive_mode(NEAREST, members.now)
    members.run(SETTLE_PERIOD)
    members.settled()


def delivered(members: Members, number: int) -> list[Delivered]:
    members.pump()
    return [event for event in members.events[number] if isinstance(event, Delivered)]


def just_above(members: Members, number: int) -> GroupAddress:
    return GroupAddress.at(members.address(number).number + 1)


def test_next_up_and_down() -> None:
    members = Members(4).mesh()
    assert members[1].send_to_neighbor(b"up", Direction.INCREASING) is SendResult.SENT
    assert members[1].send_to_neighbor(b"down", Direction.DECREASING) is SendResult.SENT
    assert members[3].send_to_neighbor(b"round", Direction.INCREASING) is SendResult.SENT
    assert delivered(members, 2) == [Delivered(b"up", members.address(1), members.peer(1), False, None)]
    assert [event.message for event in delivered(members, 0)] == [b"down", b"round"]


def test_to_all() -> None:
    members = Members(4).mesh()
    assert members[1].send_to_all_neighbors(b"all") is SendResult.SENT
    assert [len(delivered(members, number)) for number in range(4)] == [1, 0, 1, 1]


def test_without_neighbours() -> None:
    alone = Members(1)[0]
    assert alone.send_to_neighbor(b"x", Direction.INCREASING) is SendResult.NO_ROUTE
    assert alone.send_to_all_neighbors(b"x") is SendResult.NO_ROUTE
    assert alone.send_to_nearest(b"x", GroupAddress.at(1)) is SendResult.NO_ROUTE
    assert alone.send_to_nearest(b"x", alone.address) is SendResult.SENT


def test_too_long() -> None:
    members = Members(2).mesh()
    long = bytes(MESSAGE_BYTES + 1)
    assert members[0].send_to_neighbor(long, Direction.INCREASING) is SendResult.ERROR
    assert members[0].send_to_all_neighbors(long) is SendResult.ERROR
    assert members[0].send_to_nearest(long, members.address(1)) is SendResult.ERROR
    assert members[0].send_to_nearest(long[1:], members.address(1)) is SendResult.SENT
    assert len(delivered(members, 1)) == 1


def test_exact_mode_takes_its_own_address_only() -> None:
    members = Members(5).mesh()
    assert members[0].send_to_nearest(b"x", members.address(3)) is SendResult.SENT
    assert delivered(members, 3) == [Delivered(b"x", members.address(0), members.peer(0), False, members.address(3))]
    assert members[3].send_to_nearest(b"x", members.address(3)) is SendResult.SENT
    assert delivered(members, 3)[1].from_local
    assert members[3].send_to_nearest(b"y", just_above(members, 3)) is SendResult.NO_ROUTE, "nobody is nearer"


def test_a_program_routes_on() -> None:
    """As the applications did it: sent on until it is `from_local`."""
    members = Members(6).line()
    take_part(members, *range(6))
    target = just_above(members, 4)
    assert members[0].send_to_nearest(b"x", target) is SendResult.SENT
    for number in (1, 2, 3, 4):
        event = delivered(members, number)[-1]
        assert (event.message, event.destination, event.from_local) == (b"x", target, False)
        assert members[number].send_to_nearest(event.message, target) is SendResult.SENT
    assert delivered(members, 4)[-1].from_local
    assert delivered(members, 5) == []


def test_nearest_counts_those_who_take_part() -> None:
    members = Members(6).mesh()
    take_part(members, 1, 5)
    assert members[1].send_to_nearest(b"x", just_above(members, 2)) is SendResult.SENT
    assert delivered(members, 1)[0].from_local, "number 2 is nearer, but takes its own only"
    members[1].set_receive_mode(EXACT, members.now)
    assert members[1].receive_mode is EXACT
    members.pump()
    assert members[5].send_to_nearest(b"y", just_above(members, 2)) is SendResult.SENT
    assert delivered(members, 5)[0].from_local


def test_a_newcomer_waits_until_its_coverage_stands_still() -> None:
    members = Members(4)
    members[0].set_receive_mode(NEAREST, 0.0)
    members.run(SETTLE_PERIOD / 2)
    members.link(0, 1)
    members.run(SETTLE_PERIOD - 0.1)
    assert members[0].send_to_nearest(b"x", just_above(members, 0)) is SendResult.NO_ROUTE
    members.run(0.1)
    assert members[0].send_to_nearest(b"x", just_above(members, 0)) is SendResult.SENT


def test_it_does_not_wait_for_ever() -> None:
    members = Members(2)
    members[0].set_receive_mode(NEAREST, 0.0)
    while members.now < SETTLE_TIMEOUT:
        members.link(0, 1)
        members.run(1.0)
        members.cut(0, 1)
    assert members[0].send_to_nearest(b"x", GroupAddress.at(1)) is SendResult.SENT


def test_local_coverage() -> None:
    members = Members(3)
    members.link(0, 1)
    members.pump()
    assert members.events[0].pop() == CoverageChanged(members[0].coverage)
    members.link(0, 2)
    members.pump()
    assert members.events[0].pop() == CoverageChanged(members[0].coverage)
    low, high = members[0].coverage.start, members[0].coverage.end
    assert (members.address(0).number - low.number) % RING == (
        (members.address(0).number - members.address(2).number) % RING // 2
    )
    assert members.address(0) in Coverage(low, high)
    members.cut(0, 2)
    members.cut(0, 1)
    members.pump()
    assert list(members.events[0])[-1] == CoverageChanged(members[0].coverage), "of those at once, the last one"
    assert members.address(1) in members[0].coverage


def test_a_flood_is_dropped() -> None:
    members = Members(2).mesh()
    for _ in range(2 * int(VOLUME_BURST) // MESSAGE_BYTES):
        members[0].send_to_all_neighbors(bytes(MESSAGE_BYTES))
    n_taken = len(delivered(members, 1))
    assert 0 < n_taken * MESSAGE_BYTES <= VOLUME_BURST
    assert members[1].info.n_refused > 0
    assert not members.faults


MEMBERS = st.dictionaries(
    st.integers(0, 40).map(GroupAddress.at), st.sampled_from([EXACT, NEAREST]), min_size=1, max_size=9
)


@given(MEMBERS, st.integers(0, 40).map(GroupAddress.at), st.data())
def test_hops_come_to_an_end(modes: dict[GroupAddress, ReceiveMode], target: GroupAddress, data: st.DataObject) -> None:
    """Whoever is linked with whom, and in whatever mode: no message goes in a circle."""
    linked = {each: data.draw(st.sets(st.sampled_from(sorted(modes)))) - {each} for each in sorted(modes)}
    at, visited = data.draw(st.sampled_from(sorted(modes))), set()
    while at not in visited:
        visited.add(at)
        takers = [each for each in linked[at] if modes[each] is NEAREST]
        following = plan_nearest(at, modes[at], target, takers, [each for each in linked[at] if modes[each] is EXACT])
        if following is None or following == at:
            return
        at = following
    raise AssertionError("a circle")
