"""Objects of programs: what a program has and wants of an object, chunk by chunk, and what peers want of it.

The rest of the replicator does the work; this is how a driver speaks for programs. An object is there from `open` to
`close`, in one group. Indices are those below LOOSE_CHUNKS, a chunk is 1 to LOOSE_CHUNK_BYTES bytes.

    has      `add_have`, `remove_have`: what members may ask for. Each request is an AskProgram, answered by `write`
             or `deny`, in any order; what is not answered in ANSWER_PERIOD is denied. A denied chunk may be asked for
             again
    wants    `add_want`, `remove_want`: each chunk comes once, as ChunkArrived, and is not wanted any more. `taken`
             makes room for another. ChunkAsked and ChunkFailed tell what goes on meanwhile

Invariant: a chunk is given to others only while the program says that it has it, whatever has been received. Nothing
here checks bytes: they are the sender's word, and whether they are true is for the program to see.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmd.core.ids import ContentId, GroupId
from swarmd.core.ranges import RangeSet
from swarmd.replication import bits
from swarmd.replication.context import Context
from swarmd.replication.download import Download
from swarmd.replication.loose import LooseFetch
from swarmd.replication.objects import Objects
from swarmd.replication.pickers import Order
from swarmd.replication.shape import LOOSE
from swarmd.replication.swarm import Swarm
from swarmd.replication.uploads import Uploads


class Programs:
    """Part of the replicator: every call takes `now`, and is ignored for an object that is not open."""

    def __init__(self, context: Context, objects: Objects, uploads: Uploads, stir: Callable[[float], None]) -> None:
        self._context = context
        self._objects = objects
        self._uploads = uploads
        self._stir = stir
        self._orders: dict[ContentId, Order] = {}

    def is_open(self, content_id: ContentId) -> bool:
        return content_id in self._orders

    def is_free(self, content_id: ContentId) -> bool:
        """Whether nothing of that name is there, no file either."""
        return content_id not in self._objects.swarms

    def has_any(self, content_id: ContentId) -> bool:
        """Whether there is something of it to be given."""
        swarm = self._swarm(content_id)
        return swarm is not None and bool(swarm.have)

    def wants_any(self, content_id: ContentId) -> bool:
        """Whether something of it is wanted that has not come."""
        fetch = self._fetch(content_id)
        return fetch is not None and bool(fetch.chunks.wanted or fetch.chunks.requested)

    def open(self, group: GroupId, content_id: ContentId, order: Order, now: float) -> None:
        """A new object, of which nothing is had and nothing wanted."""
        self._stir(now)
        assert self.is_free(content_id), "an object is opened once"
        swarm = self._objects.swarm_for(content_id)
        swarm.shape = LOOSE
        swarm.groups.add(group)
        self._orders[content_id] = order
        self._objects.enter(swarm, group)

    def close(self, content_id: ContentId, now: float) -> None:
        """Forget it, with all that is under way."""
        self._stir(now)
        if self._orders.pop(content_id, None) is None:
            return
        swarm = self._objects.swarms[content_id]
        for group in swarm.groups:
            self._objects.leave(swarm, group)
        download = self._objects.downloads.pop(content_id, None)
        if download is not None:
            download.stop()
        self._objects.forget(swarm)

    # has

    def add_have(self, content_id: ContentId, chunks: RangeSet, now: float) -> None:
        self._stir(now)
        swarm = self._swarm(content_id)
        if swarm is not None:
            swarm.have |= _bits(chunks)
            self._objects.givings[content_id].wake()

    def remove_have(self, content_id: ContentId, chunks: RangeSet, now: float) -> None:
        """Requests for them that are not answered yet are over."""
        self._stir(now)
        swarm = self._swarm(content_id)
        if swarm is not None:
            lost = _bits(chunks) & swarm.have
            swarm.have ^= lost
            for channel in swarm.channels:
                self._uploads.withdraw(channel, lost)
                self._objects.givings[content_id].hide(channel, lost)

    def write(self, read_id: int, data: bytes, now: float) -> bool:
        """The bytes that were asked for. False when nobody waits for them any more."""
        self._stir(now)
        return self._uploads.program_answered(read_id, data)

    def deny(self, read_id: int, now: float) -> bool:
        """Not now. False when nobody waits for it any more."""
        self._stir(now)
        return self._uploads.program_answered(read_id, None)

    # wants

    def add_want(self, content_id: ContentId, chunks: RangeSet, now: float) -> None:
        self._stir(now)
        swarm = self._swarm(content_id)
        if swarm is None:
            return
        fetch = self._fetch(content_id)
        if fetch is not None:
            fetch.want(_bits(chunks))
            return
        download = self._objects.downloads[content_id] = Download(self._context, swarm, self._orders[content_id])
        download.set_shape(LOOSE)
        assert isinstance(download.fetch, LooseFetch)
        download.fetch.want(_bits(chunks))
        self._objects.say_wish(swarm)
        for group in swarm.groups:
            self._objects.enter(swarm, group)

    def remove_want(self, content_id: ContentId, chunks: RangeSet, now: float) -> None:
        """What has come already comes nevertheless."""
        self._stir(now)
        fetch = self._fetch(content_id)
        if fetch is not None:
            fetch.unwant(_bits(chunks))

    def taken(self, content_id: ContentId, index: int, now: float) -> None:
        """The program has got what arrived."""
        self._stir(now)
        fetch = self._fetch(content_id)
        if fetch is not None:
            fetch.taken(index)

    def set_order(self, content_id: ContentId, order: Order, now: float) -> None:
        """From the next request on."""
        self._stir(now)
        fetch = self._fetch(content_id)
        if content_id in self._orders:
            self._orders[content_id] = order
        if fetch is not None:
            fetch.set_order(order)

    def _swarm(self, content_id: ContentId) -> Swarm | None:
        return self._objects.swarms[content_id] if content_id in self._orders else None

    def _fetch(self, content_id: ContentId) -> LooseFetch | None:
        download = self._objects.downloads.get(content_id)
        fetch = download.fetch if download is not None else None
        return fetch if isinstance(fetch, LooseFetch) else None


def _bits(chunks: RangeSet) -> int:
    return bits.of_ranges(chunks) & LOOSE.everything
