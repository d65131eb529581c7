"""Which congestion controller drives a session: CUBIC, or LEDBAT++ while only background flows carry bulk.

A session has one path and so one controller, and is as pressing as the most pressing of its flows that carries bulk.
What carries bulk is told by the level and, above that of bulk, by the amount: a flow of `Priority.BULK` with anything
that is not acknowledged does; flows above it carry requests, membership and messages, a few hundred bytes at a time, so
counting each of them would have every request for a block of a background transfer turn that transfer into a foreground
one. Only when more than MAX_CONTROL_BYTES of them wait or are under way (a large catalogue) are they bulk, too. While
nothing carries bulk it stays as it was.

In:  `settle` with the flows that have something to send or under way, before each batch that is packed.
Out: `controller`, `is_background`.

The new controller gets the path's times (the estimator stays, the smallest time is seen on) and a window from the old:
- to the background: half the window, without slow start: a line that was ours alone stays busy, and beside others
  LEDBAT++ halves it each round while it sees their queue; after DECAY_PERIOD of silence, or when nothing is known of
  the path, its own slow beginning;
- to the foreground: at once, with the scavenger's window or a first one, in slow start up to three quarters of what
  CUBIC had when it was left, if that is less than DECAY_PERIOD ago: pauses between two blocks of a foreground transfer
  cost a few round trips and no loss.
Refused: a controller for each flow (two windows on one path, each of which takes the other for somebody else); time to
linger in the foreground (whoever sends a block a second there would carry along any amount of background).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf

from swarmd.transport.api import Priority
from swarmd.transport.rtmfp.congestion import DECAY_PERIOD, Controller, initial_window
from swarmd.transport.rtmfp.rtt import RttEstimator
from swarmd.transport.rtmfp.sendflow import SendFlow

MAX_CONTROL_BYTES = 64 * 1024
"""Of all flows above bulk together: one control message of the largest size that our features send."""
KEPT_SHARE = 0.75
"""Of a window left lately, as after a decay (`congestion`)."""
BACKGROUND_SHARE = 0.5

Maker = Callable[[int, float], Controller]
"""Makes a controller from a packet's size and the time."""


class Choice:
    """One session's."""

    def __init__(self, foreground: Maker, background: Maker, packet_bytes: int, now: float) -> None:
        self._makers = (foreground, background)
        self.controller = foreground(packet_bytes, now)
        self.is_background = False
        self._known_bytes = 0  # the foreground's window when it was left
        self._left_at = -inf

    def settle(
        self, flows: Iterable[SendFlow], rtt: RttEstimator, in_flight_bytes: int, active_at: float, now: float
    ) -> bool:
        """Whether another controller drives from now on. `active_at`: when something was last sent or confirmed."""
        is_background = pick_background(flows, self.is_background)
        if is_background is self.is_background:
            return False
        old = self.controller
        new = self._makers[is_background](old.packet_bytes, now)
        if now - active_at <= DECAY_PERIOD and rtt.samples:
            new.take_over(*self._inheritance(old, is_background, now), rtt, in_flight_bytes, now)
        if old.yields(now):
            new.on_time_critical_elsewhere(now)
        if is_background:
            self._known_bytes, self._left_at = old.window, now
        self.controller, self.is_background = new, is_background
        return True

    def _inheritance(self, old: Controller, is_background: bool, now: float) -> tuple[float, float]:
        """The window to begin with, and where slow start ends."""
        first = initial_window(old.packet_bytes)
        if is_background:
            window = BACKGROUND_SHARE * old.window
            return (window, window) if old.window > first else (0.0, inf)
        is_known = now - self._left_at <= DECAY_PERIOD
        return max(first, old.window), KEPT_SHARE * self._known_bytes if is_known else inf


def pick_background(flows: Iterable[SendFlow], is_background: bool) -> bool:
    """Whether these are to be driven as background; as it is when none of them carries bulk."""
    has_background, control_bytes = False, 0
    for flow in flows:
        if flow.priority > Priority.BULK:
            control_bytes += flow.queued_bytes + flow.outstanding_bytes
        elif flow.is_busy:
            if flow.priority == Priority.BULK:
                return False
            has_background = True
    if control_bytes > MAX_CONTROL_BYTES:
        return False
    return has_background or is_background
