"""The handshake: Noise_IK_25519_AESGCM_SHA256 (Noise Protocol Framework, revision 34).

    <- s                      the initiator knows the responder's static key
    -> e, es, s, ss           `Initiator.write_message` to `Responder.read_message`
    <- e, ee, se              `Responder.write_message` to `Initiator.read_message`

In: own static key, the peer's (initiator), a prologue both must agree on, 32 fresh random bytes for the
ephemeral key. Out: after both messages `split()` gives the two transport keys, `handshake_hash` the 32
bytes that name this session and no other (channel binding), `remote_static` the peer's key, proven.

States: each side makes its two calls once, in order; then it is done. A message that fails leaves a dead
handshake.

What it gives: message 1's payload can be replayed to the responder and is read by whoever gets the
responder's static key later; message 2 and the transport keys have forward secrecy. The initiator's key is
not shown to observers. So: no decision on message 1's payload alone, and the responder knows that its peer
is live once a first record opens. Not here: the transport's nonces and records, the certificate that binds
the static key to a peer ID.
"""

from __future__ import annotations

import hashlib
from enum import Enum, auto

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from swarmd.core.codec import Reader
from swarmd.core.errors import InvalidArgument, LocalError, RemoteError

PROTOCOL_NAME = b"Noise_IK_25519_AESGCM_SHA256"
KEY_BYTES = 32
TAG_BYTES = 16
MESSAGE_BYTES_LIMIT = 65535
"""Noise §3: every message fits it."""
FIRST_OVERHEAD_BYTES = KEY_BYTES + (KEY_BYTES + TAG_BYTES) + TAG_BYTES
"""What message 1 adds to its payload: e, sealed s, tag."""
SECOND_OVERHEAD_BYTES = KEY_BYTES + TAG_BYTES
"""What message 2 adds to its payload: e, tag."""
MAX_NONCE = 2**64 - 1
"""Reserved for `rekey`."""


class _Stage(Enum):
    FIRST = auto()
    SECOND = auto()
    DONE = auto()
    DEAD = auto()


