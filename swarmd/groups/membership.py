"""Who is in the group, as far as this node knows.

In: contacts (tickets, mDNS, `peer add`, the store), links that open and close, what neighbours say of
themselves (Hello) and of others (gossip), results of dialing, time. Out: events MemberJoined and MemberLeft,
candidates to dial, reports for neighbours.

A peer is in one of three states here:
    hint      somebody named it; it has not been heard of      kept as long as its source is worth
    present   linked with us, or heard of within `MAX_AGE`     MemberJoined on entering, MemberLeft on leaving
    dead      it left, or vanished and cannot be reached       for a while on the dead list, and perhaps a hint

How fresh a member is spreads by gossip as an age, rounded up at every hop: whom nobody is linked with grows old
for everybody and expires, however often it is passed round. Gossip that is not fresher than a peer's death does
not bring it back.

Invariant: at most `MAX_MEMBERS` peers; no neighbour's inventions take more than `MAX_INTRODUCED` of them, and none
displaces a peer we are linked with. Gossip is hearsay: it leads to a dial at most, and only a session proves.

Not here: addresses and attempts (`groups.dialer`), bytes (`groups.messages`), the shape of large groups
(`groups.topology`).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Candidate, Dialer, Ended, Source
from swarmd.groups.events import MemberJoined, MemberLeft
from swarmd.groups.messages import ENTRIES_PER_MESSAGE, MAX_AGE, MAX_GOSSIPED_ADDRESSES, MemberEntry, Members
from swarmd.groups.topology import target_links

MAX_MEMBERS = 4096
"""Peers known in one group, hints included: about 4 MB. Larger groups need a choice of whom to know."""
MAX_INTRODUCED = 1024
"""Peers in the table that the same neighbour was the first to name."""
MAX_REPORTED = 1024
"""Members in one report: four messages, at most 112 KiB."""
MAX_DEAD = 1024
KEPT_PERIOD = 14 * 86_400.0
"""Seconds for which a peer that was linked, or named by a ticket, the user or the store, stays a hint."""
SWEEP_PERIOD = 10.0
_LINK_LOCAL = ("fe80:", "169.254.")
"""Not even another interface of the same machine is reached by these."""


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """A present member. `age`: seconds since it was heard of, 0 for a neighbour. Best address first."""

    peer_id: PeerId
    is_linked: bool
    age: float
    addresses: tuple[Address, ...]


@dataclass(slots=True)
class _Member:
    peer_id: PeerId
    introducer: PeerId | None
    is_present: bool = False
    heard_at: float = -math.inf
    linked_at: float | None = None
    link_address: Address | None = None
    lost_at: float | None = None
    kept_until: float = -math.inf


class Membership:
    """One group's members."""

    def __init__(self, own_id: PeerId, rng: Rng, now: float) -> None:
        self._own_id = own_id
        self._dialer = Dialer(rng)
        self._members: dict[PeerId, _Member] = {}
        self._introduced: Counter[PeerId] = Counter()
        self._dead: dict[PeerId, float] = {}
        self._n_linked = 0
        self._n_present = 0
        self._sweep_at = now + SWEEP_PERIOD
        self._events: deque[MemberJoined | MemberLeft] = deque()

    # what the driver and the neighbours tell

    def set_own_addresses(self, addresses: Iterable[Address]) -> None:
        """Where this node itself is: never dialed."""
        self._dialer.set_own_addresses(addresses)

    def add_contact(self, contact: Contact, source: Source, now: float, *, age: float = math.inf) -> None:
        """Somebody to try: from a ticket, mDNS, the user or the store.

        age: seconds since it was last heard of, as `remembered` said; nobody over `KEPT_PERIOD` is tried any more.
        Infinity, for what somebody has just named, begins that period now.
        """
        kept_until = now + KEPT_PERIOD - (age if age < math.inf else 0.0)
        if contact.peer_id == self._own_id or kept_until <= now:
            return
        if contact.peer_id is None:
            for address in contact.addresses:
                self._dialer.hint(address, source, now)
        elif (member := self._member(contact.peer_id, None)) is not None:
            member.kept_until = max(member.kept_until, kept_until)
            member.heard_at = max(member.heard_at, now - age)
            for address in contact.addresses:
                self._dialer.note(contact.peer_id, address, source, now)

    def withdraw_hint(self, address: Address) -> None:
        """mDNS, which named it, says that nobody is there any more."""
        self._dialer.withdraw_hint(address)

    def forget_address(self, address: Address) -> None:
        """Nobody is there, or only this node itself."""
        self._dialer.forget_address(address)

    def open_link(self, peer: PeerId, address: Address | None, now: float) -> None:
        """`peer` proved itself a member on a session that leads to `address`."""
        member = self._member(peer, None) or self._make_room(peer)
        assert member.linked_at is None
        member.linked_at = member.heard_at = now
        member.link_address, member.lost_at = address, None
        self._n_linked += 1
        self._dead.pop(peer, None)
        self._dialer.open_link(peer, address, now)
        self._enter(member, now)

    def close_link(self, peer: PeerId, now: float, *, has_left: bool) -> None:
        """The link is gone; `has_left`: because the peer left the group."""
        member = self._members[peer]
        assert member.linked_at is not None
        self._dialer.close_link(peer, now - member.linked_at, now)
        self._n_linked -= 1
        member.linked_at = None
        member.heard_at = member.lost_at = now
        member.kept_until = now if has_left else now + KEPT_PERIOD
        if has_left:
            self._depart(member, now)

    def receive_hello(self, peer: PeerId, port: int, addresses: Iterable[Address], now: float) -> None:
        """A neighbour says where it listens: at `port` of where we see it, and at further addresses."""
        via = self._members[peer].link_address
        stated = [(address, Source.STATED) for address in addresses if _is_usable(address, via)]
        if via is not None and port:
            stated.append((Address(via.host, port), Source.OBSERVED))
        self._dialer.restate(peer, stated, now)

    def receive_gossip(self, introducer: PeerId, entries: Iterable[MemberEntry], now: float) -> None:
        """A neighbour says who else is there."""
        via = self._members[introducer].link_address
        for entry in entries:
            heard_at = now - entry.age
            if entry.peer_id == self._own_id or heard_at <= self._dead.get(entry.peer_id, -math.inf):
                continue
            member = self._member(entry.peer_id, introducer)
            if member is None or member.linked_at is not None:
                continue
            member.heard_at = max(member.heard_at, heard_at)
            self._enter(member, now)
            for address in entry.addresses:
                if _is_usable(address, via):
                    self._dialer.note(entry.peer_id, address, Source.GOSSIP, now)

    # dialing

    def candidates(self, now: float) -> list[Candidate]:
        """Whom to dial now. Each is handed out once for one attempt, whose result is to be told."""
        wanted = target_links(self._n_present + 1) - self._n_linked
        return self._dialer.candidates(wanted, self._is_present, now)

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        """`peer` answered there; if it is a member and not a neighbour yet, `open_link` follows."""
        self._dialer.dial_succeeded(address, peer, now)

    def ended(self, now: float) -> list[Ended]:
        """Addresses that led to no member when they were tried last, and why."""
        return self._dialer.ended(now)

    def dial_failed(self, address: Address, now: float, reason: str = "") -> None:
        """Nobody answered there, or not who should."""
        for peer in self._dialer.dial_failed(address, now, reason):
            member = self._members[peer]
            lost_at = member.lost_at
            if member.is_present and lost_at is not None and member.heard_at <= lost_at:
                self._depart(member, lost_at)  # lost, tried enough, and nobody else has heard of it since

    # what is known

    @property
    def n_members(self) -> int:
        """Present members besides this node."""
        return self._n_present

    def members(self, now: float) -> list[MemberInfo]:
        """All that are present, neighbours first, then the freshest."""
        present = [self._info(member, now) for member in self._members.values() if member.is_present]
        return sorted(present, key=lambda info: (not info.is_linked, info.age, info.peer_id))

    def remembered(self, now: float) -> list[tuple[Contact, float]]:
        """Those worth storing for the next start (they were linked once, or named), with seconds since heard of;
        infinity for never."""
        return [
            (Contact(member.peer_id, addresses), self._age(member, now))
            for member in self._members.values()
            if member.linked_at is not None or now < member.kept_until
            if (addresses := self._dialer.addresses(member.peer_id))
        ]

    def report(self, receiver: PeerId, now: float) -> list[Members]:
        """What to tell a neighbour: here everybody, the freshest first; a larger group makes a choice."""
        known = [info for info in self.members(now) if info.peer_id != receiver and info.age < MAX_AGE]
        entries = [_entry(info) for info in known[:MAX_REPORTED]]
        return [
            Members(tuple(entries[start : start + ENTRIES_PER_MESSAGE]))
            for start in range(0, len(entries), ENTRIES_PER_MESSAGE)
        ]

    def entry(self, peer: PeerId, now: float) -> MemberEntry:
        """What to tell others of one neighbour."""
        return _entry(self._info(self._members[peer], now))

    def next_event(self) -> MemberJoined | MemberLeft | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float:
        """When `handle_timer` or `candidates` has something to do."""
        return min(self._sweep_at, self._dialer.next_deadline())

    def handle_timer(self, now: float) -> None:
        if now < self._sweep_at:
            return
        self._sweep_at = now + SWEEP_PERIOD
        for member in list(self._members.values()):
            if member.linked_at is not None:
                continue
            if member.is_present and now - member.heard_at > MAX_AGE:
                self._depart(member, member.heard_at)
            elif not member.is_present and now >= member.kept_until:
                self._remove(member)
        for peer, died_at in list(self._dead.items()):
            if now - died_at > MAX_AGE:
                del self._dead[peer]

    # entries

    def _member(self, peer: PeerId, introducer: PeerId | None) -> _Member | None:
        """The entry of `peer`, made if there is room for it."""
        if (member := self._members.get(peer)) is not None:
            return member
        if len(self._members) >= MAX_MEMBERS:
            return None
        if introducer is not None:
            if self._introduced[introducer] >= MAX_INTRODUCED:
                return None
            self._introduced[introducer] += 1
        member = self._members[peer] = _Member(peer, introducer)
        return member

    def _make_room(self, peer: PeerId) -> _Member:
        """An entry for `peer` in the place of the one worth least; the driver's sessions are fewer than entries."""
        unlinked = [member for member in self._members.values() if member.linked_at is None]
        self._remove(min(unlinked, key=lambda member: (member.kept_until, member.heard_at)))
        member = self._members[peer] = _Member(peer, None)
        return member

    def _enter(self, member: _Member, now: float) -> None:
        if not member.is_present:
            member.is_present = True
            self._n_present += 1
            self._events.append(MemberJoined(member.peer_id))
            self._dialer.wake(now)

    def _depart(self, member: _Member, died_at: float) -> None:
        self._leave(member)
        self._dead.pop(member.peer_id, None)
        self._dead[member.peer_id] = died_at
        if len(self._dead) > MAX_DEAD:
            del self._dead[next(iter(self._dead))]
        if member.kept_until <= member.heard_at:
            self._remove(member)

    def _leave(self, member: _Member) -> None:
        if member.is_present:
            member.is_present = False
            self._n_present -= 1
            self._events.append(MemberLeft(member.peer_id))

    def _remove(self, member: _Member) -> None:
        self._leave(member)
        self._dialer.forget_peer(member.peer_id)
        if (introducer := member.introducer) is not None:
            self._introduced[introducer] -= 1
            if not self._introduced[introducer]:
                del self._introduced[introducer]
        del self._members[member.peer_id]

    def _is_present(self, peer: PeerId) -> bool:
        return self._members[peer].is_present

    def _info(self, member: _Member, now: float) -> MemberInfo:
        return MemberInfo(
            peer_id=member.peer_id,
            is_linked=member.linked_at is not None,
            age=self._age(member, now),
            addresses=self._dialer.addresses(member.peer_id),
        )

    def _age(self, member: _Member, now: float) -> float:
        return 0.0 if member.linked_at is not None else now - member.heard_at


def _entry(info: MemberInfo) -> MemberEntry:
    age = 0 if info.is_linked else min(int(info.age) + 1, MAX_AGE)
    return MemberEntry(info.peer_id, age, info.addresses[:MAX_GOSSIPED_ADDRESSES])


def _is_usable(address: Address, via: Address | None) -> bool:
    """Whether an address that came over a link to `via` can mean the same here as there.

    Private ones may: members behind one router find each other's LAN addresses through a member outside. What a
    hostile member gains by naming one is a connection attempt from here that carries a handshake and tells it nothing.
    """
    if address.is_loopback:
        return via is not None and via.is_loopback
    return not address.host.startswith(_LINK_LOCAL)
