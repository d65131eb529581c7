"""CUBIC (RFC 9438) with HyStart++ (RFC 9406): the controller of foreground transfers.

Slow start doubles each round, until the smallest round-trip time of a round has risen (then growth is a quarter for
five rounds, then it ends) or until something is lost. After a loss the window is cut to 0.7 and grows along a cubic
curve back to where the loss was and, slowly at first, beyond; never less than a Reno flow would.

Departures, with figures in `tests/transport/rtmfp/test_bottleneck.py`: isolated losses are forgiven (see `congestion`),
without which CUBIC cannot fill a long path that loses a packet now and then; a cut behind a standing queue goes to
what fits the path without it, and the curve starts from there; slow start ends at once where the rise is beyond doubt.

**A queue that obeys is kept short.** Two flows that wait for losses need minutes to become equal: on 100 Mbit/s of
200 ms there is one each ten seconds. So a standing queue (the smallest time of a round) is a sign of congestion too, as
long as it goes when the window is cut; and growth is quick meanwhile, by as many packets for a small flow as for a
large one. Each cut takes away in proportion, so the flows are equal within seconds, nothing is lost, and the queue
stays short. Where three cuts did not help, somebody else fills the queue and waits for losses: from then on so does
this, until the queue has been seen empty; beside plain CUBIC it gets a fifth to two fifths of the line. On paths under
5 ms a queue cannot be told from a host that was busy, and nothing of this applies. Where the buffer is shorter than a
queue, losses do the cutting, and are more than with CUBIC as it stands: behind a tenth of the path 0.2 % of the
packets at 50 ms, 0.9 % at 200 ms.
"""

from __future__ import annotations

import math

from swarmd.transport.rtmfp.congestion import FIRST_RATE_PERIOD, MIN_PACKETS, TIME_CRITICAL_CUT, Window
from swarmd.transport.rtmfp.rtt import RttEstimator

CUBE = 0.4
"""The RFC's C, in packets a second cubed."""
CUT = 0.7
"""The RFC's beta."""
DEEPEST_CUT = 0.5
"""Behind a long queue a cut to 0.7 leaves most of it standing; half is Reno's cut, which anybody may choose. The line
stays full, the queue empties once in a while, and a flow that came later sees how short the path really is. For the
same reason the curve's plateau is put where the queue begins, not at its end: what comes after grows alike for all, so
that two flows become equal in half a minute instead of minutes; and the queue is short for most of a period."""
RENO_GROWTH = 3 * (1 - CUT) / (1 + CUT)

SLOW_START_GAIN = 2.0
AVOIDANCE_GAIN = 1.25
"""How much faster than one window a round the pacer lets packets go: growth must not wait for it."""
USED_SLOW_START = 0.5
USED_AVOIDANCE = 0.875

CERTAIN_RISE_SHARE = 1 / 3
CERTAIN_MIN_RTT = 0.005
"""No jitter lifts eight samples so far, nor by twice the rise: the window is a third larger than the path, and slow
start ends at once, with the window that fits. A queue left standing here would stand until the first loss, seconds
later. Not on shorter paths: there a stall of either host lifts them as far."""
CONSERVATIVE_ROUNDS = 5
CONSERVATIVE_GROWTH = 1 / 4

QUEUE_SHARE = 1 / 6
MIN_QUEUE = 0.005
LEAST_QUEUE = 0.003
LOSS_QUEUE_SHARE = 3 / 4
"""A queue of a sixth of the path's time, at least 5 ms, is a sign to cut; earlier where packets were lost at less."""
EMPTY_SHARE = 1 / 3
"""Less than this share of such a queue is hardly one."""
FIT = 0.96
"""Such a cut goes a little below what fits: the queue is to empty, so that everybody sees how short the path is."""
WATCHED_PACKETS = 32
"""With a smaller window one is among many, as the peers of a swarm are on one slow line: each has hardly a share to
give, the queue is all the others' too, and a packet a round from each of them is what fills it. With fifteen peers on
20 Mbit/s, watching it made them all slow (2.2 to 2.7 times the line's own time instead of 1.3)."""
JUDGED_ROUNDS = 3
"""A cut shows in what is sent after it, and that is acknowledged two rounds later."""
FRUITLESS_LIMIT = 3
"""So many cuts behind which the queue stayed, less those behind which it went: others fill it, and do not watch it."""
QUICK_GROWTH = 1500.0
"""Packets a second, for each second of the path. 100 Mbit/s have 10,400 packets for each second of the path, of which
two flows cut a sixth: they grow back within some round trips, and most of a difference is gone after 5 s. It depends
on nothing but the path, so it is the same for both, however unequal they are."""
QUICK_SHARE = 1 / 4
"""Of the window each round at most: what conservative slow start adds."""
QUICK_STOP = 1.5
"""It ends where the newest samples show so much more than the longest queue wanted, a round earlier than the cut."""
FULL_DEPTH = 1 / 8
"""In buffers shorter than this share of the path, in which growth ends in losses, growth is slower in proportion."""
DEPTH_GROWTH = 1.1
"""With each cut before a loss the buffer is believed to be deeper."""

