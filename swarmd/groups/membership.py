"""Who is in the group, as far as this node knows.

In: contacts (tickets, mDNS, `peer add`, the store), links that open and close, what neighbours say of
themselves (Hello) and of others (gossip), results of dialing, time. Out: events MemberJoined and MemberLeft,
candidates to dial, the plan of whom to be linked with, reports for neighbours.

A peer is in one of four states here:
    hint      somebody named it; it has not been heard of      kept as long as its source is worth
    heard     gossip named it within `MAX_AGE`                 to be dialed; on no list, in no count
    present   the same, and met or believed; or linked         MemberJoined on entering, MemberLeft on leaving
    dead      it left, or vanished and cannot be reached       for a while on the dead list, and perhaps a hint

Gossip is hearsay: it leads to a dial, and only a session proves. *Met* is who has been linked with us once, or is named
by a ticket or the user; of the others those only are believed whom nearly all neighbours name (`groups.hearsay`), and
that in a small group only. A node tells others of those whom it has been linked with itself in the last `MAX_AGE`, and
never what it was told; so inventions go no further than to the neighbours of who made them, and on no list.
In a group of up to `SMALL_GROUP` everybody hears of everybody, and visits everybody (`groups.visits`); in a larger one
each keeps some hundred: whom it is linked with, whom gossip named (the sender chooses what the receiver should want),
whom it was linked with once.

Invariant: at most `MAX_MEMBERS` peers, and at most `MAX_HEARSAY` of them on the word of others; where those are full
each introducer has the same share. None displaces a peer we are linked with. Gossip that is not fresher than a peer's
death does not bring it back. Nobody is present on the word of half of the neighbours, or less.

Named only: in a group of `Capability.NO_PEERS` a member dials those whom a ticket or the user names, and takes whoever
dials it; it tells of nobody, and remembers nobody else.

Not here: addresses and attempts (`groups.dialer`), bytes (`groups.messages`), the rule of whom to be linked with
(`groups.topology`, `groups.plan`), whom to try after a partition (`groups.healing`), letting links go
(`groups.neighbourhood`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.groups.circle import Circle
from swarmd.groups.contacts import Contact
from swarmd.groups.deaths import Deaths
from swarmd.groups.dialer import MAX_DIALS, MAX_HINTS, Candidate, Dialer, Source
from swarmd.groups.events import MemberJoined, MemberLeft
from swarmd.groups.healing import HEAL_REST, NEWS_REST, RECENT_PERIOD, Healing
from swarmd.groups.hearsay import Hearsay
from swarmd.groups.member import Member, MemberInfo, is_usable
from swarmd.groups.messages import MAX_AGE, MAX_GOSSIPED_ADDRESSES, MemberEntry
from swarmd.groups.plan import Plan
from swarmd.groups.ring import group_address
from swarmd.groups.size import Size
from swarmd.groups.topology import Reason, plan_report, target_links
from swarmd.groups.visits import Visits

MAX_MEMBERS = 768
"""Peers known in one group, hints and neighbours included: about 1 MB."""
KEPT_PERIOD = 14 * 86_400.0
"""Seconds for which a peer that was linked, or named by a ticket, the user or the store, stays a hint."""
SWEEP_PERIOD = 10.0
LATE_NEWS = 1.0
"""Seconds: what others had said of a member before they lost it, too, was still under way when we did."""
_OVERHEARD = (Source.MDNS, Source.DHT)  # where addresses come from that neither a ticket nor the user has named
SHUNNED_PERIOD = 30.0
"""Seconds for which who cannot be reached is not wanted as a neighbour; in a large group it counts as dead."""


class Membership:
    """One group's members. is_named_only: of a group of `Capability.NO_PEERS`."""

    def __init__(self, own_id: PeerId, rng: Rng, now: float, *, is_named_only: bool = False) -> None:
        self._own_id = own_id
        self.is_named_only = is_named_only
        self._rng = rng
        self.dialer = Dialer(rng)
        """Where they are; the driver tells it of attempts that did not fail."""
        self._members: dict[PeerId, Member] = {}
        self._hearsay = Hearsay()
        self._deaths = Deaths()
        self.place = group_address(own_id).number
        self._reachable, self.linked, self._proved = Circle(), Circle(), Circle()
        self._size = Size(is_named_only=is_named_only)
        self._sweep_at = now + SWEEP_PERIOD
        self._healing, self._visits = Healing(rng, now), Visits(rng)
        self._plan = Plan(self.place, rng)
        self._events: deque[MemberJoined | MemberLeft] = deque()

    # what the driver and the neighbours tell

    def set_own_addresses(self, addresses: Iterable[Address]) -> None:
        """Where this node itself is: never dialed."""
        self.dialer.set_own_addresses(addresses)

    def add_contact(self, contact: Contact, source: Source, now: float, *, age: float = math.inf) -> None:
        """Somebody to try: from a ticket, mDNS, the user or the store.
        age: seconds since it was last heard of, as `remembered` said; nobody over `KEPT_PERIOD` is tried any more.
        Infinity, for what somebody has just named, begins that period now.
        """
        kept_until = now + KEPT_PERIOD - (age if age < math.inf else 0.0)
        if contact.peer_id == self._own_id or kept_until <= now or (self.is_named_only and source in _OVERHEARD):
            return
        if contact.peer_id is None:
            for address in contact.addresses:
                self.dialer.hint(address, source, now)
        elif (member := self._members.get(contact.peer_id)) is not None or len(self._members) < MAX_MEMBERS:
            member = member or self._make(contact.peer_id)
            member.is_named = True
            member.kept_until = max(member.kept_until, kept_until)
            member.heard_at = max(member.heard_at, now - age)
            for address in contact.addresses:
                self.dialer.note(contact.peer_id, address, source, now)
            self._reconsider(member, now)

    def __contains__(self, peer: PeerId) -> bool:
        """Whether it is present, or has been heard of."""
        return (member := self._members.get(peer)) is not None and member.is_heard

    def is_visited(self, peer: PeerId) -> bool:
        """Whether it was dialed only to see if it is there."""
        return peer == self._visits.peer

    def open_link(self, peer: PeerId, address: Address | None, now: float) -> None:
        """`peer` proved itself a member on a session that leads to `address`."""
        if (member := self._members.get(peer)) is None:
            if len(self._members) >= MAX_MEMBERS:
                self._make_room()
            member = self._make(peer)
        assert member.linked_at is None
        self._hearsay.judge(peer, is_true=True)
        self._hearsay.forget(peer)
        self._visits.met(peer)
        member.linked_at = member.heard_at = now
        member.link_address, member.lost_at, member.shunned_until = address, None, -math.inf
        member.is_proved, member.rumoured = True, ()
        self.linked.add(member.place, peer)
        self._proved.add(member.place, peer)
        self._deaths.forget(peer)
        self.dialer.open_link(peer, address, now)
        self._enter(member, now)

    def close_link(self, peer: PeerId, now: float, *, has_left: bool, has_parted: bool = False) -> None:
        """The link is gone; `has_left`: because the peer left the group; `has_parted`: because neither side needed
        it, so that the peer is there as before."""
        member = self._members[peer]
        assert member.linked_at is not None
        self.dialer.close_link(peer, now - member.linked_at, now)
        self.linked.discard(member.place, peer)
        self._hearsay.silence(peer)
        member.linked_at = None
        member.heard_at = now
        member.kept_until = now if has_left else now + KEPT_PERIOD
        if not has_parted:
            member.lost_at = now
            self._disprove(member)
        if has_left:
            self._depart(member, now)
        else:
            self._reconsider(member, now)
        self.plan_soon(now)

    def receive_hello(self, peer: PeerId, port: int, addresses: Iterable[Address], now: float) -> None:
        """A neighbour says where it listens: at `port` of where we see it, and at further addresses."""
        via = self._members[peer].link_address
        stated = [(address, Source.STATED) for address in addresses if is_usable(address, via)]
        if via is not None and port:
            stated.append((Address(via.host, port), Source.OBSERVED))
        self.dialer.restate(peer, stated, now)

    def receive_gossip(self, introducer: PeerId, entries: Sequence[MemberEntry], now: float) -> None:
        """A neighbour says who else is there. RemoteError where nobody is to be spoken of."""
        if self.is_named_only:
            raise RemoteError("in this group members are not spoken of")
        via = self._members[introducer].link_address
        for entry in reversed(entries):  # the most important come first, and who is heard last stays
            peer, heard_at = entry.peer_id, now - entry.age
            if peer == self._own_id or heard_at <= self._deaths.at(peer):
                continue
            member = self._members.get(peer)
            if member is None:
                if (member := self._hear(peer, introducer)) is None:
                    continue
            elif member.linked_at is not None:
                continue
            elif now < member.kept_until:
                self._recall(member, heard_at, now)
            self._hearsay.repeat(peer, introducer)
            member.heard_at = max(member.heard_at, heard_at)
            if peer not in self._reachable:
                member.rumoured = tuple(address for address in entry.addresses if is_usable(address, via))
                self._enter(member, now)

    # whom to be linked with

    @property
    def wanted(self) -> Mapping[PeerId, Reason]:
        """The plan: whom to be linked with, and why."""
        return self._plan.wanted

    @property
    def target(self) -> int:
        return target_links(self.estimate)

    @property
    def plan_at(self) -> float:
        """When `plan` is due; infinity for not before something changes."""
        return self._plan.due_at

    def plan(self, latencies: Mapping[PeerId, float], held: Collection[PeerId], now: float) -> None:
        """Reckon anew whom to be linked with. latencies: of all neighbours, infinity where unknown; held: by others."""
        if self.is_named_only:
            self._plan.name([peer for _, peer in self._reachable.places], now)
        else:
            self._plan.make(self._reachable, self.linked, latencies, held, self.target, now)
        self.dialer.wake(now)

    def plan_soon(self, now: float) -> None:
        """Something that a plan follows from has changed."""
        self._plan.soon(now, is_small=self.is_small)

    def candidates(self, now: float) -> list[Candidate]:
        """Whom to dial now, each for one attempt, whose result is to be told."""
        if now < self.dialer.next_deadline():
            return []
        missing = [peer for peer in self.wanted if peer not in self.linked]
        shortage = self.target - len(self.linked) - len(missing)
        missing += [peer for peer in (self._healing.peer, self._visits.peer) if peer is not None]
        if shortage > 0:
            missing += self._spare(shortage, now)
        for peer in missing:
            member = self._members.get(peer)
            if member is not None and member.rumoured:
                for address in member.rumoured:
                    self.dialer.note(peer, address, Source.GOSSIP, now)
        n_hints = MAX_HINTS if shortage > 0 else int(self._healing.is_hint_wanted)
        met = () if shortage > 0 else self._proved
        chosen = self.dialer.candidates(missing, now, n_hints=n_hints, met=met)
        self._healing.is_hint_wanted &= not any(candidate.peer_id is None for candidate in chosen)
        return chosen

    def dial_failed(self, address: Address, now: float, reason: str = "") -> None:
        """Nobody answered there, or not who should."""
        for peer in self.dialer.dial_failed(address, now, reason, () if self.is_small else self._hearsay):
            member = self._members[peer]
            self._healing.failed(peer)
            if not member.is_heard:
                continue
            if member.lost_at is not None and member.heard_at <= member.lost_at + LATE_NEWS:
                self._depart(member, member.lost_at + LATE_NEWS)  # tried enough, and nobody has heard of it since
            elif peer in self._hearsay and not self.is_small:
                self._hearsay.judge(peer, is_true=False)
                self._depart(member, now + SHUNNED_PERIOD)
            else:
                member.shunned_until = now + SHUNNED_PERIOD
                self._disprove(member)
                self._reconsider(member, now)

    def addresses(self, peer: PeerId) -> tuple[Address, ...]:
        """Where `peer` is said to be, best first."""
        return self.dialer.addresses(peer)

    def lost(self, now: float) -> list[PeerId]:
        """Those worth dialing of whom no address is known that has not failed since they were there."""
        return [
            member.peer_id
            for member in self._members.values()
            if member.linked_at is None and now < member.kept_until and self._is_to_be_dialed(member)
            if self.dialer.is_lost(member.peer_id)
        ]

    # what is known

    @property
    def n_members(self) -> int:
        """Present members besides this node."""
        return self._size.n_present

    @property
    def is_small(self) -> bool:
        """Whether everybody is told of everybody."""
        return self._size.is_small

    def reckon(self, reckoned: int) -> None:
        """About how many members there are, as the ring's density tells (`groups.census`); 0 for unknown."""
        self._size.reckon(reckoned)

    @property
    def estimate(self) -> int:
        """How many members there are, this node included: counted while they are few, then reckoned."""
        return self._size.estimate

    def members(self, now: float) -> list[MemberInfo]:
        """All that are present, neighbours first, then the freshest."""
        present = [self._info(member, now) for member in self._members.values() if member.is_present]
        return sorted(present, key=lambda info: (not info.is_linked, info.age, info.peer_id))

    def remembered(self, now: float) -> list[tuple[Contact, float]]:
        """Those worth storing (they were linked once, or named), with seconds since heard of; infinity for never."""
        return [
            (Contact(member.peer_id, addresses), member.age(now))
            for member in self._members.values()
            if self._is_to_be_dialed(member) and (member.linked_at is not None or now < member.kept_until)
            if (addresses := self.dialer.addresses(member.peer_id))
        ]

    def report(self, receiver: PeerId, now: float, *, is_brief: bool = False) -> list[MemberEntry]:
        """What to tell a neighbour: in a small group all that this node has been linked with, in a larger one those
        whom the receiver should want; or (`is_brief`) only those next to it on the ring."""
        if self.is_named_only:
            return []
        if self.is_small and not is_brief:
            chosen = [peer for _, peer in self._proved.places]
        else:
            place, n_fingers = self._members[receiver].place, 0 if is_brief else self.estimate.bit_length()
            chosen = plan_report(place, self._proved.places, n_fingers, self._rng)
        return [self.entry(peer, now) for peer in chosen if peer != receiver]

    def concerned(self, peer: PeerId) -> list[PeerId]:
        """Which neighbours should hear of this new one at once: in a large group those that stand beside this node on
        the ring, if it does so too."""
        if self.is_named_only:
            return []
        if self.is_small:
            return [each for _, each in self.linked.places]
        beside = self.linked.around(self.place)
        return beside if peer in beside else []

    def entry(self, peer: PeerId, now: float) -> MemberEntry:
        """What to tell others of one whom this node has been linked with."""
        member = self._members[peer]
        age = 0 if member.linked_at is not None else min(int(now - member.heard_at) + 1, MAX_AGE)
        return MemberEntry(peer, age, self.dialer.addresses(peer)[:MAX_GOSSIPED_ADDRESSES])

    def next_event(self) -> MemberJoined | MemberLeft | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float:
        """When `handle_timer`, `plan` or `candidates` has something to do."""
        soonest = min(self._sweep_at, self._healing.due_at, self._visits.due_at)
        return min(soonest, self._plan.due_at, self.dialer.next_deadline())

    def handle_timer(self, now: float) -> None:
        if now >= self._healing.due_at:
            self._heal(now)
        if now >= self._sweep_at:
            self._sweep(now)
        if now >= self._visits.due_at:
            self._visit(now)

    def _sweep(self, now: float) -> None:
        self._sweep_at = now + SWEEP_PERIOD
        for member in list(self._members.values()):
            if member.linked_at is not None:
                continue
            if member.is_heard and now - member.heard_at > MAX_AGE:
                self._depart(member, member.heard_at)
            elif not member.is_heard and now >= member.kept_until:
                self._remove(member)
            else:
                self._weigh(member)
                if member.peer_id not in self._reachable:
                    self._reconsider(member, now)
        self._deaths.expire(now)
        self._visits.soon(now)
        self.plan_soon(now)

    # healing

    def _heal(self, now: float) -> None:
        """Try somebody of whom nobody has heard for long: a part of the group may be cut off there."""
        lost = [
            member
            for member in self._members.values()
            if not member.is_heard and self._is_to_be_dialed(member) and self.dialer.addresses(member.peer_id)
        ]
        self._healing.choose([member.peer_id for member in lost], now)
        if (peer := self._healing.peer) is not None:
            lost_at = self._members[peer].lost_at
            if lost_at is not None and now < lost_at + RECENT_PERIOD:
                self.dialer.hasten(peer, now, HEAL_REST, now)
        self.dialer.wake(now)

    def _visit(self, now: float) -> None:
        """Try somebody who is only spoken of."""
        hearsay = self._hearsay if self.is_small else ()
        self._visits.choose({peer: self._hearsay.n_voices(peer) for peer in hearsay if peer in self._reachable}, now)
        self.dialer.wake(now)

    def _recall(self, member: Member, heard_at: float, now: float) -> None:
        """Somebody has heard of one whom we know from a link or a ticket: if that was after we missed it, it is there
        again, and not only when the back-off ends."""
        self.dialer.hasten(member.peer_id, heard_at, NEWS_REST, now)
        if heard_at > member.shunned_until - SHUNNED_PERIOD:
            member.shunned_until = -math.inf

    def _is_to_be_dialed(self, member: Member) -> bool:
        return member.is_named or not self.is_named_only

    def _spare(self, n: int, now: float) -> list[PeerId]:
        """Hints to dial where there are too few members."""
        hints = [each for each in self._members.values() if not each.is_heard and now < each.kept_until]
        peers = [each.peer_id for each in hints if self._is_to_be_dialed(each)]
        return self._rng.sample(peers, len(peers))[: n + MAX_DIALS]

    # entries

    def _make(self, peer: PeerId) -> Member:
        member = self._members[peer] = Member(peer, group_address(peer).number)
        return member

    def _hear(self, peer: PeerId, introducer: PeerId) -> Member | None:
        """An entry for one whom gossip names, in another one's place if need be."""
        for displaced in self._hearsay.hear(peer, introducer, len(self.linked)):
            self._remove(self._members[displaced])
        if len(self._members) >= MAX_MEMBERS:
            self._hearsay.forget(peer)
            return None
        return self._make(peer)

    def _make_room(self) -> None:
        """Remove whoever is worth least."""
        unlinked = [member for member in self._members.values() if member.linked_at is None]
        self._remove(min(unlinked, key=lambda member: (member.kept_until, member.heard_at)))

    def _enter(self, member: Member, now: float) -> None:
        if not member.is_heard:
            member.is_heard = True
            self._size.n_heard += 1
        self._weigh(member)
        self._size.grow()
        self._reconsider(member, now)
        if member.peer_id in self._hearsay:
            self._visits.soon(now)

    def _weigh(self, member: Member) -> None:
        """Whether it is present: met, or believed."""
        is_present = member.is_heard
        if is_present and member.peer_id in self._hearsay:
            n, was_believed = len(self.linked), member.is_present
            is_present = self.is_small and self._hearsay.is_believed(member.peer_id, n, was_believed=was_believed)
        if is_present != member.is_present:
            member.is_present = is_present
            self._size.n_present += 1 if is_present else -1
            self._events.append((MemberJoined if is_present else MemberLeft)(member.peer_id))

    def _depart(self, member: Member, died_at: float) -> None:
        self._leave(member)
        self._deaths.note(member.peer_id, died_at)
        if member.kept_until <= member.heard_at:
            self._remove(member)

    def _leave(self, member: Member) -> None:
        self._reachable.discard(member.place, member.peer_id)
        self._disprove(member)
        self._size.n_heard -= member.is_heard
        member.is_heard = False
        self._weigh(member)

    def _remove(self, member: Member) -> None:
        self._leave(member)
        self.dialer.forget_peer(member.peer_id)
        self._hearsay.forget(member.peer_id)
        del self._members[member.peer_id]

    def _disprove(self, member: Member) -> None:
        if member.is_proved:
            member.is_proved = False
            self._proved.discard(member.place, member.peer_id)

    def _reconsider(self, member: Member, now: float) -> None:
        """Whether this one may be a neighbour."""
        is_reachable = member.linked_at is not None or (
            member.is_heard
            and self._is_to_be_dialed(member)
            and now >= member.shunned_until
            and bool(member.rumoured or self.dialer.addresses(member.peer_id))
        )
        if is_reachable != (member.peer_id in self._reachable):
            (self._reachable.add if is_reachable else self._reachable.discard)(member.place, member.peer_id)
            self.plan_soon(now)
        elif member.linked_at == now:
            self.plan_soon(now)

    def _info(self, member: Member, now: float) -> MemberInfo:
        return MemberInfo(
            peer_id=member.peer_id,
            is_linked=member.linked_at is not None,
            age=member.age(now),
            addresses=self.dialer.addresses(member.peer_id) or member.rumoured,
        )
