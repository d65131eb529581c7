"""A message for one member, sealed: who passes it on cannot read it, nor change it, nor answer it.

It is a Noise IK handshake (`identity.noise`) whose two messages travel as envelope and acknowledgement. The receiver's
static key there is its *epoch* key: an X25519 key of a few minutes, vouched for by the receiver's certificate
(`Statement`). So what is sealed cannot be opened once the epoch's key is gone, not even with the receiver's identity.
The prologue binds group, receiver and message ID. A reply is one more record, under the keys that come out.

In an envelope: sender's certificate | u8 reply wanted | 32 address that was asked for | message.
In an acknowledgement: u8 hops that were left.

Invariant: what `open_envelope` gives is from the holder of that certificate, for the holder of the epoch's key; what
opens as an acknowledgement or a reply is from the holder of that key. RemoteError otherwise.
An old envelope opens again for as long as the epoch lasts: it is `receiving` that takes each message ID once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, GroupId, PeerId
from swarmd.groups.ring import GroupAddress, group_address
from swarmd.groups.routing.messages import HOP_LIMIT, MESSAGE_BYTES, Located
from swarmd.identity.certificate import CERTIFICATE_BYTES, Certificate
from swarmd.identity.identity import Identity
from swarmd.identity.noise import Initiator, Responder, nonce_bytes

STATEMENT_DOMAIN = b"route located"
_LABEL = b"swarmd route 1"


@dataclass(frozen=True, slots=True)
class Statement:
    """A member says, to one question: I am here, and this is my epoch's key."""

    certificate: Certificate
    epoch: bytes

    @property
    def peer_id(self) -> PeerId:
        return self.certificate.peer_id

    @property
    def address(self) -> GroupAddress:
        return group_address(self.certificate.peer_id)

    @classmethod
    def verify(cls, located: Located, group_id: GroupId, target: GroupAddress) -> Statement:
        """What that message says, to the question for `target` (two signatures, 0.25 ms); RemoteError when forged."""
        certificate = Certificate.decode(located.certificate)
        signed = _statement(group_id, located.path, target, located.epoch)
        certificate.verify(located.signature, signed, STATEMENT_DOMAIN)
        return cls(certificate, located.epoch)


def sign_located(identity: Identity, group_id: GroupId, path: bytes, target: GroupAddress, epoch: bytes) -> Located:
    """The answer to one question."""
    signature = identity.sign(_statement(group_id, path, target, epoch), STATEMENT_DOMAIN)
    return Located(path, identity.certificate.encode(), epoch, signature)


def _statement(group_id: GroupId, path: bytes, target: GroupAddress, epoch: bytes) -> bytes:
    return group_id + path + target + epoch


@dataclass(frozen=True, slots=True)
class Letter:
    """What is in an envelope."""

    message: bytes
    address: GroupAddress
    reply_wanted: bool

    def encode(self, certificate: Certificate) -> bytes:
        writer = Writer().raw(certificate.encode()).u8(self.reply_wanted).raw(self.address)
        return writer.raw(self.message).bytes()


class Sealed:
    """The sender's side of one message to one receiver's epoch."""

    __slots__ = ("_ephemeral", "_initiator", "_keys", "_letter", "_own", "_prologue", "data", "statement")

    def __init__(
        self,
        own: Identity,
        group_id: GroupId,
        message_id: bytes,
        statement: Statement,
        letter: Letter,
        ephemeral: bytes,
    ) -> None:
        """`ephemeral`: 32 bytes fresh from the system's generator. RemoteError for an epoch key that is not one."""
        self._own, self._letter, self._ephemeral = own, letter, ephemeral
        self._prologue = _prologue(group_id, message_id, statement.peer_id)
        self._keys: tuple[bytes, bytes] | None = None
        self.statement = statement
        self.data = self._begin()

    @property
    def is_acknowledged(self) -> bool:
        return self._keys is not None

    def open_acknowledgement(self, sealed: bytes) -> int:
        """How many hops were left when the envelope arrived; RemoteError, and nothing else, for a forged one."""
        try:
            payload = self._initiator.read_message(sealed)
        except RemoteError:
            self._begin()  # a handshake that fails is dead; the same one again can still be answered
            raise
        self._keys = self._initiator.split()
        reader = Reader(payload)
        n_hops_left = reader.u8()
        reader.end()
        if n_hops_left > HOP_LIMIT:
            raise RemoteError("more hops left than a message may go")
        return n_hops_left

    def open_reply(self, sealed: bytes) -> bytes:
        """The receiver's answer; RemoteError for a forged one, or one that comes before the acknowledgement."""
        if self._keys is None:
            raise RemoteError("a reply before the acknowledgement")
        try:
            return AESGCM(self._keys[1]).decrypt(nonce_bytes(0), sealed, self._prologue)
        except InvalidTag:
            raise RemoteError("a reply does not open") from None

    def _begin(self) -> bytes:
        self._initiator = Initiator(self._own.static_private, self.statement.epoch, self._prologue, self._ephemeral)
        return self._initiator.write_message(self._letter.encode(self._own.certificate))


@dataclass(frozen=True, slots=True)
class ReplySeal:
    """What the receiver of an envelope seals its one reply with."""

    key: bytes = field(repr=False)
    prologue: bytes

    def seal(self, message: bytes) -> bytes:
        """Once: a second message would be sealed with the same nonce."""
        return AESGCM(self.key).encrypt(nonce_bytes(0), message, self.prologue)


@dataclass(frozen=True, slots=True)
class Opened:
    """The receiver's side of one envelope: the letter, whose it is, and how to answer."""

    letter: Letter
    sender: Certificate
    acknowledgement: bytes
    reply_seal: ReplySeal


@dataclass(frozen=True, slots=True)
class Opening:
    """What an envelope is opened with."""

    group_id: GroupId
    own_id: PeerId
    epoch: X25519PrivateKey
    ephemeral: bytes
    """32 bytes fresh from the system's generator."""


def open_envelope(opening: Opening, message_id: bytes, sealed: bytes, n_hops_left: int) -> Opened:
    """RemoteError when it is not for us, or not from who it says. 0.6 ms."""
    prologue = _prologue(opening.group_id, message_id, opening.own_id)
    responder = Responder(opening.epoch, prologue, opening.ephemeral)
    reader = Reader(responder.read_message(sealed))
    sender = Certificate.decode(reader.raw(CERTIFICATE_BYTES))
    reply_wanted, address = bool(reader.u8()), GroupAddress(reader.view(ID_BYTES))
    letter = Letter(bytes(reader.rest()), address, reply_wanted)
    if sender.static_key != responder.remote_static:
        raise RemoteError("an envelope is sealed with another key than its certificate's", penalty=10)
    if len(letter.message) > MESSAGE_BYTES:
        raise RemoteError(f"an envelope holds {len(letter.message)} bytes; {MESSAGE_BYTES} are allowed")
    acknowledgement = responder.write_message(Writer().u8(n_hops_left).bytes())
    return Opened(letter, sender, acknowledgement, ReplySeal(responder.split()[0], prologue))


def _prologue(group_id: GroupId, message_id: bytes, receiver: PeerId) -> bytes:
    return _LABEL + group_id + message_id + receiver
