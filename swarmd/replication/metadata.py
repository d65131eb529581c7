"""Fetching an object's metadata: the root, then all pages of entries, then the pages of chunk hashes.

Data may flow once the names are checked as a whole and the first page of hashes is here, so pages are asked for in
that order, a few at a time, of peers in turn. The store verifies each page; a false one costs its sender, and it is
not asked for metadata again. What is not answered in PAGE_TIMEOUT is asked of somebody else.

Invariant: a page is in at most one of `_asked` and `_storing`, and in neither once it is held.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarmd.core.errors import RemoteError
from swarmd.replication import bits, messages
from swarmd.replication.commands import PenalisePeer, StoreMeta
from swarmd.replication.context import Context
from swarmd.replication.link import Channel
from swarmd.replication.shape import MetaKind, Shape
from swarmd.replication.swarm import Swarm

MAX_ASKED = 8
"""Pages under way for one download: half a MiB."""
MAX_ASKED_OF_PEER = 2
PAGE_TIMEOUT = 5.0
DENIED_PERIOD = 0.5
"""A peer that has not got a page yet is asked again after this."""
FALSE_POINTS = 10

Page = tuple[MetaKind, int]


class Metadata:
    def __init__(self, context: Context, swarm: Swarm) -> None:
        self._context = context
        self._swarm = swarm
        self._shape: Shape | None = None
        self._held = [0, 0, 0]  # bits, by kind
        self._asked: dict[Page, tuple[Channel, float]] = {}
        self._storing: dict[Page, Channel] = {}
        self._liars: set[Channel] = set()
        self._turn = 0

    @property
    def has_names(self) -> bool:
        """The root and all entries are here."""
        return self._shape is not None and self._held[MetaKind.ENTRIES].bit_count() == self._shape.entry_pages

    @property
    def is_complete(self) -> bool:
        return (
            self.has_names
            and self._shape is not None
            and (self._held[MetaKind.HASHES].bit_count() == self._shape.hash_pages)
        )

    def set_shape(self, shape: Shape) -> None:
        """The root is here."""
        self._shape = shape
        self.hold(MetaKind.ROOT, 1)

    def hold(self, kind: MetaKind, pages: int) -> None:
        """These are here."""
        self._held[kind] |= pages
        self.wake()

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is due, or somebody may be asked later: one who denied, or has too much to do for us."""
        return bool(self._asked) or (bool(self._swarm.channels) and not self.is_complete)

    def _lacking(self) -> Iterator[Page]:
        shape = self._shape
        if shape is None:
            yield MetaKind.ROOT, 0
            return
        for kind in (MetaKind.ENTRIES, MetaKind.HASHES):
            everything = (1 << shape.pages(kind)) - 1
            for index in bits.members(bits.without(everything, self._held[kind])):
                yield kind, index

    def wake(self) -> None:
        """There is something to plan."""
        self._context.planning[self] = None

    def plan(self) -> None:
        """Ask for what there is room for."""
        if len(self._asked) + len(self._storing) >= MAX_ASKED or self.is_complete:
            return
        now = self._context.now
        sources = [channel for channel in self._swarm.channels if self._may_ask(channel, now)]
        if not sources:
            return
        for page in self._lacking():
            if page in self._asked or page in self._storing:
                continue
            channel = self._next_source(sources, page)
            if channel is None or len(self._asked) + len(self._storing) >= MAX_ASKED:
                return
            self._ask(channel, page)

    def _may_ask(self, channel: Channel, now: float) -> bool:
        return channel.is_open and now >= channel.meta_retry_at and channel not in self._liars

    def _next_source(self, sources: list[Channel], page: Page) -> Channel | None:
        """In turn, those with room; first those that are known to have something."""
        self._turn += 1
        start = self._turn % len(sources)
        free = [
            channel
            for channel in sources[start:] + sources[:start]
            if channel.link.meta_asked < MAX_ASKED_OF_PEER and page not in channel.late_pages
        ]
        return min(free, key=lambda channel: not channel.has, default=None)

    def _ask(self, channel: Channel, page: Page) -> None:
        self._asked[page] = (channel, self._context.now)
        channel.link.meta_asked += 1
        channel.link.send(messages.AskMeta(channel.handle, *page))
        self._context.speaking[channel.link] = None

    def receive(self, channel: Channel, page: Page, data: bytes) -> None:
        """A page has come. One that we gave up waiting for is welcome too, if nobody else has brought it."""
        if not self._is_answer(channel, page) and not self._takes_late(page):
            return
        self._storing[page] = channel
        self._context.commands.append(StoreMeta(self._swarm.content_id, page[0], page[1], data, channel.link.peer))

    def receive_deny(self, channel: Channel, page: Page) -> None:
        if self._is_answer(channel, page):
            channel.meta_retry_at = self._context.now + DENIED_PERIOD

    def _is_answer(self, channel: Channel, page: Page) -> bool:
        """Whether we are waiting for it; False when we were."""
        asked = self._asked.get(page)
        if asked is not None and asked[0] is channel:
            self._answered(page)
            return True
        if page not in channel.late_pages:
            raise RemoteError(f"{page[0].name} {page[1]} was not asked for", penalty=5)
        channel.late_pages.discard(page)
        return False

    def _takes_late(self, page: Page) -> bool:
        if page in self._storing or bits.has(self._held[page[0]], page[1]):
            return False
        if page in self._asked:
            self._asked[page][0].late_pages.add(page)
            self._answered(page)
        return True

    def _answered(self, page: Page) -> None:
        channel, _ = self._asked.pop(page)
        channel.link.meta_asked -= 1
        self.wake()

    def accepted(self, page: Page) -> None:
        if self._storing.pop(page, None) is not None:
            self.hold(page[0], 1 << page[1])

    def rejected(self, page: Page) -> None:
        """The page was false."""
        channel = self._storing.pop(page, None)
        if channel is None:
            return
        self._liars.add(channel)
        self.wake()
        reason = f"a false page {page[0].name} {page[1]} of {self._swarm.content_id.short}"
        link = channel.link
        self._context.commands.append(PenalisePeer(link.group, link.peer, FALSE_POINTS, reason))

    def repair(self, now: float) -> None:
        """Stop waiting for those who do not answer."""
        for page, (channel, asked_at) in list(self._asked.items()):
            if now - asked_at > PAGE_TIMEOUT:
                self._answered(page)
                channel.late_pages.add(page)
                channel.meta_retry_at = now + PAGE_TIMEOUT

    def close_channel(self, channel: Channel) -> int:
        """Its requests are over; how many pages may still come."""
        mine = [page for page, (asked, _) in self._asked.items() if asked is channel]
        for page in mine:
            self._answered(page)
        self._liars.discard(channel)
        return len(mine) + len(channel.late_pages)
