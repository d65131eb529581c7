"""When the next burst may leave: packets are spread over the round trip instead of sent as one clump.

A burst is what one system call sends (`UDP_SEGMENT`): about a millisecond's worth, 6 packets to 64 KiB. Each burst
moves the time from which the next one is allowed by what it takes at the rate; a wake-up that comes late may make up
for the lost time, but not for more than the credit. Invariant: over any t seconds no more leaves than
`rate * (t + credit)` and one burst.

On a path shorter than a timer's resolution, pacing could only cost throughput: there bursts follow each other
freely, and the congestion window alone limits what is under way. Nothing here survives, or need survive, a crash.
"""

from __future__ import annotations

MIN_BURST_PACKETS = 6
"""RFC 7016 §3.5.2.3: no more than six packets at once unless acknowledgements ask for more."""
MAX_BURST_BYTES = 64 * 1024
"""What one `UDP_SEGMENT` message holds."""
BURST_PERIOD = 0.001
UNPACED_RTT = 0.0045
"""Below this, timers (1 ms, under load worse) are too coarse to spread one round's packets."""
CREDIT_PERIOD = 0.002
"""How late a wake-up may be without loss of throughput: two periods of the event loop's timer."""
FAST_RATE = 50e6
FAST_CREDIT_PERIOD = 0.008
"""Over 50 MB/s a wake-up sends many bursts in turn and may be late by as much as they take; 8 ms of queue there is
little, 400 KB and more of it lie in the host's own queue."""
_ROUNDING = 1e-7
"""Seconds forgiven, so that `release_at` of one moment is a moment at which the burst may leave."""


class Pacer:
    """Starts unpaced; `set_rate` after each change of window or round-trip time."""

    __slots__ = ("_credit", "_free_at", "_seconds_per_byte", "burst_bytes")

    def __init__(self, packet_bytes: int) -> None:
        self.burst_bytes = MIN_BURST_PACKETS * packet_bytes
        """The most that may leave at one `release_at`: whole packets."""
        self._seconds_per_byte = 0.0
        self._credit = CREDIT_PERIOD
        self._free_at = 0.0

    def set_rate(self, rate: float, rtt: float, packet_bytes: int, now: float) -> None:
        """`rate` in bytes a second, `rtt` the smoothed round-trip time (0 when unknown). Costs 0.6 us."""
        packets = int(rate * BURST_PERIOD) // packet_bytes
        least, most = MIN_BURST_PACKETS, max(1, MAX_BURST_BYTES // packet_bytes)
        self.burst_bytes = packet_bytes * min(max(packets, least), most)
        seconds = 0.0 if rate <= 0 or 0 < rtt < UNPACED_RTT else 1 / rate
        if self._free_at > now and self._seconds_per_byte:  # what was sent is paid for at the new rate
            self._free_at = now + (self._free_at - now) * seconds / self._seconds_per_byte
        self._seconds_per_byte = seconds
        self._credit = FAST_CREDIT_PERIOD if rate > FAST_RATE else CREDIT_PERIOD

    def release_at(self, now: float) -> float:
        """When the next burst may leave: `now` or later. Costs 0.1 us."""
        return self._free_at if self._free_at > now + _ROUNDING else now

    def sent(self, n_bytes: int, now: float) -> None:
        """A burst left, at the time allowed or later. Costs 0.1 us."""
        free_at = now - self._credit
        if self._free_at > free_at:
            free_at = self._free_at
        self._free_at = free_at + n_bytes * self._seconds_per_byte
