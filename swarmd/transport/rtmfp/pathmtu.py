"""How large the packets of a session may be: path MTU discovery by probing (RFC 8899 in spirit). Sizes: UDP payload.

In come the fates of probes (padded pings, sent only while there is data to send, one at a time) and of ordinary
packets; out come `packet_bytes` and the next probe. 1,200 bytes pass everywhere RTMFP does and are the start. The
first probe is the size of Ethernet; from there the search goes up to jumbo frames, or halves what lies between.

Invariant: 1,200 <= `packet_bytes` <= the limit, and a size is used only after a packet of it, or of more, has come
through on this path (or, after a router's hint, less than what had). States: *searching* (the next probe is known),
*settled* (until `PROBE_AGAIN_PERIOD` later), and a probe is under way or not.

Down again it goes on a *black hole*: large packets vanish while small ones pass. A router's "too big" is only a hint:
anybody can forge it, so it never leads below 1,200, and the former size is soon tried again; if that passes, hints
are not believed for ten minutes.
"""

from __future__ import annotations

import math

BASE_BYTES = 1200
SIZES_IPV4 = (BASE_BYTES, 1372, 1392, 1422, 1432, 1464, 1472, 4000, 8972)
SIZES_IPV6 = (BASE_BYTES, 1232, 1372, 1402, 1412, 1444, 1452, 4000, 8952)
"""What is met: WireGuard (1,420), VXLAN (1,450), clouds (1,460), PPPoE (1,492), Ethernet (1,500), half and whole jumbo
frames (9,000), less 28 bytes of headers, with IPv6 48; and IPv6's least (1,280)."""
ETHERNET_IPV4 = 1472
ETHERNET_IPV6 = 1452

PROBE_MARK = b"P"
PROBE_TRIES = 3
PROBE_TIMEOUT = 3.0
"""A probe of which nothing was said for so long is lost; the owner, who knows the round-trip time, says so sooner."""
PROBE_AGAIN_PERIOD = 600.0
HINT_TRIAL_PERIOD = 10.0

BLACK_HOLE_PACKETS = 6
BLACK_HOLE_PERIOD = 0.25
"""Large packets are lost in bursts all the time: no large one has come through for at least so long."""
BLACK_HOLE_LONG_PERIOD = 2.0
"""The same without the proof that small ones pass: then the way may be cut altogether, and 1,200 does no harm."""


