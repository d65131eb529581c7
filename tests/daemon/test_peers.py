"""Connections between real nodes over loopback: who gets in, which groups are joined, and how it ends."""

from __future__ import annotations

import asyncio
import socket

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.errors import InvalidArgument, Unreachable
from swarmd.core.ids import GroupId
from swarmd.daemon.connection import DialFailed
from swarmd.daemon.flows import FlowKind
from swarmd.groups import join
from swarmd.groups.groupspec import GroupSpec
from swarmd.net.tcp import TcpLink
from swarmd.transport.api import CloseReason
from tests.daemon.hosts import Host, make_group

LOOPBACK = "127.0.0.1"


# Joining ----------------------------------------------------------------------------------------------------------


async def test_members_of_a_group_are_linked_in_it(pair: tuple[Host, Host]) -> None:
    near, far = pair
    assert near.sink.changes == far.sink.changes == [True]
    connection = near.peers.connection(far.peer_id)
    assert connection is not None and connection.dialled == far.address


async def test_several_groups_share_one_session(hosts: list[Host]) -> None:
    near, far, _ = hosts
    both, also, only_near, only_far = (make_group() for _ in range(4))
    near.join(both, also, only_near)
    far.join(only_far, both, also)
    await near.dial(far)
    await near.linked(far, both, also)
    await far.linked(near, both, also)
    assert len(near.peers.connections()) == len(far.peers.connections()) == 1


async def test_groups_of_later_are_joined_on_the_session_that_there_is(
    hosts: list[Host], pair: tuple[Host, Host], group: GroupSpec
) -> None:
    near, far = pair
    later = make_group()
    far.join(later)
    near.join(later)
    await near.linked(far, group, later)
    await far.linked(near, group, later)
    assert near.sink.changes == [True]


async def test_three_nodes_and_who_knows_whom(hosts: list[Host]) -> None:
    first, second, third = hosts
    left, right = make_group(), make_group()
    first.join(left)
    second.join(left, right)
    third.join(right)
    await first.dial(second)
    await third.dial(second)
    await second.linked(first, left)
    await second.linked(third, right)
    await first.linked(second, left)
    await third.linked(second, right)


async def test_messages_go_where_they_belong(pair: tuple[Host, Host], group: GroupSpec) -> None:
    near, far = pair
    near.send(group, far, FlowKind.GROUP, b"to the group")
    near.send(group, far, FlowKind.OBJECT, b"about an object")
    near.send(group, far, FlowKind.BULK, bytes(300_000))
    far.send(group, near, FlowKind.GROUP, b"and back")
    await far.sink.until(lambda: bool(far.sink.bulk_messages))
    await near.sink.until(lambda: bool(near.sink.group_messages) and bool(near.sink.bulk_sizes))
    assert far.sink.group_messages == [b"to the group"] and far.sink.object_messages == [b"about an object"]
    assert far.sink.bulk_messages == [bytes(300_000)] and near.sink.bulk_sizes == [300_000]
    assert near.sink.group_messages == [b"and back"]


async def test_nothing_is_sent_to_who_is_no_member(hosts: list[Host], pair: tuple[Host, Host]) -> None:
    near, far = pair
    near.send(make_group(), far, FlowKind.GROUP, b"a group that the other is not in")
    near.send(make_group(), hosts[2], FlowKind.GROUP, b"somebody who is not connected")
    connection = near.peers.connection(far.peer_id)
    assert connection is not None and connection.link.session.queued_bytes == 0


async def test_bytes_are_counted_also_of_sessions_that_are_over(pair: tuple[Host, Host], group: GroupSpec) -> None:
    near, far = pair
    near.send(group, far, FlowKind.BULK, bytes(1_000_000))
    await far.sink.until(lambda: bool(far.sink.bulk_messages))
    before = far.peers.traffic
    assert before[0] > 1_000_000
    await near.peers.stop()
    await far.alone()
    assert far.peers.traffic[0] >= before[0]


# Two sessions of one pair -----------------------------------------------------------------------------------------


async def test_both_call_at_once_and_one_session_stays(hosts: list[Host], group: GroupSpec) -> None:
    near, far, _ = hosts
    near.join(group)
    far.join(group)
    calls = [near.dial(far), far.dial(near), near.dial(far), far.dial(near)]
    await asyncio.gather(*calls, return_exceptions=True)
    for host, other in ((near, far), (far, near)):
        await host.linked(other, group)
    near.send(group, far, FlowKind.GROUP, b"1")
    far.send(group, near, FlowKind.GROUP, b"2")
    await near.sink.until(lambda: near.sink.group_messages == [b"2"])
    await far.sink.until(lambda: far.sink.group_messages == [b"1"])
    hashes = {host.peers.connections()[0].link.session.handshake_hash for host in (near, far)}
    assert len(hashes) == 1


