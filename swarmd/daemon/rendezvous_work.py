"""What the parts of the rendezvous share: the DHT as they need it, what a job is, and which addresses are worth a call.

A part is asked for its next job, about once a second while there is room for one. It books the next time before the
job begins, so a job that fails is simply made again later.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.rng import Rng
from swarmd.daemon.memberships import Memberships
from swarmd.dht.events import PutDone
from swarmd.dht.items import Item
from swarmd.dht.shelf import BlobDone

Job = Callable[[], Coroutine[Any, Any, None]]


class Dht(Protocol):
    """The node's place in the DHT. Everything may fail with a LocalError."""

    @property
    def is_ready(self) -> bool:
        """Whether it is on and knows somebody."""
        ...

    @property
    def seen_as(self) -> Address | None:
        """Where others see this node's UDP port."""
        ...

    @property
    def clock_ahead(self) -> float | None:
        """Seconds by which this machine's clock is ahead of the other nodes'; None where nobody says."""
        ...

    async def announce(self, info_hash: bytes, port: int = 0) -> list[Address]:
        """Be found there, at `port` or the one that others see; who else is."""
        ...

    async def get_peers(self, info_hash: bytes) -> list[Address]: ...
    async def get_mutable(self, key: bytes, salt: bytes = b"") -> Item | None: ...
    async def put(self, item: Item) -> PutDone: ...
    async def put_value(self, data: bytes) -> BlobDone: ...
    async def get_value(self, key: bytes) -> BlobDone: ...


class Part(Protocol):
    kind: str
    """Of what it finds."""
    n_found: int
    """How much that was, in this run."""

    def next_job(self, now: float) -> Job | None:
        """What is to be done now, if anything; it is booked then."""
        ...


def member_addresses(memberships: Memberships) -> list[Address]:
    """Where members are with whom we are linked, one address of each. They run the DHT, too: so a group that was joined
    by a ticket has one though nobody has configured any address."""
    groups = [membership.group for membership in memberships.all().values()]
    linked = dict.fromkeys((group, peer) for group in groups for peer in group.neighbours)
    return [address for group, peer in linked for address in group.addresses(peer)[:1]]


@dataclass(frozen=True, slots=True)
class Around:
    """What every part has to do with. `chance` need not be secret, `secrets` is the system's."""

    dht: Dht
    memberships: Memberships
    clock: Clock
    chance: Rng
    secrets: Rng

    @property
    def wall(self) -> float:
        return self.clock.wall()

    def own_addresses(self) -> tuple[Address, ...]:
        """Where this node is to be reached, as far as it knows: on its interfaces, and where the DHT sees it."""
        listed = [address for contact in self.memberships.own_contacts() for address in contact.addresses]
        seen = self.dht.seen_as
        return tuple(dict.fromkeys([*listed, *([seen] if seen is not None and seen.is_dialable else [])]))

    def usable(self, addresses: Iterable[Address]) -> list[Address]:
        """Those that may be somebody else's. Another machine's loopback is not ours, unless we are on loopback, too, or
        the DHT is."""
        own = self.own_addresses()
        is_near = not own or any(each.is_loopback for each in own)
        return [each for each in addresses if each not in own and (is_near or not each.is_loopback)]