_NO_EPOCH = -1.0


class Cubic(Window):
    """Its window is float bytes inside; the curve is in packets, as the RFC has it."""

    __slots__ = (
        "_baseline",
        "_conservative_rounds",
        "_curve_period",
        "_cut_queue",
        "_epoch_at",
        "_fruitless",
        "_last_at",
        "_loss_queue",
        "_prior",
        "_quick",
        "_reno",
        "_reno_growth",
        "_rounds_since_cut",
        "_timed_out",
        "_top",
    )

    def __init__(self, packet_bytes: int, now: float) -> None:
        super().__init__(packet_bytes, now)
        self._last_at = now
        self._timed_out = False
        self._top = 0.0  # W_max, bytes
        self._prior = 0.0  # the window that was last cut
        self._forget_queues()
        self._forget_curve()

    def _forget_queues(self) -> None:
        self._loss_queue = math.inf  # at the last loss
        self._cut_queue = 0.0  # at the last cut
        self._rounds_since_cut = 0
        self._fruitless = 0
        self._quick = 0.0  # bytes by which a round may grow while nobody else fills the queue

    def _forget_curve(self) -> None:
        self._epoch_at = _NO_EPOCH  # congestion avoidance has not begun
        self._curve_period = 0.0  # K
        self._reno = 0.0  # W_est, bytes
        self._reno_growth = RENO_GROWTH
        self._conservative_rounds = 0  # of HyStart++; 0 outside
        self._baseline = math.inf

    @property
    def is_slow_start(self) -> bool:
        return self._exact < self._ssthresh

    @property
    def pacing_rate(self) -> float:
        gain = SLOW_START_GAIN if self._exact < self._ssthresh else AVOIDANCE_GAIN
        return gain * self._exact / (self._smoothed or FIRST_RATE_PERIOD)

    def on_acknowledged(self, n_bytes: int, outstanding_before: int, rtt: RttEstimator, now: float) -> None:
        """Costs 1.1 us."""
        is_new_round = self._settle(n_bytes, outstanding_before, rtt, now)
        passed = now - self._last_at
        self._last_at = now
        self._timed_out = False
        if self._exact < self._ssthresh:
            self._slow_start(n_bytes, now, is_new_round)
        elif self._is_used(USED_AVOIDANCE):
            self._avoid_congestion(n_bytes, now)
        elif self._epoch_at != _NO_EPOCH:
            self._epoch_at += passed  # RFC 9438 §5.8: time in which the window was not used does not count
        if is_new_round:
            if self.yields(now):
                self._give_way(now)
            self._watch_queue(now)
            self._begin_round(max(outstanding_before - n_bytes, 0))

    def on_loss(self, n_bytes: int, sent_at: float, now: float) -> None:
        self._settled += n_bytes
        if sent_at <= self._reduced_at:
            return
        if not self._is_forgiven(n_bytes):
            if self._recent_rtt < math.inf:
                self._loss_queue = max(self._recent_rtt - self._base, LEAST_QUEUE)
            self._reduce(TIME_CRITICAL_CUT if self.is_time_critical(now) else self._cut(), now)

    def on_timeout(self, now: float) -> None:
        """Only the first of a row of time-outs lowers what slow start then goes back to."""
        if not self._timed_out:
            self._reduce(CUT, now)
        self._timed_out = True
        self._settled = self._sent
        self._reduced_at = now
        self._forget_curve()
        self._set_window(MIN_PACKETS * self.packet_bytes)

    def forget_path(self, now: float) -> None:
        super().forget_path(now)
        self._top = 0.0
        self._forget_queues()
        self._forget_curve()

    def _cut(self) -> float:
        """0.7, and less where that would leave a queue standing: what fits the path without it, at least half."""
        return min(CUT, max(self._base / (self._base + self._queue()), DEEPEST_CUT)) if self._base < math.inf else CUT

    def _slow_start(self, n_bytes: int, now: float, is_new_round: bool) -> None:
        if self._is_used(USED_SLOW_START):
            growth = n_bytes * CONSERVATIVE_GROWTH if self._conservative_rounds else float(n_bytes)
            if self.yields(now):
                growth = min(growth, self._slow_growth(n_bytes, now))
            self._set_window(self._exact + growth)
        self._watch_delay()
        if is_new_round and self._conservative_rounds:
            self._conservative_rounds += 1
            if self._conservative_rounds > CONSERVATIVE_ROUNDS:
                self._ssthresh = self._exact

    def _watch_delay(self) -> None:
        """HyStart++; judged when a group of samples is complete."""
        rtt = self._recent_rtt
        if self._group_samples or rtt == math.inf:
            return
        is_long = self._base >= CERTAIN_MIN_RTT
        if is_long and rtt - self._base >= max(self._base * CERTAIN_RISE_SHARE, 2 * self._rise()):
            self._set_window(self._exact * max(self._base / rtt, DEEPEST_CUT))
            self._ssthresh = self._exact
        elif not self._conservative_rounds:
            if rtt >= self._base + self._rise():
                self._baseline = rtt
                self._conservative_rounds = 1
        elif rtt < self._baseline:  # it was jitter
            self._conservative_rounds = 0

    def _avoid_congestion(self, n_bytes: int, now: float) -> None:
        window, packet_bytes = self._exact, self.packet_bytes
        if self._epoch_at == _NO_EPOCH:
            self._begin_epoch(now)
        self._reno += self._reno_growth * n_bytes / window * packet_bytes
        if self._reno >= self._prior:
            self._reno_growth = 1.0
        t = now - self._epoch_at + self._smoothed - self._curve_period
        target = self._top + CUBE * t * t * t * packet_bytes
        if target > 1.5 * window:
            target = 1.5 * window
        growth = (target - window) / window * n_bytes if target > window else 0.0
        if self._reno > window + growth:
            growth = self._reno - window
        if self._quick and self._recent_rtt - self._base < QUICK_STOP * self._longest_queue():
            growth = max(growth, self._quick * n_bytes / window)
        if self.yields(now):
            growth = min(growth, self._slow_growth(n_bytes, now))
        self._set_window(window + growth)

    def _begin_epoch(self, now: float) -> None:
        self._epoch_at = now
        self._reno = self._exact
        self._reno_growth = RENO_GROWTH
        if self._top > self._exact:
            self._curve_period = math.cbrt((self._top - self._exact) / self.packet_bytes / CUBE)
        else:  # slow start ended without a loss, or the path's window grew since
            self._top = self._exact
            self._curve_period = 0.0

    def _reduce(self, share: float, now: float) -> None:
        """Once a round. What was not under way was not at fault: the cut is of what was used."""
        used = min(self._exact, max(self._peak, self._previous_peak, self._sent - self._settled))
        fast_convergence = used < self._top  # RFC 9438 §4.7
        self._forget_curve()
        self._top = used * ((1 + CUT) / 2 if fast_convergence else 1.0)
        if self._base < math.inf:
            self._top = min(self._top, used * self._base / (self._base + self._queue()))
        self._prior = used
        self._ssthresh = max(used * share, MIN_PACKETS * self.packet_bytes)
        self._set_window(self._ssthresh)
        self._reduced_at = now
        self._rounds_since_cut = 0
        self._cut_queue = self._queue()
        self._quick = 0.0
        self._forgiven = max(self._forgiven, 1.0)  # what overflowed is paid for by the cut

    @property
    def _is_crowded(self) -> bool:
        return self._fruitless >= FRUITLESS_LIMIT

    def _longest_queue(self) -> float:
        wanted = max(self._base * QUEUE_SHARE, MIN_QUEUE)
        return max(min(wanted, self._loss_queue * LOSS_QUEUE_SHARE), LEAST_QUEUE)

    def _watch_queue(self, now: float) -> None:
        """Once a round: whether the last cut helped, whether another is due, and how fast the window may grow."""
        self._rounds_since_cut += 1
        self._quick = 0.0
        if self._exact < self._ssthresh or self._base < CERTAIN_MIN_RTT or self._round_rtt == math.inf:
            return
        if self._exact < WATCHED_PACKETS * self.packet_bytes:
            return
        queue, longest = self._round_rtt - self._base, self._longest_queue()
        self._judge_cut(queue, longest)
        if self._is_crowded:
            return
        if queue <= longest:
            self._quick = self._quick_growth()
        elif self._rounds_since_cut >= JUDGED_ROUNDS:
            share = self._base / (self._base + queue) * FIT
            self._loss_queue *= DEPTH_GROWTH
            self._reduce(max(min(share, CUT) if self._fruitless else share, DEEPEST_CUT), now)

    def _judge_cut(self, queue: float, longest: float) -> None:
        if self._is_crowded and queue <= longest * EMPTY_SHARE:
            self._fruitless -= 1
        if self._rounds_since_cut != JUDGED_ROUNDS:
            return
        if queue > max(self._cut_queue, longest) / 2:
            self._fruitless = min(self._fruitless + 1, FRUITLESS_LIMIT)
        else:
            self._fruitless = max(self._fruitless - 1, 0)

    def _quick_growth(self) -> float:
        """Bytes a round."""
        depth = min(self._loss_queue / (self._base * FULL_DEPTH), 1.0)
        packets = QUICK_GROWTH * depth * self._smoothed**2
        return max(min(packets * self.packet_bytes, QUICK_SHARE * self._exact), float(self.packet_bytes))

    def _give_way(self, now: float) -> None:
        share = self._yield_cut()
        if share < 1.0 and self._reduced_at <= now - self._smoothed:
            self._reduce(share, now)
