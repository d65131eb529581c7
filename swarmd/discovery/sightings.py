"""What others announce: the half of discovery that listens.

In: `service_seen`, `service_gone`, `groups_changed`, `network_changed`. Out: `next_event`: `Sighted` and `Lost`.
States of an instance (a random name, one for each start of a node): unknown, known.

Anybody on the local network can say anything here. A sighting is a hint where to dial; the session proves
the rest. So the table is bounded (who spoke longest ago goes first), as are the addresses of one instance,
and who repeats himself is no news. Nodes that were heard before we joined their group are told of again.

Invariant: at most MAX_INSTANCES instances and MAX_EVENTS events are kept; what cannot be dialled is not
passed on: no link-local IPv6 addresses either, whose zone `core.addresses` does not hold.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from swarmd.core.addresses import PORT_LIMIT, Address
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.discovery.announcement import decode

MAX_INSTANCES = 1024
"""A large office of swarmd nodes; about 2 KiB each."""
MAX_ADDRESSES = 8
"""As many as a group remembers of a member."""
MAX_EVENTS = 2 * MAX_INSTANCES
"""All that can be news at one time; who drains the queue slower than that loses the oldest."""


@dataclass(frozen=True, slots=True)
class Sighted:
    """A node was heard. `tags` are for those who can make them from `nonce`; some of them are noise."""

    instance: str
    addresses: tuple[Address, ...]
    nonce: bytes
    tags: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Lost:
    """A node said goodbye, or was not heard for the time it had asked to be remembered."""

    instance: str


class Sightings:
    """What one node has heard. `own_instance` is its own name, which it hears too."""

    def __init__(self, own_instance: str) -> None:
        self._own_instance = own_instance
        self._known: OrderedDict[str, Sighted] = OrderedDict()
        self._events: deque[Sighted | Lost] = deque(maxlen=MAX_EVENTS)

    def service_seen(
        self, instance: str, hosts: Iterable[str], port: int, strings: Mapping[bytes, bytes | None]
    ) -> None:
        """A resolved service; RemoteError when it is not what a swarmd says."""
        if instance == self._own_instance:
            return
        announcement = decode(strings)
        sighted = Sighted(instance, _dialable(hosts, port), announcement.nonce, announcement.tags)
        if self._known.get(instance) != sighted:
            self._events.append(sighted)
        self._known[instance] = sighted
        self._known.move_to_end(instance)
        if len(self._known) > MAX_INSTANCES:
            self._known.popitem(last=False)

    def service_gone(self, instance: str) -> None:
        if self._known.pop(instance, None):
            self._events.append(Lost(instance))

    def network_changed(self) -> None:
        """We listen elsewhere now, and a goodbye said at the old place was not heard. Who is here is news."""
        self._events.extend(map(Lost, self._known))
        self._known.clear()

    def groups_changed(self) -> None:
        """Tags that meant nothing to us may now: tell of everybody again."""
        self._events.extend(self._known.values())

    def next_event(self) -> Sighted | Lost | None:
        return self._events.popleft() if self._events else None

    def __len__(self) -> int:
        return len(self._known)


def is_link_local(host: str) -> bool:
    """An IPv6 address that needs a zone. (IPv4's 169.254/16 needs none where there is one such network.)"""
    ip = ipaddress.ip_address(host)
    return ip.version == 6 and ip.is_link_local


def _dialable(hosts: Iterable[str], port: int) -> tuple[Address, ...]:
    """In the order given, without what makes no sense to dial; RemoteError when nothing is left."""
    if not 0 < port <= PORT_LIMIT:
        raise RemoteError(f"an announcement names port {port}")
    found: dict[Address, None] = {}
    for host in hosts:
        try:
            address = Address(host, port)
        except InvalidArgument:  # with a zone, or not numeric
            continue
        if address.is_dialable and not is_link_local(address.host):
            found[address] = None
        if len(found) == MAX_ADDRESSES:
            break
    if not found:
        raise RemoteError("an announcement has no address that can be dialled")
    return tuple(found)
