"""zeroconf as swarmd uses it: one service to announce, its type to browse, names to resolve.

Our name on the network is random and new at each start (RFC 6763 wants names for people; here nobody reads
them, and a host name or a peer ID would tell everybody on the LAN who is who). Its 128 bits need no probing
for conflicts, which saves the first second.

Invariant: after `close` no socket and no task of zeroconf is left, and a goodbye was sent. Errors of the
network are `OSError`; a network that takes no multicast at all is one, too.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from zeroconf import (
    BadTypeInNameException,
    IPVersion,
    NotRunningException,
    ServiceStateChange,
    Zeroconf,
)
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from swarmd.core.addresses import Address
from swarmd.discovery.announcement import Announcement, encode
from swarmd.discovery.interfaces import Place

SERVICE_TYPE = "_swarmd._udp.local."
NAME_LIMIT = 63
"""Bytes of an instance name (RFC 6763 §4.1.1); ours have 32."""
RECORD_TTL = 1200
"""Seconds until others forget a node that went without a goodbye: two rotations of its tags."""
RESOLVE_TIMEOUT = 3.0
"""Address, port and text normally come with the name; asking again for what was lost takes a second."""

Heard = Callable[[str, bool], None]
"""An instance's name, and whether it is there (or gone)."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the records of one instance say."""

    hosts: tuple[str, ...]
    port: int
    strings: Mapping[bytes, bytes | None]


class Responder:
    """One multicast DNS responder. `heard` is called on the event loop for every change of an instance."""

    def __init__(self, instance: str, heard: Heard) -> None:
        self._instance, self._heard = instance, heard
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._published: AsyncServiceInfo | None = None
        self._opened = 0

    @property
    def is_open(self) -> bool:
        return self._zeroconf is not None

    async def open(self, places: Sequence[Place]) -> None:
        """Take part at these places; OSError when none of them takes multicast (then `close`)."""
        assert self._zeroconf is None, "close first"
        self._opened += 1
        # zeroconf wants addresses for IPv4 and indices for IPv6
        join: list[str | int] = [place.index if place.is_ipv6 else place.host for place in places]
        try:
            self._zeroconf = AsyncZeroconf(interfaces=join, ip_version=_version(places))
            await self._zeroconf.zeroconf.async_wait_for_start()
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, SERVICE_TYPE, [self._on_change])
        except (RuntimeError, NotRunningException) as error:  # an interface that went away meanwhile
            raise OSError(errno.ENODEV, str(error) or "the responder did not start") from error
        if not self._zeroconf.zeroconf.engine.senders:
            raise OSError(errno.ENODEV, "no interface takes multicast")

    async def publish(self, addresses: tuple[Address, ...], announcement: Announcement) -> None:
        """Announce, in place of what was announced before. Takes half a second: it is said three times."""
        assert self._zeroconf is not None, "open first"
        info = AsyncServiceInfo(
            SERVICE_TYPE,
            f"{self._instance}.{SERVICE_TYPE}",
            port=addresses[0].port,
            properties=dict(encode(announcement)),
            # Another host name after each change of interfaces: caches hold on to addresses of an old one.
            server=f"{self._instance}-{self._opened}.local.",
            parsed_addresses=[address.host for address in addresses],
            other_ttl=RECORD_TTL,
        )
        if self._published is None:
            sent = await self._zeroconf.async_register_service(info, cooperating_responders=True)
        else:
            sent = await self._zeroconf.async_update_service(info)
        self._published = info
        await sent

    async def resolve(self, instance: str) -> Resolved | None:
        """What `instance` says, or None when it does not answer."""
        if self._zeroconf is None:
            return None
        try:
            info = AsyncServiceInfo(SERVICE_TYPE, f"{instance}.{SERVICE_TYPE}")
            is_found = await info.async_request(self._zeroconf.zeroconf, RESOLVE_TIMEOUT * 1000)
        except (BadTypeInNameException, NotRunningException):
            return None
        if not is_found or info.port is None:
            return None
        return Resolved(tuple(info.parsed_scoped_addresses()), info.port, dict(info.properties))

    async def close(self) -> None:
        """Say goodbye and let go of the network."""
        browser, zeroconf = self._browser, self._zeroconf
        self._browser = self._zeroconf = self._published = None
        if browser is not None:
            await browser.async_cancel()
        if zeroconf is not None:
            await zeroconf.async_close()

    def _on_change(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        instance = name.removesuffix(f".{SERVICE_TYPE}")
        if instance != name and 0 < len(instance.encode(errors="replace")) <= NAME_LIMIT:
            self._heard(instance, state_change is not ServiceStateChange.Removed)


def _version(places: Sequence[Place]) -> IPVersion:
    versions = {place.is_ipv6 for place in places}
    if versions == {True}:
        return IPVersion.V6Only
    return IPVersion.All if True in versions else IPVersion.V4Only
