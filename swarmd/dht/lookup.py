"""One iterative lookup (Kademlia §2.3) on disjoint paths (S/Kademlia §4.4). Knows no messages and no time.

In: `replied` with the contacts a node named, `failed`. Out: `pick_next`, whom to ask.

Each path has its own list of candidates and goes on until its closest K that may still answer have answered; ALPHA
questions of a path are under way at a time. A node is asked by one path only, so a hostile one that leads a path into
its own region leads no other there. The result is the closest of all that answered.

Invariant: a node is asked at most once; a path remembers at most MAX_CANDIDATES, the closest; a reply adds at most
MAX_NAMED to it; and MAX_ASKED bounds the whole, whatever others invent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.addresses import Address
from swarmd.dht.contact import Contact
from swarmd.dht.table import K

ALPHA = 2
PATHS = 3
MAX_CANDIDATES = 4 * K
MAX_NAMED = K
MAX_ASKED = 120
"""Three paths of about 12 in a network of ten thousand; more only where many fail to answer."""


@dataclass(slots=True)
class Path:
    candidates: list[Contact] = field(default_factory=list)
    """Closest first: asked ones that answered or have not yet, and those to be asked; never failed ones."""
    in_flight: int = 0


class Lookup:
    def __init__(self, target: bytes, start: Iterable[Contact], own_id: bytes, *, n_paths: int = PATHS) -> None:
        self.target = target
        self._number = int.from_bytes(target, "big")
        self._own_id = own_id
        self._paths = [Path() for _ in range(n_paths)]
        self._asked: dict[Contact, tuple[Path, int]] = {}
        self._answered: dict[Contact, None] = {}
        self._ids: set[bytes] = set()
        self._hosts: set[Address] = set()
        self._depth: dict[Contact, int] = {}
        for index, contact in enumerate(start):
            self._add(self._paths[index % n_paths], contact, 1)

    @property
    def rounds(self) -> int:
        """How many questions one after the other led to the closest node that answered."""
        closest = self.closest(1)
        return self._depth[closest[0]] if closest else 0

    @property
    def n_asked(self) -> int:
        return len(self._asked)

    @property
    def is_done(self) -> bool:
        return not any(path.in_flight or self._next_of(path) for path in self._paths)

    def has_asked(self, contact: Contact) -> bool:
        return contact in self._asked

    def pick_next(self) -> list[Contact]:
        """Whom to ask now; they count as asked."""
        picked: list[Contact] = []
        for path in self._paths:
            while path.in_flight < ALPHA and (contact := self._next_of(path)) is not None:
                self._asked[contact] = path, self._depth[contact]
                self._ids.add(contact.node_id)
                self._hosts.add(contact.address)
                path.in_flight += 1
                picked.append(contact)
        return picked

    def replied(self, contact: Contact, named: Iterable[Contact]) -> None:
        path, depth = self._asked[contact]
        path.in_flight -= 1
        self._answered[contact] = None
        for other in sorted(named, key=self._distance)[:MAX_NAMED]:
            self._add(path, other, depth + 1)

    def failed(self, contact: Contact) -> None:
        path, _ = self._asked[contact]
        path.in_flight -= 1
        path.candidates.remove(contact)

    def closest(self, count: int = K) -> list[Contact]:
        """Of those that answered."""
        return sorted(self._answered, key=self._distance)[:count]

    def _add(self, path: Path, contact: Contact, depth: int) -> None:
        if contact.node_id == self._own_id or contact in path.candidates or contact in self._asked:
            return
        path.candidates.append(contact)
        path.candidates.sort(key=self._distance)
        self._depth.setdefault(contact, depth)
        for far in path.candidates[MAX_CANDIDATES:]:
            if far not in self._asked:
                path.candidates.remove(far)

    def _next_of(self, path: Path) -> Contact | None:
        """The first of the path's closest K that nobody has asked."""
        if len(self._asked) >= MAX_ASKED:
            return None
        near = 0
        for contact in path.candidates:
            if near == K:
                return None
            if contact in self._asked:
                near += self._asked[contact][0] is path
            elif contact.node_id not in self._ids and contact.address not in self._hosts:
                return contact
        return None

    def _distance(self, contact: Contact) -> int:
        return contact.number ^ self._number
