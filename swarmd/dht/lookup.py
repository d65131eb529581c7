"""One iterative lookup (Kademlia §2.3) on disjoint paths (S/Kademlia §4.4). Knows no messages and no time.

In: `replied` with the contacts a node named, `slow`, `failed`. Out: `pick_next`, whom to ask.

Each path has its own list of candidates and goes on until its closest K that may still answer have answered; ALPHA
questions of a path are under way at a time, not counting those whose answer is late. A node is asked by one path only,
so a hostile one that leads a path into its own region leads no other there. The result is the closest of all that
answered.

Two things make a candidate doubtful: MAX_OF_REGION of its /24, /64 or private host have been asked, or whoever named
it has named CREDIT more that are silent than answer. Doubtful ones are asked when a path has nobody else, so a network
that is all on one host works, and somebody with few addresses, or many invented ones, fills nobody's list.

Invariant: a node is asked at most once; a path remembers at most MAX_CANDIDATES, the closest; a reply adds at most
MAX_NAMED to it; and MAX_ASKED bounds the whole, whatever others invent.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.dht.contact import Contact, region_of
from swarmd.dht.table import K

ALPHA = 2
PATHS = 3
MAX_CANDIDATES = 4 * K
MAX_NAMED = K
MAX_ASKED = 120
"""Three paths of about 12 in a network of ten thousand; more only where many fail to answer."""
MAX_OF_REGION = 2
CREDIT = 3
"""With a third of the contacts dead, one honest node in 25 begins with three of them, and loses little by it."""


@dataclass(slots=True, eq=False)
class Candidate:
    contact: Contact
    distance: int
    depth: int
    namer: Candidate | None
    """None: from our own table."""
    path: Path | None = None
    """The one that has asked it."""
    is_slow: bool = False
    credit: int = CREDIT


@dataclass(slots=True, eq=False)
class Path:
    candidates: list[Candidate] = field(default_factory=list)
    """Closest first: asked ones that answered or have not yet, and those to be asked; never failed ones."""
    known: set[Contact] = field(default_factory=set)
    n_waiting: int = 0
    n_slow: int = 0


class Lookup:
    def __init__(self, target: bytes, start: Iterable[Contact], own_id: bytes, *, n_paths: int = PATHS) -> None:
        self.target = target
        self._number = int.from_bytes(target, "big")
        self._own_id = own_id
        self._paths = [Path() for _ in range(n_paths)]
        self._known: dict[Contact, Candidate] = {}
        self._answered: list[Candidate] = []
        self._n_asked = 0
        self._ids: set[bytes] = set()
        self._addresses: set[Address] = set()
        self._regions: Counter[str] = Counter()
        for index, contact in enumerate(start):
            self._add(self._paths[index % n_paths], contact, None)

    @property
    def rounds(self) -> int:
        """How many questions one after the other led to the closest node that answered."""
        return min(self._answered, key=_distance).depth if self._answered else 0

    @property
    def is_done(self) -> bool:
        return not any(path.n_waiting or self._next_of(path) for path in self._paths)

    def has_asked(self, contact: Contact) -> bool:
        candidate = self._known.get(contact)
        return candidate is not None and candidate.path is not None

    def pick_next(self) -> list[Contact]:
        """Whom to ask now; they count as asked."""
        picked: list[Contact] = []
        for path in self._paths:
            while path.n_waiting - path.n_slow < ALPHA and (candidate := self._next_of(path)) is not None:
                candidate.path = path
                contact = candidate.contact
                self._n_asked += 1
                self._ids.add(contact.node_id)
                self._addresses.add(contact.address)
                self._regions[region_of(contact.address.host)] += 1
                path.n_waiting += 1
                picked.append(contact)
        return picked

    def replied(self, contact: Contact, named: Iterable[Contact]) -> None:
        candidate, path = self._ended(contact)
        self._answered.append(candidate)
        if candidate.namer is not None:
            candidate.namer.credit = min(CREDIT, candidate.namer.credit + 1 + candidate.is_slow)
        candidate.is_slow = False
        number = self._number
        for other in sorted(named, key=lambda other: other.number ^ number)[:MAX_NAMED]:
            self._add(path, other, candidate)

    def slow(self, contact: Contact) -> None:
        """It has been asked again: others need not wait for it."""
        candidate = self._known[contact]
        assert candidate.path is not None
        candidate.is_slow = True
        candidate.path.n_slow += 1
        _discredit(candidate)

    def failed(self, contact: Contact) -> None:
        candidate, path = self._ended(contact)
        if not candidate.is_slow:
            _discredit(candidate)
        path.candidates.remove(candidate)

    def closest(self, count: int = K) -> list[Contact]:
        """Of those that answered."""
        return [candidate.contact for candidate in sorted(self._answered, key=_distance)[:count]]

    def n_within(self, radius: int) -> int:
        """How many of those are that near to the target."""
        return sum(candidate.distance <= radius for candidate in self._answered)

    def _ended(self, contact: Contact) -> tuple[Candidate, Path]:
        candidate = self._known[contact]
        path = candidate.path
        assert path is not None
        path.n_waiting -= 1
        path.n_slow -= candidate.is_slow
        return candidate, path

    def _add(self, path: Path, contact: Contact, namer: Candidate | None) -> None:
        candidate = self._known.get(contact)
        if candidate is not None and candidate.namer is not None and candidate.namer.credit <= 0:
            candidate.namer = namer
        if contact in path.known or contact.node_id == self._own_id or (candidate is not None and candidate.path):
            return
        if candidate is None:
            depth = 1 if namer is None else namer.depth + 1
            candidate = Candidate(contact, contact.number ^ self._number, depth, namer)
        if len(path.candidates) >= MAX_CANDIDATES and not self._make_room(path, candidate):
            return
        self._known[contact] = candidate
        path.known.add(contact)
        insort(path.candidates, candidate, key=_distance)

    def _make_room(self, path: Path, candidate: Candidate) -> bool:
        last = path.candidates[-1]
        if last.distance <= candidate.distance:
            return False
        if last.path is None:
            path.candidates.pop()
            path.known.discard(last.contact)
        return True

    def _next_of(self, path: Path) -> Candidate | None:
        """The first of the path's closest K that nobody has asked; a doubtful one only if there is no other."""
        if self._n_asked >= MAX_ASKED:
            return None
        near, doubtful = 0, None
        for candidate in path.candidates:
            if candidate.path is path:
                near += not candidate.is_slow
                if near == K:
                    return None
            elif candidate.path is None and self._is_free(candidate.contact):
                if not self._is_doubtful(candidate):
                    return candidate
                doubtful = doubtful or candidate
        return None if path.n_waiting else doubtful

    def _is_free(self, contact: Contact) -> bool:
        return contact.node_id not in self._ids and contact.address not in self._addresses

    def _is_doubtful(self, candidate: Candidate) -> bool:
        if candidate.namer is not None and candidate.namer.credit <= 0:
            return True
        return self._regions[region_of(candidate.contact.address.host)] >= MAX_OF_REGION


def _distance(candidate: Candidate) -> int:
    return candidate.distance


def _discredit(candidate: Candidate) -> None:
    if candidate.namer is not None:
        candidate.namer.credit -= 1
