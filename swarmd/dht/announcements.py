"""Who has announced itself under which info hash (BEP 5), as a node keeps it for others. In memory; `saved` and
`restore` carry it over a restart with the time that is left to each.

Invariant: never more than the `PeerBounds`; and of one source (`contact.region_of`: a /24, a /64 or a private host) no
more than its share, once half of the room is used. An info hash with as many peers as it may have gives up the oldest
of the source that has most of them: a flood displaces itself. Several ports of a host are several peers.

Addresses have been proved by a token before they come here. A crash loses what was not saved; announcers come again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.dht.state import SavedPeer

PEER_PERIOD = 1800.0


@dataclass(frozen=True, slots=True)
class PeerBounds:
    max_info_hashes: int = 4_000
    max_peers: int = 100
    """For each info hash: twice what an answer has room for."""
    max_in_all: int = 40_000
    """About 12 MB."""
    share: float = 0.125
    """A source's, of the info hashes and of the peers, once half is used."""


@dataclass(slots=True)
class Held:
    at: float
    source: str


class Announcements:
    def __init__(self, bounds: PeerBounds | None = None) -> None:
        self._bounds = bounds or PeerBounds()
        self._peers: dict[bytes, dict[Address, Held]] = {}  # of an info hash, the longest unheard first
        self._sources: Counter[str] = Counter()
        self._n_peers = 0

    @property
    def info_hashes(self) -> list[bytes]:
        return list(self._peers)

    def peers(self, info_hash: bytes, now: float) -> list[Address]:
        return [peer for peer, held in self._peers.get(info_hash, {}).items() if now - held.at < PEER_PERIOD]

    def announce(self, info_hash: bytes, peer: Address, source: str, now: float) -> bool:
        """False when there is no room."""
        known = self._peers.get(info_hash, {})
        if peer not in known:
            if len(known) >= self._bounds.max_peers:
                self._drop(info_hash, _to_give_way(known))
            elif not self._has_place(source, is_new=not known):
                return False
        else:
            self._drop(info_hash, peer)
        self._peers.setdefault(info_hash, {})[peer] = Held(now, source)
        self._sources[source] += 1
        self._n_peers += 1
        return True

    def expire(self, now: float) -> None:
        """All of them are looked at: from time to time."""
        for info_hash, known in list(self._peers.items()):
            for peer in [peer for peer, held in known.items() if now - held.at >= PEER_PERIOD]:
                self._drop(info_hash, peer)

    def saved(self, now: float) -> tuple[SavedPeer, ...]:
        """What expires first stands first."""
        self.expire(now)
        found = [
            SavedPeer(info_hash, peer, held.source, held.at + PEER_PERIOD - now)
            for info_hash, known in self._peers.items()
            for peer, held in known.items()
        ]
        return tuple(sorted(found, key=lambda one: one.remaining))

    def restore(self, saved: tuple[SavedPeer, ...], now: float) -> None:
        """Within the bounds; nothing lasts longer than it would have."""
        for one in sorted(saved, key=lambda one: one.remaining):
            if one.remaining > 0:
                at = now + min(one.remaining, PEER_PERIOD) - PEER_PERIOD
                self.announce(one.info_hash, one.address, one.source, at)

    def _has_place(self, source: str, *, is_new: bool) -> bool:
        bounds, n_hashes, n_own = self._bounds, len(self._peers), self._sources[source]
        if self._n_peers >= bounds.max_in_all or (is_new and n_hashes >= bounds.max_info_hashes):
            return False
        if self._n_peers * 2 >= bounds.max_in_all and n_own >= bounds.max_in_all * bounds.share:
            return False
        return not (
            is_new and n_hashes * 2 >= bounds.max_info_hashes and n_own >= bounds.max_info_hashes * bounds.share
        )

    def _drop(self, info_hash: bytes, peer: Address) -> None:
        known = self._peers[info_hash]
        source = known.pop(peer).source
        self._n_peers -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        if not known:
            del self._peers[info_hash]


def _to_give_way(known: dict[Address, Held]) -> Address:
    most, _ = Counter(held.source for held in known.values()).most_common(1)[0]
    return next(peer for peer, held in known.items() if held.source == most)
