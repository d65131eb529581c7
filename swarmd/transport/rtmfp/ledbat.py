"""LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): the scavenger for background transfers.

It measures how long packets wait in queues (round-trip time above the path's smallest) and keeps that under a target;
any ordinary flow pushes the queue beyond, and the scavenger gives way long before something is lost.

- Slow start grows by a `gain` of 1/16 to 1 of what is acknowledged, the less the shorter the path; it ends when the
  queue reaches three quarters of the target, or at a loss.
- Afterwards each round adds the gain in packets while the queue is under the target; over it the window shrinks in
  proportion to the excess, at most to half.
- Slowdowns: after slow start, and then so often that they take a tenth of the time, the window is two packets for two
  rounds, so that queues of our own making drain and the path's smallest time is seen; then it doubles back.

Three things are ours. *The target is 60 ms at most*, but no more than a twelfth of the path's time and half of the
queue at the last loss (never under 3 ms). A foreground flow that just fits its path leaves the scavenger the target's
share of the line, `target / (path + target)`: a twelfth means 8 %, 60 ms on a path of 50 ms would mean half, and a flow
that joins a queue of 60 ms takes it for the path. *Takeover*: after some rounds with hardly a queue nobody uses the
room, and the window grows by a fifth each round; at a fraction of a packet each round it would take minutes to fill
what a foreground transfer leaves behind. *Isolated losses* are forgiven (see `congestion`).
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
TAKEOVER_GROWTH = 1 / 5
TAKEOVER_REST = 1.5
"""Seconds after a loss in which nothing is taken over: a foreground transfer that lost needs the room first."""
LOSS_CUT = 0.5
SLOW_START_GAIN = 2.0
AVOIDANCE_GAIN = 1.25


class Phase(enum.Enum):
    SLOW_START = enum.auto()
    AVOIDANCE = enum.auto()
    SLOWDOWN = enum.auto()
    RETURN = enum.auto()
    """Slow start back to the window before the slowdown."""


class Ledbat(Window):
    __slots__ = (
        "_empty_rounds",
        "_gain",
        "_loss_queue",
        "_phase",
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
        self._empty_rounds = 0
        self._loss_queue = math.inf
        self._slowdown_at = math.inf
        self._slowdown_began_at = 0.0

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def target(self) -> float:
        """Seconds of queue that are put up with."""
        return max(min(TARGET, self._base * TARGET_SHARE, self._loss_queue / 2), MIN_TARGET)

    def _empty_queue(self) -> float:
        return max(EMPTY_SHARE * self.target, MIN_EMPTY)

    @property
    def pacing_rate(self) -> float:
        gain = AVOIDANCE_GAIN if self._phase is Phase.AVOIDANCE else SLOW_START_GAIN
        return gain * self._exact / (self._smoothed or FIRST_RATE_PERIOD)

    def on_acknowledged(self, n_bytes: int, outstanding_before: int, rtt: RttEstimator, now: float) -> None:
        """Costs 1.5 us."""
        is_new_round = self._settle(n_bytes, outstanding_before, rtt, now)
        if self._phase is not Phase.SLOWDOWN and self._is_used(0.5):
            growth = self._growth(n_bytes)
            if self.yields(now):
                growth = min(growth, self._slow_growth(n_bytes, now))
            self._set_window(self._exact + growth)
        if self._phase is Phase.SLOW_START:
            if self._base < self._recent_rtt - EXIT_SHARE * self.target < math.inf:
                self._end_slow_start(now)
        elif self._phase is Phase.RETURN and self._exact >= self._ssthresh:
            self._end_slowdown(now)
        if is_new_round:
            self._end_round(now)
            self._begin_round(max(outstanding_before - n_bytes, 0))

    def on_loss(self, n_bytes: int, sent_at: float, now: float) -> None:
        self._settled += n_bytes
        if sent_at <= self._reduced_at or self._is_forgiven(n_bytes):
            return
        self._loss_queue = self._queue()
        self._set_window(self._exact * LOSS_CUT)
        self._reduced_at = now
        self._forgiven = max(self._forgiven, 1.0)
        self._empty_rounds = 0
        if self._phase is Phase.SLOW_START:
            self._end_slow_start(now)
        elif self._phase is not Phase.AVOIDANCE:
            self._ssthresh = self._exact

    def on_timeout(self, now: float) -> None:
        self._settled = self._sent
        self._reduced_at = now
        self._enter(Phase.SLOW_START)
        self._set_window(MIN_PACKETS * self.packet_bytes)

    def forget_path(self, now: float) -> None:
        super().forget_path(now)
        self._set_window(MIN_PACKETS * self.packet_bytes)
        self._begin()

    def _growth(self, n_bytes: int) -> float:
        if self._phase is Phase.RETURN:
            return n_bytes
        if self._phase is Phase.SLOW_START:
            return self._gain * n_bytes
        if self._empty_rounds >= EMPTY_ROUNDS and self._recent_rtt - self._base <= self._empty_queue():
            return TAKEOVER_GROWTH * n_bytes
        return self._gain * n_bytes * self.packet_bytes / self._exact

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._rounds = 0
        self._empty_rounds = 0

    def _end_slow_start(self, now: float) -> None:
        self._enter(Phase.AVOIDANCE)
        self._slowdown_at = min(self._slowdown_at, now + SLOWDOWN_ROUNDS * self._smoothed)

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
        if queue > target:
            self._set_window(self._exact * max(1 - (queue / target - 1), 0.5))
        is_empty = queue <= self._empty_queue() and now - self._reduced_at > TAKEOVER_REST
        self._empty_rounds = self._empty_rounds + 1 if is_empty else 0
        if now >= self._slowdown_at:
            self._enter(Phase.SLOWDOWN)
            self._slowdown_began_at = now
            self._slowdown_at = math.inf
            self._loss_queue *= 1.25  # each slowdown it is tried again how long the queue is
            self._ssthresh = self._exact
            self._set_window(SLOWDOWN_PACKETS * self.packet_bytes)
