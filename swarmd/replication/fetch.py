"""The chunks of one download: which is asked of whom, when a peer counts as late, and what is done about it.

`plan` fills the room there is: it takes the peer whose queue is shortest, lets the picker choose among what that peer
has, asks, and looks again. So requests follow the uploads that are idle, and no peer is asked for more than about
HORIZON seconds of what it delivers. `repair` puts right, a few times a second, what plan decided too early.

Invariant: `Chunks` says where each chunk stands; `link.outstanding` is the sum of bytes not yet received of active
requests on that link; `link.request_count` counts requests not yet ended by the peer, abandoned ones included.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace

from swarmd.core.errors import RemoteError
from swarmd.replication import bits, messages
from swarmd.replication.chunks import Chunks
from swarmd.replication.commands import PenalisePeer, StoreChunk
from swarmd.replication.context import Context
from swarmd.replication.link import MAX_REQUESTS, Channel, Link, Request
from swarmd.replication.messages import Reason
from swarmd.replication.pickers import PICKERS, Order
from swarmd.replication.rates import RateMeter
from swarmd.replication.shape import Shape
from swarmd.replication.swarm import Swarm

MAX_OPEN_BYTES = 32 << 20
"""Asked for or received and not stored yet, of all downloads together: the memory they cost. At 1 GB/s it is 30 ms of
work for the disk, thirty times the turn-round of a request."""
HORIZON = 1.0
"""Seconds of a peer's rate that are asked of it ahead."""
WINDOW_PERIOD = 2.0
"""Seconds of our own rate that are asked for ahead, of all peers together. If it is less than a chunk takes to
come (1.6 to 2 s in a swarm of 16 on 20 Mbit/s), whoever is behind asks for less and falls further behind: with 1.2 s
the last one ended 5.7 s after the first."""
MIN_WINDOW_CHUNKS = 8
"""Asked for ahead in any case, so that a download can start and find out."""
START_CHUNKS = 2
"""Asked of a peer whose rate is not known yet."""
LOOKAHEAD_CHUNKS = 32
LOOKAHEAD_BYTES = 32 << 20
"""In order: nothing beyond so many chunks, or bytes if that is more, after the first that lacks."""
RATE_PERIOD = 3.0
STRIKE_PERIOD = 0.5
RECALL_GAIN = 0.2
"""Seconds that a recall must save."""
FLOWING_PERIOD = 2.0
"""A pause of less is a hiccup, not a halt."""
DISK_PERIOD = 5.0
"""After a failed write, before asking for more."""
DENY_PERIOD = 5.0
"""A denied chunk is asked of the same peer again after this."""
FALSE_POINTS = 10
"""For bytes that do not match their hash: no accident, the transport is authenticated."""


