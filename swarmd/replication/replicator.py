"""The replicator: everything a node does about objects, in all its groups, as one machine without clock, disk or
socket.

How to drive it
---------------
Every call takes `now` (monotonic seconds, never falling) and returns at once. After a call, or after a batch of calls,
take commands with `next_command()` until it gives None, and carry them out; then wait until `next_deadline()` (None:
for ever) or the next input, and on the deadline call `handle_timer(now)`. Decisions are made when commands are taken,
so a batch of inputs costs one decision.

    links     peer_joined, peer_left: a (group, peer) with which messages can be exchanged, both ways, in order
              receive_control, receive_bulk: what arrived; RemoteError: close the session, with the error's penalty
              bulk_drained: so many bytes of our bulk messages (their whole length, header included) have left
    objects   serve, unserve, withdraw, fetch, pause, resume, cancel, set_limits, progress; `programs`, for theirs
    answers   to each ReadMeta meta_read; to each ReadChunk chunk_read; to each StoreMeta meta_accepted or
              meta_rejected; to each StoreChunk chunk_stored, chunk_rejected or chunk_failed; at any time, in any
              order, also after the object was cancelled

A download goes: `fetch` -> StoreMeta(ROOT) -> verify; `shape_known`, then `meta_accepted` -> StoreMeta(ENTRIES) ... and
StoreMeta(HASHES) ... -> for each accepted page of hashes `verifiable` with its chunks, once all entries are in -> then
StoreChunk as they come -> `chunk_stored` -> Completed. Afterwards the object goes on being served in the same groups.
After a restart, `fetch` with what is on disk: shape, have, verifiable and the pages held.

Buffers: `chunk_read` lends one until ReleaseBuffer; its slices travel in SendBulk and stay valid as long. The parts of
a StoreChunk are the views that `receive_bulk` was given.

Invariants: a chunk is announced only after `chunk_stored`; only chunks that can be verified are asked for; memory is
bounded by MAX_OPEN_BYTES of downloads, MAX_SLOT_BYTES of uploads and the bounds in `link`, whatever peers do.
It does not: verify, store, choose members, keep anything across a restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import Rng
from swarmd.replication import bits, messages
from swarmd.replication.commands import Command, Completed, PenalisePeer, SendControl
from swarmd.replication.context import Context
from swarmd.replication.download import Download
from swarmd.replication.exchange import Exchange
from swarmd.replication.limits import Rates
from swarmd.replication.link import Link
from swarmd.replication.objects import Objects
from swarmd.replication.pickers import Order
from swarmd.replication.programs import Programs
from swarmd.replication.progress import Progress, Source
from swarmd.replication.shape import MetaKind, Shape
from swarmd.replication.uploads import Uploads

LOOK_PERIOD = 0.1
"""How often what is under way is looked at: late requests, gifts nobody took, queues that have changed."""
BECKONED = 1
LOAD_CHANGE_KIB = 256
"""A change of our queue by less is not worth a message."""


class Replicator:
    """One for a node. See the head of the file."""

    def __init__(self, rng: Rng, now: float) -> None:
        self._context = Context(rng, now)
        self._uploads = Uploads(self._context)
        self._objects = Objects(self._context, self._uploads)
        self._exchange = Exchange(self._context, self._objects, self._uploads)
        self.programs = Programs(self._context, self._objects, self._uploads, self._stir)
        self._look_at: float | None = None
        self._looked_at = now
        self._beckon_at = now

    # links

    def peer_joined(self, group: GroupId, peer: PeerId, now: float) -> None:
        """A member can be talked to. A second call for one that is there replaces the link."""
        self._stir(now)
        self.peer_left(group, peer, now)
        link = Link(group, peer, self._context.uplink, now)
        link.send(messages.Hello(messages.VERSION, messages.VERSION))
        self._context.speaking[link] = None
        self._objects.add_link(link)

    def peer_left(self, group: GroupId, peer: PeerId, now: float) -> None:
        self._stir(now)
        link = self._objects.links.get((group, peer))
        if link is not None:
            self._objects.remove_link(link)
            self._context.speaking.pop(link, None)
            self._context.muttering.pop(link, None)
            self._uploads.is_dirty = True

    def receive_control(self, group: GroupId, peer: PeerId, data: bytes, now: float) -> None:
        """One control packet; RemoteError when the peer broke the protocol."""
        self._stir(now)
        link = self._objects.links.get((group, peer))
        if link is not None:
            self._exchange.receive_control(link, data)

    def receive_bulk(self, group: GroupId, peer: PeerId, parts: Sequence[memoryview], now: float) -> None:
        """One bulk message; its views are kept, not copied. RemoteError when the peer broke the protocol."""
        self._stir(now)
        link = self._objects.links.get((group, peer))
        if link is not None:
            self._exchange.receive_bulk(link, parts)

    def bulk_drained(self, group: GroupId, peer: PeerId, count: int, now: float) -> None:
        """`count` more bytes of our bulk messages to that peer have left."""
        self._stir(now)
        link = self._objects.links.get((group, peer))
        if link is not None:
            self._uploads.drained(link, count)

    # objects

    def serve(self, group: GroupId, content_id: ContentId, shape: Shape, have: RangeSet, now: float) -> None:
        """Give what we have of an object to members of that group. Again for more of it, or another group."""
        self._stir(now)
        swarm = self._objects.swarm_for(content_id)
        swarm.shape = swarm.shape or shape
        news = bits.without(bits.of_ranges(have), swarm.have)
        swarm.have |= news
        download = self._objects.downloads.get(content_id)
        if download is not None and download.fetch is not None:
            download.fetch.chunks.adopt(news)
        swarm.groups.add(group)
        self._objects.givings[content_id].wake()
        if self._objects.is_active(swarm, group):
            self._objects.enter(swarm, group)
        if download is not None:
            self._complete_if_so(download)

    def unserve(self, group: GroupId, content_id: ContentId, now: float) -> None:
        """Stop giving an object in that group. One that is being fetched there is only stopped by `cancel`."""
        self._stir(now)
        swarm = self._objects.swarms.get(content_id)
        download = self._objects.downloads.get(content_id)
        if swarm is None or (download is not None and not download.is_done):
            return
        self._objects.leave(swarm, group)
        swarm.groups.discard(group)
        if not swarm.groups:
            self._objects.downloads.pop(content_id, None)
            self._objects.forget(swarm)

    def withdraw(self, content_id: ContentId, chunks: RangeSet, now: float) -> None:
        """These can be given no more: their file changed. A download of the object wants them again."""
        self._stir(now)
        swarm = self._objects.swarms.get(content_id)
        if swarm is None:
            return
        lost = bits.of_ranges(chunks) & swarm.have
        swarm.have ^= lost
        for channel in swarm.channels:
            self._uploads.withdraw(channel, lost)
            self._objects.givings[content_id].hide(channel, lost)
        download = self._objects.downloads.get(content_id)
        if download is not None and download.fetch is not None and not download.is_done:
            download.fetch.lose(lost)

    def fetch(
        self,
        group: GroupId,
        content_id: ContentId,
        order: Order,
        shape: Shape | None,
        have: RangeSet,
        verifiable: RangeSet,
        now: float,
        *,
        entry_pages: RangeSet | None = None,
        hash_pages: RangeSet | None = None,
    ) -> None:
        """Want an object, from members of that group; again for another group.

        After a restart: `shape`, `have`, `verifiable` and the pages held, as they are on disk.
        """
        self._stir(now)
        swarm = self._objects.swarm_for(content_id)
        download = self._objects.downloads.get(content_id)
        if download is None:
            swarm.have |= bits.of_ranges(have)
            download = self._objects.downloads[content_id] = Download(self._context, swarm, order)
            for kind, pages in ((MetaKind.ENTRIES, entry_pages), (MetaKind.HASHES, hash_pages)):
                download.metadata.hold(kind, bits.of_ranges(pages or RangeSet()))
            download.allow(bits.of_ranges(verifiable))
            shape = shape or swarm.shape
            if shape is not None:
                self._set_shape(download, shape)
        swarm.groups.add(group)
        if self._objects.is_active(swarm, group):
            self._objects.enter(swarm, group)
        self._complete_if_so(download)

    def pause(self, content_id: ContentId, now: float) -> None:
        """Neither fetch nor give it until `resume`."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None and not download.is_paused:
            for group in download.swarm.groups:
                self._objects.leave(download.swarm, group)
            download.is_paused = True

    def resume(self, content_id: ContentId, now: float) -> None:
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None:
            if download.fetch is not None:
                download.fetch.retry_at = 0.0
            if download.is_paused:
                download.is_paused = False
                for group in download.swarm.groups:
                    self._objects.enter(download.swarm, group)
            download.wake()

    def cancel(self, content_id: ContentId, now: float) -> None:
        """Forget the object: neither fetch nor give it, in any group."""
        self._stir(now)
        swarm = self._objects.swarms.get(content_id)
        if swarm is None:
            return
        for group in swarm.groups:
            self._objects.leave(swarm, group)
        download = self._objects.downloads.pop(content_id, None)
        if download is not None:
            download.stop()
        self._objects.forget(swarm)

    def set_limits(self, node: Rates, groups: Mapping[GroupId, Rates], now: float) -> None:
        """Rates of the whole node, and of single groups."""
        self._stir(now)
        context = self._context
        context.limits.set_rates(node, groups, now)
        context.uplink.limit = node.upload
        self._uploads.is_dirty = True
        for download in self._objects.downloads.values():
            if download.fetch is not None:
                download.fetch.limited_until = now
            download.wake()

    def set_background(self, objects: frozenset[ContentId], now: float) -> None:
        """The objects that are fetched, and given, in the background; members who give them to us are asked for it."""
        self._stir(now)
        context = self._context
        changed = context.background ^ objects
        context.background = objects
        for content_id in changed:
            swarm = self._objects.swarms.get(content_id)
            if swarm is not None:
                self._objects.say_wish(swarm)

    # answers

    def meta_read(self, read_id: int, data: bytes | None, now: float) -> None:
        """The page's bytes; None when we have not got it."""
        self._stir(now)
        self._uploads.page_read(read_id, data)

    def chunk_read(self, read_id: int, buffer: bytes | bytearray | memoryview | None, now: float) -> None:
        """A buffer whose first `length` bytes are the chunk, lent until ReleaseBuffer; None: it cannot be served."""
        self._stir(now)
        self._uploads.chunk_read(read_id, None if buffer is None else memoryview(buffer))

    def meta_accepted(self, content_id: ContentId, kind: MetaKind, index: int, now: float) -> None:
        """The page is verified and kept. For the root, call `shape_known` first."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None:
            download.metadata.accepted((kind, index))
            self._complete_if_so(download)

    def meta_rejected(self, content_id: ContentId, kind: MetaKind, index: int, now: float) -> None:
        """The page was false: its sender pays, and it is asked of somebody else."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None:
            download.metadata.rejected((kind, index))

    def shape_known(self, content_id: ContentId, shape: Shape, now: float) -> None:
        """The root has been read."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None:
            self._set_shape(download, shape)

    def verifiable(self, content_id: ContentId, chunks: RangeSet, now: float) -> None:
        """The hashes of these (more) chunks are here; only such chunks are asked for."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None:
            download.allow(bits.of_ranges(chunks))

    def chunk_stored(self, content_id: ContentId, index: int, now: float) -> None:
        """Verified and written: it may be given to others."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is None or download.fetch is None or not download.fetch.stored(index):
            return
        swarm = download.swarm
        swarm.have |= 1 << index
        self._objects.givings[content_id].gained(index)
        self._complete_if_so(download)

    def chunk_rejected(self, content_id: ContentId, index: int, now: float) -> None:
        """Its bytes do not match its hash: who sent them pays, and it is wanted again."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None and download.fetch is not None:
            download.fetch.rejected(index)

    def chunk_failed(self, content_id: ContentId, index: int, now: float) -> None:
        """Our disk did not take it: wanted again, after a while or at `resume`; nobody's fault."""
        self._stir(now)
        download = self._objects.downloads.get(content_id)
        if download is not None and download.fetch is not None:
            download.fetch.failed(index)

    # out

    def next_command(self) -> Command | None:
        """What to do next; None when there is nothing more for now."""
        commands = self._context.commands
        if not commands:
            self._settle()
        return commands.popleft() if commands else None

    def next_deadline(self) -> float | None:
        """When to call `handle_timer`, if nothing else happens before."""
        context = self._context
        deadline = self._look_at
        if context.muttering:
            flush_at = min(link.last_flush_at for link in context.muttering) + context.flush_period
            deadline = flush_at if deadline is None else min(deadline, flush_at)
        limited_until = context.limits.up.held_until(context.now) if context.limits.up.is_limited else None
        if limited_until is not None:
            deadline = limited_until if deadline is None else min(deadline, limited_until)
        return deadline

    def handle_timer(self, now: float) -> None:
        self._context.now = max(now, self._context.now)
        if self._context.limits.up.is_limited:
            self._uploads.is_dirty = True
        if self._look_at is not None and now >= self._look_at:
            self._look(now)

    def progress(self, content_id: ContentId) -> Progress | None:
        """How a download stands as of the last input or timer; None when there is no such download."""
        download = self._objects.downloads.get(content_id)
        return None if download is None else self._progress(download)

    # inside

    def _stir(self, now: float) -> None:
        """Something happens at `now`."""
        context = self._context
        if now > context.now:
            context.now = now
        if self._look_at is None:
            self._look_at = context.now + LOOK_PERIOD

    def _set_shape(self, download: Download, shape: Shape) -> None:
        swarm = download.swarm
        for channel in list(swarm.channels):
            if channel.has.bit_length() > shape.n_chunks:
                link = channel.link
                reason = f"a Have of chunk {channel.has.bit_length() - 1} of {shape.n_chunks}"
                self._context.commands.append(PenalisePeer(link.group, link.peer, 5, reason))
                swarm.unlearn(channel, channel.has)
        download.set_shape(shape)
        self._objects.givings[swarm.content_id].wake()

    def _complete_if_so(self, download: Download) -> None:
        if not download.is_done and download.is_complete():
            download.is_done = True
            self._objects.givings[download.swarm.content_id].is_released = True
            self._objects.say_wish(download.swarm)
            self._context.commands.append(Completed(download.swarm.content_id))

    def _settle(self) -> None:
        """Decide, and say what there is to say."""
        context = self._context
        uploads = self._uploads
        while context.planning or uploads.is_dirty:
            planners = list(context.planning)
            context.planning.clear()
            for planner in planners:
                planner.plan()
            if uploads.is_dirty:
                for upload in uploads.pump():
                    self._objects.givings[upload.channel.content_id].sent(upload.channel, upload.chunk)
        if context.now >= self._beckon_at and uploads.is_idle:
            self._beckon()
        if context.speaking or context.muttering:
            self._speak()

    def _beckon(self) -> None:
        """Our line has nothing to do: let some of those who lack what we have know it."""
        context = self._context
        self._beckon_at = context.now + context.flush_period
        lacking = [
            channel.link
            for swarm in self._objects.swarms.values()
            if not swarm.is_loose  # whoever wants something of those wants not all of it
            for channel in swarm.channels
            if channel.wish is not messages.Wish.NOTHING and bits.without(channel.shown, channel.has)
        ]
        for link in context.rng.sample(lacking, min(BECKONED, len(lacking))):
            link.send(messages.Idle())
            context.speaking[link] = None

    def _speak(self) -> None:
        context = self._context
        now = context.now
        period = context.flush_period
        links = list(context.speaking)
        links += [
            link for link in context.muttering if link.last_flush_at + period <= now and link not in context.speaking
        ]
        context.speaking.clear()
        if len(links) > 1:
            first = context.rng.randrange(len(links))
            links = links[first:] + links[:first]
        load, rate = self._uploads.load_kib, int(context.uplink.bytes_per_second) >> 10
        coming_ms = min(int(context.downlink.period(context.coming_bytes) * 1e3), messages.MAX_COMING_MS)
        for link in links:
            context.muttering.pop(link, None)
            link.last_flush_at = now
            for packet in link.packets(load, rate, coming_ms):
                context.commands.append(SendControl(link.group, link.peer, packet))

    def _look(self, now: float) -> None:
        """Look after what is under way; and stop looking when nothing is."""
        objects = self._objects
        uplink = self._context.uplink
        since, self._looked_at = self._looked_at, now  # what has become due meanwhile is acted on, however late it is
        self._context.downlink.look(now)
        is_busy = self._uploads.look_at_programs() or uplink.under_way > 0 or self._uploads.queued_bytes > 0
        for download in objects.downloads.values():
            if download.is_busy(since):
                download.repair(now)
                is_busy = True
        for giving in objects.givings.values():
            is_busy = giving.repair(now) or is_busy
        load = self._uploads.load_kib
        for link in objects.links.values():
            link.path.check(now)
            if abs(load - link.reported_kib) > max(LOAD_CHANGE_KIB, link.reported_kib // 2) and link.is_wanting:
                self._context.muttering[link] = None
        self._uploads.is_dirty = True
        self._look_at = now + LOOK_PERIOD if is_busy else None

    def _progress(self, download: Download) -> Progress:
        now = self._context.now
        swarm, fetch = download.swarm, download.fetch
        members = sum(1 for _ in self._objects.links_of(swarm))
        shape = swarm.shape
        lacking = fetch.chunks.wanted if fetch is not None else 0
        shares = swarm.shares()
        return Progress(
            n_chunks=shape.n_chunks if shape is not None else None,
            total_bytes=shape.total_size if shape is not None else None,
            have_chunks=swarm.have.bit_count(),
            have_bytes=fetch.chunks.stored_bytes if fetch is not None else 0,
            open_bytes=fetch.chunks.open_bytes if fetch is not None else 0,
            received_bytes=sum(received for received, _ in shares.values()),
            wasted_bytes=fetch.wasted_bytes if fetch is not None else 0,
            sent_bytes=sum(sent for _, sent in shares.values()),
            rate=fetch.meter.rate(now) if fetch is not None else 0.0,
            members=members,
            peers=sum(bool(channel.has) for channel in swarm.channels),
            missing=bits.without(lacking, swarm.availability.held()).bit_count(),
            is_complete=download.is_done,
            waiting=download.waiting(now, members),
            sources=tuple(Source(*key, *share) for key, share in shares.items()),
        )
