"""LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): the scavenger for background transfers.

It measures how long packets wait in queues (round-trip time above the path's smallest) and keeps that under a target;
any ordinary flow pushes the queue beyond, and the scavenger gives way long before something is lost.

- Slow start grows by a `gain` of 1/16 to 1 of what is acknowledged, the less the shorter the path; it ends when the
  queue reaches three quarters of the target, or at a loss.
- Afterwards each round adds the gain in packets while the queue is under the target; over it the window shrinks in
  proportion to the excess, at most to half.
- Slowdowns: after slow start, and then so often that they take a tenth of the time, the window is two packets for two
  rounds, so that queues of our own making drain and the path's smallest time is seen; then it doubles back.

Three things are ours. *The target is 60 ms at most*, but no more than a twelfth of the path's time (never under 3 ms)
and half of the queue at the last loss (never under 1 ms). A foreground flow that just fits its path leaves the
scavenger the target's share of the line, `target / (path + target)`: a twelfth means 8 %, 60 ms on a path of 50 ms
would mean half; and it is half of the queue that our own CUBIC keeps. *Takeover*: when nobody was noticed for 1.5 s (no
queue, and no loss for 4 s), the window grows by three fifths each round until there is a queue or a loss; at a
fraction of a packet each round it would take minutes to fill what a foreground transfer leaves behind. After it the
line is *ours*: what a loss or a misjudged end left empty is filled again by a sixteenth each round, and a queue
costs the part of the window that it is, until a second loss within 4 s or a queue that is soon there again shows that
there is somebody. *Isolated losses* are forgiven (see `congestion`).
"""

from __future__ import annotations

import enum
import math

from swarmd.transport.rtmfp.congestion import FIRST_RATE_PERIOD, MIN_PACKETS, Window
from swarmd.transport.rtmfp.rtt import RttEstimator

TARGET = 0.060
TARGET_SHARE = 1 / 12
MIN_TARGET = 0.003
"""Less could not be told from the jitter of timers (1 ms) and bursts."""
LEAST_TARGET = 0.001
"""But where packets were lost behind a queue hardly longer than that, to see too much is better than too little."""
EXIT_SHARE = 3 / 4
MOST_GAIN_DIVISOR = 16
SLOWDOWN_PACKETS = MIN_PACKETS
SLOWDOWN_ROUNDS = 2
SLOWDOWN_REST = 9
"""A slowdown of t seconds is followed by at least 9 t without one: a tenth of the time at most."""
EMPTY_SHARE = 1 / 4
MIN_EMPTY = 0.001
"""Less queue than this share of the target, or than a millisecond, is hardly a queue."""
EMPTY_ROUNDS = 4
TAKEOVER_GROWTH = 3 / 5
"""2,083 packets (100 Mbit/s, 200 ms) from 10 in 12 rounds. Doubling takes 8, and overshoots further."""
TAKEOVER_REST = 1.5
"""A foreground transfer that was cut has its queue again after that."""
LOSS_REST = 4.0
"""Longer after a loss: behind a buffer too short for a queue, losses are all that is seen of others."""
TAKEOVER_FIT = 0.9
"""What is kept after a loss, of the window one round earlier."""
TAKEOVER_KEPT = 0.6
OWN_KEPT = 0.85
"""Up to which share of the window at the loss it is filled again."""
REFILL_GROWTH = 1 / 16
"""It is seen a round later that the line is full: twice this is the queue that a refill makes."""
CONTEST_ROUNDS = 12
"""Alone, half a target of queue takes 50 rounds to grow again."""
SLOWDOWN_DELAY = 5.0
"""From a takeover to the slowdown after it."""
STEER_ROUNDS = 2
"""The first rounds of a phase show what was sent in the one before; so does the one after a decrease."""
LOSS_CUT = 0.5
SLOW_START_GAIN = 2.0
AVOIDANCE_GAIN = 1.25


class Phase(enum.Enum):
    SLOW_START = enum.auto()
    AVOIDANCE = enum.auto()
    SLOWDOWN = enum.auto()
    RETURN = enum.auto()
    """Slow start back to the window before the slowdown."""
    TAKEOVER = enum.auto()
    """Slow start without an aim: nobody was noticed for some time."""


