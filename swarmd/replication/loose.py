"""The wants of a program: like a download without end, without metadata, and without a store.

A chunk is of no interest, or wanted, requested, or received; received ones wait until the program has taken them, and
are of no interest then: whether a chunk is good only the program knows, and if it is not, the program wants it again.
Nothing is ever complete, and nothing that has come is given to others unless the program says so.

Each chunk comes as one block (LOOSE_CHUNK_BYTES), and how long it is shows then; until then it counts as one byte, so
`outstanding` and `open_bytes` count chunks. So programs take nothing from what files may have under way; what they may
have is bounded by itself: LOOSE_WINDOW chunks for each object, MAX_LOOSE_OPEN in all, MAX_LOOSE_REQUESTS for each peer.

A peer's program may think for ANSWER_PERIOD, and may deny: neither counts against the peer. What was denied is asked of
it again after DENY_PERIOD. But who has not answered yet is asked for LOOSE_START chunks only, one more for each that
comes: so a program that never answers has few of the window, and the others' chunks come meanwhile. What it has been
asked for is asked of another holder, too, after SLOW_PERIOD; who is second is told that it is not needed any more.
"""

from __future__ import annotations

from swarmd.core.errors import RemoteError
from swarmd.replication import bits
from swarmd.replication.chunks import Chunks
from swarmd.replication.commands import ChunkArrived, ChunkAsked, ChunkFailed
from swarmd.replication.context import Context
from swarmd.replication.fetch import Fetch
from swarmd.replication.link import MAX_LOOSE_REQUESTS, MAX_REQUESTS, Channel, Link, Request
from swarmd.replication.pickers import PICKERS, Order
from swarmd.replication.shape import LOOSE_CHUNK_BYTES, Shape
from swarmd.replication.swarm import Swarm
from swarmd.replication.uploads import ANSWER_PERIOD

LOOSE_WINDOW = 32
"""Of one object, asked for or not taken yet: 2 MiB."""
LOOSE_START = 4
"""Of one object, asked of one peer that has given nothing yet."""
SLOW_PERIOD = 2.0
"""A program that thinks for longer may not be there at all: somebody else is asked, too, and when it denies after so
long it is as if the peer had given nothing yet."""
MAX_LOOSE_OPEN = 512
"""Of all objects: 32 MiB, if programs do not take what came for them."""


class LooseChunks(Chunks):
    """`again`: received ones that are wanted again once they are taken."""

    __slots__ = ("again",)

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape.everything)
        self.stored = 0
        self.again = 0

    @property
    def pickable(self) -> int:
        return self.wanted

    @property
    def is_complete(self) -> bool:
        return False

    def want(self, chunks: int) -> None:
        for chunk in self.received:
            if chunks >> chunk & 1:
                self.again |= 1 << chunk
        self.wanted |= bits.without(chunks, self._under_way())

    def unwant(self, chunks: int) -> None:
        """The requests for them are given up already."""
        self.wanted = bits.without(self.wanted, chunks)
        self.again = bits.without(self.again, chunks)

    def _under_way(self) -> int:
        found = 0
        for chunk in (*self.requested, *self.received):
            found |= 1 << chunk
        return found

    def take(self, chunk: int) -> None:
        """received -> of no interest, or wanted again."""
        _, length = self.received.pop(chunk)
        self.open_bytes -= length
        if self.again >> chunk & 1:
            self.again ^= 1 << chunk
            self.wanted |= 1 << chunk

    def adopt(self, chunks: int) -> None:
        """What the program gives and what it wants are two matters."""

    def lose(self, chunks: int) -> None:
        """Likewise."""


