"""Groups over real connections: members that a neighbour tells of are called at once, not at some later look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import SystemRng
from swarmd.daemon.chronicle import FORGET_PERIOD, PRUNE_PERIOD
from swarmd.daemon.connection import Connection
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.peers import Peers
from swarmd.daemon.workers import Workers
from swarmd.groups.contacts import encode_addresses
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.records import CertificateCache, Record, Share, ShareKind, decode_record
from swarmd.identity.identity import Identity
from swarmd.net.tcpcarrier import TcpCarrier
from swarmd.store.store import Store
from swarmd.store.tables.groups import MemberRow
from tests.daemon.hosts import PATIENCE


class Member:
    """A node as far as groups go; sink of its connections and of its memberships."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.identity, self.clock = Identity.generate(), clock
        self.store = Store.open(folder, clock, SystemRng())
        self.ledger = Workers(asyncio.get_running_loop(), "ledger", 1)
        self.linked: set[PeerId] = set()
        self.is_due = asyncio.Event()
        self.changed = asyncio.Event()
        self.removed: list[Record] = []
        self._open()

    def _open(self) -> None:
        self.peers = Peers(self.identity.peer_id, SystemRng(), self.clock, self)
        self.peers.add_carrier(TcpCarrier(self.identity, SystemRng(), self.clock, self.peers))
        self.peers.listen([self.peers.open_listener(Address("127.0.0.1", 0))])
        rng = SystemRng()
        self.memberships = Memberships(self.identity, self.peers, self.store, self.ledger, self.clock, rng, self)
        self.memberships.set_addresses((self.address,), self.address.port)

    @property
    def address(self) -> Address:
        return self.peers.listening[0]

    async def restart(self) -> None:
        """Nothing is left but the store; what it holds has not been loaded yet."""
        await self.memberships.stop()
        await self.peers.stop()
        self.linked.clear()
        self._open()

    async def close(self) -> None:
        await self.memberships.stop()
        await self.peers.stop()
        self.ledger.close()
        self.store.close()

    def rest(self) -> float:
        """As the node's clockwork does: all is done that is due, and it will look again after so many seconds."""
        self.memberships.handle_timer(self.clock.monotonic())
        self.is_due.clear()
        return self.memberships.next_deadline() - self.clock.monotonic()

    async def until_linked(self, *others: Member) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.linked != {other.identity.peer_id for other in others}:
                self.changed.clear()
                await self.changed.wait()

    async def until_due(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.is_due.wait()

    # MembershipSink

    def group_changed(self, group: GroupId, joined: bool) -> None: ...

    def share_changed(self, record: Record, added: bool) -> None:
        if not added:
            self.removed.append(record)
        self.changed.set()

    def member_changed(self, group: GroupId, peer: PeerId, address: Address | None, joined: bool) -> None:
        (self.linked.add if joined else self.linked.discard)(peer)
        self.changed.set()

    def service_event(self, group: GroupId, event: object) -> None: ...

    def work_due(self) -> None:
        self.is_due.set()

    # PeerSink

    def member_linked(self, group: GroupId, peer: PeerId, connection: Connection) -> None:
        self.memberships.link_opened(group, peer, connection)

    def member_unlinked(self, group: GroupId, peer: PeerId, has_left: bool) -> None:
        self.memberships.link_closed(group, peer, has_left)

    def group_message(self, group: GroupId, peer: PeerId, data: bytes) -> None:
        self.memberships.receive_message(group, peer, data)

    def object_message(self, group: GroupId, peer: PeerId, data: bytes) -> None: ...
    def bulk_message(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview]) -> None: ...
    def bulk_sent(self, group: GroupId, peer: PeerId, size: int) -> None: ...
    def peer_changed(self, connection: Connection, connected: bool) -> None: ...


@pytest.fixture
async def members(tmp_path: Path) -> AsyncIterator[list[Member]]:
    clock = ManualClock(1000.0, 1.7e9)
    made = [Member(tmp_path / name, clock) for name in "abc"]
    yield made
    for member in made:
        await member.close()


async def all_in_one_group(members: list[Member]) -> GroupSpec:
    spec = members[0].memberships.spec(await members[0].memberships.create("films"))
    for member in members[1:]:
        await member.memberships.join(spec, [], None)
    return spec


async def test_whom_a_neighbour_tells_of_is_called_without_delay(members: list[Member]) -> None:
    """Both ends of the news wake up by themselves: who has it to tell, and who has somebody to call."""
    first, second, third = members
    await all_in_one_group(members)
    for member in members:
        assert member.rest() > 1
    for other in (second, third):
        await other.peers.dial(first.address, first.identity.peer_id)
    await first.until_linked(second, third)
    await first.until_due()
    assert first.rest() < 0.2, "it has something to tell, and knows when"
    first.clock.advance(0.2)
    for member in (second, third):
        member.memberships.candidates(member.clock.monotonic())
        member.rest()
    first.rest()
    await third.until_due()
    called = third.memberships.candidates(third.clock.monotonic())
    assert [candidate.peer_id for candidate in called] == [second.identity.peer_id]
    assert called[0].address == second.address


async def test_a_share_that_was_forgotten_is_unshared_when_it_comes_back(members: list[Member]) -> None:
    """The state folder came from a backup that is older than the share: nobody is to wait for what is not here."""
    first, second, _ = members
    spec = await all_in_one_group(members)
    share = Share("song", ContentId(bytes(32)), 7, ShareKind.FILE)
    lost = await first.memberships.publish(spec.group_id, share)
    second.memberships.get(spec.group_id).group.restore([lost.encode()], second.clock.wall())
    await first.memberships.leave(spec.group_id)
    await first.memberships.join(spec, [], None)
    assert first.memberships.n_own_shares == 0
    await first.peers.dial(second.address, second.identity.peer_id)
    async with asyncio.timeout(PATIENCE):
        while not second.removed:
            second.changed.clear()
            await second.changed.wait()
    assert second.removed == [lost]
    assert first.memberships.n_own_shares == 0
    (row,) = await first.ledger.run(lambda: first.store.records.rows(spec.group_id))
    told = decode_record(row.record, CertificateCache())
    assert (told.is_tombstone, told.seq > lost.seq) == (True, True)


async def test_members_unheard_for_long_are_forgotten_at_the_start_and_once_a_day(members: list[Member]) -> None:
    first, second, third = members
    spec = await all_in_one_group(members)
    wall = first.clock.wall()
    table = first.store.members

    def put(member: Member, last_seen: float) -> None:
        addresses = encode_addresses((member.address,))
        table.put(spec.group_id, [MemberRow(member.identity.peer_id, addresses, last_seen)], last_seen)

    async def known() -> set[PeerId]:
        return {row.peer_id for row in await first.ledger.run(lambda: table.rows(spec.group_id))}

    put(second, wall)
    put(third, wall - FORGET_PERIOD - 1)
    await first.memberships.load()
    assert await known() == {second.identity.peer_id}
    put(third, wall - FORGET_PERIOD - 1)
    first.clock.advance(PRUNE_PERIOD)
    first.rest()
    assert await known() == {second.identity.peer_id}


async def test_nothing_new_wakes_nobody(members: list[Member]) -> None:
    first, second, _ = members
    await all_in_one_group(members)
    await second.peers.dial(first.address, first.identity.peer_id)
    await first.until_linked(second)
    await second.until_linked(first)
    for member in (first, second):
        member.clock.advance(1.0)
        member.memberships.candidates(member.clock.monotonic())
        assert member.rest() > 0
    second.memberships.set_addresses((second.address,), second.address.port)
    await asyncio.sleep(0)
    assert not second.is_due.is_set()
