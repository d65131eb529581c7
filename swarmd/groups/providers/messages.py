"""Messages about providers, version 1. The first byte says which one.

    48 Announce  u8 hops | u8 turn | u8 is copy | provider record      for the members nearest to the record's key
    49 Find      path | 32 key | u8 hops | u8 turn                     who holds what the key stands for?
    50 Held      path | varint n, n x blob provider record             answers Find: 1 to 4
    51 Unknown   path                                                  answers Find: nobody known here, no way on

`path` is 16 random bytes that the asker draws for each way it tries: answers go back as the question came. `hops`: how
many more the message may go. `turn`: as in routing, 0 for the shortest way. A copy is kept and goes no further.

Invariant: `decode` gives a message or raises RemoteError, and what it gives has exactly those bytes. The records in
them are not looked at (`providers.record`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES
from swarmd.groups.providers.record import RECORD_BYTES
from swarmd.groups.ring import GroupAddress

PATH_BYTES = 16
HOP_LIMIT = 32
"""As in routing: twice what a million members need."""
TURN_LIMIT = 255
MAX_ANSWERS = 4
"""Providers in one answer: they know further ones."""


@dataclass(frozen=True, slots=True)
class Announce:
    type: ClassVar = 48
    n_hops_left: int
    turn: int
    is_copy: bool
    record: bytes

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).u8(self.n_hops_left).u8(self.turn).u8(self.is_copy)
        return writer.raw(self.record).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Announce:
        n_hops_left, turn, is_copy = _read_hops(reader), reader.u8(), reader.u8()
        if is_copy > 1:
            raise RemoteError(f"a flag is 0 or 1, not {is_copy}")
        if reader.remaining > RECORD_BYTES:
            raise RemoteError(f"a provider record of {reader.remaining} bytes", penalty=10)
        return cls(n_hops_left, turn, bool(is_copy), bytes(reader.rest()))

    def onward(self) -> Announce:
        """After one more hop."""
        return Announce(self.n_hops_left - 1, self.turn, self.is_copy, self.record)


@dataclass(frozen=True, slots=True)
class Find:
    type: ClassVar = 49
    path: bytes
    key: GroupAddress
    n_hops_left: int = HOP_LIMIT
    turn: int = 0

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).raw(self.path).raw(self.key)
        return writer.u8(self.n_hops_left).u8(self.turn).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Find:
        path, key = reader.raw(PATH_BYTES), GroupAddress(reader.view(ID_BYTES))
        return cls(path, key, _read_hops(reader), reader.u8())

    def onward(self) -> Find:
        return Find(self.path, self.key, self.n_hops_left - 1, self.turn)


@dataclass(frozen=True, slots=True)
class Held:
    type: ClassVar = 50
    path: bytes
    records: tuple[bytes, ...]

    def encode(self) -> bytes:
        writer = Writer().u8(self.type).raw(self.path).varint(len(self.records))
        for record in self.records:
            writer.blob(record)
        return writer.bytes()

    @classmethod
    def read(cls, reader: Reader) -> Held:
        path, n = reader.raw(PATH_BYTES), reader.varint(MAX_ANSWERS)
        if not n:
            raise RemoteError("an answer names no provider")
        return cls(path, tuple(reader.blob(RECORD_BYTES) for _ in range(n)))


@dataclass(frozen=True, slots=True)
class Unknown:
    type: ClassVar = 51
    path: bytes

    def encode(self) -> bytes:
        return Writer().u8(self.type).raw(self.path).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Unknown:
        return cls(reader.raw(PATH_BYTES))


Message = Announce | Find | Held | Unknown
_READERS: dict[int, Callable[[Reader], Message]] = {kind.type: kind.read for kind in (Announce, Find, Held, Unknown)}


def decode(data: bytes | memoryview) -> Message:
    """The message with exactly these bytes; RemoteError otherwise."""
    reader = Reader(data)
    kind = reader.u8()
    if (read := _READERS.get(kind)) is None:
        raise RemoteError(f"a message about providers of the unknown type {kind}")
    message = read(reader)
    reader.end()
    return message


def _read_hops(reader: Reader) -> int:
    if (hops := reader.u8()) > HOP_LIMIT:
        raise RemoteError("a message wants to go further than any may", penalty=10)
    return hops
