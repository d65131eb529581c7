"""Routing messages, version 1. The first byte says which one.

    32 Mode      u8 mode                                 0 exact, 1 nearest: what the sender takes (`ReceiveMode`)
    33 Directed  u8 has destination | [32 destination] | message      one hop: what a program sends to a neighbour
    34 Locate    path | target | u8 hops | u8 turn                  who is nearest to the target?
    35 Envelope  path | target | u8 hops | u8 turn | 32 epoch | 16 name | sealed
                                                         a message for the member at the target, with its message ID
                                                         for a name; or nothing sealed, and `digest` of an earlier
                                                         one's sealed part: has it arrived, and what was the answer?
    36 Located   path | 129 certificate | 32 epoch | 64 signature     answers Locate; an Envelope of a past epoch, too
    37 Answer    path | u8 is reply | sealed             the acknowledgement of an Envelope, or the reply to it
    38 Failed    path                                    there is no way on from here

`path` is 16 random bytes that the asker draws for each way it tries: answers go back as the question came. `hops`: how
many more the message may go. `turn`: 0 for the shortest way; with each other number members choose differently among
their best neighbours, and alike for the same number.

Invariant: `decode` gives a message or raises RemoteError, and what it gives has exactly those bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import ReceiveMode
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES
from swarmd.identity.noise import FIRST_OVERHEAD_BYTES, KEY_BYTES

PATH_BYTES = 16
NAME_BYTES = 16
MESSAGE_BYTES = 1 << 15
"""Of what a program sends: half a group message, so that no envelope comes near the limit of one."""
SEALED_BYTES = MESSAGE_BYTES + FIRST_OVERHEAD_BYTES + CERTIFICATE_BYTES + ID_BYTES + 1
"""The largest envelope's; an answer is smaller."""
HOP_LIMIT = 32
"""Twice what a million members need: half of log2 of their number is the rule."""
TURN_LIMIT = 255
_MODES = (ReceiveMode.EXACT, ReceiveMode.NEAREST)


@dataclass(frozen=True, slots=True)
class Mode:
    type: ClassVar = 32
    mode: ReceiveMode

    def encode(self) -> bytes:
        return Writer().u8(self.type).u8(_MODES.index(self.mode)).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Mode:
        if (index := reader.u8()) >= len(_MODES):
            raise RemoteError(f"a member receives in the unknown mode {index}")
        return cls(_MODES[index])


@dataclass(frozen=True, slots=True)
class Directed:
    type: ClassVar = 33
    destination: GroupAddress | None
    message: bytes

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).u8(self.destination is not None)
        return writer.raw(self.destination or b"").raw(self.message).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Directed:
        destination = _read_address(reader) if _read_flag(reader) else None
        return cls(destination, _read_rest(reader, MESSAGE_BYTES))


@dataclass(frozen=True, slots=True)
class Way:
    """What every question says about its way."""

    path: bytes
    target: GroupAddress
    n_hops_left: int = HOP_LIMIT
    turn: int = 0

    def write(self, writer: Writer) -> Writer:
        return writer.raw(self.path).raw(self.target).u8(self.n_hops_left).u8(self.turn)

    @classmethod
    def read(cls, reader: Reader) -> Way:
        way = cls(reader.raw(PATH_BYTES), _read_address(reader), reader.u8(), reader.u8())
        if way.n_hops_left > HOP_LIMIT:
            raise RemoteError("a message wants to go further than any may", penalty=10)
        return way

    def onward(self) -> Way:
        """After one more hop."""
        return Way(self.path, self.target, self.n_hops_left - 1, self.turn)


@dataclass(frozen=True, slots=True)
class Locate:
    type: ClassVar = 34
    way: Way

    def encode(self) -> bytes:
        return self.way.write(Writer().u8(self.type)).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Locate:
        return cls(Way.read(reader))

    def onward(self) -> Locate:
        return Locate(self.way.onward())


@dataclass(frozen=True, slots=True)
class Envelope:
    type: ClassVar = 35
    way: Way
    epoch: bytes
    """The X25519 key that the receiver has named for these minutes."""
    name: bytes
    sealed: bytes
    """A Noise message to that key, or nothing."""

    def encode(self) -> bytes:
        writer = self.way.write(Writer().u8(self.type))
        return writer.raw(self.epoch).raw(self.name).raw(self.sealed).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Envelope:
        way, epoch, name = Way.read(reader), reader.raw(KEY_BYTES), reader.raw(NAME_BYTES)
        return cls(way, epoch, name, _read_rest(reader, SEALED_BYTES))

    def onward(self) -> Envelope:
        return Envelope(self.way.onward(), self.epoch, self.name, self.sealed)


@dataclass(frozen=True, slots=True)
class Located:
    type: ClassVar = 36
    path: bytes
    certificate: bytes
    epoch: bytes
    signature: bytes

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).raw(self.path)
        return writer.raw(self.certificate).raw(self.epoch).raw(self.signature).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Located:
        path, certificate = reader.raw(PATH_BYTES), reader.raw(CERTIFICATE_BYTES)
        return cls(path, certificate, reader.raw(KEY_BYTES), reader.raw(SIGNATURE_BYTES))


@dataclass(frozen=True, slots=True)
class Answer:
    type: ClassVar = 37
    path: bytes
    is_reply: bool
    sealed: bytes

    def encode(self) -> bytes:
        return Writer().u8(self.type).raw(self.path).u8(self.is_reply).raw(self.sealed).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Answer:
        return cls(reader.raw(PATH_BYTES), _read_flag(reader), _read_rest(reader, SEALED_BYTES))


@dataclass(frozen=True, slots=True)
class Failed:
    type: ClassVar = 38
    path: bytes

    def encode(self) -> bytes:
        return Writer().u8(self.type).raw(self.path).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Failed:
        return cls(reader.raw(PATH_BYTES))


Question = Locate | Envelope
Message = Mode | Directed | Locate | Envelope | Located | Answer | Failed
_READERS: dict[int, Callable[[Reader], Message]] = {
    kind.type: kind.read for kind in (Mode, Directed, Locate, Envelope, Located, Answer, Failed)
}


def decode(data: bytes | memoryview) -> Message:
    """The message with exactly these bytes; RemoteError otherwise."""
    reader = Reader(data)
    kind = reader.u8()
    if (read := _READERS.get(kind)) is None:
        raise RemoteError(f"a routing message of the unknown type {kind}")
    message = read(reader)
    reader.end()
    return message


def digest(sealed: bytes) -> bytes:
    """What an envelope is asked after by."""
    return hashlib.sha256(sealed).digest()[:NAME_BYTES]


def _read_address(reader: Reader) -> GroupAddress:
    return GroupAddress(reader.view(ID_BYTES))


def _read_flag(reader: Reader) -> bool:
    if (value := reader.u8()) > 1:
        raise RemoteError(f"a flag is 0 or 1, not {value}")
    return bool(value)


def _read_rest(reader: Reader, limit: int) -> bytes:
    if reader.remaining > limit:
        raise RemoteError(f"{reader.remaining} bytes where {limit} are allowed", penalty=10)
    return bytes(reader.rest())
