"""What is known of each address, whoever is said to be there: when to try it, and whether it ever answered.

Failures count for the address, not for the member: ten invented members at one victim's address cause no more
attempts there than one.

In: attempts and their results. Out: when an address may be tried. Invariant: an address is in the book while
somebody holds it; one that is being tried is not due, and an attempt nobody reports on counts as failed after
`DIAL_TIMEOUT`. Not here: whom to dial (`groups.membership`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.backoff import Backoff
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng

FIRST_BACKOFF = 1.0
BACKOFF_LIMIT = 300.0
"""Seconds: a member that returns after a night is found again within five minutes."""
DIAL_TIMEOUT = 30.0
"""Seconds: longer than any transport tries."""
JOIN_GRACE = 15.0
"""Seconds from an answer to the next attempt: long enough for the join proof (10 s) to come or fail."""
STRANGER_BACKOFF = 120.0
STRANGER_LIMIT = 900.0
"""Seconds to the next attempt where somebody answers time and again who does not prove this group: it was left there,
or the ticket names another one. A member that joins calls by itself."""
STABLE_PERIOD = 30.0
"""A link that lasted for so many seconds makes the next back-off start from the beginning."""


@dataclass(slots=True)
class Route:
    """One address. All times are monotonic seconds."""

    backoff: Backoff
    holders: set[PeerId | None]
    """Who is said to be there; None for an address named without a peer."""
    retry_at: float
    failed_at: float = -math.inf
    dialing_since: float | None = None
    answered_at: float | None = None
    stranger: PeerId | None = None
    """Who answered last and has not proved this group since."""
    strangers: Backoff | None = None
    """Made when it happens a second time."""
    failure: str = ""
    """Why nobody answered, if the last attempt ended so."""

    def due_at(self) -> float:
        """When it may be tried."""
        return self.retry_at if self.dialing_since is None else self.dialing_since + DIAL_TIMEOUT


class AddressBook:
    """All addresses of one group's members and hints. Its owner bounds how many there are."""

    __slots__ = ("_dialing", "_rng", "_routes")

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._routes: dict[Address, Route] = {}
        self._dialing: set[Address] = set()
        """Where `dialing_since` is set."""

    def __contains__(self, address: Address) -> bool:
        return address in self._routes

    def __len__(self) -> int:
        return len(self._routes)

    def hold(self, address: Address, holder: PeerId | None, now: float) -> None:
        """`holder` is said to be at `address`."""
        route = self._routes.get(address)
        if route is None:
            backoff = Backoff(FIRST_BACKOFF, BACKOFF_LIMIT, self._rng)
            route = self._routes[address] = Route(backoff, set(), now)
        route.holders.add(holder)

    def release(self, address: Address, holder: PeerId | None) -> None:
        """`holder` is not, or no longer of interest."""
        route = self._routes.get(address)
        if route is not None:
            route.holders.discard(holder)
            if not route.holders:
                del self._routes[address]
                self._dialing.discard(address)

    def holders(self, address: Address) -> frozenset[PeerId | None]:
        route = self._routes.get(address)
        return frozenset(route.holders) if route else frozenset()

    def due_at(self, address: Address) -> float:
        return self._routes[address].due_at()

    def answered_at(self, address: Address) -> float | None:
        """When it last answered, if it ever did."""
        return self._routes[address].answered_at

    def is_dialing(self, address: Address, now: float) -> bool:
        since = self._routes[address].dialing_since
        return since is not None and now < since + DIAL_TIMEOUT

    def n_dialing(self, now: float) -> int:
        return sum(self.is_dialing(address, now) for address in self._dialing)

    def dial(self, address: Address, now: float) -> None:
        """It is being tried from now on."""
        route = self._routes[address]
        if route.dialing_since is not None:
            route.backoff.next_period()  # nobody said what became of the last attempt
        route.dialing_since = now
        self._dialing.add(address)

    def route(self, address: Address) -> Route:
        """To be read only."""
        return self._routes[address]

    def fail(self, address: Address, now: float, reason: str = "") -> None:
        """The attempt failed, or the link through it was lost at once."""
        if (route := self._routes.get(address)) is not None:
            route.dialing_since = None
            self._dialing.discard(address)
            route.stranger, route.failure = None, reason
            route.failed_at, route.retry_at = now, now + route.backoff.next_period()

    def hasten(self, address: Address, rest: float) -> None:
        """Let it be tried once as soon as `rest` seconds have passed since it failed; its back-off goes on from where
        it is. Where a stranger answers nothing changes."""
        if (route := self._routes.get(address)) is not None and route.stranger is None:
            route.retry_at = min(route.retry_at, route.failed_at + rest)

    def call_off(self, address: Address) -> None:
        """The attempt was not made, or not to its end: nothing is known of the address that was not known before."""
        if (route := self._routes.get(address)) is not None:
            route.dialing_since = None
            self._dialing.discard(address)

    def answer(self, address: Address, peer: PeerId, now: float) -> float:
        """`peer` answered there; whether it is a member is not known yet. Until when it is not worth calling, there or
        elsewhere."""
        if (route := self._routes.get(address)) is None:
            return now + JOIN_GRACE
        if route.stranger is None:
            period = JOIN_GRACE + route.backoff.next_period()
        else:
            if route.strangers is None:
                route.strangers = Backoff(STRANGER_BACKOFF, STRANGER_LIMIT, self._rng)
            period = JOIN_GRACE + route.strangers.next_period()
        route.dialing_since, route.failure = None, ""
        self._dialing.discard(address)
        route.answered_at, route.stranger = now, peer
        route.retry_at = now + period
        return route.retry_at

    def prove(self, address: Address) -> None:
        """Who answered there has proved the group."""
        if (route := self._routes.get(address)) is not None:
            route.stranger, route.strangers, route.failure = None, None, ""

    def lose(self, address: Address, lasted: float, now: float) -> None:
        """A link to a member there, which lasted for so many seconds, is gone: try again soon."""
        if (route := self._routes.get(address)) is not None:
            if lasted >= STABLE_PERIOD:
                route.backoff.reset()
            self.fail(address, now)
