"""At most one session for each pair of peers: which of two to keep (design §2; RFC 7016 §3.5.1.3 on glare).

Both ends must decide alike without asking, although they may see the sessions open in different orders. Sessions opened
within GLARE_PERIOD of each other are a glare: both have called at once, or one has called several addresses of the
other, or by both transports. Then the order is one that both ends know: first those by the better path (a near address
before a far one, then the transport that is preferred there: `transport.paths`), among them those that the lower peer
ID has started, among them the lowest handshake hash. Later the newer one is kept: whoever calls again has lost the
older one (a restart, a changed address), or has found a better way.

Not decided alike are two sessions whose distance is GLARE_PERIOD for one end and a little less for the other; both may
then end, and whoever called calls again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from swarmd.core.ids import PeerId

GLARE_PERIOD = 10.0
MAX_SESSIONS = 1024  # each costs a socket and about 100 KiB when busy


class Verdict(Enum):
    KEEP_NEW = "keep the new one, close the old one if there is one"
    KEEP_OLD = "close the new one, the peer does so too"
    IS_SELF = "the new one leads to ourselves"
    FULL = "there are too many sessions"


@dataclass(frozen=True, slots=True)
class _Open:
    key: int
    rank: tuple[int, bool, bytes]
    opened_at: float


class SessionTable:
    """Who is connected by which session. `key` is the driver's number for a session."""

    def __init__(self, own_id: PeerId, max_sessions: int = MAX_SESSIONS) -> None:
        self._own_id = own_id
        self._max_sessions = max_sessions
        self._open: dict[PeerId, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._open

    def key(self, peer: PeerId) -> int | None:
        entry = self._open.get(peer)
        return entry.key if entry else None

    def admit(
        self,
        key: int,
        peer: PeerId,
        *,
        we_started: bool,
        handshake_hash: bytes,
        now: float,
        grade: int = 0,
    ) -> tuple[Verdict, int | None]:
        """What to do with a session that has just opened; with it the key of the one to close in its favour.

        `grade`: how good its path is, greater for better, which both ends see alike (`paths.grade`).
        """
        if peer == self._own_id:
            return Verdict.IS_SELF, None
        new = _Open(key, (-grade, we_started != (self._own_id < peer), handshake_hash), now)
        old = self._open.get(peer)
        if old is None:
            if len(self._open) >= self._max_sessions:
                return Verdict.FULL, None
        elif now - old.opened_at < GLARE_PERIOD and old.rank < new.rank:
            return Verdict.KEEP_OLD, None
        self._open[peer] = new
        return Verdict.KEEP_NEW, old.key if old else None

    def remove(self, key: int, peer: PeerId) -> bool:
        """The session has ended; false when another one has taken its place already."""
        entry = self._open.get(peer)
        if entry is None or entry.key != key:
            return False
        del self._open[peer]
        return True
