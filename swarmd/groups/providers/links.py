"""The neighbours as seen here: where each stands, how much of its messages is taken, and whose questions wait for an
answer.

Invariant: what one neighbour makes this member carry is bounded by its rates; at most `MAX_PATHS` questions of others
wait here, and no neighbour's take more than its share. A path ID is never held twice: with that, and as each hop is
nearer than the last, a question comes to an end.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from swarmd.core.ids import PeerId
from swarmd.core.tokenbucket import TokenBucket
from swarmd.groups import ring
from swarmd.groups.providers.messages import Message
from swarmd.groups.ring import GroupAddress

ANNOUNCES_RATE = 20.0
"""A second, from one neighbour: 0.2 ms each. In a group of 1,000 whose members hold 100 objects each: below one."""
ANNOUNCES_BURST = 400.0
"""Somebody new next to this member is told what it is nearest to now."""
QUESTIONS_RATE = 20.0
QUESTIONS_BURST = 120.0
TRANSIT_RATE = 4.0
"""A second, of both from one neighbour, that are passed on: what one sends takes a fifth of what the next member takes
from this one."""
TRANSIT_BURST = 100.0
MAX_PATHS = 2048
MAX_PATHS_OF_ONE = 256
PATH_PERIOD = 10.0
"""Seconds: longer than an asker waits for one way."""
KEEPERS = 4
"""The members nearest to a key keep its records, as far as each sees; who stands where only few nearer ones are seen
keeps them, too, so that it is some eight. Where a fifth of the members drop what they are given, one search in 70 finds
nobody; with three keepers it was one in 30."""
RING_SIDE = 3
"""Neighbours on each side of the ring, as a group of any size gives them (`groups.topology`)."""


@dataclass(slots=True)
class _Neighbour:
    address: GroupAddress
    announces: TokenBucket
    questions: TokenBucket
    transit: TokenBucket


@dataclass(frozen=True, slots=True)
class Path:
    """One way of one question. previous: who asked us; None for our own. next: whom we asked."""

    previous: PeerId | None
    next: PeerId
    key: GroupAddress
    expires_at: float


class Links:
    def __init__(self, own: GroupAddress) -> None:
        self.own = own
        self.sent_bytes = 0
        self._neighbours: dict[PeerId, _Neighbour] = {}
        self._peers: dict[GroupAddress, PeerId] = {}
        self._queue: deque[tuple[PeerId, bytes]] = deque()
        self._paths: dict[bytes, Path] = {}
        self._n_paths: Counter[PeerId | None] = Counter()

    def __contains__(self, peer: PeerId) -> bool:
        return peer in self._neighbours

    def __len__(self) -> int:
        return len(self._neighbours)

    def open(self, peer: PeerId, now: float) -> None:
        address = ring.group_address(peer)
        self._neighbours[peer] = _Neighbour(
            address,
            announces=TokenBucket(ANNOUNCES_RATE, ANNOUNCES_BURST, now),
            questions=TokenBucket(QUESTIONS_RATE, QUESTIONS_BURST, now),
            transit=TokenBucket(TRANSIT_RATE, TRANSIT_BURST, now),
        )
        self._peers[address] = peer

    def close(self, peer: PeerId) -> list[tuple[bytes, Path]]:
        """The questions that were passed to it, and will have no answer now."""
        del self._peers[self._neighbours.pop(peer).address]
        self._queue = deque(item for item in self._queue if item[0] != peer)
        gone = [(key, path) for key, path in self._paths.items() if peer in (path.previous, path.next)]
        for key, _ in gone:
            self.drop_path(key)
        return [(key, path) for key, path in gone if path.next == peer]

    # whom there is for a key

    def by_distance(self, key: GroupAddress) -> list[PeerId]:
        """All, the nearest to `key` first."""
        return [self._peers[address] for address in ring.by_distance(key, self._peers)]

    def nearer(self, key: GroupAddress) -> list[PeerId]:
        """Those who are nearer to `key` than this member, the nearest first."""
        found = [each for each in self._peers if ring.is_nearer(key, each, self.own)]
        return [self._peers[address] for address in ring.by_distance(key, found)]

    def is_beside(self, peer: PeerId) -> bool:
        """Whether it is one of the next ones on the ring, who keep what this member keeps."""
        gaps = sorted(ring.gap(self.own, address) for address in self._peers)
        return ring.gap(self.own, self.address(peer)) in (*gaps[:RING_SIDE], *gaps[-RING_SIDE:])

    def address(self, peer: PeerId) -> GroupAddress:
        return self._neighbours[peer].address

    def keepers(self, key: GroupAddress) -> list[PeerId] | None:
        """The others of the `KEEPERS` members nearest to `key`; None where this member is none of them."""
        if len(nearer := self.nearer(key)) >= KEEPERS:
            return None
        return nearer + [peer for peer in self.by_distance(key) if peer not in nearer][: KEEPERS - 1 - len(nearer)]

    # carrying

    def admit_announce(self, peer: PeerId, now: float) -> bool:
        return self._neighbours[peer].announces.take(1, now)

    def admit_question(self, peer: PeerId, now: float) -> bool:
        return self._neighbours[peer].questions.take(1, now)

    def admit_transit(self, peer: PeerId, now: float) -> bool:
        """Whether one more message from there is passed on."""
        return self._neighbours[peer].transit.take(1, now)

    def send(self, peer: PeerId, message: Message) -> None:
        """Nothing happens without a link."""
        if peer in self._neighbours:
            self._queue.append((peer, message.encode()))

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        sending = list(self._queue)
        self._queue.clear()
        self.sent_bytes += sum(len(data) for _, data in sending)
        return sending

    # paths

    @property
    def n_paths(self) -> int:
        return len(self._paths)

    def path(self, path_id: bytes) -> Path | None:
        return self._paths.get(path_id)

    def has_room(self, previous: PeerId) -> bool:
        return len(self._paths) < MAX_PATHS and self._n_paths[previous] < MAX_PATHS_OF_ONE

    def add_path(self, path_id: bytes, path: Path) -> None:
        assert path_id not in self._paths
        self._paths[path_id] = path
        self._n_paths[path.previous] += 1

    def drop_path(self, path_id: bytes) -> None:
        """Nothing happens to an unknown one."""
        if (path := self._paths.pop(path_id, None)) is None:
            return
        self._n_paths[path.previous] -= 1
        if not self._n_paths[path.previous]:
            del self._n_paths[path.previous]

    def expire(self, now: float) -> None:
        for key in [key for key, path in self._paths.items() if path.expires_at <= now]:
            self.drop_path(key)
