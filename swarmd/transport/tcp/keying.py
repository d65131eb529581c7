"""Keying over TCP: the four startup messages of RFC 7016 as length-prefixed frames, Noise IK inside.

    initiator -> HELLO    "swarmd" | version u8 | 0 or 32 bytes: the peer ID wanted
    initiator <- WELCOME  "swarmd" | version u8 | certificate of the responder
    initiator -> KEYING   Noise IK message 1, payload: certificate of the initiator
    initiator <- KEYED    Noise IK message 2, payload empty

The prologue is a label that names transport and version, then both clear frames, so a change of any of them breaks the
handshake. The initiator's certificate travels encrypted in message 1 (a passive observer learns the responder's
identity only) and is bound by the handshake hash.

States: each machine waits for one frame, then is done; `result` is set at the end. The responder's result is not yet
proof that the initiator is alive (message 1 can be replayed): the session waits for the first record before it opens.

Errors: RemoteError for anything wrong in a frame; WrongPeer when the certificate is not the one asked for.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.certificate import Certificate
from swarmd.identity.identity import Identity
from swarmd.identity.noise import Initiator, Responder

VERSION = 1
MAX_FRAME_BYTES = 2048  # the largest is KEYING with a certificate, under 400 bytes
_MAGIC = b"swarmd"
_LABEL = b"swarmd tcp noise-ik 1\0"
_PREFIX = struct.Struct(">H")


class WrongPeer(RemoteError):
    """Somebody else answers at this address."""


class WrongVersion(RemoteError):
    """The other end speaks another version of the protocol."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What keying ends with; never in a repr."""

    send_key: bytes
    receive_key: bytes
    handshake_hash: bytes
    certificate: Certificate

    def __repr__(self) -> str:
        return f"Keys(with {self.certificate.peer_id.short})"


def frame(body: bytes) -> bytes:
    return _PREFIX.pack(len(body)) + body


def frame_size(buffer: bytearray | memoryview, offset: int) -> int:
    """Size of the body of the frame at `offset`; RemoteError over MAX_FRAME_BYTES."""
    size: int = _PREFIX.unpack_from(buffer, offset)[0]
    if size > MAX_FRAME_BYTES:
        raise RemoteError("a keying frame is too long: this is not swarmd")
    return size


def _read_clear(body: bytes) -> Reader:
    reader = Reader(body)
    if reader.raw(len(_MAGIC)) != _MAGIC:
        raise RemoteError("the other end does not speak swarmd")
    version = reader.u8()
    if version != VERSION:
        raise WrongVersion(f"the other end speaks version {version} of the protocol, this swarmd version {VERSION}")
    return reader


class InitiatorKeying:
    """Starts with `hello()`, then takes WELCOME and KEYED."""

    def __init__(self, identity: Identity, rng: Rng, wanted: PeerId | None) -> None:
        self._identity, self._rng, self._wanted = identity, rng, wanted
        self._hello = Writer().raw(_MAGIC).u8(VERSION).raw(wanted or b"").bytes()
        self._handshake: Initiator | None = None
        self._certificate: Certificate | None = None
        self.result: Keys | None = None

    def hello(self) -> bytes:
        return frame(self._hello)

    def receive(self, body: bytes) -> bytes:
        """One frame of the responder's; what to answer (framed, perhaps nothing)."""
        if self._handshake is None:
            return self._receive_welcome(body)
        assert self._certificate is not None
        if self._handshake.read_message(body):
            raise RemoteError("an unexpected payload in KEYED")
        send_key, receive_key = self._handshake.split()
        self.result = Keys(send_key, receive_key, self._handshake.handshake_hash, self._certificate)
        return b""

    def _receive_welcome(self, body: bytes) -> bytes:
        reader = _read_clear(body)
        self._certificate = certificate = Certificate.decode(reader.rest())
        if self._wanted is not None and certificate.peer_id != self._wanted:
            raise WrongPeer(f"asked for peer {self._wanted.short}, but {certificate.peer_id.short} answered")
        self._handshake = Initiator(
            self._identity.static_private,
            certificate.static_key,
            _LABEL + self._hello + body,
            self._rng.bytes(32),
        )
        return frame(self._handshake.write_message(self._identity.certificate.encode()))


class ResponderKeying:
    """Takes HELLO and KEYING."""

    def __init__(self, identity: Identity, rng: Rng) -> None:
        self._identity, self._rng = identity, rng
        self._handshake: Responder | None = None
        self.result: Keys | None = None

    def receive(self, body: bytes) -> bytes:
        """One frame of the initiator's; what to answer (framed)."""
        if self._handshake is None:
            return self._receive_hello(body)
        certificate = Certificate.decode(self._handshake.read_message(body))
        if certificate.static_key != self._handshake.remote_static:
            raise RemoteError("the initiator's certificate does not hold the key that it used")
        answer = self._handshake.write_message(b"")
        send_key, receive_key = self._handshake.split()
        self.result = Keys(send_key, receive_key, self._handshake.handshake_hash, certificate)
        return frame(answer)

    def _receive_hello(self, body: bytes) -> bytes:
        wanted = _read_clear(body)
        if wanted.remaining and wanted.raw(32) != self._identity.peer_id:
            raise WrongPeer("somebody else was asked for at this address")
        wanted.end()
        welcome = Writer().raw(_MAGIC).u8(VERSION).raw(self._identity.certificate.encode()).bytes()
        self._handshake = Responder(self._identity.static_private, _LABEL + body + welcome, self._rng.bytes(32))
        return frame(welcome)
