"""How much a session may have under way: the interface, and what every controller counts.

In come the bytes sent, acknowledged and lost, with the session's round-trip times; out come a window in bytes and a
rate for the pacer. A *round* lasts until everything that was sent before its beginning is acknowledged or lost; it
is counted in bytes, so it needs no table of packets. Invariants, whatever the order of calls: the window is never
under its floor; it grows only in rounds in which at least half of it (7/8 outside slow start) was used; losses
of packets sent before the last reduction reduce nothing.

**Isolated losses are forgiven.** RFC 9438 takes each loss for congestion. With one packet in 10,000 lost at random its
own response function (§5.2) gives 111 packets at 50 ms and 315 at 200 ms, where 100 Mbit/s need 520 and 2,080: 21 % and
15 % of the line. No constant mends this (a cut of 1 % for each loss still leaves 36 %), so a loss that shows no sign of
congestion causes no cut, if

1. there is no queue: the smallest round-trip time of this round and the last is within an eighth (4 to 16 ms) of the
   path's smallest. Where CUBIC itself has filled a queue, this does not hold; and
2. losses are rare: 2,000 packets acknowledged earn the forgiveness of one, up to three of them. So where queues are too
   short to be seen, a flow loses 0.05 % (and one packet after each cut) more than plain CUBIC would; and a burst of
   losses, the usual sign of an overflow, always cuts.

RFC 7016 (appendix A) itself goes half this way: above 67,200 bytes it cuts to 7/8 only.

**Time-critical traffic** (RFC 7016 §3.5.2.1, appendix A): for 0.8 s after the session itself sent such data, or was
told of some (the far end set the *time-critical reverse* flag, or another session of this endpoint sent some), bulk
grows slowly; the cut is 7/8 while the session itself sends such data. Beyond the RFC, bulk then also takes a
standing queue of 10 ms as a sign of congestion, once a round: the queue in front of a time-critical packet is made
of our own bulk, and no priority inside the session helps behind the bottleneck.
"""

from __future__ import annotations

import math
from typing import Protocol

from swarmd.transport.rtmfp.rtt import RttEstimator

INITIAL_PACKETS = 10
INITIAL_BYTES = 14_720
"""RFC 9002 §7.2 (and RFC 6928): ten packets, less when they are large. RFC 7016 gives three, of 2013."""
MIN_PACKETS = 2
"""The floor, and the window after a time-out (the RFC's CWND_TIMEDOUT)."""
MAX_WINDOW_BYTES = 1 << 28
"""No path needs more (10 Gbit/s at 200 ms); it keeps floats and pacing sane where nothing is ever lost."""

TIME_CRITICAL_PERIOD = 0.8
TIME_CRITICAL_CUT = 7 / 8
SLOW_GROWTH_STEP_BYTES = 24
"""RFC 7016 appendix A: per 1/16 of the window acknowledged, of 64 to 2,400 bytes; twice that for who sends itself."""
SLOW_GROWTH_LIMIT_BYTES = 2400
YIELD_QUEUE = 0.010
"""While yielding, the window is cut to what stands for half of this queue, at most halved in one round."""

DECAY_PERIOD = 5.0
"""A window of which less than half was used for so long is halved: it is no longer known to fit (RFC 7661 in kind)."""
FIRST_RATE_PERIOD = 0.1
"""Until there is a round-trip time the first window is spread over this."""


RISE_SHARE = 1 / 8
MIN_RISE = 0.004
MAX_RISE = 0.016
"""What HyStart++ (RFC 9406) takes for a queue: an eighth of the path's time, 4 to 16 ms."""
GROUP_SAMPLES = 8
"""HyStart++ again: the smallest of so many samples is no jitter. Taken over samples instead of over rounds, a queue is
seen half a round-trip earlier, which is much while the window doubles."""
FORGIVEN_PER_PACKET = 1 / 2000
FORGIVEN_LIMIT = 3.0
FIRST_FORGIVEN = 2.0
"""Slow start on a path of 2,000 packets sends 4,000: at one loss in 10,000 a third one is unlikely."""