class LooseFetch(Fetch):
    chunks: LooseChunks

    def __init__(self, context: Context, swarm: Swarm, shape: Shape, order: Order) -> None:
        super().__init__(context, swarm, shape, order)
        self.chunks = LooseChunks(shape)
        self.patience = ANSWER_PERIOD
        self._given: dict[Channel, int] = {}  # chunks; up to LOOSE_WINDOW

    def set_order(self, order: Order) -> None:
        self._picker = PICKERS[order]

    def want(self, chunks: int) -> None:
        self.chunks.want(chunks)
        self._wanted_again()

    def unwant(self, chunks: int) -> None:
        for chunk in [chunk for chunk in self.chunks.requested if chunks >> chunk & 1]:
            for request in list(self.chunks.requested[chunk]):
                self._abandoned(request)
                self._return(request)
        self.chunks.unwant(chunks)

    def taken(self, chunk: int) -> None:
        """The program has got it."""
        if chunk in self.chunks.received:
            before = self.chunks.open_bytes
            self.chunks.take(chunk)
            self._count(before)
            self._wanted_again()

    # what to ask for

    @property
    def candidates(self) -> int:
        return self.chunks.wanted

    def room(self, now: float) -> float:
        """Chunks that may be asked for now."""
        return min(LOOSE_WINDOW - self.chunks.open_bytes, MAX_LOOSE_OPEN - self._context.loose_open)

    def has_room(self, link: Link, now: float) -> bool:
        channel = link.channels[self.swarm.content_id]
        if len(channel.requests) >= LOOSE_START + self._given.get(channel, 0):
            return False
        return link.loose_requests < MAX_LOOSE_REQUESTS and link.request_count < MAX_REQUESTS

    def _ask(self, channel: Channel, chunk: int) -> None:
        before = self.chunks.open_bytes
        super()._ask(channel, chunk)
        self._context.loose_open += self.chunks.open_bytes - before
        channel.link.loose_requests += 1
        self._context.commands.append(ChunkAsked(self.swarm.content_id, chunk))

    def forgive(self) -> None:
        super().forgive()
        late = self._context.now - SLOW_PERIOD
        for chunk, requests in list(self.chunks.requested.items()):
            if len(requests) == 1 and requests[0].asked_at < late:
                self._ask_another(chunk)

    def _ask_another(self, chunk: int) -> None:
        now = self._context.now
        for channel in self.swarm.channels:
            if self.is_ready(channel, now) and self.may_ask(channel, chunk) and self.has_room(channel.link, now):
                self.double(channel, chunk)
                return

    def _count(self, before: int) -> None:
        """`open_bytes` was so much."""
        change = self.chunks.open_bytes - before
        self._context.open_bytes += change
        self._context.loose_open += change

    # what comes

    def receive(self, channel: Channel, chunk: int, offset: int, payload: list[memoryview], length: int) -> None:
        """All of it."""
        request = channel.requests.get(chunk)
        if request is None or offset or length > LOOSE_CHUNK_BYTES:
            raise RemoteError(f"a block at {offset}+{length} of chunk {chunk}, which was not asked for so", penalty=5)
        now, link = self._context.now, channel.link
        link.last_block_at = now
        channel.received_bytes += length
        self._given[channel] = min(self._given.get(channel, 0) + 1, LOOSE_WINDOW)
        self._context.limits.down.charge(link.group, length, now)
        request.received = request.length
        if not request.is_active:
            self.wasted_bytes += length
            self._end(request)
            return
        self.meter.add(length, now)
        self._received_at = now
        link.outstanding -= request.length
        self.outstanding -= request.length
        request.parts = payload
        self._complete(request)

    def _deliver(self, request: Request, parts: list[memoryview]) -> None:
        self._context.commands.append(ChunkArrived(self.swarm.content_id, request.chunk, parts))

    def _end(self, request: Request) -> None:
        super()._end(request)
        channel = request.channel
        channel.link.loose_requests -= 1
        if self.chunks.wanted >> request.chunk & 1:  # taken back, and then wanted again before this end
            channel.is_dry = False
        self.wake()

    def _give_up(self, request: Request) -> None:
        self._return(request)
        if request.recalled_for is None and request.chunk not in self.chunks.requested:
            self._context.commands.append(ChunkFailed(self.swarm.content_id, request.chunk))

    def _return(self, request: Request) -> None:
        before = self.chunks.open_bytes
        super()._give_up(request)
        self._context.loose_open += self.chunks.open_bytes - before

    def _denied(self, channel: Channel, chunk: int) -> None:
        """By a program, which may: not the peer's fault."""
        channel.denied |= 1 << chunk
        if self._context.now - channel.requests[chunk].asked_at > SLOW_PERIOD:
            self._given.pop(channel, None)

    # channels and time

    def close_channel(self, channel: Channel) -> int:
        n_requests = len(channel.requests)
        self._given.pop(channel, None)
        super().close_channel(channel)
        return n_requests * LOOSE_CHUNK_BYTES

    def stop(self) -> None:
        self._context.loose_open -= self.chunks.open_bytes
        super().stop()
