"""How much may be under way to one peer, and to all of them together.

The transport takes more than the network does: between `SendBulk` and the other end lie our own queue, the kernel's
and the routers'. What lies there can be neither recalled nor overtaken, and sixteen peers with a full kernel buffer
each are sixteen chunks that all arrive late instead of one after the other. So the receiver reports what has arrived
(`Status.received`), and bytes under way are kept to what the path holds plus QUEUE_PERIOD of queue:

    window = delivery rate x (shortest delay seen + QUEUE_PERIOD)

The rate is that of BBR: bytes delivered between a block's sending and its receipt, over that time; the largest in the
last RATE_PERIOD to 2 x RATE_PERIOD. While the path is not full, the window is 1 + QUEUE_PERIOD / delay times what
was under way, so it grows by itself.

In: `sent`, `received`, `now`. Out: windows. Invariant: bytes under way = handed over - received, never negative; a
receipt for more than was handed over is the peer's fault.
"""

from __future__ import annotations

from collections import deque

from swarmd.core.errors import RemoteError

QUEUE_PERIOD = 0.06
"""Three batches of Status (20 ms) fit, so that a fast path never waits for one; and a slow uplink is never more than
this behind what it was told. 0.12 s gains nothing beside what is below."""
TARGET_PERIOD = 0.3
"""The queue that we make for ourselves, of all peers together. A connection fills its part of a narrow line only while
it has more to send than its congestion window: in a swarm of 16 on 20 Mbit/s our line was full when seven had, and half
empty when four had. With 0.2 s and MIN_PATH_BYTES of 256 KiB a leecher got 2.05 MB/s in the middle; with these 2.2."""
GROWTH = 0.125
"""0.25 and 0.5 gain nothing in the simulator: at first it is chunks that lack, not windows."""
SHARED_PERIOD = 0.15
BUSY_SHARE = 0.6
MAX_WINDOW_PERIOD = 0.8
"""Of our rate, which is measured a third too high where receipts are late: what TARGET_PERIOD asks for must fit."""
RATE_PERIOD = 3.0
"""Half of how long a measured rate is believed: longer than the pauses of a swarm, shorter than those of a user."""
DELAY_PERIOD = 30.0
"""Half of how long the shortest delay is believed, for a path that changes."""
SPAN_PERIOD = 0.5
"""Of a busy line: several batches of receipts from each peer."""
MIN_LINE_RATE = 1 << 15
"""Bytes a second. What carries less is not being measured: how fast the line is shows only when it is used."""
MIN_PATH_BYTES = 128 << 10
"""Two blocks under way to each of many. What waits in the kernel for a slow peer delays all that we say to it, and
cannot be given to another: with 256 KiB the last of 16 leechers ended 2.0-2.6 s after the first, now 0.3-0.6 s."""
MAX_PATH_BYTES = 320 << 10
"""When nobody else wants anything, and our line takes more: without that the only source of new chunks, who serves few
at a time, gave 7.6 a second instead of 8.6 to 8.9, and everybody waited for it."""
MIN_WINDOW_BYTES = 128 << 10
"""Two blocks of 64 KiB: less could not show what a path holds."""
OVERDUE_PERIOD = 2.0
"""A peer that has confirmed nothing for so long is stuck; what it holds does not count against the others."""


class Best:
    """The largest value of the last `period` to 2 x `period` seconds, in two buckets."""

    __slots__ = ("_current", "_period", "_previous", "_turned_at")

    def __init__(self, period: float, now: float) -> None:
        self._period = period
        self._current = self._previous = 0.0
        self._turned_at = now

    def add(self, value: float, now: float) -> None:
        if now - self._turned_at >= self._period:
            self._previous = self._current if now - self._turned_at < 2 * self._period else 0.0
            self._current = 0.0
            self._turned_at = now
        if value > self._current:
            self._current = value

    @property
    def value(self) -> float:
        return self._current if self._current > self._previous else self._previous


class Downlink:
    """Our own line in the other direction: whether it is busy."""

    __slots__ = ("_at", "_bytes", "_peak", "_rate")

    def __init__(self, now: float) -> None:
        self._at = now
        self._bytes = 0
        self._rate = 0.0
        self._peak = Best(DELAY_PERIOD, now)

    def received(self, count: int) -> None:
        self._bytes += count

    def look(self, now: float) -> None:
        """Called now and then."""
        span = now - self._at
        if span < 0.05:
            return
        self._rate += (self._bytes / span - self._rate) * 0.5
        if self._rate < MIN_LINE_RATE:
            self._rate = 0.0
        self._peak.add(self._rate, now)
        self._at, self._bytes = now, 0

    def period(self, count: int) -> float:
        """Seconds that so many bytes need at its best; 0 while that is not known."""
        return count / self._peak.value if self._peak.value else 0.0

    @property
    def is_busy(self) -> bool:
        """Whether it carries most of what it ever did; asking for more would only slow down what is coming."""
        return self._rate > self._peak.value * BUSY_SHARE


