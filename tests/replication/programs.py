"""Programs for the mesh of replicators: each does what a test says with one object, and keeps what it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmd.core.ids import ContentId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng
from swarmd.replication import commands
from swarmd.replication.pickers import Order
from swarmd.replication.shape import LOOSE_CHUNK_BYTES
from tests.replication.mesh import GROUP, Member, Mesh

OBJECT = ContentId(b"\xee" * 32)


@dataclass
class Program:
    """What a program does with one object: it answers from `chunks`, and keeps what comes."""

    mesh: Mesh
    member: Member
    content_id: ContentId = OBJECT
    order: Order = Order.RAREST
    chunks: dict[int, bytes] = field(default_factory=dict)
    denies: set[int] = field(default_factory=set)
    is_mute: bool = False
    is_greedy: bool = True
    """It takes what comes, at once."""
    got: list[tuple[int, bytes]] = field(default_factory=list)
    requests: dict[int, int] = field(default_factory=dict)
    asked_for: list[int] = field(default_factory=list)
    fetching: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.member.told = self.told
        self.calls = self.member.replicator.programs
        self.calls.open(GROUP, self.content_id, self.order, self.mesh.now)

    def have(self, **chunks: bytes) -> None:
        self.give({int(index[1:]): data for index, data in chunks.items()})

    def give(self, chunks: dict[int, bytes]) -> None:
        self.chunks |= chunks
        self.calls.add_have(self.content_id, RangeSet((i, i + 1) for i in chunks), self.mesh.now)

    def want(self, start: int, stop: int) -> None:
        self.calls.add_want(self.content_id, RangeSet.single(start, stop), self.mesh.now)

    def unwant(self, start: int, stop: int) -> None:
        self.calls.remove_want(self.content_id, RangeSet.single(start, stop), self.mesh.now)

    def take(self, index: int) -> None:
        self.calls.taken(self.content_id, index, self.mesh.now)

    def told(self, command: commands.ForProgram) -> None:
        now = self.mesh.now
        match command:
            case commands.AskProgram(read_id, _, index):
                self.asked_for.append(index)
                if self.is_mute:
                    self.requests[read_id] = index
                elif index in self.denies:
                    self.calls.deny(read_id, now)
                else:
                    self.calls.write(read_id, self.chunks[index], now)
            case commands.RequestOver(read_id):
                self.requests.pop(read_id, None)
            case commands.ChunkArrived(_, index, parts):
                self.got.append((index, b"".join(parts)))
                if self.is_greedy:
                    self.take(index)
            case commands.ChunkAsked(_, index):
                self.fetching.append(index)
            case commands.ChunkFailed(_, index):
                self.failed.append(index)


def pair(line_rate: float | None = None) -> tuple[Mesh, Program, Program]:
    """One to give and one to get, linked."""
    mesh = Mesh(2, line_rate)
    giver, getter = (Program(mesh, member) for member in mesh.members)
    mesh.join()
    return mesh, giver, getter


def samples(count: int, largest: int = LOOSE_CHUNK_BYTES) -> dict[int, bytes]:
    rng = SeededRng(count)
    return {index: rng.bytes(rng.randrange(largest) + 1) for index in range(count)}


def assert_idle(mesh: Mesh) -> None:
    """Nothing is left of what was under way."""
    for member in mesh.members:
        replicator = member.replicator
        context, uploads = replicator._context, replicator._uploads
        assert (context.open_bytes, context.loose_open, context.coming_bytes) == (0, 0, 0)
        assert (uploads.queued_bytes, uploads._n_loose, uploads._asked, uploads._slots) == (0, 0, {}, [])
        for link in replicator._objects.links.values():
            assert (link.outstanding, link.request_count, link.loose_requests) == (0, 0, 0)
            assert (link.upload_count, link.loose_uploads) == (0, 0)
