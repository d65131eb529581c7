"""The control messages between two members, and their bytes.

One packet (what `SendControl` carries) is one or more messages back to back, each a type byte and its fields in
`core.codec` form; so everything that is decided at one moment travels in one record.

An object is named by its content ID once, in `Open`, together with a *handle* that its sender chooses: rising numbers,
never used twice on a link. Later messages about the object carry the handle of their own sender; answers to requests
(Deny, DenyMeta and everything on the bulk flow) carry the asker's, so that what still arrives for a closed channel is
never taken for an answer under its successor. Either side opens when it has something to say about the object. A Close
from either ends both handles; who still wants the object opens again.

    Hello     lowest and highest version spoken; the first message of a link, once
    Open      handle, content ID, what we want of it, and whether in the background (a bit of the wish's byte)
    Close     the handle is dead, and its counterpart; all requests, both ways, are over. Answered with Close
    Want      what we want of it now, likewise
    Have      chunks to add to what the sender can give
    Withdraw  chunks to take out
    Request   chunk: send it. Ends with its last block or with one Deny
    Cancel    chunk: if it is not all sent yet (or: if nothing of it is sent yet), stop and Deny
    Deny      (asker's handle) chunk, reason, bytes of it sent before: the request is over. Soft: it may be asked again
    AskMeta   kind, index: send that page. Ends with the page or with DenyMeta
    DenyMeta  (asker's handle) kind, index
    Status    bytes of bulk messages received on this link since it began (the other end paces itself by it); how many
              KiB the sender of this has promised to others and how many KiB/s it delivers (so that nobody queues
              where the queue is longest)
    Idle      the sender's line has nothing to do, and it has something that the other lacks

A wish in the background asks the other end to let its blocks give way to all other traffic of the path. It may, and
loses nothing by it; what else it does for the object stays as it is.

Every decoder is strict: RemoteError for a short, long, unknown or non-canonical message, an index beyond any object,
a set with too many pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId
from swarmd.core.ranges import RangeSet
from swarmd.replication import bits
from swarmd.replication.shape import MAX_CHUNK_BYTES, MAX_CHUNKS, MAX_PAGES, MetaKind

VERSION = 2
MAX_PACKET_BYTES = 64 << 10
"""As large as the transport takes for control; larger ones are cut between messages."""
SEGMENT_CHUNKS = 1 << 16
"""One Have speaks of at most this many neighbouring chunks: 8 KiB as a bitmap, so that control stays interleaved."""
MAX_HANDLE = 2**32 - 1
MAX_VERSION = 2**16
_BACKGROUND = 0x80  # of a wish's byte
_SEGMENT_BYTES = SEGMENT_CHUNKS // 8
_TOTAL_LIMIT = 2**63
_KIB_LIMIT = 2**40
MAX_COMING_MS = 2**31


class Type(IntEnum):
    HELLO = 0x01
    OPEN = 0x02
    CLOSE = 0x03
    WANT = 0x04
    HAVE = 0x05
    HAVE_MAP = 0x06
    WITHDRAW = 0x07
    REQUEST = 0x08
    CANCEL = 0x09
    CANCEL_UNTOUCHED = 0x0A
    DENY = 0x0B
    ASK_META = 0x0C
    DENY_META = 0x0D
    STATUS = 0x0E
    IDLE = 0x0F


class Wish(IntEnum):
    """What the sender wants of an object. In order: it plays; give it whatever it asks for."""

    NOTHING = 0
    CHUNKS = 1
    IN_ORDER = 2


class Reason(IntEnum):
    """Why a request was denied."""

    CANCELLED = 0
    NOT_HELD = 1
    UNREADABLE = 2
    BUSY = 3  # the queue is long, and somebody else has it too


@dataclass(frozen=True, slots=True)
class Hello:
    lowest: int
    highest: int


@dataclass(frozen=True, slots=True)
class Open:
    handle: int
    content_id: ContentId
    wish: Wish
    is_background: bool = False


@dataclass(frozen=True, slots=True)
class Close:
    """`counterpart`: the other end's handle for the same object, if its sender knew one; that is dead too."""

    handle: int
    counterpart: int