class Fetch:
    def __init__(self, context: Context, swarm: Swarm, shape: Shape, order: Order) -> None:
        self._context = context
        self._shape = shape
        self._order = order
        self._picker = PICKERS[order]
        self._forgive_at = context.now + DENY_PERIOD
        self.swarm = swarm
        self.chunks = Chunks(shape, swarm.have)
        self.meter = RateMeter(RATE_PERIOD, context.now)
        self.outstanding = 0
        self.wasted_bytes = 0
        self.retry_at = 0.0
        self.limited_until = 0.0
        self.patience = 0.0  # with a peer that owes us something, beyond what its queue and its rate explain
        self._received_at = context.now - FLOWING_PERIOD
        self.lookahead = max(LOOKAHEAD_CHUNKS, LOOKAHEAD_BYTES // shape.chunk_size)

    def wake(self) -> None:
        """There is something to plan."""
        self._context.planning[self] = None

    def allow(self, verifiable: int) -> None:
        """Chunks that can be checked: only these are asked for."""
        self.chunks.verifiable = verifiable
        self._wanted_again()

    def is_held(self, now: float) -> bool:
        """Whether it waits for the disk or for our own limit."""
        return now < self.retry_at or now < self.limited_until

    def is_flowing(self, now: float) -> bool:
        """Whether something came lately."""
        return now - self._received_at < FLOWING_PERIOD

    @property
    def is_line_busy(self) -> bool:
        """Whether our line is as good as full."""
        return self._context.downlink.is_busy

    # what to ask for

    @property
    def candidates(self) -> int:
        """What may be asked for now."""
        pickable = self.chunks.pickable
        if pickable and self._order is Order.LOWEST:
            stored = self.chunks.stored
            first = bits.lowest(stored + 1)
            pickable &= bits.single(first, first + self.lookahead)
        return pickable

    def room(self, now: float) -> float:
        """Bytes that may be asked for now."""
        window = max(MIN_WINDOW_CHUNKS * self._shape.chunk_size, self.meter.rate(now) * WINDOW_PERIOD)
        return min(window - self.outstanding, MAX_OPEN_BYTES - self._context.open_bytes)

    def plan(self) -> None:
        now, limit = self._context.now, self._context.limits.down
        if now < self.retry_at or now < limit.all_held_until:
            return
        candidates = self.candidates
        if not candidates:
            return
        room = self.room(now)
        if room <= 0:
            return
        sources = self._sources(now)
        while sources and room > 0:
            channel = sources[0][2]
            chunk = self._picker(self._askable(channel, candidates), self.swarm.availability, self._context.rng)
            if chunk is None:
                channel.is_dry = not self._askable(channel, self.chunks.pickable)
                heappop(sources)
                continue
            length = self._shape.chunk_length(chunk)
            if not limit.take(channel.link.group, length, now):
                self.limited_until = limit.held_until(now) or now
                if now < limit.all_held_until:
                    return
                sources = [source for source in sources if source[2].link.group != channel.link.group]
                heapify(sources)
                continue
            self._ask(channel, chunk)
            candidates ^= 1 << chunk
            room -= length
            if self.has_room(channel.link, now):
                heapreplace(sources, (channel.link.wait(now), sources[0][1], channel))
            else:
                heappop(sources)

    def may_ask(self, channel: Channel, chunk: int) -> bool:
        """Whether that peer has it and would give it, as far as we know."""
        return bool(self._askable(channel, 1 << chunk))

    def _askable(self, channel: Channel, candidates: int) -> int:
        candidates &= channel.has
        return bits.without(candidates, channel.asked | channel.denied | channel.distrusted | channel.busy)

    def _sources(self, now: float) -> list[tuple[float, float, Channel]]:
        """A heap of whom to ask, by how long they would let us wait; ties at random."""
        random, limit = self._context.rng.random, self._context.limits.down
        sources = [
            (channel.link.wait(now), random(), channel)
            for channel in self.swarm.channels
            if not channel.is_dry and self.is_ready(channel, now) and self.has_room(channel.link, now)
        ]
        if limit.is_limited:
            sources = [source for source in sources if not limit.is_held(source[2].link.group, now)]
        heapify(sources)
        return sources

    def is_ready(self, channel: Channel, now: float) -> bool:
        """Whether it may be asked at all."""
        return bool(channel.handle and channel.far_handle) and now >= channel.retry_at

    def has_room(self, link: Link, now: float) -> bool:
        """Whether it may be asked for one chunk more."""
        outstanding = link.outstanding
        if not outstanding:
            return link.request_count < MAX_REQUESTS
        if not link.down.total:
            ahead = (START_CHUNKS - 1) * self._shape.chunk_size + 1.0
        else:
            ahead = link.down.rate(now) * HORIZON
        return outstanding < ahead and link.request_count < MAX_REQUESTS

    def _ask(self, channel: Channel, chunk: int) -> None:
        context = self._context
        link = channel.link
        now = context.now
        if not link.outstanding and now - link.last_block_at > RATE_PERIOD:
            link.down.restart(now)
        before = self.chunks.open_bytes
        request = self.chunks.ask(channel, chunk, now)
        request.expected_at = now + link.wait(now)
        context.open_bytes += self.chunks.open_bytes - before
        channel.requests[chunk] = request
        channel.asked |= 1 << chunk
        link.outstanding += request.length
        link.asked_bytes += request.length
        link.request_count += 1
        self.outstanding += request.length
        link.send(messages.Request(channel.handle, chunk))
        context.speaking[link] = None

    # what comes

    def receive(self, channel: Channel, chunk: int, offset: int, payload: list[memoryview], length: int) -> None:
        """One block."""
        request = channel.requests.get(chunk)
        if request is None:
            raise RemoteError(f"a block of chunk {chunk}, which was not asked for", penalty=5)
        if offset != request.received or length > request.length - offset:
            raise RemoteError(f"a block at {offset}+{length} of chunk {chunk}; {request.received} expected", penalty=5)
        request.received += length
        now = self._context.now
        link = channel.link
        link.last_block_at = now
        link.down.add(length, now)
        channel.received_bytes += length
        if not request.is_active:
            self._receive_late(request, length)
            return
        self.meter.add(length, now)
        self._received_at = now
        link.outstanding -= length
        self.outstanding -= length
        self._context.coming_bytes -= length
        if not offset:
            request.began_at = now
            self._context.coming_bytes += request.length
            self.chunks.begin(request)
            self.wake()
        request.parts += payload
        if request.received == request.length:
            self._complete(request)

    def _receive_late(self, request: Request, length: int) -> None:
        self.wasted_bytes += length
        if request.received == request.length or request.received == request.sent:
            self._end(request)

    def _complete(self, request: Request) -> None:
        channel = request.channel
        for loser in self.chunks.complete(request):
            self._abandoned(loser)
        self._end(request)
        channel.strikes = 0
        self.wake()
        parts, request.parts = request.parts, []
        self._deliver(request, parts)

    def _deliver(self, request: Request, parts: list[memoryview]) -> None:
        peer = request.channel.link.peer
        self._context.commands.append(StoreChunk(self.swarm.content_id, request.chunk, parts, peer))

    def _end(self, request: Request) -> None:
        """The peer has said its last word on it."""
        channel = request.channel
        del channel.requests[request.chunk]
        channel.asked ^= 1 << request.chunk
        channel.link.request_count -= 1

    def _inactive(self, request: Request) -> None:
        """What is left of it is not awaited any more."""
        request.channel.link.outstanding -= request.left
        self.outstanding -= request.left
        if request.received:
            self._context.coming_bytes -= request.left

    def _abandoned(self, request: Request) -> None:
        """It is not active any more, and the peer is told."""
        link = request.channel.link
        self._inactive(request)
        if request.sent < 0:
            link.send(messages.Cancel(request.channel.handle, request.chunk, if_untouched=False))
            self._context.speaking[link] = None

    def abandon(self, request: Request) -> None:
        """Give the chunk to somebody else."""
        self._abandoned(request)
        self._give_up(request)

    def _give_up(self, request: Request) -> None:
        before = self.chunks.open_bytes
        if self.chunks.give_up(request):
            self._wanted_again()
        self._context.open_bytes += self.chunks.open_bytes - before

    def _wanted_again(self) -> None:
        self.wake()
        for channel in self.swarm.channels:
            channel.is_dry = False

    def receive_deny(self, channel: Channel, chunk: int, reason: Reason, sent: int) -> None:
        request = channel.requests.get(chunk)
        if request is None or request.sent >= 0 or not request.received <= sent < request.length:
            raise RemoteError(f"a Deny of chunk {chunk} that answers nothing", penalty=5)
        if request.is_active:
            if reason is Reason.BUSY:
                channel.busy |= 1 << chunk
            elif reason is not Reason.CANCELLED or request.recalled_for is None:
                self._denied(channel, chunk)
            self._inactive(request)
            self._give_up(request)
        request.sent = sent
        if request.received == sent:
            self._end(request)
        if request.recalled_for is not None:
            self._ask_instead(request.recalled_for, chunk)

    def _denied(self, channel: Channel, chunk: int) -> None:
        """It had the chunk, and does not give it now."""
        channel.denied |= 1 << chunk
        channel.strike(self._context.now, STRIKE_PERIOD)

    def _ask_instead(self, channel: Channel, chunk: int) -> None:
        """A chunk asked back for that channel is there again."""
        now = self._context.now
        if self._askable(channel, self.candidates) >> chunk & 1 and self.is_ready(channel, now):
            self._ask(channel, chunk)

    # what others do for us

    def double(self, channel: Channel, chunk: int) -> None:
        """Ask one more peer for a chunk that is requested already."""
        self._ask(channel, chunk)

    def beckoned(self, channel: Channel) -> None:
        """A peer has nothing to do: take something for it from where the queue is long."""
        now = self._context.now
        if channel.link.outstanding or not self.is_ready(channel, now):
            return
        if self.room(now) > 0 and self._askable(channel, self.candidates):
            self.wake()
            return
        best, longest = None, RECALL_GAIN
        for chunk in bits.members(self._askable(channel, self.chunks.untouched)):
            request = self.chunks.requested[chunk][0]
            wait = request.channel.link.wait(now)
            if wait > longest and request.recalled_for is None:
                best, longest = request, wait
        if best is not None:
            self.recall(best, channel)

    def recall(self, request: Request, other: Channel) -> None:
        """Ask for a request back, for another peer; the chunk stays with the first until it says so."""
        request.recalled_for = other
        link = request.channel.link
        link.send(messages.Cancel(request.channel.handle, request.chunk, if_untouched=True))
        self._context.speaking[link] = None

    # what the store says

    def stored(self, chunk: int) -> bool:
        """False when it was not being stored (an answer to a download that was started anew)."""
        if chunk not in self.chunks.received:
            return False
        before = self.chunks.open_bytes
        self.chunks.store(chunk)
        self._context.open_bytes += self.chunks.open_bytes - before
        self.wake()
        return True

    def rejected(self, chunk: int) -> None:
        """Its bytes were false: whoever sent them is not asked for it again, and pays."""
        channel = self._wanted_after(chunk)
        if channel is not None:
            channel.distrusted |= 1 << chunk
            channel.strike(self._context.now, STRIKE_PERIOD)
            link = channel.link
            reason = f"false bytes for chunk {chunk} of {self.swarm.content_id.short}"
            self._context.commands.append(PenalisePeer(link.group, link.peer, FALSE_POINTS, reason))

    def failed(self, chunk: int) -> None:
        """Our disk did not take it."""
        if self._wanted_after(chunk) is not None:
            self.retry_at = self._context.now + DISK_PERIOD

    def _wanted_after(self, chunk: int) -> Channel | None:
        if chunk not in self.chunks.received:
            return None
        before = self.chunks.open_bytes
        channel = self.chunks.reject(chunk)
        self._context.open_bytes += self.chunks.open_bytes - before
        self._wanted_again()
        return channel

    def lose(self, chunks: int) -> None:
        """What was on disk has gone."""
        self.chunks.lose(chunks)
        self._wanted_again()

    # channels and time

    def close_channel(self, channel: Channel) -> int:
        """All requests on it are over. Returns how many bytes of them may still come."""
        still_to_come = 0
        for request in list(channel.requests.values()):
            still_to_come += (request.sent if request.sent >= 0 else request.length) - request.received
            if request.is_active:
                self._inactive(request)
                self._give_up(request)
            self._end(request)
        return still_to_come

    def stop(self) -> None:
        """The download is given up; its channels are closed already."""
        self._context.open_bytes -= self.chunks.open_bytes
        self.chunks.open_bytes = 0

    def forgive(self) -> None:
        """Now and then: what was denied may be asked for again."""
        now = self._context.now
        for channel in self.swarm.channels:
            if channel.busy:
                channel.busy = 0
                channel.is_dry = False
                self.wake()
        if now < self._forgive_at:
            return
        self._forgive_at = now + DENY_PERIOD
        for channel in self.swarm.channels:
            if channel.denied:
                channel.denied = 0
                channel.is_dry = False
                self.wake()