async def test_a_refused_second_call_says_who_is_there(pair: tuple[Host, Host]) -> None:
    near, far = pair
    for _ in range(20):  # one of them ranks lower than the session that there is
        try:
            await near.dial(far)
        except DialFailed as error:
            assert error.reason is CloseReason.DUPLICATE and error.peer == far.peer_id
            break
    else:
        pytest.fail("a new session was kept each time")


async def test_a_node_that_comes_back_takes_the_place_of_its_old_session(
    pair: tuple[Host, Host], clock: ManualClock, group: GroupSpec
) -> None:
    near, far = pair
    clock.advance(60)
    again = Host(clock, near.identity)
    again.join(group)
    await again.dial(far)
    await near.alone()
    await again.linked(far, group)
    await far.linked(again, group)
    again.send(group, far, FlowKind.GROUP, b"back again")
    await far.sink.until(lambda: far.sink.group_messages == [b"back again"])
    await again.peers.stop()


async def test_a_full_node_says_so(clock: ManualClock, hosts: list[Host], group: GroupSpec) -> None:
    full = Host(clock, max_sessions=1)
    for host in (full, *hosts):
        host.join(group)
    await hosts[0].dial(full)
    await full.linked(hosts[0], group)
    await hosts[1].dial(full)
    await hosts[1].alone()
    assert len(full.peers.connections()) == 1
    await full.peers.stop()


# Dials that fail --------------------------------------------------------------------------------------------------


async def test_nobody_listens_there(hosts: list[Host]) -> None:
    with socket.socket() as unused:
        unused.bind((LOOPBACK, 0))
        address = Address(LOOPBACK, unused.getsockname()[1])
        with pytest.raises(Unreachable, match="refused"):
            await hosts[0].peers.dial(address, None)


async def test_somebody_else_is_there(hosts: list[Host]) -> None:
    with pytest.raises(Unreachable, match="another node than the one asked for") as caught:
        await hosts[0].peers.dial(hosts[1].address, hosts[2].peer_id)
    assert isinstance(caught.value, DialFailed)


async def test_we_are_there_ourselves(hosts: list[Host]) -> None:
    with pytest.raises(DialFailed, match="leads to this node itself") as caught:
        await hosts[0].peers.dial(hosts[0].address, None)
    assert caught.value.reason is CloseReason.SELF
    await hosts[0].alone()


async def test_something_else_is_there(hosts: list[Host]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 200)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, LOOPBACK, 0)
    host, port = server.sockets[0].getsockname()
    with pytest.raises(DialFailed, match=r"not swarmd|does not speak"):
        await hosts[0].peers.dial(Address(host, port), None)
    server.close()
    await server.wait_closed()


async def test_a_dial_that_is_given_up_leaves_nothing(hosts: list[Host]) -> None:
    with socket.create_server((LOOPBACK, 0)) as silent:
        address = Address(LOOPBACK, silent.getsockname()[1])
        dial = asyncio.create_task(hosts[0].peers.dial(address, None))
        accepted, _ = await asyncio.to_thread(silent.accept)
        with accepted:
            hello = await asyncio.to_thread(accepted.recv, 1000)
            assert hello.endswith(b"swarmd\x01"), "to anybody"
            dial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dial
            assert accepted.recv(1000) == b""
    assert not hosts[0].peers.connections()


# Leaving ----------------------------------------------------------------------------------------------------------


async def test_who_leaves_a_group_is_gone_from_it_and_the_others_stay(
    pair: tuple[Host, Host], group: GroupSpec, clock: ManualClock
) -> None:
    near, far = pair
    other = make_group()
    near.join(other)
    far.join(other)
    await near.linked(far, group, other)
    await far.linked(near, group, other)
    near.peers.remove_group(group.group_id)
    await far.linked(near, other)
    assert far.sink.left == [(group.group_id, near.peer_id)]
    clock.advance(60)
    far.tick()
    near.tick()
    assert near.peers.connections() and far.peers.connections()


async def test_who_leaves_the_last_group_is_let_go(
    pair: tuple[Host, Host], group: GroupSpec, clock: ManualClock
) -> None:
    near, far = pair
    near.peers.remove_group(group.group_id)
    await far.linked(near)
    clock.advance(join.PROOF_TIMEOUT)
    far.tick()
    await near.alone()
    await far.alone()


