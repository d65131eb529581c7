"""What the network says of an open session's path (ICMP): heard, checked by asking the peer, never believed.

Whoever brings it has seen that the packet which the message quotes bears this session's ID: who is not on the path
cannot know that, and who is can do worse. Even so, all that comes of it is

- "too big": smaller packets, never under 1,200 bytes, and the former size is tried again (`pathmtu`);
- "nobody there": pings at once, and `liveness` waits for less time for an answer. A peer that answers has lost nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from swarmd.transport.rtmfp.liveness import Liveness
from swarmd.transport.rtmfp.pathmtu import PathMtu
from swarmd.transport.rtmfp.sending import Sending

PATIENCE_TIMEOUT = 1.5
PATIENCE_TIMEOUTS = 3
"""For an answer to a ping, of which ten are sent: seconds, or as many times what an answer takes at the worst."""


class Hearsay:
    """One session's. To be called while it is open."""

    def __init__(self, sending: Sending, path: PathMtu, liveness: Liveness, ping: Callable[[float], None]) -> None:
        self._sending, self._path, self._liveness, self._ping = sending, path, liveness, ping

    def too_big(self, size: int, now: float) -> None:
        """Datagrams of more than `size` bytes do not pass."""
        if self._path.hint(size, now):
            self._sending.path_changed(now)
            self._sending.resend(now)  # no need to wait until it shows that it is lost

    def nobody_there(self, now: float, *, is_sure: bool) -> None:
        """`is_sure`: it quotes a packet of this session, and speaks of the peer's port, not of the way to it."""
        patience = max(PATIENCE_TIMEOUT, PATIENCE_TIMEOUTS * self._sending.rtt.retransmit_timeout)
        if self._liveness.doubted(now, patience if is_sure else None):
            self._ping(now)
