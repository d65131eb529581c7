"""One object as this node sees it: who else speaks about it, how rare each chunk is, what we have of it, what we want.

It is the meeting point of its sides: `metadata` and `fetch` (what we want of it, while we do), `giving` (what we show
to whom).
"""

from __future__ import annotations

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.replication import bits
from swarmd.replication.availability import Availability
from swarmd.replication.link import Channel
from swarmd.replication.shape import Shape

MAX_PAST_PEERS = 1024
"""Peers that have left and whose share of a transfer is remembered."""


class Swarm:
    """`have` is what may be given away: verified and stored. `channels` are those whose far end is open."""

    __slots__ = ("availability", "channels", "content_id", "groups", "have", "past", "shape")

    def __init__(self, content_id: ContentId) -> None:
        self.content_id = content_id
        self.groups: set[GroupId] = set()
        self.shape: Shape | None = None
        self.have = 0
        self.channels: dict[Channel, None] = {}  # a set that keeps its order, so that one seed gives one run
        self.availability = Availability()
        self.past: dict[tuple[GroupId, PeerId], tuple[int, int]] = {}

    @property
    def is_loose(self) -> bool:
        return self.shape is not None and self.shape.is_loose

    @property
    def is_whole(self) -> bool:
        return self.shape is not None and self.have == self.shape.everything and not self.shape.is_loose

    def attach(self, channel: Channel) -> None:
        """The far end is open. What it has comes with Have."""
        self.channels[channel] = None
        self.availability.add(channel.has)

    def detach(self, channel: Channel) -> None:
        del self.channels[channel]
        self.availability.remove(channel.has)
        key = (channel.link.group, channel.link.peer)
        received, sent = self.past.pop(key, (0, 0))
        received, sent = received + channel.received_bytes, sent + channel.sent_bytes
        if received or sent:
            self.past[key] = (received, sent)
            if len(self.past) > MAX_PAST_PEERS:
                del self.past[next(iter(self.past))]

    def learn(self, channel: Channel, chunks: int) -> int:
        """The peer has these; which of them are news."""
        news = bits.without(chunks, channel.has)
        if self.shape is not None and news.bit_length() > self.shape.n_chunks:
            raise RemoteError(f"a Have of chunk {news.bit_length() - 1} of {self.shape.n_chunks}", penalty=5)
        channel.has |= news
        self.availability.add(news)
        return news

    def unlearn(self, channel: Channel, chunks: int) -> None:
        """The peer has these no more."""
        lost = chunks & channel.has
        channel.has ^= lost
        self.availability.remove(lost)

    def shares(self) -> dict[tuple[GroupId, PeerId], tuple[int, int]]:
        """What each peer gave and took, present ones and past."""
        result = dict(self.past)
        for channel in self.channels:
            key = (channel.link.group, channel.link.peer)
            received, sent = result.get(key, (0, 0))
            result[key] = (received + channel.received_bytes, sent + channel.sent_bytes)
        return result
