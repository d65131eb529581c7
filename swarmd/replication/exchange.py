"""What peers say: each control message and each bulk message, checked against what we know, and passed to its part.

Everything a peer can do wrong in a way that shows at once raises RemoteError here or below. Messages under a handle
that we have closed are ignored: the peer could not know. Requests that cannot be met are denied, softly, but not
without end (MAX_DENIES).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from swarmd.core.errors import RemoteError
from swarmd.replication import bits, blocks, messages
from swarmd.replication.blocks import HEADER_BYTES, BulkType
from swarmd.replication.context import Context
from swarmd.replication.link import FLUSH_PERIOD, Channel, Link
from swarmd.replication.messages import Message, Reason, Wish
from swarmd.replication.objects import Objects
from swarmd.replication.pacing import MIN_WINDOW_BYTES
from swarmd.replication.shape import MetaKind
from swarmd.replication.swarm import Swarm
from swarmd.replication.uploads import Uploads

MAX_DENIES = 512
"""Requests in a row that we could not meet; twice what may be open when we withdraw everything."""
MAX_HAVE_BYTES = 8 << 20
"""What one peer may make us remember of its Haves, as bits: 64 Mi chunks."""


class Exchange:
    def __init__(self, context: Context, objects: Objects, uploads: Uploads) -> None:
        self._context = context
        self._objects = objects
        self._uploads = uploads
        self._handlers: dict[type[Message], Callable[[Link, Any], None]] = {
            messages.Request: self._request,
            messages.Status: self._status,
            messages.Have: self._have,
            messages.Withdraw: self._withdraw,
            messages.Cancel: self._cancel,
            messages.Deny: self._deny,
            messages.AskMeta: self._ask_meta,
            messages.DenyMeta: self._deny_meta,
            messages.Open: self._open,
            messages.Close: self._close,
            messages.Want: self._want,
            messages.Hello: self._hello,
            messages.Idle: self._idle,
        }

    def receive_control(self, link: Link, data: bytes) -> None:
        for message in messages.decode_packet(data):
            if not link.heard_hello and not isinstance(message, messages.Hello):
                raise RemoteError("the first message is no Hello", penalty=5)
            self._handlers[type(message)](link, message)

    def receive_bulk(self, link: Link, parts: Sequence[memoryview]) -> None:
        (type_, handle, first, second, queued_kib), payload, length = blocks.split(parts)
        link.received += HEADER_BYTES + length
        link.hear_queue(queued_kib, self._context.now)
        self._context.downlink.received(length)
        (self._context.speaking if self._is_awaited(link) else self._context.muttering)[link] = None
        channel = link.by_own_handle.get(handle)
        if channel is None:
            link.take_tail(handle, length)
            return
        download = self._objects.downloads.get(channel.content_id)
        if type_ == BulkType.BLOCK:
            if download is None or download.fetch is None:
                raise RemoteError("a block of an object that we do not fetch", penalty=5)
            download.fetch.receive(channel, first, second, payload, length)
        elif type_ == BulkType.PAGE:
            if download is None:
                raise RemoteError("a page of an object that we do not fetch", penalty=5)
            download.metadata.receive(channel, (_kind(first), second), b"".join(payload))
        else:
            raise RemoteError(f"there is no bulk message of type {type_:#x}", penalty=5)

    def _is_awaited(self, link: Link) -> bool:
        """Whether the sender may have nothing more to send before it hears what has arrived."""
        unreported = link.received - link.reported
        return unreported >= MIN_WINDOW_BYTES and unreported >= link.down.rate(self._context.now) * FLUSH_PERIOD

    # the link

    def _hello(self, link: Link, message: messages.Hello) -> None:
        if link.heard_hello:
            raise RemoteError("a second Hello", penalty=5)
        if not message.lowest <= messages.VERSION <= message.highest:
            raise RemoteError(
                f"replication versions {message.lowest} to {message.highest} are spoken there, "
                f"{messages.VERSION} here: the older side needs an upgrade",
                penalty=0,
            )
        link.heard_hello = True

    def _status(self, link: Link, message: messages.Status) -> None:
        if link.path.received(message.received, self._context.now):
            self._uploads.is_dirty = True
        link.hear_queue(message.queued_kib, self._context.now)
        link.heard_rate = message.rate_kib << 10
        link.busy_period = message.coming_ms * 1e-3

    def _idle(self, link: Link, message: messages.Idle) -> None:
        link.hear_queue(0, self._context.now)
        for channel in link.channels.values():
            if channel.has and (download := self._objects.downloads.get(channel.content_id)) is not None:
                download.beckoned(channel)

    # channels

    def _open(self, link: Link, message: messages.Open) -> None:
        channel = link.open_far(message.handle, message.content_id, message.wish, is_background=message.is_background)
        self._objects.far_opened(channel)

    def _close(self, link: Link, message: messages.Close) -> None:
        channel = link.channel_of(message.handle)
        del link.by_handle[message.handle]
        if channel is None:
            return
        if channel.handle != message.counterpart and channel.handle:
            self._objects.far_closed(channel)
            return
        channel.far_handle = 0
        self._objects.close_channel(channel)
        swarm = self._objects.swarms.get(channel.content_id)
        if swarm is not None and self._objects.is_active(swarm, link.group):
            self._objects.open_channel(swarm, link)

    def _want(self, link: Link, message: messages.Want) -> None:
        channel = link.channel_of(message.handle)
        if channel is None:
            return
        channel.wish, channel.is_background = message.wish, message.is_background
        if channel.is_open:
            self._objects.givings[channel.content_id].wake()
        if message.wish is Wish.NOTHING:
            self._objects.close_if_idle(channel)

    def _open_channel_of(self, link: Link, handle: int) -> tuple[Channel, Swarm] | None:
        """The channel that a message is about, and its object; None when it is to be ignored."""
        channel = link.channel_of(handle)
        if channel is None:
            return None
        if not channel.handle:
            return None
        return channel, self._objects.swarms[channel.content_id]

    def _is_one_ended(self, link: Link, handle: int) -> bool:
        """Whether only the peer's end is open: ours was, when the peer said what it says, and is not any more."""
        channel = link.channel_of(handle)
        return channel is not None and not channel.handle

    # what they have

    def _have(self, link: Link, message: messages.Have) -> None:
        found = self._open_channel_of(link, message.handle)
        if found is None:
            if (one := link.by_handle[message.handle]) is not None:
                self._count_have(one, message.chunks)
                one.has |= message.chunks
            return
        channel, swarm = found
        self._count_have(channel, message.chunks)
        news = swarm.learn(channel, message.chunks)
        self._objects.givings[channel.content_id].seen(channel, news)
        self._uploads.share(swarm, channel, news)
        download = self._objects.downloads.get(channel.content_id)
        if download is not None:
            download.heard_have(channel, news)

    def _count_have(self, channel: Channel, chunks: int) -> None:
        """`have_bytes` may be too high, by what was withdrawn or closed: it is reckoned anew before it counts."""
        link, more = channel.link, max(0, chunks.bit_length() - channel.has.bit_length()) >> 3
        link.have_bytes += more
        if link.have_bytes <= MAX_HAVE_BYTES:
            return
        link.have_bytes = more + sum(each.has.bit_length() >> 3 for each in link.channels.values())
        if link.have_bytes > MAX_HAVE_BYTES:
            raise RemoteError(f"Haves of more than {8 * MAX_HAVE_BYTES} chunks", penalty=5)

    def _withdraw(self, link: Link, message: messages.Withdraw) -> None:
        found = self._open_channel_of(link, message.handle)
        if found is None:
            if (one := link.by_handle[message.handle]) is not None:
                one.has = bits.without(one.has, message.chunks)
        else:
            channel, swarm = found
            swarm.unlearn(channel, message.chunks)
            self._objects.givings[channel.content_id].wake()

    # what they ask for

    def _request(self, link: Link, message: messages.Request) -> None:
        found = self._open_channel_of(link, message.handle)
        if found is None:
            if self._is_one_ended(link, message.handle):
                self._count_deny(link)
                link.send(messages.Deny(message.handle, message.chunk, Reason.NOT_HELD, 0))
                self._context.speaking[link] = None
            return
        channel, swarm = found
        chunk = message.chunk
        if swarm.have >> chunk & 1:
            assert swarm.shape is not None
            if swarm.shape.is_loose:
                self._request_of_program(channel, chunk)
                return
            self._uploads.request(channel, chunk, swarm.shape.chunk_length(chunk))
            link.denies = 0
            return
        if swarm.shape is not None and chunk >= swarm.shape.n_chunks:
            raise RemoteError(f"a request for chunk {chunk} of {swarm.shape.n_chunks}", penalty=5)
        self._count_deny(link)
        link.send(messages.Deny(channel.far_handle, chunk, Reason.NOT_HELD, 0))
        self._context.speaking[link] = None

    def _request_of_program(self, channel: Channel, chunk: int) -> None:
        link = channel.link
        if self._uploads.ask_program(channel, chunk):
            link.denies = 0
            return
        self._count_deny(link)
        link.send(messages.Deny(channel.far_handle, chunk, Reason.UNREADABLE, 0))
        self._context.speaking[link] = None

    def _count_deny(self, link: Link) -> None:
        link.denies += 1
        if link.denies > MAX_DENIES:
            raise RemoteError(f"{MAX_DENIES} requests in a row for what we have not got", penalty=5)

    def _cancel(self, link: Link, message: messages.Cancel) -> None:
        found = self._open_channel_of(link, message.handle)
        if found is not None:
            self._uploads.cancel(found[0], message.chunk, if_untouched=message.if_untouched)

    def _ask_meta(self, link: Link, message: messages.AskMeta) -> None:
        found = self._open_channel_of(link, message.handle)
        if found is None:
            if self._is_one_ended(link, message.handle):
                self._count_deny(link)
                link.send(messages.DenyMeta(message.handle, message.kind, message.index))
                self._context.speaking[link] = None
            return
        channel, swarm = found
        page = (message.kind, message.index)
        if swarm.shape is None:
            self._count_deny(link)
            self._uploads.deny_page(channel, page)
        elif message.index >= swarm.shape.pages(message.kind):
            raise RemoteError(f"a request for page {message.index} of {message.kind.name}", penalty=5)
        else:
            self._uploads.request_page(channel, page)

    # what they answer, under our handles

    def _answered(self, link: Link, handle: int) -> Channel | None:
        """The channel of ours that is answered; None when we have closed it."""
        channel = link.by_own_handle.get(handle)
        if channel is None and handle >= link.next_handle:
            raise RemoteError(f"an answer to handle {handle}, which never was", penalty=5)
        return channel

    def _deny(self, link: Link, message: messages.Deny) -> None:
        channel = self._answered(link, message.handle)
        if channel is None:
            return
        download = self._objects.downloads.get(channel.content_id)
        if download is None or download.fetch is None:
            raise RemoteError("a Deny of what was not asked for", penalty=5)
        download.fetch.receive_deny(channel, message.chunk, message.reason, message.sent)

    def _deny_meta(self, link: Link, message: messages.DenyMeta) -> None:
        channel = self._answered(link, message.handle)
        if channel is None:
            return
        download = self._objects.downloads.get(channel.content_id)
        if download is None:
            raise RemoteError("a page is denied that was not asked for", penalty=5)
        download.metadata.receive_deny(channel, (message.kind, message.index))


def _kind(value: int) -> MetaKind:
    try:
        return MetaKind(value)
    except ValueError:
        raise RemoteError(f"there is no kind of page {value}", penalty=5) from None
