"""Where members are said to be, and whom to dial next.

In: addresses of peers and addresses without a peer (*hints*), links that open and close, results of dialing.
Out: candidates, each for one race over the addresses that it carries.

A hint is tried unless whoever answers there is a neighbour, however many of them there are: it may lead to a part
of the group that this one is cut off from. Peers are dialed while more neighbours are wanted. Of a peer's addresses
the one that answered last comes first, then the better source, then IPv6; all that are due go into one candidate, and
how they are tried side by side is the driver's. An address that was not needed, because another one answered first, was
neither reached nor missed: its back-off is where it was.

Invariant: at most `MAX_ADDRESSES` of a peer, `MAX_HINTS` hints and `MAX_DIALS` addresses under way at once; the owner
bounds the peers. None of this node's own addresses is ever a candidate, and none is under way twice.

Not here: who is a member (`groups.membership`), and dialing itself.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.addressbook import AddressBook
from swarmd.groups.contacts import MAX_ADDRESSES

MAX_HINTS = 256
"""Addresses without a peer, from users, tickets, mDNS and the DHT."""
MAX_DIALS = 16
"""Addresses under way at once in one group: each may cost a socket."""
CALL_OFF_PERIOD = 1.0
"""Seconds until an address that was given back untried is offered again, if it is still wanted."""
PROOF_PERIOD = 3.0
"""Seconds from an answer until it is said that no proof came with it: a proof takes one turn of the wire."""
UNREACHABLE_DIALS = 3
"""Failed attempts since a link was lost, at least one for each address, after which the peer is unreachable."""


class Source(IntEnum):
    """Where an address comes from; of two the higher is dialed first, and the lower forgotten first."""

    DHT = 0
    GOSSIP = 1
    REMEMBERED = 2
    TICKET = 3
    ADDED = 4
    MDNS = 5
    STATED = 6
    OBSERVED = 7


_OVERHEARD = (Source.DHT, Source.MDNS)
"""Neither a ticket nor the user has named these."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """Somebody to dial, at one address or more, best first; with `peer_id` None whoever answers will do."""

    peer_id: PeerId | None
    addresses: tuple[Address, ...]

    @property
    def address(self) -> Address:
        """The best one."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class Ended:
    """An address that led to no member when it was tried last, and why: `stranger` answered there and has not proved
    the group, or nobody did (`reason`, if the driver gave one).
    """

    address: Address
    stranger: PeerId | None
    reason: str


@dataclass(slots=True)
class _Peer:
    addresses: dict[Address, Source] = field(default_factory=dict)
    is_linked: bool = False
    failures: int = 0
    quiet_until: float = -math.inf
    """Not called before, at whichever address: it has answered, and its proof may be under way or never come; or its
    link was lost a moment ago."""


@dataclass(slots=True)
class _Hint:
    source: Source
    answered_by: PeerId | None = None
    """Who answered there last."""


