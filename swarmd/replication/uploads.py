"""What is sent to whom, and when: the queue of chunks that peers ask for, the slots, the blocks.

A chunk goes WAITING (in its peer's queue) -> READING (the store fills a buffer) -> READY (its blocks are handed to the
transport one by one) -> OVER. Up to SLOTS chunks are being read or sent, so that the wire does not wait for the disk;
the blocks of the oldest go first, so that on a narrow line chunks arrive one after the other, each as early as can be,
and can be passed on; not all together at the end.

Fair: among peers with something waiting, the next slot goes to the one that has been served least, counted in bytes
from when it last had nothing waiting (start-time fair queueing), whatever it has open and however fast it asks.

A chunk of a program's object (ASKED) is asked of the program when the peer asks for it, outside the slots: a program
may think as long as it likes (ANSWER_PERIOD) and keeps nobody else's chunks waiting. It enters its peer's queue with
its bytes.

Bounds: MAX_REQUESTS chunks and MAX_META_REQUESTS pages waiting for each peer; MAX_SLOTS buffers of a chunk,
MAX_SLOT_BYTES in all; to the transport, a window for each peer and one for all (`pacing`), and BACKLOG_PERIOD of what a
peer takes.

Invariant: `queued_bytes` is what is promised and not handed over. Each buffer taken is released exactly once, after
the last of its blocks has left.
"""

from __future__ import annotations

from heapq import heappop, heappush

from swarmd.core.errors import RemoteError
from swarmd.replication import bits, blocks, messages
from swarmd.replication.blocks import HEADER_BYTES, MAX_BLOCK_BYTES, BulkType
from swarmd.replication.commands import AskProgram, ReadChunk, ReadMeta, ReleaseBuffer, RequestOver, SendBulk
from swarmd.replication.context import Context
from swarmd.replication.link import (
    MAX_LOOSE_REQUESTS,
    MAX_META_REQUESTS,
    MAX_REQUESTS,
    Channel,
    Link,
    Stage,
    Upload,
)
from swarmd.replication.messages import Reason
from swarmd.replication.metadata import Page
from swarmd.replication.pacing import MAX_PATH_BYTES
from swarmd.replication.rates import RateMeter
from swarmd.replication.swarm import Swarm

SLOTS = 4
"""Chunks being read or sent at once: one on the wire, one ready behind it, two at the disk. More would only decide
earlier than necessary who is served, and on a narrow line make all of them late."""
MIN_SLOTS = 2
READ_PERIOD = 0.02
MAX_SLOTS = 24
MAX_SLOT_BYTES = 48 << 20
"""When the peers of all slots take less than our line gives, others are served beside them: so many, of so much."""
BLOCK_PERIOD = 0.02
"""A block is about this much of what the peer takes, MIN_BLOCK_BYTES to MAX_BLOCK_BYTES."""
MIN_BLOCK_BYTES = 64 << 10
BACKLOG_PERIOD = 0.05
MIN_BACKLOG_BYTES = 256 << 10
MAX_BACKLOG_BYTES = 2 << 20
"""Handed to the transport for one peer and not sent: BACKLOG_PERIOD of what it takes, within these."""
CHOICE = 1
CHOICE_BYTES = 4 << 20
IDLE_PERIOD = 0.1
SHARE_PERIOD = 0.25
"""A queue longer by this than another's is shared with it."""
RATE_PERIOD = 3.0
ANSWER_PERIOD = 20.0
"""A program that has not answered by then has denied."""
MAX_LOOSE_UPLOADS = 512
"""Asked of programs or answered, and not sent yet, for all peers: 32 MiB. What comes beyond is denied, softly."""