class Controller(Protocol):
    """What the session asks of a congestion controller. Times are monotonic seconds, sizes bytes on the wire.

    For each acknowledgement packet: the round-trip sample into the `RttEstimator`, then one `on_acknowledged` for
    all it acknowledges, then `on_loss` for what is lost by it. Bytes that leave flight in no other way (a time-out)
    are settled by `on_timeout`.
    """

    window: int
    packet_bytes: int

    @property
    def pacing_rate(self) -> float:
        """Bytes a second."""
        ...

    def on_sent(self, n_bytes: int, now: float) -> None:
        """`n_bytes` left that count as outstanding (acknowledgements, pings and probes do not)."""
        ...

    def on_acknowledged(self, n_bytes: int, outstanding_before: int, rtt: RttEstimator, now: float) -> None:
        """`n_bytes` of the `outstanding_before` have arrived."""
        ...

    def on_loss(self, n_bytes: int, sent_at: float, now: float) -> None:
        """`n_bytes`, sent at about `sent_at`, are taken for lost."""
        ...

    def on_timeout(self, now: float) -> None:
        """The session's alarm (ERTO) went off: everything outstanding is taken for lost."""
        ...

    def on_time_critical_sent(self, now: float) -> None:
        """This session sent time-critical data."""
        ...

    def on_time_critical_elsewhere(self, now: float) -> None:
        """A packet bore the reverse flag, or another session of this endpoint sent time-critical data."""
        ...

    def yields(self, now: float) -> bool:
        """Time-critical traffic is about."""
        ...

    def set_packet_bytes(self, packet_bytes: int) -> None:
        """The path takes packets of this size now."""
        ...

    def take_over(self, window: float, threshold: float, rtt: RttEstimator, outstanding: int, now: float) -> None:
        """Go on from another controller of this path, once, before anything else: with this window (at least the
        floor), in slow start up to `threshold`, while `outstanding` bytes are under way.
        """
        ...

    def forget_path(self, now: float) -> None:
        """The far host's address changed (for a port alone nothing need be forgotten: RFC 9000 §9.4)."""
        ...