@dataclass(frozen=True, slots=True)
class Want:
    handle: int
    wish: Wish
    is_background: bool = False


@dataclass(frozen=True, slots=True)
class Have:
    """`chunks`: a set as bits, all within SEGMENT_CHUNKS of each other."""

    handle: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    handle: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Request:
    handle: int
    chunk: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """`if_untouched`: only if nothing of it has been sent."""

    handle: int
    chunk: int
    if_untouched: bool


@dataclass(frozen=True, slots=True)
class Deny:
    handle: int
    chunk: int
    reason: Reason
    sent: int


@dataclass(frozen=True, slots=True)
class AskMeta:
    handle: int
    kind: MetaKind
    index: int


@dataclass(frozen=True, slots=True)
class DenyMeta:
    handle: int
    kind: MetaKind
    index: int


@dataclass(frozen=True, slots=True)
class Status:
    received: int
    queued_kib: int
    rate_kib: int
    coming_ms: int


@dataclass(frozen=True, slots=True)
class Idle:
    pass


Message = Hello | Open | Close | Want | Have | Withdraw | Request | Cancel | Deny | AskMeta | DenyMeta | Status | Idle


def encode(message: Message) -> bytes:
    """One message; `encode_set` splits a Have or Withdraw that is too wide."""
    w = Writer()
    match message:
        case Request(handle, chunk):
            w.u8(Type.REQUEST).varint(handle).varint(chunk)
        case Status(received, queued_kib, rate_kib, coming_ms):
            w.u8(Type.STATUS).varint(received).varint(queued_kib).varint(rate_kib).varint(coming_ms)
        case Have(handle, chunks):
            _write_set(w, Type.HAVE, handle, chunks)
        case Cancel(handle, chunk, if_untouched):
            w.u8(Type.CANCEL_UNTOUCHED if if_untouched else Type.CANCEL).varint(handle).varint(chunk)
        case Deny(handle, chunk, reason, sent):
            w.u8(Type.DENY).varint(handle).varint(chunk).u8(reason).varint(sent)
        case Withdraw(handle, chunks):
            _write_set(w, Type.WITHDRAW, handle, chunks)
        case AskMeta(handle, kind, index):
            w.u8(Type.ASK_META).varint(handle).u8(kind).varint(index)
        case DenyMeta(handle, kind, index):
            w.u8(Type.DENY_META).varint(handle).u8(kind).varint(index)
        case Open(handle, content_id, wish, is_background):
            w.u8(Type.OPEN).varint(handle).raw(content_id).u8(wish | _BACKGROUND * is_background)
        case Close(handle, counterpart):
            w.u8(Type.CLOSE).varint(handle).varint(counterpart)
        case Want(handle, wish, is_background):
            w.u8(Type.WANT).varint(handle).u8(wish | _BACKGROUND * is_background)
        case Idle():
            w.u8(Type.IDLE)
        case Hello(lowest, highest):
            w.u8(Type.HELLO).varint(lowest).varint(highest)
    return w.bytes()


def encode_set(type_: type[Have] | type[Withdraw], handle: int, chunks: int) -> Iterator[bytes]:
    """As many messages as the set needs."""
    base = 0
    width = SEGMENT_CHUNKS if type_ is Have else SEGMENT_CHUNKS // 8  # ranges only, at worst a byte a chunk
    while chunks:
        segment = chunks & ((1 << width) - 1)
        if segment:
            yield encode(type_(handle, segment << base))
        chunks >>= width
        base += width


def _write_set(w: Writer, type_: Type, handle: int, chunks: int) -> None:
    """Ranges counted from the first chunk, or from 2 KiB set in pieces on a bitmap (Have only) if that is shorter."""
    base = bits.lowest(chunks)
    chunks >>= base
    ranges = bits.to_ranges(chunks).encode()
    width = (chunks.bit_length() + 7) // 8
    if type_ is Type.HAVE and len(ranges) > width:
        w.u8(Type.HAVE_MAP).varint(handle).varint(base).blob(chunks.to_bytes(width, "little"))
    else:
        w.u8(type_).varint(handle).varint(base).blob(ranges)


