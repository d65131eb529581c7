"""Who is no member, or behaves as none should: turned away, cut off, refused; and nobody else notices."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.errors import RemoteError
from swarmd.daemon.bans import BAN_PERIOD, FORGIVE_PERIOD
from swarmd.daemon.flows import FlowKind, encode_metadata
from swarmd.daemon.strangers import MAX_UNPROVED_PER_HOST, source_of
from swarmd.groups import join
from swarmd.groups.groupspec import GroupSpec
from swarmd.identity.identity import Identity
from swarmd.transport.api import CloseReason
from tests.daemon.hosts import Host, Stranger, make_group, raw_connection

# Strangers --------------------------------------------------------------------------------------------------------


async def test_who_proves_no_group_is_turned_away(hosts: list[Host], clock: ManualClock, group: GroupSpec) -> None:
    near, far, _ = hosts
    near.join(group)
    far.join(make_group())
    await near.dial(far)
    await far.sink.until(lambda: bool(far.peers.connections()))
    clock.advance(join.PROOF_TIMEOUT - 1)
    far.tick()
    assert far.peers.connections()
    clock.advance(1)
    far.tick()
    await far.alone()
    await near.alone()
    assert not near.sink.linked and not far.sink.linked
    ended = near.sink.changes
    assert ended == [True, False]


async def test_a_stranger_without_any_group_is_turned_away(hosts: list[Host], clock: ManualClock) -> None:
    host = hosts[0]
    host.join(make_group())
    stranger = await Stranger.connected(host)
    await host.sink.until(lambda: bool(host.peers.connections()))
    clock.advance(join.PROOF_TIMEOUT)
    host.tick()
    assert (await stranger.closed()).reason is CloseReason.DENIED


async def test_one_host_cannot_hold_many_unproved_connections(hosts: list[Host]) -> None:
    host = hosts[0]
    held = [raw_connection(host.address) for _ in range(MAX_UNPROVED_PER_HOST + 1)]
    try:
        reader, writer = await asyncio.open_connection(sock=held[-1])
        async with asyncio.timeout(20):
            assert await reader.read() == b"", "the last one is closed"
        writer.close()
        await writer.wait_closed()
    finally:
        for sock in held:
            sock.close()
    hosts[1].join(group := make_group())
    host.join(group)
    await hosts[1].peers.dial(host.address, None)


async def test_strangers_cannot_take_the_places_of_members(hosts: list[Host], group: GroupSpec) -> None:
    """Who they are they can prove, as often as they like: identities are free. Until a group is proved they count."""
    near, far, _ = hosts
    near.join(group)
    far.join(group)
    strangers = [await Stranger.connected(near) for _ in range(MAX_UNPROVED_PER_HOST)]
    reader, writer = await asyncio.open_connection(near.address.host, near.address.port)
    async with asyncio.timeout(20):
        assert await reader.read() == b"", "one more is closed unheard"
    writer.close()
    await writer.wait_closed()
    for stranger in strangers[:5]:
        stranger.link.abort()
    await near.sink.until(lambda: len(near.peers.connections()) == len(strangers) - 5)
    await far.dial(near)
    await far.linked(near, group)
    for stranger in strangers:
        stranger.link.abort()


async def test_neighbours_in_one_ipv6_network_count_as_one_host() -> None:
    """One machine has all the addresses of a /64."""
    assert source_of(Address("2001:db8::1", 1)) == source_of(Address("2001:db8::2:3", 9))
    assert source_of(Address("2001:db8:0:1::1", 1)) != source_of(Address("2001:db8::1", 1))
    assert source_of(Address("192.0.2.1", 1)) != source_of(Address("192.0.2.2", 1))


async def test_a_connection_that_is_reset_at_once_harms_nobody(hosts: list[Host], group: GroupSpec) -> None:
    """A port scan: its address cannot even be asked for when it is accepted."""
    near, far, _ = hosts
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    for _ in range(20):
        sock = raw_connection(near.address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    near.join(group)
    far.join(group)
    await far.dial(near)
    await far.linked(near, group)
    assert not problems


GROUP = make_group()
JOIN_FLOW = encode_metadata(FlowKind.JOIN, None)
GROUP_FLOW = encode_metadata(FlowKind.GROUP, GROUP.group_id)


@pytest.mark.parametrize(
    "flows",
    [
        [(b"", b"")],
        [(b"\x09", b"x")],
        [(bytes([FlowKind.GROUP]), b"x")],
        [(bytes([FlowKind.BULK]) + bytes(31), b"x")],
        [(JOIN_FLOW + bytes(32), b"x")],
        [(JOIN_FLOW, b"junk")],
        [(JOIN_FLOW, b"")],
        [(GROUP_FLOW, b"a message for a group that was not proved")],
        [(b"\xff", b"one", b"two", b"three"), (b"\xff", b"four")],
    ],
)
async def test_garbage_ends_the_session_and_nothing_else(hosts: list[Host], flows: list[tuple[bytes, ...]]) -> None:
    near, far, _ = hosts
    near.join(GROUP)
    far.join(GROUP)
    await near.dial(far)
    await far.linked(near, GROUP)
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: problems.append(context))
    stranger = await Stranger.connected(far)
    for metadata, *messages in flows:
        stranger.say(metadata, *messages)
    assert (await stranger.closed()).reason is CloseReason.PROTOCOL
    await far.sink.until(lambda: len(far.peers.connections()) == 1)
    near.send(GROUP, far, FlowKind.GROUP, b"still here")
    await far.sink.until(lambda: far.sink.group_messages == [b"still here"])
    assert not problems


# Bans -------------------------------------------------------------------------------------------------------------


async def test_who_breaks_the_protocol_again_is_refused_for_a_while(hosts: list[Host], clock: ManualClock) -> None:
    host, identity = hosts[0], Identity.generate()
    for _ in range(2):
        stranger = await Stranger.connected(host, identity)
        stranger.say(b"garbage", b"x")
        assert (await stranger.closed()).reason is CloseReason.PROTOCOL
    assert (await (await Stranger.connected(host, identity)).closed()).reason is CloseReason.DENIED
    clock.advance(BAN_PERIOD)
    host.tick()
    stranger = await Stranger.connected(host, identity)
    await host.sink.until(lambda: bool(host.peers.connections()))
    stranger.link.abort()
    await host.alone()


async def test_one_fault_long_ago_is_forgiven(hosts: list[Host], clock: ManualClock) -> None:
    host, identity = hosts[0], Identity.generate()
    for _ in range(3):
        stranger = await Stranger.connected(host, identity)
        stranger.say(b"garbage", b"x")
        assert (await stranger.closed()).reason is CloseReason.PROTOCOL
        clock.advance(FORGIVE_PERIOD)
        host.tick()


async def test_points_end_in_a_ban(pair: tuple[Host, Host]) -> None:
    near, far = pair
    near.peers.penalise(far.peer_id, 4, "a false chunk")
    near.peers.penalise(far.peer_id, 4, "another one")
    assert near.peers.connection(far.peer_id) is not None
    near.peers.penalise(far.peer_id, 4, "a third one")
    await near.alone()
    await far.alone()
    await far.dial(near)  # it is told only when it has proved who it is
    await far.alone()


async def test_a_fault_found_above_ends_the_session(pair: tuple[Host, Host]) -> None:
    near, far = pair
    near.peers.fault(far.peer_id, RemoteError("a message that cannot be meant"))
    await near.alone()
    await far.alone()