class Window:
    """What the controllers share: bytes under way, rounds, use of the window, time-critical neighbours.

    A base class rather than a part, since these attributes are read and written several times for each
    acknowledgement.
    """

    __slots__ = (
        "_base",
        "_elsewhere_at",
        "_exact",
        "_forgiven",
        "_group_rtt",
        "_group_samples",
        "_own_critical_at",
        "_peak",
        "_previous_peak",
        "_previous_round_rtt",
        "_recent_rtt",
        "_reduced_at",
        "_round_end",
        "_round_rtt",
        "_round_samples",
        "_samples",
        "_sent",
        "_settled",
        "_smoothed",
        "_ssthresh",
        "_used_at",
        "packet_bytes",
        "window",
    )

    def __init__(self, packet_bytes: int, now: float) -> None:
        self.packet_bytes = packet_bytes
        self._exact = float(initial_window(packet_bytes))
        self.window = int(self._exact)
        self._ssthresh = math.inf
        self._sent = 0  # bytes since the beginning
        self._settled = 0  # of these, acknowledged or lost
        self._used_at = now
        self._reduced_at = -math.inf
        self._own_critical_at = -math.inf
        self._elsewhere_at = -math.inf
        self._samples = 0
        self._forgiven = FIRST_FORGIVEN
        self._forget_times()

    def _forget_times(self) -> None:
        self._smoothed = 0.0
        self._base = math.inf
        self._round_end = self._sent
        self._round_rtt = math.inf  # the smallest of this round
        self._round_samples = 0
        self._previous_round_rtt = math.inf
        self._group_rtt = math.inf
        self._group_samples = 0
        self._recent_rtt = math.inf  # the smallest of the last whole group of samples
        self._peak = 0  # the most that was under way in this round
        self._previous_peak = 0

    # What the session tells

    def on_sent(self, n_bytes: int, now: float) -> None:
        self._sent += n_bytes
        if now - self._used_at > DECAY_PERIOD:
            self._decay(now)

    def on_time_critical_sent(self, now: float) -> None:
        self._own_critical_at = now

    def on_time_critical_elsewhere(self, now: float) -> None:
        self._elsewhere_at = now

    def yields(self, now: float) -> bool:
        return now - self._elsewhere_at <= TIME_CRITICAL_PERIOD or now - self._own_critical_at <= TIME_CRITICAL_PERIOD

    def is_time_critical(self, now: float) -> bool:
        """This session itself sends such data."""
        return now - self._own_critical_at <= TIME_CRITICAL_PERIOD

    def set_packet_bytes(self, packet_bytes: int) -> None:
        self.packet_bytes = packet_bytes
        self._set_window(max(self._exact, MIN_PACKETS * packet_bytes))

    def take_over(self, window: float, threshold: float, rtt: RttEstimator, outstanding: int, now: float) -> None:
        self._sent = outstanding
        self._samples, self._smoothed, self._base = rtt.samples, rtt.smoothed, rtt.minimum
        self._ssthresh = threshold
        self._reduced_at = now  # what was sent before was the other one's
        self._set_window(window)

    def forget_path(self, now: float) -> None:
        """Back to the first window and to slow start."""
        self._ssthresh = math.inf
        self._set_window(min(self._exact, initial_window(self.packet_bytes)))
        self._reduced_at = now  # losses on the old path are none of the new one's
        self._used_at = now
        self._forgiven = FIRST_FORGIVEN
        self._forget_times()

    # What the controllers ask

    def _settle(self, n_bytes: int, outstanding_before: int, rtt: RttEstimator, now: float) -> bool:
        """Book an acknowledgement; true when with it a new round begins. 0.5 us of each `on_acknowledged`."""
        self._settled += n_bytes
        if outstanding_before > self._peak:
            self._peak = outstanding_before
        if 2 * outstanding_before >= self.window:
            self._used_at = now
        if self._forgiven < FORGIVEN_LIMIT:
            self._forgiven += n_bytes / self.packet_bytes * FORGIVEN_PER_PACKET
        if rtt.samples != self._samples:
            self._samples = rtt.samples
            self._smoothed = rtt.smoothed
            self._base = rtt.minimum
            self._round_samples += 1
            latest = rtt.latest
            if latest < self._round_rtt:
                self._round_rtt = latest
            if latest < self._group_rtt:
                self._group_rtt = latest
            self._group_samples += 1
            if self._group_samples >= GROUP_SAMPLES:
                self._recent_rtt, self._group_rtt, self._group_samples = self._group_rtt, math.inf, 0
        return self._settled >= self._round_end

    def _begin_round(self, outstanding: int) -> None:
        """`outstanding` bytes are under way: what left flight unbooked is put right here."""
        self._settled = self._sent - outstanding
        self._round_end = max(self._sent, self._settled + 1)
        self._previous_peak = self._peak
        self._peak = 0
        if self._round_samples:
            self._previous_round_rtt = self._round_rtt
        self._round_rtt = math.inf
        self._round_samples = 0

    def _is_used(self, share: float) -> bool:
        """At least this share of the window was under way in this round or the last."""
        return max(self._peak, self._previous_peak) >= share * self.window

    def _queue(self) -> float:
        """Seconds that packets of the last round spent in queues at the least; 0 when unknown."""
        rtt = min(self._round_rtt, self._previous_round_rtt)
        return rtt - self._base if rtt < math.inf and self._base < math.inf else 0.0

    def _rise(self) -> float:
        """By how much a round-trip time must have risen to stand for a queue."""
        return min(max(self._base * RISE_SHARE, MIN_RISE), MAX_RISE)

    def _is_forgiven(self, n_bytes: int) -> bool:
        """An isolated loss without a queue: not a sign of congestion (see the head of this file)."""
        price = max(1.0, n_bytes / self.packet_bytes)
        if self._forgiven < price or self._queue() > self._rise():
            return False
        self._forgiven -= price
        return True

    def _set_window(self, wanted: float) -> None:
        floor = MIN_PACKETS * self.packet_bytes
        self._exact = wanted = min(max(wanted, floor), MAX_WINDOW_BYTES)
        self.window = int(wanted)

    def _slow_growth(self, n_bytes: int, now: float) -> float:
        """The most by which the window may grow for `n_bytes` acknowledged while it yields."""
        own = now - self._own_critical_at <= TIME_CRITICAL_PERIOD
        if own and self._exact < self._ssthresh:
            return n_bytes / 4
        per_step = min(max(self._exact / 16, 64), SLOW_GROWTH_LIMIT_BYTES)
        return n_bytes / per_step * SLOW_GROWTH_STEP_BYTES * (2 if own else 1)

    def _yield_cut(self) -> float:
        """The share of the window to keep so that the standing queue goes; 1.0 when there is none."""
        queue = self._queue()
        if queue <= YIELD_QUEUE:
            return 1.0
        return min(max((self._base + YIELD_QUEUE / 2) / (self._base + queue), 0.5), TIME_CRITICAL_CUT)

    def _decay(self, now: float) -> None:
        """Less than half of the window was used for some time."""
        periods = min(int((now - self._used_at) / DECAY_PERIOD), 32)
        self._used_at = now
        first = initial_window(self.packet_bytes)
        if self._exact > first:
            self._ssthresh = max(self._ssthresh, self._exact * 0.75)  # what was once known is found again quickly
            self._set_window(max(first, self._exact / 2**periods))


def initial_window(packet_bytes: int) -> int:
    return min(INITIAL_PACKETS * packet_bytes, max(MIN_PACKETS * packet_bytes, INITIAL_BYTES))
