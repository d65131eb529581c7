"""The TCP carrier: connects, listens, and makes a `TcpLink` with a `TcpSession` of each connection.

All sessions share one pool of buffers. Who calls from outside is refused before a session is made when the owner has no
room. What an accept may fail with is of one connection or of the moment: it ends no listener.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.identity import Identity
from swarmd.net.link import Owner
from swarmd.net.tcp import TcpLink
from swarmd.transport.paths import Kind
from swarmd.transport.tcp.buffers import BufferPool
from swarmd.transport.tcp.session import TcpSession

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 8.0
SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# Of one connection or of the moment, not of the listener: accept(2) says to treat them like EAGAIN. EPERM: a firewall.
NETWORK_ERRORS = frozenset(
    {
        errno.EPERM,
        errno.EPROTO,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENONET,
        errno.ECONNRESET,
        errno.ETIMEDOUT,
    }
)
_BACKLOG = 256
_PAUSE_PERIOD = 1.0


class TcpCarrier:
    """All TCP sessions of one node; a `net.link.Carrier`. To be made on the event loop."""

    kind = Kind.TCP

    def __init__(
        self,
        identity: Identity,
        rng: Rng,
        clock: Clock,
        owner: Owner,
        moved: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`moved` is told of every count of bytes that goes through a socket."""
        self._identity, self._rng, self._clock, self._owner, self._moved = identity, rng, clock, owner, moved
        self._loop = asyncio.get_running_loop()
        self._pool = BufferPool()
        self._links: WeakSet[TcpLink] = WeakSet()  # also those that are closed and have a last record to send

    def open_listener(self, address: Address) -> TcpListener:
        return TcpListener(address, self, self._loop)

    async def connect(self, address: Address, wanted: PeerId | None) -> TcpLink:
        sock = await connect(address)
        session = TcpSession(
            self._identity, self._rng, self._clock.monotonic(), is_initiator=True, wanted=wanted, pool=self._pool
        )
        try:
            return self._link(sock, session)
        except LocalError as error:
            raise Unreachable(f"{address}: {error}") from None

    def shrink(self) -> bool:
        return self._pool.shrink()

    def stop(self) -> None:
        for link in list(self._links):
            link.abort()

    def connection_accepted(self, accepted: Accepted) -> None:
        if not self._owner.has_room_for(accepted.remote):
            accepted.socket.close()
            return
        session = TcpSession(self._identity, self._rng, self._clock.monotonic(), is_initiator=False, pool=self._pool)
        try:
            link = self._link(accepted.socket, session)
        except LocalError as error:
            log.debug("connection from %s: %s", accepted.remote, error)
        else:
            self._owner.link_accepted(link)

    def _link(self, sock: socket.socket, session: TcpSession) -> TcpLink:
        link = TcpLink(sock, session, self._owner, self._clock, self._loop, self._moved)
        self._links.add(link)
        return link


@dataclass(frozen=True, slots=True)
class Accepted:
    """A connection somebody made to us, not yet keyed."""

    socket: socket.socket
    remote: Address


class Acceptor(Protocol):
    def connection_accepted(self, accepted: Accepted) -> None: ...


class TcpListener:
    """Accepts connections on one address."""

    def __init__(self, address: Address, acceptor: Acceptor, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self._socket = _listening_socket(address)
        except OSError as error:
            raise LocalError(f"cannot listen on {address}: {os.strerror(error.errno or 0)}") from error
        self.address = Address.of_socket(self._socket.getsockname())
        self._acceptor, self._loop = acceptor, loop
        loop.add_reader(self._socket.fileno(), self._on_readable)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    def _on_readable(self) -> None:
        try:
            sock, remote = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in SHORTAGES | NETWORK_ERRORS:
                raise
            log.warning("no connection is accepted on %s for a moment: %s", self.address, os.strerror(error.errno))
            self._pause()
            return
        sock.setblocking(False)
        self._acceptor.connection_accepted(Accepted(sock, Address.of_socket(remote)))

    def _pause(self) -> None:
        """Accepting again at once would spin: what could not be accepted may wait in the kernel still."""
        self._loop.remove_reader(self._socket.fileno())
        self._loop.call_later(_PAUSE_PERIOD, self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._on_readable)


async def connect(address: Address) -> socket.socket:
    """A connected non-blocking socket; Unreachable says why there is none."""
    try:
        sock = _new_socket(address)
    except OSError as error:
        raise Unreachable(f"{address}: {os.strerror(error.errno or 0)}") from None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await asyncio.get_running_loop().sock_connect(sock, (address.host, address.port))
        return sock
    except TimeoutError:
        sock.close()
        raise Unreachable(f"{address} does not answer (tried for {CONNECT_TIMEOUT:.0f} s)") from None
    except OSError as error:
        sock.close()
        raise Unreachable(f"{address}: {os.strerror(error.errno or 0)}") from None
    except BaseException:
        sock.close()
        raise


def _listening_socket(address: Address) -> socket.socket:
    sock = _new_socket(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _new_socket(address: Address) -> socket.socket:
    """OSError when no descriptor is left, or this machine has no IPv6."""
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
