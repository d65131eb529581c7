"""What the endpoint asks of the cryptography: the *crypto profile* of RFC 7016 (§2.2.3, §3.2).

The RFC leaves to a profile how packets are sealed, what certificates and keys are, how an endpoint is named when it is
asked for (the endpoint discriminator, EPD) and who prevails when two call each other at once. swarmd has one, `noise`.

A packet is sealed by a session's cipher, or by `Profile.startup`, whose key everybody knows, while there is none yet.
Keying is two calls a side: `initiate` then `finish`, `respond` then `answer`; each is public-key work, which the caller
bounds.

A responder's `Keyed` says whose certificate was used, not that its owner is there: in our profile the initiator's
message can be replayed by whoever has seen it. So nothing of an older session is given up for a newer one before a
packet of the newer has opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.identity.certificate import Certificate
from swarmd.transport.api import Buffer
from swarmd.transport.rtmfp.chunks import IIKeying, RIKeying


class WrongPeer(RemoteError):
    """Somebody else answers at this address."""


class OwnAddress(WrongPeer):
    """We answer ourselves."""


class PacketCipher(Protocol):
    """One session's two directions, or the startup key; what is sealed stands behind the 4 bytes of session ID."""

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds, at the most."""
        ...

    def seal(self, plain: Buffer) -> bytes: ...

    def seal_into(self, plain: Buffer, target: memoryview) -> int:
        """The same into the front of `target`, which has room; how many bytes that took."""
        ...

    def open(self, sealed: memoryview) -> memoryview:
        """RemoteError when it is forged, a replay, or too old to tell; what is returned stays valid."""
        ...


@dataclass(frozen=True, slots=True)
class Keyed:
    """What keying ends with: how to seal, who is there, and 32 bytes that name this session and no other."""

    cipher: PacketCipher = field(repr=False)
    certificate: Certificate = field(repr=False)
    handshake_hash: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"Keyed(with {self.certificate.peer_id.short})"


class Initiation(Protocol):
    """The keying of one session that we open."""

    def question(self, session_id: int, cookie: bytes) -> IIKeying:
        """The same keys each time, for another cookie too."""
        ...

    def finish(self, answer: RIKeying) -> Keyed:
        """RemoteError when `answer` is not the responder's to this question; the true one may still come."""
        ...


class Response(Protocol):
    """The keying of one session that somebody opens with us."""

    @property
    def keyed(self) -> Keyed: ...

    def answer(self, session_id: int) -> RIKeying: ...


class Profile(Protocol):
    """One node's identity, and how to use it."""

    @property
    def certificate(self) -> bytes:
        """Our own, as it goes into an RHello."""
        ...

    @property
    def startup(self) -> PacketCipher: ...

    @property
    def answers_short_questions(self) -> bool:
        """Whether an IHello is answered although the answer is longer than it: never where strangers can ask."""
        ...

    def epd_for(self, wanted: PeerId | None) -> bytes:
        """The EPD that asks for this peer, or for whoever is there; LocalError when there is no such EPD."""
        ...

    def is_for_us(self, epd: bytes) -> bool: ...

    def peer_of(self, epd: bytes) -> PeerId | None:
        """Whom an EPD asks for; None for anybody, and for what cannot be read."""
        ...

    def check_certificate(self, certificate: bytes, epd: bytes) -> Certificate:
        """A responder's; RemoteError when it is none, WrongPeer when `epd` does not ask for it."""
        ...

    def initiate(self, responder: Certificate) -> Initiation:
        """Keying with the holder of a certificate that `check_certificate` gave."""
        ...

    def respond(self, question: IIKeying) -> Response:
        """RemoteError when it was not made for us by the holder of the certificate in it."""
        ...

    def has_precedence(self, far: Certificate) -> bool:
        """Whether our call goes on when both have called: the opposite of what the far end says of us."""
        ...
