"""What a `net.udp.Fault` says, in terms of RTMFP: of whose packet, and whether a packet was too big or nobody is there.

An ICMP message quotes the beginning of our datagram: 12 bytes of it tell the session ID that it was for, which the peer
has chosen at random and nobody off the path knows. A router that quotes less than that is not to be told from a forger.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.net.udp import Fault
from swarmd.transport.rtmfp.packet import MIN_DATAGRAM_BYTES, session_id_of

_HEADER_BYTES_IPV4, _HEADER_BYTES_IPV6 = 28, 48  # of IP and UDP


@dataclass(frozen=True, slots=True)
class Complaint:
    """`session_id`: as in the packet that it is about, None if that is not told. `is_ours`: of our own machine."""

    address: Address
    error: int
    session_id: int | None
    largest_bytes: int | None
    is_ours: bool

    @property
    def is_unreachable(self) -> bool:
        return self.error != errno.EMSGSIZE

    @property
    def is_port(self) -> bool:
        """The host is there, and nobody listens: a daemon that has ended says so by this."""
        return self.error == errno.ECONNREFUSED

    @property
    def detail(self) -> str:
        return os.strerror(self.error)


def read(fault: Fault) -> Complaint | None:
    """None for "too big" without saying what is not: the path MTU search finds out by itself."""
    largest = None
    if fault.error == errno.EMSGSIZE:
        if fault.mtu is None:
            return None
        largest = fault.mtu - (_HEADER_BYTES_IPV6 if fault.address.is_ipv6 else _HEADER_BYTES_IPV4)
    is_quoted = fault.quoted is not None and len(fault.quoted) >= MIN_DATAGRAM_BYTES
    session_id = session_id_of(fault.quoted) if is_quoted and fault.quoted is not None else None
    return Complaint(fault.address, fault.error, session_id, largest, fault.quoted is None)
