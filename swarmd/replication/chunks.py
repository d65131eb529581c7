"""Where each chunk of a download stands.

    wanted     nobody has been asked for it
    requested  one peer has been asked, or two when one of them is late
    received   all its bytes are here and the store is hashing and writing them
    stored     it is verified and on disk, and may be given to others

Invariant: every chunk is in exactly one of these. `open_bytes` is the length of all that are requested or received:
the memory a download may cost. Nothing here knows a peer from another; requests carry their channel for those who do.

A request that is not active any more (abandoned: its chunk came from somebody else, or was given up) lives on in its
channel until the peer has ended it, so that what still arrives is recognised, and dropped.
"""

from __future__ import annotations

from swarmd.replication import bits
from swarmd.replication.link import Channel, Request
from swarmd.replication.shape import Shape


class Chunks:
    __slots__ = (
        "_shape",
        "open_bytes",
        "received",
        "requested",
        "stored",
        "stored_bytes",
        "untouched",
        "verifiable",
        "wanted",
    )

    def __init__(self, shape: Shape, stored: int) -> None:
        self._shape = shape
        self.stored = stored & shape.everything
        self.wanted = bits.without(shape.everything, stored)
        self.verifiable = 0
        self.requested: dict[int, list[Request]] = {}
        self.received: dict[int, tuple[Channel, int]] = {}
        self.untouched = 0  # requested of one peer, and nothing has come yet
        self.open_bytes = 0
        self.stored_bytes = self._size(self.stored)

    def _size(self, chunks: int) -> int:
        shape = self._shape
        if chunks == shape.everything:
            return shape.total_size
        if (lacking := bits.without(shape.everything, chunks)).bit_count() < chunks.bit_count():
            return shape.total_size - sum(map(shape.chunk_length, bits.members(lacking)))
        return sum(map(shape.chunk_length, bits.members(chunks)))

    @property
    def pickable(self) -> int:
        """Wanted, and checkable once here."""
        return self.wanted & self.verifiable

    @property
    def is_complete(self) -> bool:
        return self.stored == self._shape.everything

    def ask(self, channel: Channel, chunk: int, now: float) -> Request:
        """wanted -> requested; or a second request for one that is requested already."""
        request = Request(channel, chunk, self._shape.chunk_length(chunk), now)
        others = self.requested.get(chunk)
        if others is None:
            assert bits.has(self.wanted, chunk), "only a wanted chunk is asked for"
            self.wanted ^= 1 << chunk
            self.requested[chunk] = [request]
            self.untouched |= 1 << chunk
            self.open_bytes += request.length
        else:
            others.append(request)
            self._touch(chunk)
        return request

    def _touch(self, chunk: int) -> None:
        if self.untouched >> chunk & 1:
            self.untouched ^= 1 << chunk

    def begin(self, request: Request) -> None:
        """Its first bytes are here."""
        self._touch(request.chunk)

    def give_up(self, request: Request) -> bool:
        """The request is over without its chunk. True: the chunk is wanted again; somebody else may be on it still."""
        request.is_active = False
        request.parts = []
        rest = self.requested[request.chunk]
        rest.remove(request)
        if rest:
            return False
        del self.requested[request.chunk]
        self._touch(request.chunk)
        self.wanted |= 1 << request.chunk
        self.open_bytes -= request.length
        return True

    def complete(self, request: Request) -> list[Request]:
        """requested -> received. Returns the other requests for it, abandoned now."""
        losers = self.requested.pop(request.chunk)
        losers.remove(request)
        request.is_active = False
        for loser in losers:
            loser.is_active = False
            loser.parts = []
        self._touch(request.chunk)
        self.received[request.chunk] = (request.channel, request.length)
        return losers

    def store(self, chunk: int) -> None:
        """received -> stored."""
        _, length = self.received.pop(chunk)
        self.open_bytes -= length
        self.stored |= 1 << chunk
        self.stored_bytes += length

    def reject(self, chunk: int) -> Channel:
        """received -> wanted: its bytes were false, or the disk did not take them. Returns who sent them."""
        channel, length = self.received.pop(chunk)
        self.open_bytes -= length
        self.wanted |= 1 << chunk
        return channel

    def adopt(self, chunks: int) -> None:
        """wanted -> stored: the store found them somewhere else. Others stay as they are."""
        found = chunks & self.wanted
        self.wanted ^= found
        self.stored |= found
        self.stored_bytes += self._size(found)

    def lose(self, chunks: int) -> None:
        """stored -> wanted: what was on disk has gone."""
        lost = chunks & self.stored
        self.stored ^= lost
        self.wanted |= lost
        self.stored_bytes -= self._size(lost)
