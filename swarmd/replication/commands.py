"""What the replicator asks of its driver. Each is frozen and says all that is needed to carry it out.

Two kinds come out of one queue: things to send, and work for the store, or for a program (`ForProgram`). Work is
answered by a call on the replicator that names the same read, page or chunk; the answer may come at any time and in
any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.replication.shape import MetaKind

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class SendControl:
    """Send on the control flow of that group's link."""

    group: GroupId
    peer: PeerId
    data: bytes


@dataclass(frozen=True, slots=True)
class SendBulk:
    """Send as one message on the bulk flow; `bulk_drained` reports it. The buffers stay as they are until then.

    `is_background`: it may give way to everything else on the path.
    """

    group: GroupId
    peer: PeerId
    parts: Sequence[Buffer]
    is_background: bool = False


@dataclass(frozen=True, slots=True)
class ReadMeta:
    """Answer with `meta_read(read_id, data)`; None when we have not got that page."""

    read_id: int
    content_id: ContentId
    kind: MetaKind
    index: int


@dataclass(frozen=True, slots=True)
class ReadChunk:
    """Answer with `chunk_read(read_id, buffer)`; None when it cannot be served any more."""

    read_id: int
    content_id: ContentId
    index: int
    length: int


@dataclass(frozen=True, slots=True)
class ReleaseBuffer:
    """The buffer given for that read is not needed any more; comes exactly once for each `chunk_read` with one."""

    read_id: int


@dataclass(frozen=True, slots=True)
class StoreMeta:
    """Verify and keep; answer with `meta_accepted` or `meta_rejected`."""

    content_id: ContentId
    kind: MetaKind
    index: int
    data: bytes
    peer: PeerId


@dataclass(frozen=True, slots=True)
class StoreChunk:
    """Hash and write; answer with `chunk_stored`, `chunk_rejected` or `chunk_failed`. `parts` are the peer's own
    bytes.
    """

    content_id: ContentId
    index: int
    parts: Sequence[memoryview]
    peer: PeerId


@dataclass(frozen=True, slots=True)
class PenalisePeer:
    """The peer did wrong in a way that only showed later: `points` as in RemoteError.penalty."""

    group: GroupId
    peer: PeerId
    points: int
    reason: str


@dataclass(frozen=True, slots=True)
class Completed:
    """Every chunk is stored and every page accepted; the object goes on being served."""

    content_id: ContentId


class ForProgram:
    """Base of what concerns an object of a program (`programs`)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class AskProgram(ForProgram):
    """A peer wants that chunk: answer with `programs.write` or `programs.deny`, unless RequestOver comes first."""

    read_id: int
    content_id: ContentId
    index: int


@dataclass(frozen=True, slots=True)
class RequestOver(ForProgram):
    """Nobody waits for that chunk any more: it was denied, or came too late, or the peer took it back."""

    read_id: int


@dataclass(frozen=True, slots=True)
class ChunkArrived(ForProgram):
    """A chunk that was wanted, and is not any more; answer with `programs.taken`. `parts`: the peer's own bytes."""

    content_id: ContentId
    index: int
    parts: Sequence[memoryview]


@dataclass(frozen=True, slots=True)
class ChunkAsked(ForProgram):
    """A peer has been asked for that chunk."""

    content_id: ContentId
    index: int


@dataclass(frozen=True, slots=True)
class ChunkFailed(ForProgram):
    """A peer that was asked for it does not give it now, or has gone. It stays wanted."""

    content_id: ContentId
    index: int


Command = (
    SendControl
    | SendBulk
    | ReadMeta
    | ReadChunk
    | ReleaseBuffer
    | StoreMeta
    | StoreChunk
    | PenalisePeer
    | Completed
    | AskProgram
    | RequestOver
    | ChunkArrived
    | ChunkAsked
    | ChunkFailed
)
