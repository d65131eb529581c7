"""Events for subscribers: each is encoded once and put before every connection that asked for its topic.

Invariant: `publish` never waits and costs nothing to speak of when nobody listens; a subscriber that does
not read costs at most its `Backlog`. Event loop's thread only. Events are not kept: who subscribes later asks
for the state (`status`, `transfers`, ...) after subscribing, and misses nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from swarmd.control import wire
from swarmd.control.backlog import Backlog
from swarmd.control.records import Result, Topic
from swarmd.control.schema import EVENTS


class Subscription:
    """One connection's share of the events; `wake` is called when there is something to send."""

    __slots__ = ("_backlog", "_wake", "topics")

    def __init__(self, topics: Iterable[Topic], wake: Callable[[], None]) -> None:
        self.topics = frozenset(topics)
        self._backlog: Backlog[bytes] = Backlog()
        self._wake = wake

    def push(self, line: bytes) -> None:
        self._backlog.push(line, len(line))
        self._wake()

    def next_line(self) -> bytes | None:
        """What to send next: the `lost` marker stands where events are missing."""
        if lost := self._backlog.take_lost():
            return wire.encode_lost(lost)
        return self._backlog.pop() if self._backlog else None


FEED_LINES = 512
"""Behind so many, what the program can do without is left out."""


class Feed:
    """What one connection is told and no other: what becomes of the objects that it has open.

    Nothing is dropped here: whoever pushes sees to it that what waits is bounded, and leaves out what may be while it
    `is_slow`.
    """

    __slots__ = ("_lines", "_wake", "is_used")

    def __init__(self, wake: Callable[[], None]) -> None:
        self._lines: deque[bytes] = deque()
        self._wake = wake
        self.is_used = False

    @property
    def is_slow(self) -> bool:
        return len(self._lines) >= FEED_LINES

    def push(self, event: Result) -> None:
        self._lines.append(wire.encode_object(event))
        self.is_used = True
        self._wake()

    def next_line(self) -> bytes | None:
        return self._lines.popleft() if self._lines else None


class EventHub:
    """Where the daemon publishes and connections subscribe."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()

    def publish(self, topic: Topic, name: str, data: Result) -> None:
        """Tell every subscriber of the topic; `data` is of the type that `schema.EVENTS` names."""
        assert isinstance(data, EVENTS[topic]), f"{topic} events carry {EVENTS[topic].__name__}"
        listeners = [each for each in self._subscriptions if topic in each.topics]
        if not listeners:
            return
        line = wire.encode_event(topic, name, data)
        for each in listeners:
            each.push(line)

    def is_heard(self, topic: Topic) -> bool:
        """Whether anybody listens, for publishers to whom making the event is work."""
        return any(topic in each.topics for each in self._subscriptions)

    def add(self, subscription: Subscription) -> None:
        self._subscriptions.add(subscription)

    def remove(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