class Uploads:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._slots: list[Upload] = []
        self._reads: dict[int, Upload] = {}
        self._asked: dict[int, Upload] = {}  # of programs; the oldest first
        self._n_loose = 0
        self._meta_reads: dict[int, tuple[Channel, int, Page]] = {}
        self._queued: list[tuple[float, float, Link]] = []
        self._clock = 0.0
        self.queued_bytes = 0
        self.is_dirty = False
        self._held: list[Link] = []  # of `_queued`, those whose group has used up its limit
        self.meter = RateMeter(RATE_PERIOD, context.now)

    # what peers ask for

    def request(self, channel: Channel, chunk: int, length: int) -> None:
        link = channel.link
        if chunk in channel.uploads:
            raise RemoteError(f"chunk {chunk} is asked for twice", penalty=5)
        if link.upload_count >= MAX_REQUESTS:
            raise RemoteError(f"more than {MAX_REQUESTS} chunks are asked for at once", penalty=5)
        upload = Upload(channel, chunk, length)
        channel.uploads[chunk] = upload
        link.waiting.append(upload)
        link.upload_count += 1
        self.queued_bytes += length
        self._queue(link)
        self.is_dirty = True

    def ask_program(self, channel: Channel, chunk: int) -> bool:
        """A peer asks for a chunk that a program has; False when there is no room for it now."""
        link = channel.link
        if chunk in channel.uploads:
            raise RemoteError(f"chunk {chunk} is asked for twice", penalty=5)
        if link.loose_uploads >= MAX_LOOSE_REQUESTS or self._n_loose >= MAX_LOOSE_UPLOADS:
            return False
        upload = channel.uploads[chunk] = Upload(channel, chunk, 0)
        upload.stage, upload.is_loose, upload.asked_at = Stage.ASKED, True, self._context.now
        upload.read_id = self._context.read_id()
        self._asked[upload.read_id] = upload
        self._n_loose += 1
        link.loose_uploads += 1
        link.upload_count += 1
        self._context.commands.append(AskProgram(upload.read_id, channel.content_id, chunk))
        return True

    def program_answered(self, read_id: int, data: bytes | None) -> bool:
        """Its bytes, or None: not now. False when nobody waits for it any more."""
        upload = self._asked.get(read_id)
        if upload is None:
            return False
        if data is None:
            self._deny(upload, Reason.UNREADABLE)
            return True
        del self._asked[read_id]
        upload.buffer, upload.length, upload.stage = memoryview(data), len(data), Stage.WAITING
        link = upload.channel.link
        link.waiting.append(upload)
        self.queued_bytes += upload.length
        self._queue(link)
        self.is_dirty = True
        return True

    def look_at_programs(self) -> bool:
        """What has not been answered in time is denied. False when nothing is awaited."""
        late = self._context.now - ANSWER_PERIOD
        for upload in list(self._asked.values()):
            if upload.asked_at > late:
                break
            self._deny(upload, Reason.UNREADABLE)
        return bool(self._asked)

    def cancel(self, channel: Channel, chunk: int, *, if_untouched: bool) -> None:
        """Stop if it is not all sent; if it is, its last block crosses the Cancel and is the answer."""
        upload = channel.uploads.get(chunk)
        if upload is not None and not (if_untouched and upload.handed):
            self._deny(upload, Reason.CANCELLED)

    def withdraw(self, channel: Channel, chunks: int) -> None:
        """These cannot be given any more."""
        for upload in [upload for chunk, upload in channel.uploads.items() if chunks >> chunk & 1]:
            self._deny(upload, Reason.UNREADABLE)

    def share(self, swarm: Swarm, channel: Channel, chunks: int) -> None:
        """Another has got these too: if our queue is longer than its, send some of those who wait for them there.

        So a chunk that all wait for at one holder spreads as fast as its holders double.
        """
        context = self._context
        rate = context.uplink.bytes_per_second
        if not rate or self.queued_bytes < rate * SHARE_PERIOD:
            return
        lead = (self.load_kib << 10) / rate - channel.link.wait(context.now)
        for chunk in bits.members(chunks & swarm.have):
            if lead < SHARE_PERIOD:
                return
            waiting = [
                upload
                for other in swarm.channels
                if (upload := other.uploads.get(chunk)) is not None and upload.stage is Stage.WAITING
            ]
            for _ in range(len(waiting) // 2):
                if lead < SHARE_PERIOD:
                    break
                upload = waiting.pop(context.rng.randrange(len(waiting)))
                lead -= 2 * upload.length / rate
                self._deny(upload, Reason.BUSY)

    def _deny(self, upload: Upload, reason: Reason) -> None:
        sent = upload.handed
        self._finish(upload)
        link = upload.channel.link
        link.send(messages.Deny(upload.channel.far_handle, upload.chunk, reason, sent))
        self._context.speaking[link] = None

    def close_channel(self, channel: Channel) -> None:
        """All requests on it are over."""
        for upload in list(channel.uploads.values()):
            self._finish(upload)

    def close_link(self, link: Link) -> None:
        """The peer is gone; its channels are closed already. What it had not taken yet never leaves."""
        for _, read_id in link.releases:
            self._context.commands.append(ReleaseBuffer(read_id))
        link.releases.clear()
        link.waiting.clear()

    def _finish(self, upload: Upload) -> None:
        """Any stage -> OVER. A queued one stays in its queue until its turn, and is skipped then."""
        stage = upload.stage
        upload.stage = Stage.OVER
        link = upload.channel.link
        del upload.channel.uploads[upload.chunk]
        link.upload_count -= 1
        self.queued_bytes -= upload.length - upload.handed
        self.is_dirty = True
        if stage not in (Stage.WAITING, Stage.ASKED):
            self._slots.remove(upload)
        if upload.is_loose:
            self._finish_loose(upload, stage)
        elif stage is Stage.READY:
            upload.buffer = None
            if upload.handed and link.is_open:
                link.releases.append((link.path.handed, upload.read_id))
            else:
                self._context.commands.append(ReleaseBuffer(upload.read_id))

    def _finish_loose(self, upload: Upload, stage: Stage) -> None:
        """Its bytes were given to us, not lent: there is nothing to release."""
        self._n_loose -= 1
        upload.channel.link.loose_uploads -= 1
        upload.buffer = None
        if stage is Stage.ASKED:
            del self._asked[upload.read_id]
            self._context.commands.append(RequestOver(upload.read_id))

    # metadata

    def request_page(self, channel: Channel, page: Page) -> None:
        link = channel.link
        if link.meta_reads >= MAX_META_REQUESTS:
            raise RemoteError(f"more than {MAX_META_REQUESTS} pages are asked for at once", penalty=5)
        link.meta_reads += 1
        read_id = self._context.read_id()
        self._meta_reads[read_id] = (channel, channel.far_handle, page)
        self._context.commands.append(ReadMeta(read_id, channel.content_id, *page))

    def page_read(self, read_id: int, data: bytes | None) -> None:
        channel, handle, page = self._meta_reads.pop(read_id)
        link = channel.link
        link.meta_reads -= 1
        if not link.is_open or channel.far_handle != handle:
            return
        if not data:
            self.deny_page(channel, page)
            return
        assert len(data) <= MAX_BLOCK_BYTES, "the store's pages fit a message"
        self._hand(channel, BulkType.PAGE, handle, page[0], page[1], memoryview(data))

    def deny_page(self, channel: Channel, page: Page) -> None:
        channel.link.send(messages.DenyMeta(channel.far_handle, *page))
        self._context.speaking[channel.link] = None

    # slots

    def _queue(self, link: Link) -> None:
        if not link.is_queued:
            link.is_queued = True
            link.virtual_time = max(link.virtual_time, self._clock)
            heappush(self._queued, (link.virtual_time, self._context.rng.random(), link))

    def _start_next(self) -> bool:
        """The next chunk in turn gets a slot; False when nothing waits, or reads that were cancelled are still open."""
        entry = self._next_link() if len(self._reads) < MAX_SLOTS else None
        if entry is None:
            return False
        link = entry[2]
        upload = link.waiting.popleft()
        self._clock = max(self._clock, entry[0])
        link.virtual_time = entry[0] + upload.length
        if link.waiting:
            self._queue(link)
        self._read(upload)
        return True

    def _next_link(self) -> tuple[float, float, Link] | None:
        """Of those whose turn it nearly is, the one whose line is least busy: who is being served by others can
        wait.
        """
        queued = self._queued
        best: tuple[float, float, Link] | None = None
        passed: list[tuple[float, float, Link]] = []
        while queued and len(passed) < CHOICE and (not passed or queued[0][0] <= passed[0][0] + CHOICE_BYTES):
            entry = heappop(queued)
            link = entry[2]
            waiting = link.waiting
            while waiting and waiting[0].stage is Stage.OVER:
                waiting.popleft()
            if not waiting:
                link.is_queued = False
                continue
            if self._context.limits.up.is_held(link.group, self._context.now):
                self._held.append(link)
                continue
            passed.append(entry)
            if best is None or link.busy_period < best[2].busy_period:
                best = entry
                if not link.busy_period:
                    break
        for entry in passed:
            if entry is not best:
                heappush(queued, entry)
        if best is not None:
            best[2].is_queued = False
        return best

    def _release_held(self, now: float) -> None:
        """Back into the queue with those whose group may send again."""
        up = self._context.limits.up
        released = [link for link in self._held if not up.is_held(link.group, now)]
        self._held = [link for link in self._held if up.is_held(link.group, now)]
        for link in released:
            link.is_queued = False
            if link.waiting:
                self._queue(link)

    def _read(self, upload: Upload) -> None:
        self._slots.append(upload)
        if upload.is_loose:
            upload.stage = Stage.READY
            return
        upload.stage = Stage.READING
        upload.read_id = self._context.read_id()
        self._reads[upload.read_id] = upload
        self._context.commands.append(ReadChunk(upload.read_id, upload.channel.content_id, upload.chunk, upload.length))

    def chunk_read(self, read_id: int, buffer: memoryview | None) -> Upload | None:
        """The store has answered. Returns the upload whose chunk cannot be read."""
        upload = self._reads.pop(read_id)
        self.is_dirty = True
        if upload.stage is Stage.OVER:
            if buffer is not None:
                self._context.commands.append(ReleaseBuffer(read_id))
            return None
        if buffer is None:
            self._deny(upload, Reason.UNREADABLE)
            return upload
        assert len(buffer) >= upload.length, "the driver fills the whole chunk"
        upload.buffer = buffer[: upload.length]
        upload.stage = Stage.READY
        self.is_dirty = True
        return None

    # blocks

    def pump(self) -> list[Upload]:
        """Fill slots and windows. Returns the uploads whose last block was handed over."""
        self.is_dirty = False
        now = self._context.now
        uplink, limit = self._context.uplink, self._context.limits.up
        done: list[Upload] = []
        if self._held:
            self._release_held(now)
        while True:
            while len(self._slots) < self._slots_wanted() and self._start_next():
                pass
            if not self._slots or now < limit.all_held_until or uplink.under_way >= uplink.window:
                return done
            upload = self._sendable()
            if upload is None:
                if not self._all_blocked():
                    return done
                if self._may_hold_more() and self._start_next():
                    continue
                upload = self._stretchable()
                if upload is None:
                    return done
            if not self._send_block(upload, now):
                continue  # its group is held, or all are
            if upload.handed == upload.length:
                self._finish(upload)
                done.append(upload)

    def _slots_wanted(self) -> int:
        """Deciding late is better, as long as the disk is ahead of the wire."""
        rate = self._context.uplink.bytes_per_second
        left = sum(upload.length - upload.handed for upload in self._slots)
        return SLOTS if left < rate * READ_PERIOD else MIN_SLOTS

    def _sendable(self) -> Upload | None:
        """The oldest whose peer takes more, and whose group may send."""
        limit, now = self._context.limits.up, self._context.now
        refused = None
        for upload in self._slots:
            if upload.stage is Stage.READY:
                link = upload.channel.link
                if link is refused:
                    continue
                if self._takes_more(link) and not limit.is_held(link.group, now):
                    return upload
                refused = link
        return None

    def _all_blocked(self) -> bool:
        """Whether every slot waits for its peer or its limit, none for the disk."""
        return all(upload.stage is Stage.READY for upload in self._slots)

    def _may_hold_more(self) -> bool:
        """Whether there may be another buffer."""
        return len(self._slots) < MAX_SLOTS and sum(upload.length for upload in self._slots) < MAX_SLOT_BYTES

    def _stretchable(self) -> Upload | None:
        """Nobody else can be served: the one whose peer has least under way, if that is little."""
        limit, now = self._context.limits.up, self._context.now
        best, least = None, MAX_PATH_BYTES
        for upload in self._slots:
            link = upload.channel.link
            path = link.path
            if path.under_way < least and path.undrained < MIN_BACKLOG_BYTES and not limit.is_held(link.group, now):
                best, least = upload, path.under_way
        return best

    def _takes_more(self, link: Link) -> bool:
        path = link.path
        if path.under_way >= path.window:
            return False
        backlog = path.rate.value * BACKLOG_PERIOD
        return path.undrained < (MIN_BACKLOG_BYTES if backlog < MIN_BACKLOG_BYTES else min(backlog, MAX_BACKLOG_BYTES))

    def _send_block(self, upload: Upload, now: float) -> bool:
        link = upload.channel.link
        size = MIN_BLOCK_BYTES
        wanted = link.path.rate.value * BLOCK_PERIOD
        while 2 * size <= wanted and size < MAX_BLOCK_BYTES:
            size *= 2
        size = min(size, upload.length - upload.handed)
        if not self._context.limits.up.take(link.group, size, now):
            return False
        assert upload.buffer is not None
        payload = upload.buffer[upload.handed : upload.handed + size]
        self.queued_bytes -= size
        self._hand(upload.channel, BulkType.BLOCK, upload.channel.far_handle, upload.chunk, upload.handed, payload)
        upload.handed += size
        upload.channel.sent_bytes += size
        self.meter.add(size, now)
        return True

    def _hand(
        self, channel: Channel, type_: BulkType, handle: int, first: int, second: int, payload: memoryview
    ) -> None:
        link = channel.link
        is_background = channel.is_background or channel.content_id in self._context.background
        header = blocks.encode_header(type_, handle, first, second, self.load_kib)
        link.path.sent(HEADER_BYTES + len(payload), self._context.now)
        self._context.commands.append(SendBulk(link.group, link.peer, (header, payload), is_background))

    @property
    def load_kib(self) -> int:
        """What is promised and has not arrived, for all peers together."""
        return (self.queued_bytes + self._context.uplink.under_way) >> 10

    @property
    def is_idle(self) -> bool:
        """Whether the line will soon have nothing to do."""
        return self.queued_bytes <= self._context.uplink.bytes_per_second * IDLE_PERIOD

    def drained(self, link: Link, count: int) -> None:
        path = link.path
        path.drained += count
        assert path.drained <= path.handed, "more has left than was handed over"
        releases = link.releases
        while releases and releases[0][0] <= path.drained:
            self._context.commands.append(ReleaseBuffer(releases.popleft()[1]))
        self.is_dirty = True
