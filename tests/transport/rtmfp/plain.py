"""The *plain* crypto profile: no secrecy and no authenticity, only for tests against another implementation.

Equal on the wire to the one that the RFC author's implementation brings for its own tests. What it sends:

- certificate, and EPD: the node's name, any bytes but none;
- a sealed packet: the plain one | 16 bytes ff | u16 checksum. The checksum is the Internet's (RFC 1071), except that an
  odd last byte counts as the low one of its word; in a session the receiver's salt is added to it, modulo 2^16;
- a key component: the sender's salt, u16; a signature: one byte `X`, never checked;
- whose name is the smaller one prevails when both call.

Names are no `Certificate`s: `stand_in` makes one of each name, the same each time, with keys that a hash of the name
gives, so that a node is known by a peer ID here too. Its questions are not padded, so answers may be longer.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import Certificate
from swarmd.identity.identity import Identity
from swarmd.transport.api import Buffer
from swarmd.transport.rtmfp.chunks import IIKeying, RIKeying
from swarmd.transport.rtmfp.profile import Keyed, WrongPeer

_PADDING = b"\xff" * 16
_CHECKSUM_BYTES = 2
_SALT_BYTES = 2
_SIGNATURE = b"X"
_names: dict[PeerId, bytes] = {}


@functools.cache
def stand_in(name: bytes) -> Certificate:
    """The certificate that stands for `name`."""
    keys = (hashlib.sha256(b"plain " + kind + b" " + name).digest() for kind in (b"signing", b"static"))
    certificate = Identity(*keys).certificate
    _names[certificate.peer_id] = name
    return certificate


def peer_id_of(name: bytes) -> PeerId:
    return stand_in(name).peer_id


def checksum(data: Buffer) -> int:
    even = len(data) & ~1
    total = int.from_bytes(data[:even], "big") + (data[-1] if len(data) > even else 0)
    # 2^16 is 1 modulo 2^16 - 1, so this folds all carries at once; of the two zeros, a sum of something is the other
    return 0xFFFF - (total % 0xFFFF or (0xFFFF if total else 0))


class PlainCipher:
    """`salt`s are 0 in startup packets."""

    def __init__(self, send_salt: int = 0, receive_salt: int = 0) -> None:
        self._send_salt, self._receive_salt = send_salt, receive_salt

    @property
    def overhead(self) -> int:
        return len(_PADDING) + _CHECKSUM_BYTES

    def seal(self, plain: Buffer) -> bytes:
        padded = bytes(plain) + _PADDING
        return padded + (checksum(padded) + self._send_salt & 0xFFFF).to_bytes(_CHECKSUM_BYTES, "big")

    def seal_into(self, plain: Buffer, target: memoryview) -> int:
        sealed = self.seal(plain)
        target[: len(sealed)] = sealed
        return len(sealed)

    def open(self, sealed: memoryview) -> memoryview:
        """The padding stays; it holds no whole chunk."""
        plain = sealed[:-_CHECKSUM_BYTES]
        found = int.from_bytes(sealed[-_CHECKSUM_BYTES:], "big") - self._receive_salt & 0xFFFF
        if len(sealed) < _CHECKSUM_BYTES or found != checksum(plain):
            raise RemoteError("a packet's checksum is wrong", penalty=0)
        return plain


@dataclass(frozen=True)
class PlainInitiation:
    own_name: bytes
    responder_name: bytes
    salt: bytes

    def question(self, session_id: int, cookie: bytes) -> IIKeying:
        return IIKeying(session_id, cookie, self.own_name, self.salt, _SIGNATURE)

    def finish(self, answer: RIKeying) -> Keyed:
        far_salt = _salt_of(answer.key_component)
        cipher = PlainCipher(far_salt, int.from_bytes(self.salt, "big"))
        binding = _binding(self.own_name, self.salt, self.responder_name, answer.key_component)
        return Keyed(cipher, stand_in(self.responder_name), binding)


@dataclass(frozen=True)
class PlainResponse:
    keyed: Keyed
    salt: bytes

    def answer(self, session_id: int) -> RIKeying:
        return RIKeying(session_id, self.salt, _SIGNATURE)


class PlainProfile:
    """A node of this name. Asking for a peer needs its name once: `peer_id_of(name)`."""

    def __init__(self, name: bytes, rng: Rng) -> None:
        self._name, self._rng = name, rng
        self.certificate = name
        self.startup = PlainCipher()

    @property
    def answers_short_questions(self) -> bool:
        return True

    def epd_for(self, wanted: PeerId | None) -> bytes:
        if wanted is None or wanted not in _names:
            raise InvalidArgument("the plain profile can ask only for a name that it has seen")
        return _names[wanted]

    def is_for_us(self, epd: bytes) -> bool:
        return epd == self._name

    def peer_of(self, epd: bytes) -> PeerId | None:
        return peer_id_of(epd) if epd else None

    def check_certificate(self, certificate: bytes, epd: bytes) -> Certificate:
        if not certificate:
            raise RemoteError("a certificate without a name")
        if certificate != epd:
            raise WrongPeer(f"asked for {epd!r}, but {certificate!r} answered")
        return stand_in(certificate)

    def initiate(self, responder: Certificate) -> PlainInitiation:
        return PlainInitiation(self._name, _names[responder.peer_id], self._rng.bytes(_SALT_BYTES))

    def respond(self, question: IIKeying) -> PlainResponse:
        if not question.certificate:
            raise RemoteError("an initiator without a name")
        salt = self._rng.bytes(_SALT_BYTES)
        cipher = PlainCipher(_salt_of(question.key_component), int.from_bytes(salt, "big"))
        binding = _binding(question.certificate, question.key_component, self._name, salt)
        return PlainResponse(Keyed(cipher, stand_in(question.certificate), binding), salt)

    def has_precedence(self, far: Certificate) -> bool:
        return self._name < _names[far.peer_id]


def _salt_of(key_component: bytes) -> int:
    if len(key_component) < _SALT_BYTES:
        raise RemoteError("a key component without a salt")
    return int.from_bytes(key_component[:_SALT_BYTES], "big")


def _binding(*parts: bytes) -> bytes:
    return hashlib.sha256(b"\0".join(parts)).digest()