class Ledbat(Window):
    __slots__ = (
        "_decreased_at",
        "_empty_rounds",
        "_gain",
        "_loss_queue",
        "_noticed_at",
        "_owns",
        "_phase",
        "_refill_end",
        "_rounds",
        "_slowdown_at",
        "_slowdown_began_at",
    )

    def __init__(self, packet_bytes: int, now: float) -> None:
        super().__init__(packet_bytes, now)
        self._set_window(MIN_PACKETS * packet_bytes)
        self._begin()

    def _begin(self) -> None:
        self._phase = Phase.SLOW_START
        self._gain = 1.0 / MOST_GAIN_DIVISOR
        self._rounds = 0  # in this phase
        self._loss_queue = math.inf
        self._noticed_at = -math.inf  # a queue
        self._empty_rounds = 0
        self._owns = False  # taken over, and nobody was noticed since
        self._decreased_at = -math.inf  # because of a queue
        self._refill_end = math.inf  # the window up to which it is filled again
        self._slowdown_at = math.inf
        self._slowdown_began_at = 0.0

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def target(self) -> float:
        """Seconds of queue that are put up with."""
        wanted = max(min(TARGET, self._base * TARGET_SHARE), MIN_TARGET)
        return max(min(wanted, self._loss_queue / 2), LEAST_TARGET)

    def _empty_queue(self) -> float:
        return max(EMPTY_SHARE * self.target, MIN_EMPTY)

    @property
    def pacing_rate(self) -> float:
        gain = SLOW_START_GAIN
        if self._phase is Phase.AVOIDANCE:
            gain = AVOIDANCE_GAIN
        elif self._phase is Phase.TAKEOVER:
            gain = 1 + TAKEOVER_GROWTH
        return gain * self._exact / (self._smoothed or FIRST_RATE_PERIOD)

    def on_acknowledged(self, n_bytes: int, outstanding_before: int, rtt: RttEstimator, now: float) -> None:
        """Costs 1.5 us."""
        is_new_round = self._settle(n_bytes, outstanding_before, rtt, now)
        if self._phase is not Phase.SLOWDOWN and self._is_used(0.5):
            growth = self._growth(n_bytes)
            if self.yields(now):
                growth = min(growth, self._slow_growth(n_bytes, now))
            self._set_window(self._exact + growth)
        if self._phase is not Phase.AVOIDANCE:
            self._watch_growth(now)
        if is_new_round:
            self._end_round(now)
            self._begin_round(max(outstanding_before - n_bytes, 0))

    def _watch_growth(self, now: float) -> None:
        """Whether it has reached its end."""
        if self._phase is Phase.RETURN:
            if self._exact >= self._ssthresh:
                self._end_slowdown(now)
        elif self._base < self._recent_rtt - EXIT_SHARE * self.target < math.inf:
            if self._phase is Phase.SLOW_START:
                self._end_slow_start(now)
            elif self._phase is Phase.TAKEOVER:
                self._owns, self._refill_end = True, math.inf
                self._end_takeover(self._exact / (1 + TAKEOVER_GROWTH), now)

    def on_loss(self, n_bytes: int, sent_at: float, now: float) -> None:
        self._settled += n_bytes
        if sent_at <= self._reduced_at or self._is_forgiven(n_bytes):
            return
        before, is_takeover = self._exact, self._phase is Phase.TAKEOVER
        self._loss_queue = max(self._recent_rtt - self._base, 0.0) if self._recent_rtt < math.inf else 0.0
        self._owns = (self._owns or is_takeover) and now - self._reduced_at > LOSS_REST
        self._refill_end = before * (TAKEOVER_KEPT if is_takeover else OWN_KEPT)
        self._set_window(before * LOSS_CUT)
        self._reduced_at = now
        self._forgiven = max(self._forgiven, 1.0)
        if self._phase is Phase.SLOW_START:
            self._end_slow_start(now)
        elif is_takeover:
            self._end_takeover(before / (1 + TAKEOVER_GROWTH) * TAKEOVER_FIT, now)
        elif self._phase is not Phase.AVOIDANCE:
            self._ssthresh = self._exact

    def on_timeout(self, now: float) -> None:
        self._settled = self._sent
        self._reduced_at = now
        self._enter(Phase.SLOW_START)
        self._set_window(MIN_PACKETS * self.packet_bytes)

    def take_over(self, window: float, threshold: float, rtt: RttEstimator, outstanding: int, now: float) -> None:
        super().take_over(window, threshold, rtt, outstanding, now)
        if window >= threshold:
            self._end_slow_start(now)

    def forget_path(self, now: float) -> None:
        super().forget_path(now)
        self._set_window(MIN_PACKETS * self.packet_bytes)
        self._begin()

    def _growth(self, n_bytes: int) -> float:
        if self._phase is Phase.RETURN:
            return n_bytes
        if self._phase is Phase.TAKEOVER:
            return TAKEOVER_GROWTH * n_bytes
        if self._phase is Phase.SLOW_START:
            return self._gain * n_bytes
        is_refilled = self._owns and self._empty_rounds >= EMPTY_ROUNDS and self._exact < self._refill_end
        if is_refilled and self._recent_rtt - self._base <= self._empty_queue():
            return REFILL_GROWTH * n_bytes
        return self._gain * n_bytes * self.packet_bytes / self._exact

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._rounds = 0
        self._empty_rounds = 0

    def _end_slow_start(self, now: float) -> None:
        self._enter(Phase.AVOIDANCE)
        self._slowdown_at = min(self._slowdown_at, now + SLOWDOWN_ROUNDS * self._smoothed)

    def _end_takeover(self, window: float, now: float) -> None:
        self._set_window(window)
        self._enter(Phase.AVOIDANCE)
        self._noticed_at = now
        self._slowdown_at = now + SLOWDOWN_DELAY

    def _end_slowdown(self, now: float) -> None:
        self._enter(Phase.AVOIDANCE)
        self._slowdown_at = now + SLOWDOWN_REST * (now - self._slowdown_began_at)

    def _end_round(self, now: float) -> None:
        """Once a round: the decrease, and what follows next."""
        self._rounds += 1
        if self._round_rtt == math.inf:
            return
        self._gain = 1 / min(MOST_GAIN_DIVISOR, math.ceil(2 * TARGET / self._base))
        queue = self._round_rtt - self._base
        if self._phase is Phase.SLOWDOWN:
            if self._rounds > SLOWDOWN_ROUNDS:
                self._enter(Phase.RETURN)
        elif self._phase is Phase.RETURN:
            if queue > EXIT_SHARE * self.target:  # somebody else uses it now
                self._end_slowdown(now)
        elif self._phase is Phase.AVOIDANCE:
            self._steer(queue, now)

    def _steer(self, queue: float, now: float) -> None:
        target = MIN_TARGET if self.yields(now) else self.target
        if queue > target and self._rounds > STEER_ROUNDS:
            self._decrease(queue, target, now)
        if queue > self._empty_queue():
            self._noticed_at, self._empty_rounds = now, 0
        else:
            self._empty_rounds += 1
        if now - self._noticed_at >= TAKEOVER_REST and now - self._reduced_at >= LOSS_REST:
            self._enter(Phase.TAKEOVER)
        elif now >= self._slowdown_at:
            self._enter(Phase.SLOWDOWN)
            self._slowdown_began_at = now
            self._slowdown_at = math.inf
            self._loss_queue *= 1.25  # each slowdown it is tried again how long the queue is
            self._ssthresh = self._exact
            self._set_window(SLOWDOWN_PACKETS * self.packet_bytes)

    def _decrease(self, queue: float, target: float, now: float) -> None:
        """To half at most; while the line is ours, by the part of the window that is queue and no more.

        A queue that is there again soon after that is somebody else's."""
        self._owns = self._owns and now - self._decreased_at > CONTEST_ROUNDS * self._smoothed
        self._decreased_at = now
        if self._owns:
            self._set_window(self._exact * (self._base + target / 2) / (self._base + queue))
        else:
            self._set_window(self._exact * max(1 - (queue / target - 1), 0.5))
        self._rounds = STEER_ROUNDS - 1
