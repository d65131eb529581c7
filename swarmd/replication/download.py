"""One object that we want: its metadata first, then its chunks; paused or not; done or not.

`fetch` exists once the shape is known. What was said about chunks before that (held ones, verifiable ones) waits here.
"""

from __future__ import annotations

from swarmd.replication import bits
from swarmd.replication.context import Context
from swarmd.replication.fetch import Fetch
from swarmd.replication.link import Channel
from swarmd.replication.loose import LooseFetch
from swarmd.replication.messages import Wish
from swarmd.replication.metadata import Metadata
from swarmd.replication.pickers import Order
from swarmd.replication.progress import Waiting
from swarmd.replication.repair import repair
from swarmd.replication.shape import Shape
from swarmd.replication.swarm import Swarm


class Download:
    def __init__(self, context: Context, swarm: Swarm, order: Order) -> None:
        self._context = context
        self.swarm = swarm
        self.order = order
        self.metadata = Metadata(context, swarm)
        self.fetch: Fetch | None = None
        self.is_paused = False
        self.is_done = False
        self._verifiable = 0

    @property
    def wish(self) -> Wish:
        if self.is_done:
            return Wish.NOTHING
        return Wish.IN_ORDER if self.order is Order.LOWEST else Wish.CHUNKS

    def set_shape(self, shape: Shape) -> None:
        self.swarm.shape = shape
        self.metadata.set_shape(shape)
        if self.fetch is None:
            kind = LooseFetch if shape.is_loose else Fetch
            self.fetch = kind(self._context, self.swarm, shape, self.order)
            self.allow(0)

    def allow(self, chunks: int) -> None:
        """The hashes of these are here."""
        self._verifiable |= chunks
        if self.fetch is not None:
            self.fetch.allow(self._verifiable)

    def wake(self) -> None:
        self.metadata.wake()
        if self.fetch is not None:
            self.fetch.wake()

    def heard_have(self, channel: Channel, chunks: int) -> None:
        """A peer has these now."""
        channel.denied = bits.without(channel.denied, chunks)
        if not self.is_done:
            self.metadata.wake()
            if self.fetch is not None and chunks & self.fetch.chunks.pickable:
                channel.is_dry = False
                self.fetch.wake()

    def beckoned(self, channel: Channel) -> None:
        """A peer has nothing to do."""
        if self.fetch is not None and not self.is_done:
            self.fetch.beckoned(channel)

    def stop(self) -> None:
        """It is given up; its channels are closed already."""
        self._context.planning.pop(self.metadata, None)
        if self.fetch is not None:
            self._context.planning.pop(self.fetch, None)
            self.fetch.stop()

    def repair(self, now: float) -> None:
        self.metadata.repair(now)
        if self.fetch is not None:
            repair(self.fetch, now)
        self.wake()

    def is_busy(self, since: float) -> bool:
        """Whether time alone, from `since` on, may change something."""
        if self.is_paused or self.is_done:
            return False
        fetch = self.fetch
        if self.metadata.is_waiting or (fetch is not None and (fetch.outstanding or fetch.is_held(since))):
            return True
        return any(
            channel.denied or channel.retry_at > since or channel.meta_retry_at > since
            for channel in self.swarm.channels
        )

    def is_complete(self) -> bool:
        return self.fetch is not None and self.fetch.chunks.is_complete and self.metadata.has_names

    def waiting(self, now: float, members: int) -> Waiting | None:
        """Why nothing comes; None while something does."""
        fetch = self.fetch
        if self.is_done:
            return None
        if self.is_paused:
            return Waiting.PAUSED
        if fetch is not None and now < fetch.retry_at:
            return Waiting.DISK
        if fetch is not None and (fetch.is_flowing(now) or fetch.chunks.received):
            return None
        if not members:
            return Waiting.NO_MEMBERS
        return self._waiting_for_peers(fetch, now)

    def _waiting_for_peers(self, fetch: Fetch | None, now: float) -> Waiting | None:
        channels = self.swarm.channels
        if not channels or (fetch is not None and not any(channel.has for channel in channels)):
            return Waiting.NOBODY_HAS_IT
        if fetch is None or not self.metadata.has_names:
            return Waiting.METADATA
        if now < fetch.limited_until:
            return Waiting.RATE_LIMITED
        if fetch.outstanding:
            return Waiting.SLOW_PEERS
        lacking = fetch.chunks.wanted
        if not lacking & self.swarm.availability.held():
            return Waiting.MISSING_CHUNKS
        if not bits.without(lacking, bits.without(lacking, fetch.chunks.verifiable)):
            return Waiting.METADATA
        return Waiting.SLOW_PEERS
