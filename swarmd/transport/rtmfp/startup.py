"""What both sides of opening a session share (RFC 7016 §3.5.1): `opening` is the initiator, `responder` the other.

    initiator -> IHello      EPD | tag                                        to every candidate address
    initiator <- RHello      tag | cookie | certificate                       the first good one wins
                 Redirect    tag | further candidate addresses                or from an introducer, who meanwhile
                 (Forwarded IHello to the one asked for, whose RHello comes straight from him)
    initiator -> IIKeying    session ID | cookie | keys
    initiator <- RIKeying    session ID | keys
                 Cookie Change                                                when the address is not the cookie's

All of them are in packets of mode STARTUP under the startup cipher, an RIKeying and a Cookie Change with the
initiator's session ID, the others with session ID 0.

Neither machine sees a packet: chunks go in with the address they came from, `Outgoing` come out, and the endpoint opens
and seals.
"""

from __future__ import annotations

from typing import NamedTuple

from swarmd.core.addresses import Address
from swarmd.transport.rtmfp.chunks import Chunk, encode_chunk
from swarmd.transport.rtmfp.packet import MAX_HEADER_BYTES, SESSION_ID_BYTES
from swarmd.transport.rtmfp.profile import Profile

ATTEMPT_TIMEOUT = 95.0
"""Seconds from first question to giving up; the author's implementation has the same."""
FIRST_RETRY_PERIOD = 1.0
RETRY_STEP_PERIOD = 1.5
"""Each wait is longer than the one before by this: twelve questions an address in one attempt."""
TAG_BYTES = 16
MAX_CANDIDATES = 24
"""Addresses asked in one attempt: so a redirector cannot make us send to more."""


class Outgoing(NamedTuple):
    """One chunk, in a startup packet of its own."""

    address: Address
    chunk: Chunk
    session_id: int


class Retry:
    """When something is to be sent next: at once, then after ever longer waits."""

    __slots__ = ("_period", "next_at")

    def __init__(self, now: float) -> None:
        self.next_at = now
        self._period = 0.0

    def take(self, now: float) -> bool:
        """Whether it is due; then the next time is set."""
        if now < self.next_at:
            return False
        self._period = self._period + RETRY_STEP_PERIOD if self._period else FIRST_RETRY_PERIOD
        self.next_at = now + self._period
        return True


def is_usable(address: Address, said_by: Address) -> bool:
    """Whether we send to an address that somebody else names: what cannot be dialled is refused, and our own loopback
    unless the one who names it is there too."""
    return address.is_dialable and (said_by.is_loopback or not address.is_loopback)


def longest_datagram(chunk: Chunk, profile: Profile) -> int:
    """Bytes of UDP payload of a startup packet with `chunk` alone in it, whatever is in its header."""
    return SESSION_ID_BYTES + profile.startup.overhead + MAX_HEADER_BYTES + len(encode_chunk(chunk))
