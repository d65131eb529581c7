"""What members say to each other about posts, as bytes. Part of the group's flow (`groups.service`).

    u8 type | body                                                          type, and what it is for
    Announce   u8 is_news (0 or 1), n x key                                 16  I have these
    Request    u8 insists (0 or 1), n x key                                 17  give me these
    Part       key, u8 index, u8 count, the bytes                           18  a piece of a post, in order
    Busy       n x key                                                      19  not now: ask somebody else first
    Gone       n x key                                                      20  I no longer have these
    Have       u8 is_answer, u16 period, u8 offset, n x 4 bytes             21  these are all I know
    Time       varint seconds since the epoch                               22  so late is it here
    n x        varint n, then so many of them

A post travels in parts of `PART_BYTES`, all but the last full. Have is about posts that came in the last `period`
seconds, and names each by four bytes of its key from `offset` on, another offset each time: posts that look alike once
do not look alike the next time.

Invariant: `decode(message.encode()) == message`; every list is bounded; any other bytes are a RemoteError. A
change here changes `groups.messages.VERSION`, a vector and this table in one commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.groups.posting.post import KEY_BYTES, POST_BYTES_LIMIT

KEYS_PER_MESSAGE = 1024
"""12 KiB."""
ANNOUNCE_BYTES = 3 + KEY_BYTES
"""Of a message that announces one post."""
PART_BYTES = 16 << 10
"""7 ms at 20 Mbit/s: other messages of the group do not wait for longer, and a part that has come shows that the
others are coming."""
MAX_PARTS = -(-POST_BYTES_LIMIT // PART_BYTES)
SLICE_BYTES = 4
SLICES_PER_MESSAGE = 4096
"""16 KiB: all the posts that a member may hold and have held in their lifetime."""
MAX_OFFSET = KEY_BYTES - SLICE_BYTES
SECONDS_LIMIT = 2**40


@dataclass(frozen=True, slots=True)
class Announce:
    """`is_news`: they have just come; otherwise they are older, and were lacking in a Have."""

    type: ClassVar = 16
    keys: tuple[bytes, ...]
    is_news: bool

    def encode(self) -> bytes:
        return _write(Writer().u8(self.type).u8(self.is_news), self.keys)

    @classmethod
    def read(cls, reader: Reader) -> Announce:
        is_news = _read_bool(reader)
        return cls(_read(reader), is_news)


@dataclass(frozen=True, slots=True)
class Request:
    """`insists`: who asks has waited, and has nobody else to ask."""

    type: ClassVar = 17
    keys: tuple[bytes, ...]
    insists: bool

    def encode(self) -> bytes:
        return _write(Writer().u8(self.type).u8(self.insists), self.keys)

    @classmethod
    def read(cls, reader: Reader) -> Request:
        insists = _read_bool(reader)
        return cls(_read(reader), insists)


@dataclass(frozen=True, slots=True)
class Part:
    type: ClassVar = 18
    key: bytes
    index: int
    count: int
    data: bytes

    def encode(self) -> bytes:
        return Writer().u8(self.type).raw(self.key).u8(self.index).u8(self.count).raw(self.data).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Part:
        key, index, count = reader.raw(KEY_BYTES), reader.u8(), reader.u8()
        if not index < count <= MAX_PARTS:
            raise RemoteError(f"part {index} of {count} of a post, which has at most {MAX_PARTS}", penalty=10)
        size = reader.remaining
        if size > PART_BYTES or not size or (index < count - 1 and size != PART_BYTES):
            raise RemoteError(f"a part of a post has {size} bytes", penalty=10)
        return cls(key, index, count, reader.raw(size))


@dataclass(frozen=True, slots=True)
class Busy:
    type: ClassVar = 19
    keys: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _write(Writer().u8(self.type), self.keys)

    @classmethod
    def read(cls, reader: Reader) -> Busy:
        return cls(_read(reader))


@dataclass(frozen=True, slots=True)
class Gone:
    type: ClassVar = 20
    keys: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _write(Writer().u8(self.type), self.keys)

    @classmethod
    def read(cls, reader: Reader) -> Gone:
        return cls(_read(reader))


@dataclass(frozen=True, slots=True)
class Have:
    """`is_answer`: to a Have of the other's, so that none is expected in return. `period`: seconds."""

    type: ClassVar = 21
    is_answer: bool
    period: int
    offset: int
    slices: tuple[bytes, ...]

    def encode(self) -> bytes:
        return _write(Writer().u8(self.type).u8(self.is_answer).u16(self.period).u8(self.offset), self.slices)

    @classmethod
    def read(cls, reader: Reader) -> Have:
        is_answer, period, offset = _read_bool(reader), reader.u16(), reader.u8()
        if offset > MAX_OFFSET:
            raise RemoteError(f"a key has no four bytes from {offset} on")
        return cls(is_answer, period, offset, _read(reader, SLICE_BYTES, SLICES_PER_MESSAGE))

    def names(self, key: bytes) -> bytes:
        """What stands for the post with that key in `slices`."""
        return key[self.offset : self.offset + SLICE_BYTES]


@dataclass(frozen=True, slots=True)
class Time:
    """To who gives a post that is dropped for its date: whoever's clock is wrong hears of it by its first post."""

    type: ClassVar = 22
    seconds: int

    def encode(self) -> bytes:
        return Writer().u8(self.type).varint(self.seconds).bytes()

    @classmethod
    def read(cls, reader: Reader) -> Time:
        return cls(reader.varint(SECONDS_LIMIT))


Message = Announce | Request | Part | Busy | Gone | Have | Time
_READERS: dict[int, Callable[[Reader], Message]] = {
    kind.type: kind.read for kind in (Announce, Request, Part, Busy, Gone, Have, Time)
}


def decode(data: bytes | memoryview) -> Message:
    """The message with exactly these bytes; RemoteError otherwise."""
    reader = Reader(data)
    kind = reader.u8()
    if (read := _READERS.get(kind)) is None:
        raise RemoteError(f"a message about posts of the unknown type {kind}")
    message = read(reader)
    reader.end()
    return message


def split(key: bytes, encoded: bytes) -> list[Part]:
    """The parts of a post."""
    starts = range(0, len(encoded), PART_BYTES)
    return [Part(key, index, len(starts), encoded[start : start + PART_BYTES]) for index, start in enumerate(starts)]


def _write(writer: Writer, items: tuple[bytes, ...]) -> bytes:
    return writer.varint(len(items)).raw(b"".join(items)).bytes()


def _read(reader: Reader, size: int = KEY_BYTES, limit: int = KEYS_PER_MESSAGE) -> tuple[bytes, ...]:
    n = reader.varint(limit)
    data = reader.raw(n * size)
    return tuple(data[start : start + size] for start in range(0, n * size, size))


def _read_bool(reader: Reader) -> bool:
    if (value := reader.u8()) > 1:
        raise RemoteError(f"{value} is neither yes nor no")
    return bool(value)
