"""The ways of questions that have passed here, so that answers find back: each goes to where the question came from.

Invariant: at most `MAX_PATHS` of them, and no neighbour's questions take more than `MAX_PATHS_OF_ONE`; each is
forgotten after its period, or when it has had the answers it may have. A path ID is never held twice: that is the loop
guard.
A crash loses them all, and the askers try again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from swarmd.core.ids import PeerId
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.messages import Envelope, Question

MAX_PATHS = 4096
"""About 2 MB. A member of a thousand, each of whom asks once a second, holds some hundred."""
MAX_PATHS_OF_ONE = 512
LOCATE_PERIOD = 15.0
"""Seconds: longer than any asker waits for one way."""
ENVELOPE_PERIOD = 60.0
"""Seconds: a reply is waited for that long at the most (`receiving.SERVED_PERIOD`)."""
LOCATE_ANSWERS = 1
ENVELOPE_ANSWERS = 2
"""An acknowledgement and a reply."""


@dataclass(slots=True)
class Path:
    """One way of one question. previous: who asked us; None for our own. next: whom we asked."""

    previous: PeerId | None
    next: PeerId
    target: GroupAddress
    is_envelope: bool
    n_answers_left: int
    expires_at: float

    @classmethod
    def of(cls, question: Question, previous: PeerId | None, following: PeerId, now: float) -> Path:
        target = question.way.target
        if isinstance(question, Envelope):
            return cls(previous, following, target, True, ENVELOPE_ANSWERS, now + ENVELOPE_PERIOD)
        return cls(previous, following, target, False, LOCATE_ANSWERS, now + LOCATE_PERIOD)


class Paths:
    """By path ID."""

    def __init__(self) -> None:
        self._paths: dict[bytes, Path] = {}
        self._n_of: Counter[PeerId | None] = Counter()

    def __contains__(self, path_id: bytes) -> bool:
        return path_id in self._paths

    def __len__(self) -> int:
        return len(self._paths)

    def get(self, path_id: bytes) -> Path | None:
        return self._paths.get(path_id)

    def has_room(self, previous: PeerId | None) -> bool:
        """Whether another one from there may be held. Our own always: they are bounded by the routes that we have."""
        return previous is None or (len(self._paths) < MAX_PATHS and self._n_of[previous] < MAX_PATHS_OF_ONE)

    def add(self, path_id: bytes, path: Path) -> None:
        assert path_id not in self._paths
        self._paths[path_id] = path
        self._n_of[path.previous] += 1

    def use(self, path_id: bytes) -> None:
        """An answer goes back on it, perhaps the last one."""
        path = self._paths[path_id]
        path.n_answers_left -= 1
        if not path.n_answers_left:
            self.drop(path_id)

    def drop(self, path_id: bytes) -> None:
        """Nothing happens to an unknown one."""
        if (path := self._paths.pop(path_id, None)) is None:
            return
        self._n_of[path.previous] -= 1
        if not self._n_of[path.previous]:
            del self._n_of[path.previous]

    def close_link(self, peer: PeerId) -> list[tuple[bytes, PeerId | None]]:
        """Forget all that led over `peer`, and say whose questions will have no answer now."""
        gone = [(key, path) for key, path in self._paths.items() if peer in (path.previous, path.next)]
        for key, _ in gone:
            self.drop(key)
        return [(key, path.previous) for key, path in gone if path.next == peer and path.previous != peer]

    def fail(self, peer: PeerId, address: GroupAddress) -> list[tuple[bytes, PeerId | None]]:
        """Forget all that was asked over `peer`, who says nothing any more, but for what is meant for itself, and say
        whose questions those were."""
        paths = self._paths.items()
        gone = [(key, path.previous) for key, path in paths if path.next == peer and path.target != address]
        for key, _ in gone:
            self.drop(key)
        return gone

    def expire(self, now: float) -> None:
        for key in [key for key, path in self._paths.items() if path.expires_at <= now]:
            self.drop(key)