class Uplink:
    """All peers together: our own line."""

    __slots__ = ("_marks", "_shortest", "_window", "delay", "delivered", "limit", "rate", "under_way")

    def __init__(self, now: float) -> None:
        self.under_way = 0
        self.delivered = 0
        self.rate = Best(RATE_PERIOD, now)
        self.delay = 0.0
        self._marks: deque[tuple[float, int]] = deque()  # times, and what had been delivered then, while it was busy
        self.limit: float | None = None
        self._window = float(MIN_WINDOW_BYTES)
        self._shortest = Best(SHARED_PERIOD, now)

    @property
    def window(self) -> float:
        return max(self._window, self.rate.value * (self.delay + QUEUE_PERIOD))

    def measure(self, sent_at: float, delivered_then: int, now: float) -> None:
        """A block that left at `sent_at`, when `delivered_then` bytes had arrived, has arrived.

        Receipts come in batches, and from several peers at once: over a short span they show more than the line
        carries (1.6 times as much with 15 peers at 20 Mbit/s, and whoever boasts is asked for too much while others
        have nothing to do). So it is looked at over SPAN_PERIOD, if it was busy for so long.
        """
        marks = self._marks
        if self.under_way <= 0:
            marks.clear()
        elif not marks or now - marks[-1][0] >= SPAN_PERIOD / 8:
            marks.append((now, self.delivered))
        while len(marks) > 1 and marks[1][0] <= now - SPAN_PERIOD:
            marks.popleft()
        if marks and marks[0][0] <= now - SPAN_PERIOD:
            sent_at, delivered_then = marks[0]
        self.rate.add((self.delivered - delivered_then) / max(now - sent_at, 1e-4), now)

    def adjust(self, count: int, queued: float, now: float) -> None:
        """`count` bytes arrived after `queued` seconds in queues, ours and the receiver's.

        What the quickest of the last arrivals has waited is our own queue (LEDBAT, RFC 6817, over many receivers).
        """
        self._shortest.add(1.0 / (queued + 1e-3), now)
        shortest = 1.0 / self._shortest.value - 1e-3
        gain = 1.0 - shortest / TARGET_PERIOD
        if gain < 0.0 or self.under_way + count >= self._window * 0.75:
            self._window += max(gain * GROWTH, -0.5) * count
            limit = self.rate.value * MAX_WINDOW_PERIOD
            self._window = min(max(self._window, MIN_WINDOW_BYTES), max(limit, MIN_WINDOW_BYTES))

    @property
    def bytes_per_second(self) -> float:
        """What we deliver when we are busy; 0 while unknown."""
        rate = self.rate.value
        return min(rate, self.limit) if self.limit is not None else rate


class _Sent:
    __slots__ = ("at", "delivered", "end", "size", "uplink_delivered")

    def __init__(self, end: int, size: int, at: float, delivered: int, uplink_delivered: int) -> None:
        self.end = end
        self.size = size
        self.at = at
        self.delivered = delivered
        self.uplink_delivered = uplink_delivered


class Path:
    """One peer: the way from us to it."""

    __slots__ = (
        "_delay",
        "_sent",
        "_uplink",
        "delivered",
        "drained",
        "handed",
        "is_overdue",
        "progress_at",
        "rate",
    )

    def __init__(self, uplink: Uplink, now: float) -> None:
        self._uplink = uplink
        self._sent: deque[_Sent] = deque()
        self.handed = 0
        self.drained = 0
        self.delivered = 0
        self.rate = Best(RATE_PERIOD, now)
        self._delay = Best(DELAY_PERIOD, now)  # of 1/delay: the shortest
        self.progress_at = now
        self.is_overdue = False

    @property
    def under_way(self) -> int:
        return self.handed - self.delivered

    @property
    def undrained(self) -> int:
        return self.handed - self.drained

    @property
    def delay(self) -> float:
        """The shortest seen; 0 while unknown."""
        shortest = self._delay.value
        return 1.0 / shortest if shortest else 0.0

    @property
    def window(self) -> float:
        return max(MIN_PATH_BYTES, self.rate.value * (self.delay + QUEUE_PERIOD))

    def sent(self, size: int, now: float) -> None:
        if not self._sent:
            self.progress_at = now
        self.handed += size
        self._sent.append(_Sent(self.handed, size, now, self.delivered, self._uplink.delivered))
        if not self.is_overdue:
            self._uplink.under_way += size

    def received(self, total: int, now: float) -> int:
        """The peer has `total` bytes of ours; how many of them are news."""
        if total > self.handed or total < self.delivered:
            raise RemoteError(f"receipt for {total} bytes; {self.handed} were sent", penalty=5)
        news = total - self.delivered
        if not news:
            return 0
        uplink = self._uplink
        if self.is_overdue:
            self.is_overdue = False
            uplink.under_way += self.under_way
        self.delivered = total
        self.progress_at = now
        uplink.delivered += news
        uplink.under_way -= news
        self._measure(total, news, now)
        return news

    def _measure(self, total: int, news: int, now: float) -> None:
        sent = self._sent
        last = None
        while sent and sent[0].end <= total:
            last = sent.popleft()
        if last is None:
            return
        uplink = self._uplink
        delay = max(now - last.at, 1e-4)
        self._delay.add(1.0 / delay, now)
        self.rate.add((self.delivered - last.delivered) / delay, now)
        uplink.measure(last.at, last.uplink_delivered, now)
        uplink.delay += (self.delay - uplink.delay) * 0.125
        uplink.adjust(news, delay - self.delay, now)

    def check(self, now: float) -> None:
        """Called now and then: notice that nothing has been confirmed for long."""
        if not self.is_overdue and self._sent and now - self.progress_at > OVERDUE_PERIOD + 8 * self.delay:
            self.is_overdue = True
            self._uplink.under_way -= self.under_way

    def close(self) -> None:
        """The peer is gone, with what was under way to it."""
        if not self.is_overdue:
            self._uplink.under_way -= self.under_way
        self._sent.clear()
        self.delivered = self.handed
