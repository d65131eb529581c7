"""One member of one group that we can exchange messages with, and the objects that we and it speak about.

A `Link` is the pair (group, peer): its outgoing packet, its pace, its queue of chunks to send, what we have asked of
it. A `Channel` is one object on one link: both handles, what the other end has and wants, what we have shown it, and
our requests to it. Both are plain state with the arithmetic that belongs to it; the decisions are in `fetch`, `uploads`
and `giving`.

Bounds: MAX_CHANNELS objects a link, MAX_REQUESTS requests a link each way, MAX_TAILS closed channels whose last
blocks may still arrive. More is a flood, and a RemoteError.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.replication import messages
from swarmd.replication.messages import Message, Wish
from swarmd.replication.pacing import Path, Uplink
from swarmd.replication.rates import RateMeter
from swarmd.replication.shape import MetaKind

MAX_CHANNELS = 4096
"""Objects that two members speak about at once: 4,096 downloads of ours and theirs, some 4 MiB of state."""
MAX_REQUESTS = 256
"""Unanswered requests on a link: 64 MiB of the smallest chunks, more than any window holds."""
MAX_LOOSE_REQUESTS = 32
"""Of these, how many may be for objects of programs, all together: whatever programs do, files have the rest. 2 MiB."""
MAX_META_REQUESTS = 16
"""Unanswered page requests that a peer may have with us; we ask for fewer."""
MAX_TAILS = MAX_REQUESTS
"""Closed channels whose last blocks are still awaited: each had a request under way."""
FLUSH_PERIOD = 0.02
MAX_FLUSH_PERIOD = 0.15
"""Have and Status wait this long for company, by the speed of our line; whatever else is sent takes them along."""
SMALL_CHUNK_BYTES = 256 << 10
RATE_PERIOD = 2.0
"""What a peer sends us is averaged over this."""


class Request:
    """One chunk that we asked of one peer."""

    __slots__ = (
        "asked_at",
        "began_at",
        "channel",
        "chunk",
        "expected_at",
        "is_active",
        "length",
        "parts",
        "recalled_for",
        "received",
        "sent",
    )

    def __init__(self, channel: Channel, chunk: int, length: int, now: float) -> None:
        self.channel = channel
        self.chunk = chunk
        self.length = length
        self.asked_at = now
        self.expected_at = now  # when its first block should come
        self.began_at = now  # when it came
        self.received = 0
        self.parts: list[memoryview] = []
        self.is_active = True  # False: abandoned, and only awaited so that what still comes is recognised
        self.recalled_for: Channel | None = None  # asked back to be asked there; taken if it comes nevertheless
        self.sent = -1  # denied after so many bytes, of which some are still on their way

    @property
    def left(self) -> int:
        return self.length - self.received

    def revise(self) -> None:
        """The peer has spoken of its queue since: it is due then, if that is earlier than was thought at first."""
        link = self.channel.link
        if link.heard_rate and self.asked_at <= link.hint_at:
            self.expected_at = min(self.expected_at, link.hint_at + link.hint_bytes / link.heard_rate)


class Stage(Enum):
    """How far a chunk that a peer asked of us has come. WAITING -> READING -> READY -> OVER; any -> OVER.

    One that a program has comes with its bytes: ASKED -> WAITING -> READY -> OVER.
    """

    WAITING = 0
    READING = 1
    READY = 2
    OVER = 3
    ASKED = 4


class Upload:
    """One chunk that one peer asked of us."""

    __slots__ = ("asked_at", "buffer", "channel", "chunk", "handed", "is_loose", "length", "read_id", "stage")

    def __init__(self, channel: Channel, chunk: int, length: int) -> None:
        self.channel = channel
        self.chunk = chunk
        self.length = length
        self.handed = 0  # bytes given to the transport
        self.read_id = 0
        self.buffer: memoryview | None = None
        self.stage = Stage.WAITING
        self.is_loose = False  # a program's
        self.asked_at = 0.0  # of the program


class Channel:
    """One object on one link."""

    __slots__ = (
        "asked",
        "busy",
        "content_id",
        "denied",
        "distrusted",
        "far_handle",
        "given",
        "handle",
        "has",
        "is_background",
        "is_dry",
        "late_pages",
        "link",
        "meta_retry_at",
        "offered",
        "pending",
        "received_bytes",
        "requests",
        "retry_at",
        "sent_bytes",
        "shown",
        "strikes",
        "uploads",
        "wish",
    )

    def __init__(self, link: Link, content_id: ContentId) -> None:
        self.link = link
        self.content_id = content_id
        self.handle = 0  # ours; 0: not open
        self.far_handle = 0  # theirs
        self.wish = Wish.NOTHING  # theirs
        self.is_background = False  # and it may give way to others
        self.has = 0  # what they have
        self.shown = 0  # what we have said we have
        self.pending = 0  # of that, what has not been sent yet
        self.given = 0  # fresh chunks shown to it and not yet seen elsewhere
        self.offered = 0  # how many of those are not sent yet
        self.denied = 0  # what they had and would not give
        self.asked = 0  # what we have asked of it, until it has ended the request
        self.busy = 0  # what they have and sent us elsewhere for
        self.distrusted = 0  # what they sent and was false
        self.requests: dict[int, Request] = {}  # ours to them, also abandoned ones until they end
        self.uploads: dict[int, Upload] = {}  # theirs to us
        self.late_pages: set[tuple[MetaKind, int]] = set()  # given up waiting for, and may come
        self.is_dry = False  # they have nothing that we may ask for
        self.strikes = 0
        self.retry_at = 0.0
        self.meta_retry_at = 0.0
        self.received_bytes = 0
        self.sent_bytes = 0

    @property
    def is_open(self) -> bool:
        """Whether both ends speak about the object: requests may go both ways."""
        return bool(self.handle and self.far_handle)

    def strike(self, now: float, period: float) -> None:
        """It promised and did not deliver: ask it again later, and each time later still. All that comes of one
        attempt (a window of requests, all of them denied) is one time.
        """
        if now >= self.retry_at:
            self.retry_at = now + period * 2 ** min(self.strikes, 6)
            self.strikes += 1


class Link:
    """One (group, peer)."""

    __slots__ = (
        "announcing",
        "asked_bytes",
        "busy_period",
        "by_handle",
        "by_own_handle",
        "channels",
        "denies",
        "down",
        "group",
        "have_bytes",
        "heard_hello",
        "heard_rate",
        "hint_at",
        "hint_bytes",
        "is_open",
        "is_queued",
        "last_block_at",
        "last_flush_at",
        "last_handle",
        "loose_requests",
        "loose_uploads",
        "meta_asked",
        "meta_reads",
        "next_handle",
        "outbox",
        "outstanding",
        "path",
        "peer",
        "received",
        "releases",
        "reported",
        "reported_kib",
        "request_count",
        "status_due",
        "tails",
        "upload_count",
        "virtual_time",
        "waiting",
    )

    def __init__(self, group: GroupId, peer: PeerId, uplink: Uplink, now: float) -> None:
        self.group = group
        self.peer = peer
        self.is_open = True
        self.heard_hello = False
        # messages
        self.outbox: list[bytes] = []
        self.announcing: set[Channel] = set()
        self.status_due = False
        self.last_flush_at = now - FLUSH_PERIOD
        # objects
        self.channels: dict[ContentId, Channel] = {}
        self.by_handle: dict[int, Channel | None] = {}
        self.by_own_handle: dict[int, Channel] = {}
        self.tails: dict[int, int] = {}
        self.last_handle = 0
        self.have_bytes = 0
        self.next_handle = 1
        # what we send
        self.path = Path(uplink, now)
        self.waiting: deque[Upload] = deque()
        self.upload_count = 0
        self.loose_uploads = 0  # of those, of programs' objects
        self.is_queued = False
        self.virtual_time = 0.0
        self.releases: deque[tuple[int, int]] = deque()
        self.busy_period = 0.0  # seconds that the peer's line is busy with what has begun to arrive
        self.meta_reads = 0
        self.denies = 0  # in a row
        self.reported_kib = 0
        # what we get
        self.received = 0
        self.reported = 0
        self.down = RateMeter(RATE_PERIOD, now)
        self.outstanding = 0
        self.request_count = 0
        self.loose_requests = 0  # of those, for programs' objects
        self.meta_asked = 0
        self.last_block_at = now
        self.hint_bytes = 0
        self.hint_at = now
        self.heard_rate = 0
        self.asked_bytes = 0

    # messages out

    def send(self, message: Message) -> None:
        self.outbox.append(messages.encode(message))

    def announce(self, channel: Channel, chunks: int) -> None:
        """Say that we have these, with the next packet."""
        channel.shown |= chunks
        channel.pending |= chunks
        self.announcing.add(channel)

    def packets(self, queued_kib: int, rate_kib: int, coming_ms: int) -> Iterator[bytes]:
        """Everything there is to say now."""
        out = self.outbox
        for channel in self.announcing:
            if channel.handle and channel.pending:
                out.extend(messages.encode_set(messages.Have, channel.handle, channel.pending))
            channel.pending = 0
        self.announcing.clear()
        out.append(messages.encode(messages.Status(self.received, queued_kib, rate_kib, coming_ms)))
        self.reported, self.reported_kib = self.received, queued_kib
        self.status_due = False
        self.outbox = []
        yield from _packed(out)

    @property
    def is_wanting(self) -> bool:
        """Whether the peer may ask us for something."""
        return any(channel.handle and channel.wish is not Wish.NOTHING for channel in self.channels.values())

    # what the peer can do for us

    def wait(self, now: float) -> float:
        """Seconds until a chunk asked for now would begin to arrive, by what the peer said of its queue."""
        rate = self.heard_rate
        if not rate:
            return self.outstanding / (self.down.rate(now) or 1e6)
        left = self.hint_bytes - rate * (now - self.hint_at)
        return ((left if left > 0.0 else 0.0) + self.asked_bytes) / rate

    def hear_queue(self, queued_kib: int, now: float) -> None:
        self.hint_bytes = queued_kib << 10
        self.hint_at = now
        self.asked_bytes = 0

    # handles

    def channel_of(self, handle: int) -> Channel | None:
        """The channel that the peer calls so; None when we have closed it and the peer cannot know that yet."""
        try:
            return self.by_handle[handle]
        except KeyError:
            raise RemoteError(f"handle {handle} is not open", penalty=5) from None

    def channel_for(self, content_id: ContentId) -> Channel:
        """The channel, made when there is none."""
        channel = self.channels.get(content_id)
        if channel is None:
            channel = self.channels[content_id] = Channel(self, content_id)
        return channel

    def open_near(self, channel: Channel, wish: Wish, *, is_background: bool = False) -> None:
        """Open our end."""
        channel.handle = self.next_handle
        self.next_handle += 1
        self.by_own_handle[channel.handle] = channel
        self.send(messages.Open(channel.handle, channel.content_id, wish, is_background))

    def open_far(self, handle: int, content_id: ContentId, wish: Wish, *, is_background: bool = False) -> Channel:
        """The peer opens its end."""
        if handle <= self.last_handle:
            raise RemoteError(f"handle {handle} has been used", penalty=5)
        channel = self.channel_for(content_id)
        if channel.far_handle:
            raise RemoteError("an object is opened twice", penalty=5)
        if len(self.by_handle) >= MAX_CHANNELS:
            raise RemoteError(f"more than {MAX_CHANNELS} objects are open", penalty=5)
        self.last_handle = channel.far_handle = handle
        self.by_handle[handle] = channel
        channel.wish, channel.is_background = wish, is_background
        return channel

    def close_channel(self, channel: Channel, still_to_come: int) -> None:
        """Both ends are dead; up to `still_to_come` bytes may arrive nevertheless."""
        if channel.handle:
            self.send(messages.Close(channel.handle, channel.far_handle))
            del self.by_own_handle[channel.handle]
            if still_to_come:
                self.tails[channel.handle] = still_to_come
                while len(self.tails) > MAX_TAILS:
                    del self.tails[next(iter(self.tails))]
        if channel.far_handle:
            self.by_handle[channel.far_handle] = None  # until the peer's Close
        self.announcing.discard(channel)
        del self.channels[channel.content_id]
        channel.handle = channel.far_handle = 0

    def take_tail(self, handle: int, size: int) -> None:
        """A bulk message under a handle of ours that is closed."""
        left = self.tails.get(handle, 0) - size
        if left < 0:
            raise RemoteError(f"a bulk message under handle {handle}, which is not open", penalty=5)
        self.tails[handle] = left


def _packed(pieces: list[bytes]) -> Iterator[bytes]:
    """Messages joined to packets of at most MAX_PACKET_BYTES."""
    start = size = 0
    for index, piece in enumerate(pieces):
        if size + len(piece) > messages.MAX_PACKET_BYTES:
            yield b"".join(pieces[start:index])
            start, size = index, 0
        size += len(piece)
    yield b"".join(pieces[start:])