def decode_packet(data: bytes) -> Iterator[Message]:
    """The messages of one packet in order; RemoteError at the first that is wrong."""
    if len(data) > MAX_PACKET_BYTES:
        raise RemoteError(f"a control packet has {len(data)} bytes; {MAX_PACKET_BYTES} are allowed", penalty=5)
    reader = Reader(data)
    while reader.remaining:
        yield _decode(reader)


def _decode(r: Reader) -> Message:
    match r.u8():
        case Type.REQUEST:
            return Request(_handle(r), _chunk(r))
        case Type.STATUS:
            return Status(r.varint(_TOTAL_LIMIT), r.varint(_KIB_LIMIT), r.varint(_KIB_LIMIT), r.varint(MAX_COMING_MS))
        case Type.HAVE:
            return Have(_handle(r), _ranges(r))
        case Type.HAVE_MAP:
            return Have(_handle(r), _bitmap(r))
        case Type.CANCEL:
            return Cancel(_handle(r), _chunk(r), if_untouched=False)
        case Type.CANCEL_UNTOUCHED:
            return Cancel(_handle(r), _chunk(r), if_untouched=True)
        case Type.DENY:
            return Deny(_handle(r), _chunk(r), _reason(r), r.varint(MAX_CHUNK_BYTES))
        case Type.WITHDRAW:
            return Withdraw(_handle(r), _ranges(r))
        case Type.ASK_META:
            return AskMeta(_handle(r), _kind(r), r.varint(MAX_PAGES))
        case Type.DENY_META:
            return DenyMeta(_handle(r), _kind(r), r.varint(MAX_PAGES))
        case Type.OPEN:
            return Open(_handle(r), ContentId(r.raw(32)), *_wish(r))
        case Type.CLOSE:
            return Close(_handle(r), _handle(r))
        case Type.WANT:
            return Want(_handle(r), *_wish(r))
        case Type.IDLE:
            return Idle()
        case Type.HELLO:
            return Hello(r.varint(MAX_VERSION), r.varint(MAX_VERSION))
        case other:
            raise RemoteError(f"there is no control message of type {other:#x}", penalty=5)


def _handle(r: Reader) -> int:
    return r.varint(MAX_HANDLE)


def _chunk(r: Reader) -> int:
    return r.varint(MAX_CHUNKS - 1)


def _ranges(r: Reader) -> int:
    base = r.varint(MAX_CHUNKS - 1)
    data = r.blob(2 * _SEGMENT_BYTES)
    width = min(SEGMENT_CHUNKS, MAX_CHUNKS - base)
    return _based(bits.of_ranges(RangeSet.decode(data, width, _SEGMENT_BYTES)), base)


def _bitmap(r: Reader) -> int:
    base = r.varint(MAX_CHUNKS - 1)
    data = r.blob(_SEGMENT_BYTES)
    if not data or not data[-1]:
        raise RemoteError("a bitmap ends in an empty byte")
    chunks = int.from_bytes(data, "little")
    if base + chunks.bit_length() > MAX_CHUNKS:
        raise RemoteError(f"a bitmap goes beyond chunk {MAX_CHUNKS}")
    return _based(chunks, base)


def _based(chunks: int, base: int) -> int:
    if not chunks & 1:
        raise RemoteError("a set of chunks is empty or does not start at its base")
    return chunks << base


def _kind(r: Reader) -> MetaKind:
    try:
        return MetaKind(r.u8())
    except ValueError:
        raise RemoteError("there is no such kind of page") from None


def _reason(r: Reader) -> Reason:
    try:
        return Reason(r.u8())
    except ValueError:
        raise RemoteError("there is no such reason to deny") from None


def _wish(r: Reader) -> tuple[Wish, bool]:
    byte = r.u8()
    try:
        return Wish(byte & ~_BACKGROUND), bool(byte & _BACKGROUND)
    except ValueError:
        raise RemoteError("there is no such wish") from None