class _SymmetricState:
    """Noise §5.2: the chaining key, the transcript hash, and the key that both have led to so far."""

    __slots__ = ("_chaining_key", "_cipher", "_nonce", "hash")

    def __init__(self, prologue: bytes, responder_static: bytes) -> None:
        self._chaining_key = self.hash = PROTOCOL_NAME.ljust(KEY_BYTES, b"\0")
        self._cipher: AESGCM | None = None
        self._nonce = 0
        self.mix_hash(prologue)
        self.mix_hash(responder_static)

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_dh(self, private: X25519PrivateKey, public: bytes) -> None:
        """MixKey(DH(...)); RemoteError for a public key that would make the secret a constant."""
        try:
            shared = private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise RemoteError("a peer's X25519 key is not a usable one", penalty=10) from None
        self._chaining_key, key = self._derive(shared)
        self._cipher = AESGCM(key)
        self._nonce = 0

    def seal(self, plain: bytes) -> bytes:
        assert self._cipher is not None
        sealed = self._cipher.encrypt(self._next_nonce(), plain, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        assert self._cipher is not None
        try:
            plain = self._cipher.decrypt(self._next_nonce(), sealed, self.hash)
        except InvalidTag:
            raise RemoteError("a handshake message does not open: wrong keys, prologue or bytes") from None
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """The initiator's sending key and the responder's."""
        return self._derive(b"")

    def _derive(self, material: bytes) -> tuple[bytes, bytes]:
        okm = HKDF(SHA256(), 2 * KEY_BYTES, salt=self._chaining_key, info=b"").derive(material)
        return okm[:KEY_BYTES], okm[KEY_BYTES:]

    def _next_nonce(self) -> bytes:
        nonce = nonce_bytes(self._nonce)
        self._nonce += 1
        return nonce


class _Handshake:
    """What the two roles have in common."""

    __slots__ = ("_ephemeral", "_remote_static", "_stage", "_state", "_static")

    def __init__(self, static_private: X25519PrivateKey, ephemeral: bytes, state: _SymmetricState) -> None:
        if len(ephemeral) != KEY_BYTES:
            raise InvalidArgument(f"an ephemeral key is {KEY_BYTES} random bytes, not {len(ephemeral)}")
        self._static = static_private
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        self._state = state
        self._remote_static = b""
        self._stage = _Stage.FIRST

    @property
    def is_done(self) -> bool:
        """Whether both messages have passed."""
        return self._stage is _Stage.DONE

    @property
    def remote_static(self) -> bytes:
        """The peer's static key: the responder has it after message 1."""
        if not self._remote_static:
            raise LocalError("the peer's static key is known after the first handshake message")
        return self._remote_static

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that both sides of this session have and no other session does."""
        self._require(_Stage.DONE)
        return self._state.hash

    def _require(self, stage: _Stage) -> None:
        if self._stage is not stage:
            raise LocalError(f"the handshake is at {self._stage.name}, not at {stage.name}")

    def _begin(self, stage: _Stage) -> None:
        """Start the step of `stage`; should it fail half way, the handshake stays dead."""
        self._require(stage)
        self._stage = _Stage.DEAD

    def _write_ephemeral(self) -> bytes:
        public = self._ephemeral.public_key().public_bytes_raw()
        self._state.mix_hash(public)
        return public

    def _read_ephemeral(self, reader: Reader) -> bytes:
        public = reader.raw(KEY_BYTES)
        self._state.mix_hash(public)
        return public


class Initiator(_Handshake):
    """The side that dials, and knows whom: `write_message`, `read_message`, `split`."""

    __slots__ = ()

    def __init__(
        self, static_private: X25519PrivateKey, remote_static: bytes, prologue: bytes, ephemeral: bytes
    ) -> None:
        """`ephemeral`: 32 bytes fresh from the system's generator, for this handshake only."""
        super().__init__(static_private, ephemeral, _SymmetricState(prologue, remote_static))
        self._remote_static = remote_static

    def write_message(self, payload: bytes = b"") -> bytes:
        """Message 1; RemoteError when the peer's static key is no usable one."""
        _check_payload(payload, FIRST_OVERHEAD_BYTES)
        self._begin(_Stage.FIRST)
        message = self._write_ephemeral()
        self._state.mix_dh(self._ephemeral, self._remote_static)
        message += self._state.seal(self._static.public_key().public_bytes_raw())
        self._state.mix_dh(self._static, self._remote_static)
        message += self._state.seal(payload)
        self._stage = _Stage.SECOND
        return message

    def read_message(self, message: bytes | memoryview) -> bytes:
        """Message 2's payload; RemoteError when it is not from the holder of `remote_static`, for us."""
        self._begin(_Stage.SECOND)
        reader = _checked_reader(message, SECOND_OVERHEAD_BYTES)
        remote_ephemeral = self._read_ephemeral(reader)
        self._state.mix_dh(self._ephemeral, remote_ephemeral)
        self._state.mix_dh(self._static, remote_ephemeral)
        payload = self._state.open(bytes(reader.rest()))
        self._stage = _Stage.DONE
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """The transport keys: (send, receive)."""
        self._require(_Stage.DONE)
        return self._state.split()


class Responder(_Handshake):
    """The side that is dialled: `read_message`, `write_message`, `split`."""

    __slots__ = ("_remote_ephemeral",)

    def __init__(self, static_private: X25519PrivateKey, prologue: bytes, ephemeral: bytes) -> None:
        """`ephemeral`: 32 bytes fresh from the system's generator, for this handshake only."""
        own = static_private.public_key().public_bytes_raw()
        super().__init__(static_private, ephemeral, _SymmetricState(prologue, own))
        self._remote_ephemeral = b""

    def read_message(self, message: bytes | memoryview) -> bytes:
        """Message 1's payload, then `remote_static` is known; RemoteError when it is not for us."""
        self._begin(_Stage.FIRST)
        reader = _checked_reader(message, FIRST_OVERHEAD_BYTES)
        self._remote_ephemeral = self._read_ephemeral(reader)
        self._state.mix_dh(self._static, self._remote_ephemeral)
        remote_static = self._state.open(reader.raw(KEY_BYTES + TAG_BYTES))
        self._state.mix_dh(self._static, remote_static)
        payload = self._state.open(bytes(reader.rest()))
        self._remote_static = remote_static
        self._stage = _Stage.SECOND
        return payload

    def write_message(self, payload: bytes = b"") -> bytes:
        """Message 2."""
        _check_payload(payload, SECOND_OVERHEAD_BYTES)
        self._begin(_Stage.SECOND)
        message = self._write_ephemeral()
        self._state.mix_dh(self._ephemeral, self._remote_ephemeral)
        self._state.mix_dh(self._ephemeral, self._remote_static)
        message += self._state.seal(payload)
        self._stage = _Stage.DONE
        return message

    def split(self) -> tuple[bytes, bytes]:
        """The transport keys: (send, receive)."""
        self._require(_Stage.DONE)
        receive, send = self._state.split()
        return send, receive


def nonce_bytes(counter: int) -> bytes:
    """AESGCM's nonce (Noise §12.4): 32 zero bits, then the counter, big-endian."""
    return counter.to_bytes(12, "big")


def rekey(key: bytes) -> bytes:
    """The transport key that follows `key` (Noise §4.2, REKEY); the old one cannot be had from it."""
    return AESGCM(key).encrypt(nonce_bytes(MAX_NONCE), bytes(KEY_BYTES), None)[:KEY_BYTES]


def _check_payload(payload: bytes, overhead: int) -> None:
    if len(payload) + overhead > MESSAGE_BYTES_LIMIT:
        raise InvalidArgument(f"a handshake payload of {len(payload)} bytes does not fit one message")


def _checked_reader(message: bytes | memoryview, overhead: int) -> Reader:
    if not overhead <= len(message) <= MESSAGE_BYTES_LIMIT:
        raise RemoteError(f"a handshake message of {len(message)} bytes cannot be one")
    return Reader(message)
