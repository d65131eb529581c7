"""Looking for those who hold an object: over several ways at once towards the key, until enough have answered.

In: what becomes of each way (`service`), time. Out: Find for neighbours, the event Found.

A way that brings nothing is replaced at once by one over another neighbour; one that is silent is not given up, but
each round begins more. What an answer says is told at once, but it may be invented; so a search goes on until somebody
is named over `CONFIRMATIONS` ways, or `ENOUGH_ANSWERS` have come.

Invariant: at most `MAX_SEARCHES` at once, each with at most `MAX_WAYS` ways and over within `SEARCH_PERIOD`; it tells
of at most `MAX_ANSWERS` members for each answer that counts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmd.core.errors import Conflict
from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import Rng
from swarmd.groups.contacts import Contact
from swarmd.groups.providers.events import Found
from swarmd.groups.providers.links import PATH_PERIOD, Links, Path
from swarmd.groups.providers.messages import PATH_BYTES, TURN_LIMIT, Find
from swarmd.groups.ring import GroupAddress

MAX_SEARCHES = 64
SEARCH_PERIOD = 15.0
ROUND_PERIOD = 1.0
"""Seconds: five hops across continents and back, and a lost packet."""
ROUND_GROWTH = 1.5
FIRST_WIDTH = 3
"""Ways at once."""
WIDENING = 2
MAX_WAYS = 24
CONFIRMATIONS = 2
ENOUGH_ANSWERS = 10
"""Where many hold an object, answers need not name the same; where a fifth of the members invent, one of ten is true
in all but a few cases."""


@dataclass(slots=True)
class _Search:
    id: int
    content_id: ContentId
    key: GroupAddress
    gives_up_at: float
    round_at: float
    period: float = ROUND_PERIOD
    width: int = FIRST_WIDTH
    n_ways: int = 0
    n_answers: int = 0
    ways: set[bytes] = field(default_factory=set)
    """Those that have not ended."""
    used: set[PeerId] = field(default_factory=set)
    named: Counter[PeerId] = field(default_factory=Counter)
    """Over how many ways each has been named, and told of already."""

    @property
    def has_enough(self) -> bool:
        is_confirmed = max(self.named.values(), default=0) >= CONFIRMATIONS
        return is_confirmed or self.n_answers >= ENOUGH_ANSWERS

    @property
    def deadline(self) -> float:
        return min(self.round_at, self.gives_up_at)


class Searching:
    def __init__(self, own_id: PeerId, links: Links, rng: Rng, secrets: Rng, events: deque[Found]) -> None:
        self._links, self._rng, self._secrets, self._events = links, rng, secrets, events
        self._own_id = own_id
        self._searches: dict[int, _Search] = {}
        self._of_way: dict[bytes, _Search] = {}
        self._n = 0

    def __len__(self) -> int:
        return len(self._searches)

    def begin(self, content_id: ContentId, key: GroupAddress, known: Iterable[Contact], now: float) -> int:
        """Found follows; `known`: whom this member itself knows of. Conflict when too many are under way."""
        if len(self._searches) >= MAX_SEARCHES:
            raise Conflict(f"{MAX_SEARCHES} objects are looked for already: try again when some have been found")
        self._n += 1
        search = _Search(self._n, content_id, key, now + SEARCH_PERIOD, now + ROUND_PERIOD)
        self._searches[search.id] = search
        if news := self._news(search, known):
            search.n_answers += 1
            self._tell(search, news)
        self._go_on(search, now)
        return self._n

    def cancel(self, search_id: int) -> None:
        """Nobody waits for it any more; nothing happens to an unknown one."""
        if (search := self._searches.get(search_id)) is not None:
            self._forget(search)

    def answered(self, path_id: bytes, contacts: Iterable[Contact], now: float) -> None:
        """One of our ways has brought these, or nothing."""
        if (search := self._of_way.pop(path_id, None)) is None:
            return
        search.ways.discard(path_id)
        listed = list(contacts)
        search.n_answers += bool(listed)
        if news := self._news(search, listed):
            self._tell(search, news)
        self._go_on(search, now)

    def next_deadline(self) -> float | None:
        return min((search.deadline for search in self._searches.values()), default=None)

    def handle_timer(self, now: float) -> None:
        for search in [each for each in self._searches.values() if each.deadline <= now]:
            if search.gives_up_at <= now:
                self._end(search)
                continue
            search.period *= ROUND_GROWTH
            search.round_at = now + search.period
            search.width += WIDENING
            search.used.clear()  # silence: the same ones may be asked again
            self._go_on(search, now)

    def _go_on(self, search: _Search, now: float) -> None:
        """Begin as many ways as may be under way at once, or end."""
        if not search.has_enough:
            self._fill(search, now)
        if search.has_enough or not search.ways:
            self._end(search)

    def _fill(self, search: _Search, now: float) -> None:
        for peer in self._links.by_distance(search.key):
            if len(search.ways) >= search.width or search.n_ways >= MAX_WAYS:
                return
            if peer in search.used:
                continue
            search.used.add(peer)
            turn = 1 + self._rng.randrange(TURN_LIMIT) if search.n_ways else 0
            search.n_ways += 1
            path_id = self._secrets.bytes(PATH_BYTES)
            search.ways.add(path_id)
            self._of_way[path_id] = search
            self._links.add_path(path_id, Path(None, peer, search.key, now + PATH_PERIOD))
            self._links.send(peer, Find(path_id, search.key, turn=turn))

    def _news(self, search: _Search, contacts: Iterable[Contact]) -> tuple[Contact, ...]:
        """Those that were not told of yet."""
        named = {contact.peer_id: contact for contact in contacts}  # each once, however often an answer names it
        listed = [(peer, contact) for peer, contact in named.items() if peer is not None and peer != self._own_id]
        news = tuple(contact for peer, contact in listed if peer not in search.named)
        search.named.update(peer for peer, _ in listed)
        return news

    def _tell(self, search: _Search, news: tuple[Contact, ...], *, is_over: bool = False) -> None:
        self._events.append(Found(search.id, search.content_id, news, is_over))

    def _end(self, search: _Search) -> None:
        self._forget(search)
        self._tell(search, (), is_over=True)

    def _forget(self, search: _Search) -> None:
        del self._searches[search.id]
        for path_id in search.ways:
            del self._of_way[path_id]
            self._links.drop_path(path_id)