async def test_a_group_left_before_the_other_end_had_proved_it_is_no_fault(
    pair: tuple[Host, Host], group: GroupSpec
) -> None:
    near, far = pair
    brief = make_group()
    for _ in range(2):
        near.join(brief)
        near.send(group, far, FlowKind.GROUP, b"and this came behind its tag")
        await far.sink.until(lambda: bool(far.sink.group_messages))
        far.join(brief)
        assert (brief.group_id, near.peer_id) in far.sink.linked
        far.send(brief, near, FlowKind.GROUP, b"too late")
        near.peers.remove_group(brief.group_id)
        far.send(group, near, FlowKind.GROUP, b"of the other group")
        await near.sink.until(lambda: b"of the other group" in near.sink.group_messages)
        await far.linked(near, group)
        far.peers.remove_group(brief.group_id)
        far.sink.group_messages.clear()
        near.sink.group_messages.clear()
    near.join(brief)
    far.join(brief)
    await near.linked(far, group, brief)
    await far.linked(near, group, brief)
    far.send(brief, near, FlowKind.GROUP, b"in time")
    await near.sink.until(lambda: near.sink.group_messages == [b"in time"])
    assert near.sink.changes == far.sink.changes == [True]


async def test_what_was_under_way_when_a_group_was_left_is_no_fault(pair: tuple[Host, Host], group: GroupSpec) -> None:
    near, far = pair
    other = make_group()
    near.join(other)
    far.join(other)
    await near.linked(far, group, other)
    await far.linked(near, group, other)
    for _ in range(20):
        far.send(group, near, FlowKind.BULK, bytes(250_000))
    near.peers.remove_group(group.group_id)
    far.send(other, near, FlowKind.GROUP, b"of the other group")
    await near.sink.until(lambda: near.sink.group_messages == [b"of the other group"])
    await far.linked(near, other)
    assert near.sink.changes == [True]


async def test_a_group_that_is_left_and_joined_again_at_once_works(pair: tuple[Host, Host], group: GroupSpec) -> None:
    """The flows of before are still being closed, behind what was queued on them, when the new ones open."""
    near, far = pair
    near.send(group, far, FlowKind.OBJECT, b"before")
    for _ in range(40):
        near.send(group, far, FlowKind.BULK, bytes(250_000))
        far.send(group, near, FlowKind.BULK, bytes(250_000))
    near.peers.remove_group(group.group_id)
    near.join(group)
    for kind in (FlowKind.OBJECT, FlowKind.BULK, FlowKind.GROUP):
        near.send(group, far, kind, b"after")
    await far.sink.until(lambda: far.sink.bulk_messages[-1:] == [b"after"])
    await far.linked(near, group)
    far.send(group, near, FlowKind.BULK, b"answer")
    await near.sink.until(lambda: near.sink.bulk_messages[-1:] == [b"answer"])
    assert far.sink.left == [(group.group_id, near.peer_id)]
    assert near.sink.changes == far.sink.changes == [True], "one session all the time"
    assert len(far.sink.object_messages) == 2, "nothing of before the leaving was taken for new"


async def test_more_groups_than_a_session_can_prove_are_refused_and_harm_nobody(hosts: list[Host]) -> None:
    near, far, _ = hosts
    last = make_group()
    near.join(last)
    far.join(last)
    for number in range(join.MAX_TAGS - 1):
        near.peers.add_group(GroupId(number.to_bytes(32, "big")), number.to_bytes(32, "big"))
    with pytest.raises(InvalidArgument):
        near.join(make_group())
    await far.dial(near)
    await far.linked(near, last)


# The end ----------------------------------------------------------------------------------------------------------


async def test_peers_hear_that_the_node_stops(pair: tuple[Host, Host], group: GroupSpec) -> None:
    near, far = pair
    connection = far.peers.connection(near.peer_id)
    await near.peers.stop()
    await far.alone()
    assert connection is not None and connection.closed is not None
    assert connection.closed.reason is CloseReason.SHUTDOWN and connection.closed.by_peer
    assert not far.sink.linked


async def test_a_node_that_stops_waits_for_nobody_who_does_not_read(hosts: list[Host], group: GroupSpec) -> None:
    """Also not for sessions that were closed before and whose last record could not leave."""
    near, far, other = hosts
    for host in hosts:
        host.join(group)
    await near.dial(far)
    await near.dial(other)
    await near.linked(far, group)
    await near.linked(other, group)
    for deaf in (far, other):
        link = deaf.peers.connections()[0].link
        assert isinstance(link, TcpLink)
        asyncio.get_running_loop().remove_reader(link._fd)
        for _ in range(60):
            near.send(group, deaf, FlowKind.BULK, bytes(500_000))
    connection = near.peers.connection(far.peer_id)
    assert connection is not None
    connection.link.pump()
    near.peers.penalise(far.peer_id, 10, "closed, and cannot be told")
    await near.peers.stop()
    assert connection.link.is_closed