class Dialer:
    """One group's addresses."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._book = AddressBook(rng)
        self._peers: dict[PeerId, _Peer] = {}
        self._hints: dict[Address, _Hint] = {}
        self._own_addresses: frozenset[Address] = frozenset()
        self._wake_at = math.inf

    # addresses

    def set_own_addresses(self, addresses: Iterable[Address]) -> None:
        """Where this node itself is."""
        self._own_addresses = frozenset(addresses)
        for address in self._own_addresses:
            self.forget_address(address)

    def note(self, peer: PeerId, address: Address, source: Source, now: float) -> None:
        """`peer` is said to be at `address`. A ninth address takes the place of the worst, or is not kept."""
        known = self._peers.setdefault(peer, _Peer()).addresses
        if address in known:
            known[address] = max(source, known[address])
            return
        if address in self._own_addresses or not address.is_dialable:
            return
        if len(known) >= MAX_ADDRESSES:
            worst = self.addresses(peer)[-1]
            if self._book.answered_at(worst) is not None or known[worst] >= source:
                return
            self._drop(peer, worst)
        known[address] = source
        self._book.hold(address, peer, now)
        self._wake_at = min(self._wake_at, now)

    def restate(self, peer: PeerId, addresses: Iterable[tuple[Address, Source]], now: float) -> None:
        """`peer` itself, or our own eyes, say where it is: that replaces what was so said before."""
        for address, source in list(self._peers[peer].addresses.items()):
            if source >= Source.STATED:
                self._drop(peer, address)
        for address, source in addresses:
            self.note(peer, address, source, now)

    def hint(self, address: Address, source: Source, now: float) -> None:
        """Somebody is said to be at `address`. Beyond `MAX_HINTS` the oldest goes, those that can be withdrawn first;
        and none goes for one that is worth less."""
        if address in self._own_addresses or not address.is_dialable:
            return
        if address not in self._hints and len(self._hints) >= MAX_HINTS:
            least = min(self._hints, key=lambda known: _worth(self._hints[known].source))
            if _worth(self._hints[least].source) > _worth(source):
                return
            del self._hints[least]
            self._book.release(least, None)
        hint = self._hints.setdefault(address, _Hint(source))
        if _worth(hint.source) < _worth(source):
            hint.source = source  # a user or a ticket does not take it back
        self._book.hold(address, None, now)
        self._wake_at = min(self._wake_at, now)

    def _linked_at(self, address: Address) -> PeerId | None:
        """The neighbour who says that it is there itself, if one does."""
        for peer in self._book.holders(address):
            entry = None if peer is None else self._peers.get(peer)
            if entry is not None and entry.is_linked and entry.addresses.get(address, Source.DHT) >= Source.STATED:
                return peer
        return None

    def withdraw_hint(self, address: Address, source: Source = Source.MDNS) -> None:
        """mDNS, or the DHT, takes back what it said. What others have said too stays, and where somebody ever
        answered; in the DHT strangers may have named themselves, so there who never proved the group goes."""
        hint = self._hints.get(address)
        if hint is None or hint.source is not source:
            return
        is_strange = source is Source.DHT and self._book.route(address).stranger is not None
        if is_strange or (hint.answered_by is None and self._book.answered_at(address) is None):
            del self._hints[address]
            self._book.release(address, None)

    def forget_address(self, address: Address) -> None:
        """Nobody is there, or only this node itself."""
        self._hints.pop(address, None)
        for peer in self._book.holders(address):
            if peer is None:
                self._book.release(address, None)
            else:
                self._drop(peer, address)

    def forget_peer(self, peer: PeerId) -> None:
        """`peer` is of no interest any more."""
        if peer in self._peers:
            for address in self.addresses(peer):
                self._drop(peer, address)
            del self._peers[peer]

    def is_lost(self, peer: PeerId) -> bool:
        """Whether it has no link, and no address of its is known that has not failed since it had one."""
        entry = self._peers.get(peer)
        return entry is None or (not entry.is_linked and entry.failures >= len(entry.addresses))

    def addresses(self, peer: PeerId) -> tuple[Address, ...]:
        """Where `peer` is said to be, best first."""
        known = self._peers[peer].addresses if peer in self._peers else {}
        return tuple(sorted(known, key=lambda address: self._preference(address, known[address]), reverse=True))

    # links and attempts

    def open_link(self, peer: PeerId, address: Address | None, now: float) -> None:
        """`peer` is a neighbour now; the session leads to `address`, which we may have dialed."""
        entry = self._peers.setdefault(peer, _Peer())
        entry.is_linked, entry.failures, entry.quiet_until = True, 0, -math.inf
        if address is not None and (hint := self._hints.get(address)) is not None:
            hint.answered_by = peer
            self.note(peer, address, hint.source, now)
        for known in [*entry.addresses, *(hint for hint in self._hints if self._hints[hint].answered_by == peer)]:
            self._book.prove(known)

    def close_link(self, peer: PeerId, lasted: float, now: float) -> None:
        """The link is gone after so many seconds. When the best address may be tried again, the others go with it."""
        entry = self._peers[peer]
        entry.is_linked = False
        for address in entry.addresses:
            self._book.lose(address, lasted, now)
        entry.quiet_until = max((self._book.due_at(address) for address in self.addresses(peer)[:1]), default=now)
        self._wake_at = now

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        """`peer` answered there; if it is a member and not a neighbour yet, `open_link` follows."""
        quiet_until = self._book.answer(address, peer, now)
        if (hint := self._hints.get(address)) is not None:
            hint.answered_by = peer
        if (entry := self._peers.get(peer)) is not None:
            if entry.is_linked:
                self._book.prove(address)
            else:
                entry.quiet_until = max(entry.quiet_until, quiet_until)
        self._wake_at = now

    def ended(self, now: float) -> list[Ended]:
        """Addresses that led to no member, those first where somebody answered. Neighbours' addresses are left out."""
        neighbours = {peer for peer, entry in self._peers.items() if entry.is_linked}
        unlinked = [
            address for peer, entry in self._peers.items() if peer not in neighbours for address in entry.addresses
        ]
        hints = [address for address, hint in self._hints.items() if hint.answered_by not in neighbours]
        found = [self._ended(address, now) for address in dict.fromkeys([*unlinked, *hints])]
        return sorted((each for each in found if each is not None), key=lambda each: each.stranger is None)

    def _ended(self, address: Address, now: float) -> Ended | None:
        route = self._book.route(address)
        since = now if route.answered_at is None else route.answered_at
        is_settled = route.strangers is not None or since + PROOF_PERIOD <= now
        stranger = route.stranger if is_settled else None
        return Ended(address, stranger, route.failure) if stranger is not None or route.failure else None

    def dial_failed(
        self, address: Address, now: float, reason: str = "", hearsay: Container[PeerId] = ()
    ) -> list[PeerId]:
        """Nobody answered there, or not who should. Returns the peers that have become unreachable by that: those of
        `hearsay` when no address of theirs is left to try."""
        self._book.fail(address, now, reason)
        self._wake_at = now
        unreachable = []
        for peer in self._book.holders(address):
            if peer is not None and not (entry := self._peers[peer]).is_linked:
                entry.failures += 1
                if entry.failures >= max(1 if peer in hearsay else UNREACHABLE_DIALS, len(entry.addresses)):
                    unreachable.append(peer)
        return unreachable

    def dial_called_off(self, address: Address, now: float) -> None:
        """It was not tried, or not to the end: who was looked for is reached elsewhere, or there was no room."""
        self._book.call_off(address)
        self._wake_at = min(self._wake_at, now + CALL_OFF_PERIOD)

    def hasten(self, peer: PeerId, heard_at: float, rest: float, now: float) -> None:
        """Somebody heard of `peer` then: if that was after it was missed at an address, let it be tried there when it
        has rested, whatever its back-off. Addresses that gossip alone names stay as they are: they may be anybody's."""
        if (entry := self._peers.get(peer)) is None or entry.is_linked:
            return
        for address, source in entry.addresses.items():
            if source > Source.GOSSIP and heard_at > self._book.route(address).failed_at:
                self._book.hasten(address, rest)
                self._wake_at = min(self._wake_at, now)

    def candidates(
        self, wanted: Iterable[PeerId], now: float, *, n_hints: int = MAX_HINTS, met: Container[PeerId] = ()
    ) -> list[Candidate]:
        """Whom to dial now: up to `n_hints` hints, and whoever of `wanted` is due, in that order. Asking is dialing.
        met: members who are there: hints that led to them rest."""
        if now < self._wake_at:
            return []
        self._wake_at = math.inf
        hints = [address for address, hint in self._hints.items() if n_hints and hint.answered_by not in met]
        due = [Candidate(None, (address,)) for address in hints if self._is_hint_due(address, now)]
        return self._take(due[:n_hints], now) + self._take(self._plan(wanted, now), now)

    def next_deadline(self) -> float:
        """When `candidates` may have something to give; infinity for not before something happens."""
        return self._wake_at

    def wake(self, now: float) -> None:
        """More neighbours may be wanted than before."""
        self._wake_at = min(self._wake_at, now)

    def _plan(self, wanted: Iterable[PeerId], now: float) -> list[Candidate]:
        """Those first who are being dialed already: to try them at one more address costs nobody else a turn."""
        begun: list[Candidate] = []
        others: dict[Address, Candidate] = {}
        for peer in wanted:
            entry = self._peers.get(peer)
            if entry is None or entry.is_linked or (candidate := self._due(peer, entry, now)) is None:
                continue
            if any(self._book.is_dialing(address, now) for address in entry.addresses):
                begun.append(candidate)
            else:
                others.setdefault(candidate.address, candidate)
        return begun + list(others.values())

    def _due(self, peer: PeerId, entry: _Peer, now: float) -> Candidate | None:
        """With all its addresses that are due."""
        if now < entry.quiet_until:
            self._wake_at = min(self._wake_at, entry.quiet_until)
            return None
        due = [address for address in entry.addresses if self._is_due(address, now)]
        due.sort(key=lambda each: (*self._preference(each, entry.addresses[each]), each.is_ipv6), reverse=True)
        return Candidate(peer, tuple(due)) if due else None

    def _preference(self, address: Address, source: Source) -> tuple[float, Source]:
        """Which of a peer's addresses is better: the greater."""
        answered_at = self._book.answered_at(address)
        return -math.inf if answered_at is None else answered_at, source

    def _is_hint_due(self, address: Address, now: float) -> bool:
        """It is not, while whoever answers there is a neighbour anyway. Where mDNS or the DHT names all that there are,
        it is enough that a neighbour says it is there: else each would be called once more."""
        hint = self._hints[address]
        peer = hint.answered_by or (self._linked_at(address) if hint.source in _OVERHEARD else None)
        is_linked = peer is not None and peer in self._peers and self._peers[peer].is_linked
        return not is_linked and self._is_due(address, now)

    def _is_due(self, address: Address, now: float) -> bool:
        """Whether it may be tried now; if not, wake up when it may."""
        due_at = self._book.due_at(address)
        if due_at > now:
            self._wake_at = min(self._wake_at, due_at)
        return due_at <= now

    def _room(self, now: float) -> int:
        return max(0, MAX_DIALS - self._book.n_dialing(now))

    def _take(self, candidates: Iterable[Candidate], now: float) -> list[Candidate]:
        """As many as there is room for, each with its best address at least; these are being dialed from now on."""
        room = self._room(now)
        chosen = list(candidates)[:room]
        spare = room - len(chosen)
        taken = []
        for candidate in chosen:
            free = [each for each in candidate.addresses if not self._book.is_dialing(each, now)][: 1 + spare]
            spare -= len(free) - 1
            for address in free:
                self._book.dial(address, now)
                self._wake_at = min(self._wake_at, self._book.due_at(address))
            if free:
                taken.append(Candidate(candidate.peer_id, tuple(free)))
        return taken

    def _drop(self, peer: PeerId, address: Address) -> None:
        del self._peers[peer].addresses[address]
        self._book.release(address, peer)


def _worth(source: Source) -> int:
    """Of a hint: those of the DHT go first, then those of mDNS; what people have named is all worth the same."""
    return {Source.DHT: 0, Source.MDNS: 1}.get(source, 2)
