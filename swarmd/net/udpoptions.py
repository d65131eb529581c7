"""What Linux is asked of a UDP socket, and how to read what it puts beside datagrams (udp(7), ip(7), ipv6(7)).

Whatever a kernel does not know is left out, and the socket works without. No state; the conversions of addresses are
remembered, as making an `Address` costs more than receiving a datagram.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError

RECEIVE_BUFFER_BYTES = 8 << 20  # 50 ms of 150 MB/s: a loop that is held up that long loses nothing
# What may wait below us, where no priority can overtake it: 4 ms of 1 Gbit/s. Twice of it is a dozen full batches.
_SEND_BUFFER_BYTES = 512 * 1024
_ADDRESSES = 4096  # remembered in either form, about 1.5 MB; a flood of false sources evicts, and costs 3 us each
_QUEUED_ERRORS = 256  # that are read at once
_QUOTED_BYTES = 16  # of a datagram that an error is about: enough to tell whose it was

# Not in every build of Python. linux/udp.h; asm-generic/socket.h; linux/in.h and in6.h; linux/errqueue.h; sock_diag.h
SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE, _SO_MEMINFO = 32, 33, 55
_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_IP_MTU_DISCOVER, _IP_RECVERR, _IPV6_MTU_DISCOVER, _IPV6_RECVERR = 10, 11, 23, 25
_PMTUDISC_PROBE = 3
_MSG_ERRQUEUE = 0x2000
_ORIGIN_LOCAL = 1  # SO_EE_ORIGIN_LOCAL
_MEMINFO_DROPS = 8  # SK_MEMINFO_DROPS
_RECEIVED_ERROR = frozenset({(socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)})

_INT, _U16, _MEMINFO = struct.Struct("=i"), struct.Struct("=H"), struct.Struct("=9I")
_IPV4_INFO = struct.Struct("=i4s4s")  # in_pktinfo: interface, our address, the address in the header
_IPV6_INFO = struct.Struct("=16si")  # in6_pktinfo: our address, interface
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # sock_extended_err: errno, origin, type, code, padding, info, data
_SOCKADDR_BYTES = 28  # of IPv6: behind the error, who sent the ICMP message
_GRO_SPACE, _INFO_SPACE = socket.CMSG_SPACE(_INT.size), socket.CMSG_SPACE(_IPV6_INFO.size)
_ERROR_SPACE = socket.CMSG_SPACE(_EXTENDED_ERROR.size + _SOCKADDR_BYTES) + _INFO_SPACE

SocketName = tuple[str, int] | tuple[str, int, int, int]
Control = tuple[int, int, bytes]
"""Level, type and value of a control message, as `sendmsg` wants it."""


# Making a socket ----------------------------------------------------------------------------------------------------


def bound(address: Address) -> socket.socket:
    """LocalError, with its OSError as the cause, where that cannot be."""
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if address.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
    except OSError as error:
        sock.close()
        raise LocalError(f"cannot listen on {address}: {os.strerror(error.errno or 0)}") from error
    if address.is_ipv6:
        _try_option(sock, socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        _try_option(sock, socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
    else:
        _try_option(sock, socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        _try_option(sock, socket.IPPROTO_IP, _IP_RECVERR, 1)
    _size(sock, socket.SO_RCVBUF, _SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    _size(sock, socket.SO_SNDBUF, _SO_SNDBUFFORCE, _SEND_BUFFER_BYTES)
    return sock


def can_segment(sock: socket.socket) -> bool:
    """An old kernel would ignore what it does not know, and send one enormous datagram: so it is asked before."""
    try:
        sock.getsockopt(SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    return True


def gather(sock: socket.socket, wanted: bool = True) -> bool:
    """Whether the kernel puts neighbours together from now on."""
    return _try_option(sock, SOL_UDP, _UDP_GRO, int(wanted)) and wanted


def tell_local(sock: socket.socket) -> bool:
    """Whether each batch comes with the address that it was sent to."""
    if sock.family == socket.AF_INET6:
        return _try_option(sock, socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
    return _try_option(sock, socket.IPPROTO_IP, _IP_PKTINFO, 1)


def control_space(gathers: bool, tells_local: bool) -> int:
    return gathers * _GRO_SPACE + tells_local * _INFO_SPACE


def _size(sock: socket.socket, option: int, forced: int, wanted: int) -> None:
    """Beyond the limit of the system where we may (CAP_NET_ADMIN), else up to it."""
    if not _try_option(sock, socket.SOL_SOCKET, forced, wanted):
        _try_option(sock, socket.SOL_SOCKET, option, wanted)


def _try_option(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


# Reading and writing what is beside the datagrams -------------------------------------------------------------------


@lru_cache(_ADDRESSES)
def address_of(name: SocketName) -> Address:
    return Address.of_socket(name)


@lru_cache(_ADDRESSES)
def local_of(info: bytes, port: int) -> Address | None:
    """From IP(V6)_PKTINFO; None for what cannot be a source: multicast, and link-local for want of its zone."""
    packed = _IPV4_INFO.unpack(info)[1] if len(info) == _IPV4_INFO.size else _IPV6_INFO.unpack(info)[0]
    ip = ipaddress.ip_address(packed)
    return None if ip.is_multicast or (ip.version == 6 and ip.is_link_local) else Address(str(ip), port)


@lru_cache(_ADDRESSES)
def source_control(local: Address) -> Control:
    packed = ipaddress.ip_address(local.host).packed
    if local.is_ipv6:
        return socket.IPPROTO_IPV6, _IPV6_PKTINFO, _IPV6_INFO.pack(packed, 0)
    return socket.IPPROTO_IP, _IP_PKTINFO, _IPV4_INFO.pack(0, packed, bytes(4))


def segment_control(segment_bytes: int) -> Control:
    return SOL_UDP, _UDP_SEGMENT, _U16.pack(segment_bytes)


def segment_of(value: bytes) -> int:
    """From UDP_GRO."""
    size: int = _INT.unpack(value)[0]
    return size


def overflowed(sock: socket.socket) -> int:
    """Datagrams that came while the receive buffer was full."""
    sizes = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
    drops: int = _MEMINFO.unpack(sizes)[_MEMINFO_DROPS] if len(sizes) == _MEMINFO.size else 0
    return drops


@dataclass(frozen=True, slots=True)
class QueuedError:
    """An errno that the kernel has kept for us. `is_local`: our own interface refused, else an ICMP message came, which
    has quoted our datagram: the first bytes of that, if any.
    """

    address: Address
    error: int
    mtu: int | None
    is_local: bool
    quoted: bytes


def queued_errors(sock: socket.socket) -> Iterator[QueuedError]:
    """Takes them out of the error queue (IP_RECVERR)."""
    for _ in range(_QUEUED_ERRORS):
        try:
            quoted, controls, _, name = sock.recvmsg(_QUOTED_BYTES, _ERROR_SPACE, _MSG_ERRQUEUE)
        except OSError:
            return
        for level, kind, value in controls:
            if (level, kind) in _RECEIVED_ERROR and len(value) >= _EXTENDED_ERROR.size and name:
                error, origin, _, _, _, info, _ = _EXTENDED_ERROR.unpack_from(value)
                mtu = info if error == errno.EMSGSIZE and info else None
                yield QueuedError(address_of(name), error, mtu, origin == _ORIGIN_LOCAL, quoted)