class PathMtu:
    """One path. `limit` is the most that either end takes (its receive buffer, its link)."""

    __slots__ = (
        "_again_at",
        "_ethernet",
        "_hint_until",
        "_hinted",
        "_large_acknowledged_at",
        "_large_lost",
        "_lost_since",
        "_probe",
        "_probe_at",
        "_sizes",
        "_small_passed",
        "_too_large",
        "_tries",
        "packet_bytes",
    )

    def __init__(self, ipv6: bool, limit: int = 65_507) -> None:
        self._sizes = tuple(size for size in (SIZES_IPV6 if ipv6 else SIZES_IPV4) if size <= max(limit, BASE_BYTES))
        self._ethernet = ETHERNET_IPV6 if ipv6 else ETHERNET_IPV4
        self.forget_path()

    def forget_path(self) -> None:
        """The address moved: begin at 1,200 again."""
        self.packet_bytes = BASE_BYTES
        self._too_large: float = math.inf  # the smallest size known, or believed, not to pass
        self._probe: int | None = None  # under way
        self._probe_at = 0.0
        self._tries = 0
        self._again_at = math.inf
        self._hint_until = -math.inf  # hints are not believed before
        self._hinted: int | None = None  # the size in use before a hint
        self._forget_losses(-math.inf)

    @property
    def next_probe_at(self) -> float:
        """When a settled search begins again; minus infinity while it is not settled."""
        return self._again_at if self._next_size() is None else -math.inf

    def probe_to_send(self, now: float) -> int | None:
        """The size to which a ping is to be padded now, which then counts as sent; None when there is none."""
        if self._probe is not None:
            if now - self._probe_at < PROBE_TIMEOUT:
                return None
            self.probe_lost(self._probe, now)
        if now >= self._again_at:
            self._too_large, self._again_at = math.inf, math.inf
        size = self._next_size()
        if size is None:
            self._again_at = min(self._again_at, now + PROBE_AGAIN_PERIOD)
            return None
        self._probe, self._probe_at = size, now
        return size

    def probe_acknowledged(self, size: int, now: float) -> None:
        """Also late ones count: the size has passed."""
        if size == self._probe:
            self._probe, self._tries = None, 0
        if size not in self._sizes or size <= self.packet_bytes:
            return
        if self._hinted is not None and size >= self._hinted:
            self._hint_until, self._hinted = now + PROBE_AGAIN_PERIOD, None  # the hint was false
        if self._too_large <= size:
            self._too_large = math.inf
        self.packet_bytes = size
        self._forget_losses(now)

    def probe_lost(self, size: int, now: float) -> None:
        """Of no meaning for congestion: a probe that is too large says nothing about queues."""
        if size != self._probe:
            return
        self._probe = None
        self._tries += 1
        if self._tries >= PROBE_TRIES:
            self._tries = 0
            self._too_large = min(self._too_large, size)
            if size == self._hinted:  # the hint was true
                self._hinted = None

    def packet_acknowledged(self, size: int, now: float) -> None:
        """One call for a batch with its largest size will do. Costs 0.05 us."""
        if size > BASE_BYTES:
            self._large_lost = 0
            self._small_passed = False
            self._large_acknowledged_at = now
        elif self._large_lost:
            self._small_passed = True

    def packet_lost(self, size: int, now: float) -> None:
        if size <= BASE_BYTES or self.packet_bytes == BASE_BYTES:
            return
        if not self._large_lost:
            self._lost_since = now
        self._large_lost += 1
        if self._small_passed:
            is_silent = now - self._large_acknowledged_at >= BLACK_HOLE_PERIOD
        else:
            is_silent = now - self._lost_since >= BLACK_HOLE_LONG_PERIOD
        if self._large_lost >= BLACK_HOLE_PACKETS and is_silent:
            self._fall(size, now)

    def hint(self, size: int, now: float) -> bool:
        """A router says that packets of more than `size` bytes of UDP payload do not pass; whether `packet_bytes` is
        another one now.
        """
        if now < self._hint_until or size >= self.packet_bytes or self.packet_bytes == BASE_BYTES:
            return False
        self._hinted = self._hinted or self.packet_bytes
        self.packet_bytes = max(known for known in self._sizes if known <= max(size, BASE_BYTES))
        self._too_large = min(self._too_large, self._next_larger(self.packet_bytes))
        self._probe, self._tries = None, 0
        self._again_at = now + HINT_TRIAL_PERIOD
        self._forget_losses(now)
        return True

    def _fall(self, size: int, now: float) -> None:
        self.packet_bytes = BASE_BYTES
        self._too_large = min(self._too_large, size)
        self._probe, self._tries = None, 0
        self._again_at = now + PROBE_AGAIN_PERIOD
        self._forget_losses(now)

    def _forget_losses(self, now: float) -> None:
        self._large_lost = 0
        self._lost_since = now
        self._large_acknowledged_at = now
        self._small_passed = False

    def _next_larger(self, size: int) -> float:
        return min((known for known in self._sizes if known > size), default=math.inf)

    def _next_size(self) -> int | None:
        """Ethernet's first, then the middle of those that may pass; after a hint, what was in use before it."""
        open_sizes = [size for size in self._sizes if self.packet_bytes < size < self._too_large]
        if not open_sizes:
            return None
        if self._hinted in open_sizes:
            return self._hinted
        if self._ethernet in open_sizes:
            return self._ethernet
        return open_sizes[(len(open_sizes) - 1) // 2] if open_sizes[-1] < self._ethernet else open_sizes[0]


class Probes:
    """The messages of the pings that are padded: which size has come through. One is under way at a time."""

    def __init__(self) -> None:
        self._number = 0
        self._message, self._size = b"", 0

    def question(self, size: int) -> bytes:
        """The message of a ping that fills a datagram of `size` bytes."""
        self._number += 1
        self._message, self._size = PROBE_MARK + self._number.to_bytes(4, "big"), size
        return self._message

    def answered(self, message: bytes) -> int | None:
        """The size of the probe that this answers, once."""
        if not self._message or message != self._message:
            return None
        self._message = b""
        return self._size
