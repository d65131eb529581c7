"""Hostile nodes of a DHT: false contacts, false values, and (eclipse) IDs beside whatever is looked for.

Each hostile host has one node that enters tables like any other. With `is_eclipsing` it has a second one, at another
port, whose ID is made anew for each target: of the eight places that BEP 42 gives its address the one nearest to it,
and as near as the other 139 bits allow. That is the most that a number of addresses can do, around all keys at once.
Answers name the nearest of those, and addresses where nobody is, chosen among many thousands so that an ID near the
target fits them.

They take whatever is put and keep nothing, and tell everybody a false address of his own.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.rng import Rng
from swarmd.dht import krpc
from swarmd.dht.contact import Contact, bound_to
from swarmd.dht.items import Item
from swarmd.dht.krpc import Method, Query, Reply
from tests.dht.network import Host

MASK_PORT = 6882
N_DEAD = 5_000
N_NAMED_LIARS = 5
N_NAMED_DEAD = 3
N_NEAR = 24
"""Neighbours in the order of the numbers among which the nearest by XOR are looked for."""
FALSE_ADDRESS = Address("151.1.1.1", 6881)


class Places:
    """The IDs that a number of addresses may have, and the nearest of them to a target."""

    def __init__(self) -> None:
        self._places: list[tuple[int, Address, int]] = []
        self._is_sorted = True

    def add(self, address: Address) -> None:
        for last in range(8):
            prefix = int.from_bytes(bound_to(address.host, last, bytes(20))[:3], "big") >> 3
            self._places.append((prefix, address, last))
        self._is_sorted = False

    def nearest(self, target: bytes, count: int) -> list[Contact]:
        """One place of each address at most."""
        if not self._is_sorted:
            self._places.sort()
            self._is_sorted = True
        wanted = int.from_bytes(target[:3], "big") >> 3
        at = bisect_left(self._places, (wanted,))
        near = sorted(self._places[max(0, at - N_NEAR) : at + N_NEAR], key=lambda place: place[0] ^ wanted)
        found = {address: last for _, address, last in reversed(near)}
        contacts = [Contact(_id_near(target, address, last), address) for address, last in found.items()]
        number = int.from_bytes(target, "big")
        return sorted(contacts, key=lambda contact: contact.number ^ number)[:count]

    @staticmethod
    def of_address(address: Address, target: bytes) -> bytes:
        number = int.from_bytes(target, "big")
        ids = (_id_near(target, address, last) for last in range(8))
        return min(ids, key=lambda node_id: int.from_bytes(node_id, "big") ^ number)


def _id_near(target: bytes, address: Address, last: int) -> bytes:
    return bound_to(address.host, target[-1] & 0xF8 | last, target)


class Coven:
    """What the hostile ones know of each other."""

    def __init__(self, rng: Rng, network_key: bytes | None, *, is_eclipsing: bool) -> None:
        self.network_key = network_key
        self.is_eclipsing = is_eclipsing
        self.liars: list[Liar] = []
        self.items: dict[bytes, Item] = {}
        """Mutable ones, of which they make false ones."""
        self.masks = Places()
        self.dead = Places()
        for _ in range(N_DEAD):
            self.dead.add(Address(f"150.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(255)}", 6881))

    def named(self, target: bytes) -> tuple[Contact, ...]:
        if self.is_eclipsing:
            liars = self.masks.nearest(target, N_NAMED_LIARS)
        else:
            number = int.from_bytes(target, "big")
            nearest = sorted(self.liars, key=lambda liar: int.from_bytes(liar.node_id, "big") ^ number)
            liars = [Contact(liar.node_id, liar.host.address) for liar in nearest[:N_NAMED_LIARS]]
        return (*liars, *self.dead.nearest(target, N_NAMED_DEAD))


class Liar:
    """In the place of a `Node`: it answers at once and tells nothing but lies."""

    def __init__(self, host: Host, coven: Coven) -> None:
        self.host = host
        self.node_id = host.node.node_id
        self._coven = coven
        host.receive = self.receive  # type: ignore[method-assign]
        coven.liars.append(self)
        if coven.is_eclipsing:
            Mask(host, coven)

    def receive(self, data: bytes, source: Address) -> None:
        key = self._coven.network_key
        try:
            query = krpc.decode(data, key)
        except RemoteError:
            return
        if isinstance(query, Query):
            self.host.network.send(krpc.encode(self._lie(query, source), key), self.host.address, source)

    def id_for(self, target: bytes, source: Address) -> bytes:
        return self.node_id

    def _lie(self, query: Query, source: Address) -> Reply:
        target = query.target if query.item is None else query.item.target
        node_id = self.id_for(target, source)
        reply = Reply(node_id, transaction=query.transaction, token=b"whatever", seen_as=FALSE_ADDRESS)
        if not query.target:
            return reply
        reply = replace(reply, contacts=self._coven.named(target))
        if query.method is not Method.GET:
            return reply
        mutable = self._coven.items.get(target)
        false = Item(b"5:false") if mutable is None else replace(mutable, encoded=b"5:false", seq=99)
        return replace(reply, item=false)


class Mask(Liar):
    """The second node of a host, which is where it is asked for."""

    def __init__(self, base: Host, coven: Coven) -> None:
        self.host = Host(base.network, base.node, Address(base.address.host, MASK_PORT))
        self.node_id = b""
        self._coven = coven
        self._last: dict[Address, bytes] = {}
        self.host.receive = self.receive  # type: ignore[method-assign]
        base.network.hosts[self.host.address] = self.host
        coven.masks.add(self.host.address)

    def id_for(self, target: bytes, source: Address) -> bytes:
        """Who pings it is told the ID that he has been told before."""
        target = target or self._last.get(source, bytes(20))
        self._last[source] = target
        return Places.of_address(self.host.address, target)
