"""Objects of local programs: commands down to the replicator, what it asks and brings up to the program's connection.

In: commands (from `handlers_objects`), the replicator's `ForProgram` (from the exchange). Out: `ObjectEvent`s to the
one connection that has opened the object; what is given and wanted, so that `daemon.providers` announces the one and
looks for those who give the other.

Invariant: an object is open as long as its connection and its group are there, and once in this daemon. Memory is
bounded by the replicator: requests by MAX_LOOSE_UPLOADS, results by LOOSE_WINDOW each until the program has taken them.
A result is told once and never dropped while the connection stands; nothing here survives a restart.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from swarmd.control import objects as records
from swarmd.control.dispatch import Caller
from swarmd.control.events import Feed
from swarmd.core.errors import Conflict, InvalidArgument, NotAllowed, NotFound
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.ranges import RangeSet
from swarmd.core.terminal import escape
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.memberships import Memberships
from swarmd.replication import commands
from swarmd.replication.pickers import Order
from swarmd.replication.programs import Programs as Calls

log = logging.getLogger(__name__)

_LABEL = b"swarmd object of programs 1\0"


@dataclass(slots=True, eq=False)
class _Open:
    """An object that a program has open. `untaken`: told of, in this order."""

    number: int
    group: GroupId
    content_id: ContentId
    feed: Feed
    pid: int
    untaken: deque[int] = field(default_factory=deque)


class Programs:
    def __init__(
        self, memberships: Memberships, exchange: Exchange, hurry: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        """`hurry` is told whenever a program waits, or is waited for; `wake` when one begins to want."""
        self._memberships, self._exchange, self._hurry, self._wake = memberships, exchange, hurry, wake
        self._by_number: dict[int, _Open] = {}
        self._by_content: dict[ContentId, _Open] = {}
        self._requests: dict[int, _Open] = {}
        self._last_number = 0
        self.n_changes = 0
        """It grows with each change of what `given` gives."""

    # Commands ---------------------------------------------------------------------------------------------------

    def open(self, group: GroupId, name: str, order: Order, caller: Caller) -> int:
        content_id, feed = object_id(group, name), caller.feed
        if not self._memberships.is_replicating(group):
            raise NotAllowed("this group is not for replication: that is chosen when it is created")
        if not self._calls.is_free(content_id):
            other = self._by_content.get(content_id)
            who = f"process {other.pid}" if other is not None else "a program"
            raise Conflict(f"{who} has {escape(name)} of this group open on this daemon; one program at a time may")
        n_open = sum(each.feed is feed for each in self._by_number.values())
        if n_open >= records.MAX_OBJECTS:
            raise Conflict(f"{n_open} objects are open on this connection: close one, or open another connection")
        if not n_open:
            caller.when_closed(lambda: self._feed_closed(feed))
        self._last_number += 1
        opened = _Open(self._last_number, group, content_id, feed, caller.credentials.pid)
        self._by_number[opened.number] = self._by_content[content_id] = opened
        self._calls.open(group, content_id, order, self._now)
        self._exchange.schedule()
        return opened.number

    def close(self, feed: Feed, number: int) -> None:
        self._close(self._find(feed, number))

    def add_have(self, feed: Feed, number: int, chunks: RangeSet) -> None:
        content_id = self._find(feed, number).content_id
        self.n_changes += not self._calls.has_any(content_id)
        self._calls.add_have(content_id, chunks, self._now)
        self._exchange.schedule()

    def remove_have(self, feed: Feed, number: int, chunks: RangeSet) -> None:
        content_id = self._find(feed, number).content_id
        self._calls.remove_have(content_id, chunks, self._now)
        self.n_changes += not self._calls.has_any(content_id)
        self._exchange.schedule()

    def add_want(self, feed: Feed, number: int, chunks: RangeSet) -> None:
        content_id = self._find(feed, number).content_id
        if not self._calls.wants_any(content_id):
            self._wake()  # who gives it is looked for
        self._calls.add_want(content_id, chunks, self._now)
        self._exchange.schedule()

    def remove_want(self, feed: Feed, number: int, chunks: RangeSet) -> None:
        self._calls.remove_want(self._find(feed, number).content_id, chunks, self._now)
        self._exchange.schedule()

    def set_order(self, feed: Feed, number: int, order: Order) -> None:
        self._calls.set_order(self._find(feed, number).content_id, order, self._now)
        self._exchange.schedule()

    def answer(self, feed: Feed, request_id: int, data: bytes | None) -> bool:
        """None denies. False when nobody waits for it any more."""
        self._hurry()
        opened = self._requests.get(request_id)
        if opened is None or opened.feed is not feed:
            return False
        del self._requests[request_id]
        calls, now = self._calls, self._now
        is_in_time = calls.deny(request_id, now) if data is None else calls.write(request_id, data, now)
        self._exchange.schedule()
        return is_in_time

    def taken(self, feed: Feed, number: int, count: int) -> None:
        opened = self._find(feed, number)
        if count > len(opened.untaken):
            raise InvalidArgument(f"{len(opened.untaken)} results wait to be taken, not {count}")
        for _ in range(count):
            self._calls.taken(opened.content_id, opened.untaken.popleft(), self._now)
        self._exchange.schedule()

    def group_left(self, group: GroupId) -> None:
        for opened in [each for each in self._by_number.values() if each.group == group]:
            self._close(opened)
            opened.feed.push(records.ObjectEvent(name="closed", object_id=opened.number))

    # For those who look for providers ---------------------------------------------------------------------------

    def given(self, group: GroupId) -> set[ContentId]:
        """What programs here have something of in that group."""
        calls = self._calls
        opened = self._by_number.values()
        return {each.content_id for each in opened if each.group == group and calls.has_any(each.content_id)}

    def wanted(self) -> Iterator[tuple[GroupId, int, ContentId]]:
        """What programs here want something of, with the number of the object."""
        for each in self._by_number.values():
            if self._calls.wants_any(each.content_id):
                yield each.group, each.number, each.content_id

    # What the replicator says -----------------------------------------------------------------------------------

    def carry_out(self, command: commands.ForProgram) -> None:
        self._hurry()
        match command:
            case commands.AskProgram(read_id, content_id, index):
                self._ask(read_id, content_id, index)
            case commands.RequestOver(read_id):
                self._requests.pop(read_id, None)
            case commands.ChunkArrived(content_id, index, parts):
                opened = self._by_content.get(content_id)
                if opened is not None:
                    opened.untaken.append(index)
                    opened.feed.push(
                        records.ObjectEvent(name="result", object_id=opened.number, index=index, data=b"".join(parts))
                    )
            case commands.ChunkAsked(content_id, index):
                self._mention("fetching", content_id, index)
            case commands.ChunkFailed(content_id, index):
                self._mention("failed", content_id, index)

    def _ask(self, read_id: int, content_id: ContentId, index: int) -> None:
        opened = self._by_content.get(content_id)
        if opened is None:
            return  # closed meanwhile: the replicator has ended the request
        if opened.feed.is_slow:  # a member asks and takes back faster than the program reads
            self._calls.deny(read_id, self._now)
            return
        self._requests[read_id] = opened
        opened.feed.push(records.ObjectEvent(name="request", object_id=opened.number, index=index, request_id=read_id))

    def _mention(self, name: records.Mention, content_id: ContentId, index: int) -> None:
        """What a program may miss."""
        opened = self._by_content.get(content_id)
        if opened is not None and not opened.feed.is_slow:
            opened.feed.push(records.ObjectEvent(name=name, object_id=opened.number, index=index))

    # Inside -----------------------------------------------------------------------------------------------------

    @property
    def _calls(self) -> Calls:
        return self._exchange.replicator.programs

    @property
    def _now(self) -> float:
        return self._exchange.now

    def _find(self, feed: Feed, number: int) -> _Open:
        opened = self._by_number.get(number)
        if opened is None or opened.feed is not feed:
            raise NotFound(f"object {number} is not open on this connection")
        return opened

    def _feed_closed(self, feed: Feed) -> None:
        for opened in [each for each in self._by_number.values() if each.feed is feed]:
            self._close(opened)

    def _close(self, opened: _Open) -> None:
        del self._by_number[opened.number], self._by_content[opened.content_id]
        for request_id in [key for key, each in self._requests.items() if each is opened]:
            del self._requests[request_id]
        self._calls.close(opened.content_id, self._now)
        self.n_changes += 1
        self._exchange.schedule()


def object_id(group: GroupId, name: str) -> ContentId:
    """What members know an object by. A file's is the hash of its root, which begins otherwise."""
    return ContentId(hashlib.sha256(_LABEL + group + name.encode()).digest())
