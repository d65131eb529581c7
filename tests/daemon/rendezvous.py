"""Members of a group at real DHT nodes in virtual time: a daemon as the parts of the rendezvous see it.

The groups and the DHT are real. A member is memberships with its groups, and a seat at a node of the DHT whose searches
end before they return.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from swarmd.core.addresses import Address
from swarmd.core.ids import GroupId
from swarmd.core.rng import SeededRng
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.rendezvous_work import Around, Part
from swarmd.dht.events import GetDone, PeersDone, PeersFound, PutDone
from swarmd.dht.items import Item
from swarmd.dht.node import Settings
from swarmd.dht.shelf import BlobDone, Shelf
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec
from tests.dht.network import Host, Network
from tests.groups.builders import WALL, identity, spec

T = TypeVar("T")
SPEC = spec()
UNLISTED = GroupSpec.create("", SeededRng(9), capabilities=Capability.REPLICATION).spec
STAR = GroupSpec.create("star", SeededRng(8), capabilities=Capability.NO_PEERS).spec
PRIVATE = Settings(network_key=b"k" * 32)
OPEN = Settings()
"""Its nodes do not put again what others have put there."""


class VirtualClock:
    """The network's time; `ahead`: by how much this machine's calendar is wrong."""

    def __init__(self, network: Network, ahead: float = 0.0) -> None:
        self._network, self.ahead = network, ahead

    def monotonic(self) -> float:
        return self._network.clock.now

    def wall(self) -> float:
        return WALL + self._network.clock.now + self.ahead


class Seat:
    """A `Dht`: one node of the network."""

    def __init__(self, host: Host, clock: VirtualClock) -> None:
        self.host = host
        self._clock = clock
        self._shelf = Shelf(host.node)
        self.is_ready = True
        self.seen_as: Address | None = None
        self.announced: list[bytes] = []
        self.old: Item | None = None
        """What a node that lies gives for every item, if it is asked to."""

    @property
    def clock_ahead(self) -> float | None:
        now = self._clock.monotonic()
        self.host.node.set_clock(self._clock.wall(), now)
        return self.host.node.clock_ahead(now)

    async def announce(self, info_hash: bytes, port: int = 0) -> list[Address]:
        self.announced.append(info_hash)
        number = self.host.does(lambda now: self.host.node.announce(info_hash, now, port=port))
        return self._peers(number)

    async def get_peers(self, info_hash: bytes) -> list[Address]:
        return self._peers(self.host.does(lambda now: self.host.node.get_peers(info_hash, now)))

    async def get_mutable(self, key: bytes, salt: bytes = b"") -> Item | None:
        done = self.host.result(self.host.does(lambda now: self.host.node.get_mutable(key, now, salt=salt)))
        assert isinstance(done, GetDone)
        return self.old or done.item

    async def put(self, item: Item) -> PutDone:
        done = self.host.result(self.host.does(lambda now: self.host.node.put(item, now)))
        assert isinstance(done, PutDone)
        return done

    async def put_value(self, data: bytes) -> BlobDone:
        return self._whole(self._shelf.put(data, self.host.network.clock.now)[0])

    async def get_value(self, key: bytes) -> BlobDone:
        return self._whole(self._shelf.get(key, self.host.network.clock.now))

    def _whole(self, number: int) -> BlobDone:
        """The host's events are the shelf's meanwhile."""
        clock, n_seen = self.host.network.clock, len(self.host.events)
        while True:
            self.host.flush()
            for event in self.host.events[n_seen:]:
                self._shelf.receive_event(event, clock.now)
            n_seen = len(self.host.events)
            if (done := self._shelf.next_event()) is not None:
                assert done.number == number
                return done
            clock.run(clock.now + 0.05, lambda: False)

    def _peers(self, number: int) -> list[Address]:
        done = self.host.result(number)
        assert isinstance(done, PeersDone)
        found = [each for each in self.host.events if isinstance(each, PeersFound) and each.operation == number]
        return [address for each in found for address in each.peers]


@dataclass
class Membership:
    group: Group

    @property
    def spec(self) -> GroupSpec:
        return self.group.spec


class Member:
    """One daemon, as its parts see it: its memberships, and its seat."""

    def __init__(self, world: World, number: int, *specs: GroupSpec, ahead: float = 0.0) -> None:
        self.identity = identity(number)
        self.clock = VirtualClock(world.network, ahead)
        self.seat = Seat(world.hosts[number], self.clock)
        self.addresses: tuple[Address, ...] = (self.seat.host.address,)
        now = self.clock.monotonic()
        self.groups = {
            each.group_id: Membership(Group(each, self.identity, SeededRng(number), now)) for each in specs or (SPEC,)
        }
        memberships = cast(Memberships, self)
        self.around = Around(self.seat, memberships, self.clock, SeededRng(number), SeededRng(100 + number))
        self.n_wakes = 0

    def wake(self) -> None:
        self.n_wakes += 1

    # as memberships

    def __contains__(self, group: GroupId) -> bool:
        return group in self.groups

    def all(self) -> dict[GroupId, Membership]:
        return self.groups

    def get(self, group: GroupId) -> Membership:
        return self.groups[group]

    def spec(self, group: GroupId) -> GroupSpec:
        return self.groups[group].spec

    def own_contacts(self) -> tuple[Contact, ...]:
        return (Contact(self.identity.peer_id, self.addresses),)

    def add_contact(self, group: GroupId, contact: Contact, source: Source) -> None:
        self.groups[group].group.add_contact(contact, source, self.clock.monotonic())

    def withdraw_hint(self, group: GroupId, address: Address, source: Source = Source.MDNS) -> None:
        self.groups[group].group.withdraw_hint(address, source)

    def act(self, group: GroupId, do: Callable[[Group], T]) -> T:
        return do(self.groups[group].group)

    # what tests ask

    @property
    def group(self) -> Group:
        return next(iter(self.groups.values())).group

    def candidates(self) -> set[Address]:
        found = self.group.candidates(self.clock.monotonic())
        return {address for candidate in found for address in candidate.addresses}

    async def run(self, part: Part, period: float = 30.0) -> None:
        """Once a second, as the daemon does."""
        until = self.clock.monotonic() + period
        while self.clock.monotonic() < until:
            while (job := part.next_job(self.clock.monotonic())) is not None:
                await job()
            self.seat.host.network.run(1.0)


class World:
    """A DHT of ten nodes, at the first of which members sit."""

    def __init__(self, settings: Settings = PRIVATE) -> None:
        self.network = Network(1)
        self.hosts = [self.network.add(settings) for _ in range(10)]
        clock = VirtualClock(self.network)
        for host in self.hosts:
            host.node.set_clock(clock.wall(), clock.monotonic())
        for host in self.hosts[1:]:
            self.network.join(host, self.hosts[:1])
        self.network.run(30.0)
