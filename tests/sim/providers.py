"""`python -m tests.sim providers`: members look for those who hold an object, while members come, go, and lie.

Each object is held by a few honest members; when one of them goes, another takes it up. Now and then a member that is
linked with none of them looks for one. Prints how many find somebody who does hold it and is up, and after how many
seconds (round trips of the links in question are 0.1 s on average); what was told besides, each worth a dial in vain;
and what it costs. The mesh is that of the simulation of routing.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from swarmd.core.addresses import Address
from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.providers.events import Found
from swarmd.groups.providers.messages import Announce, Find, Held, decode
from swarmd.groups.providers.record import sign_record
from swarmd.groups.providers.service import Providers
from swarmd.groups.routing.service import Routing
from swarmd.identity.identity import Identity
from tests.sim.ringmesh import Member, Mesh

CHURN_PERIOD = 600.0
"""Seconds in which the share `churn` of the members is replaced."""
SETTLED_AT = 60.0
REMAINING = 20.0
CRASH_SHARE = 0.5
HELD_FOR = 15.0
"""Seconds for which somebody must have held an object for its being found to count."""


@dataclass
class Plan:
    """What is simulated; shares are 0 to 1."""

    members: int = 1000
    seed: int = 1
    objects: int = 200
    holders: int = 1
    """Of each object."""
    searches: int = 500
    period: float = 240.0
    loss: float = 0.0
    churn: float = 0.0
    hostile: float = 0.0


@dataclass
class Result:
    members: int
    seed: int
    counted: int
    """Searches whose asker stayed up, and for an object that somebody held all the while."""
    found: float
    median_seconds: float
    p95_seconds: float
    max_seconds: float
    false_contacts_a_search: float
    """Invented, gone, or not holding it."""
    searches_with_false_first: float
    """Those in which the first contacts told of were all false."""
    bytes_a_search: int
    """That all members send for one, asking and answering."""
    bytes_a_member_second: float
    """That a member sends for announcements."""
    records_of_member: float
    most_records_of_member: int
    penalties: dict[str, int] = field(default_factory=dict)


class Holder(Routing):
    """The machine of providers, where the mesh expects that of routing."""

    def __init__(self, spec: GroupSpec, identity: Identity, rng: SeededRng, now: float) -> None:
        super().__init__(spec, identity, rng, now, secrets=rng)
        self.providers = Providers(spec, identity, rng, now, secrets=rng)
        self.providers.set_addresses([Address("10.0.0.1", 7000)], now)
        self.sent = {Announce.type: 0, Find.type: 0}

    def open_link(self, peer: PeerId, now: float) -> None:
        self.providers.open_link(peer, now)

    def close_link(self, peer: PeerId, now: float) -> None:
        self.providers.close_link(peer, now)

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        self.providers.receive(peer, data, now, wall)

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        sending = self.providers.messages_to_send()
        for _, data in sending:
            self.sent[Announce.type if data[0] == Announce.type else Find.type] += len(data)
        return sending

    def next_event(self) -> Any:
        return self.providers.next_event()

    def next_deadline(self) -> float | None:
        return self.providers.next_deadline()

    def handle_timer(self, now: float, wall: float) -> None:
        self.providers.handle_timer(now, wall)


class Hostile(Holder):
    """Drops what it should pass on or keep, invents providers, repeats what it has heard, now and then forges."""

    def __init__(self, spec: GroupSpec, identity: Identity, rng: SeededRng, now: float) -> None:
        super().__init__(spec, identity, rng, now)
        self._malice, self._spec = rng, spec
        self._heard: list[bytes] = []
        self._queue: list[tuple[PeerId, bytes]] = []
        self._peers: dict[PeerId, None] = {}

    def open_link(self, peer: PeerId, now: float) -> None:
        self._peers[peer] = None

    def close_link(self, peer: PeerId, now: float) -> None:
        self._peers.pop(peer, None)

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        sending, self._queue = self._queue, []
        return sending

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        message, chance = decode(data), self._malice.random()
        if isinstance(message, Announce):
            self._heard = [*self._heard[-20:], bytes(data)]
        if chance < 0.2 and self._heard:
            self._queue.append((self._malice.choice(list(self._peers)), self._malice.choice(self._heard)))
        if isinstance(message, Find) and chance < 0.5:
            made = Identity.generate(self._malice)
            address = (Address("10.0.0.2", 7000),)
            record = sign_record(
                made, self._spec.group_id, message.key, int(wall * 1000), is_held=True, addresses=address
            ).encoded
            if chance < 0.01:
                record = record[:-1] + bytes([record[-1] ^ 1])
            self._queue.append((peer, Held(message.path, (record,)).encode()))


@dataclass
class Search:
    asker: Member
    content_id: ContentId
    began_at: float
    counts: bool
    found_at: float | None = None
    is_first_false: bool = False
    n_told: int = 0
    n_false: int = 0


class Simulation:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.mesh = Mesh(plan.seed, plan.loss, self._hear)
        self.searches: list[Search] = []
        self._rng = SeededRng(plan.seed + 1)
        self._of_search: dict[tuple[PeerId, int], Search] = {}
        self._holders: dict[ContentId, dict[PeerId, float]] = {}
        self._n_hostile = round(plan.members * plan.hostile)

    def run(self) -> Result:
        plan, clock = self.plan, self.mesh.clock
        self.mesh.found([self._add(number < self._n_hostile) for number in range(plan.members)])
        for _ in range(plan.objects):
            content_id = ContentId(self._rng.bytes(32))
            self._holders[content_id] = {}
            for _ in range(plan.holders):
                clock.at(self._rng.random() * 10.0, self._hold, content_id)
        if plan.churn:
            clock.after(self._until_churn(), self._replace)
        for _ in range(plan.searches):
            clock.at(SETTLED_AT + self._rng.random() * plan.period, self._search)
        clock.run(SETTLED_AT + plan.period + REMAINING, lambda: False)
        return self._result(SETTLED_AT + plan.period + REMAINING)

    def _add(self, is_hostile: bool) -> Member:
        member = self.mesh.add(Hostile if is_hostile else Holder, is_hostile=is_hostile)
        machine(member).set_member_count(self.plan.members, self.mesh.now)
        return member

    def _hold(self, content_id: ContentId) -> None:
        honest = [member for member in self.mesh.joined.members if not member.is_hostile]
        member = self._rng.choice(honest)
        self._holders[content_id][member.peer_id] = self.mesh.now
        machine(member).provide([content_id], self.mesh.now)
        self.mesh.pump(member)

    def _until_churn(self) -> float:
        rate = self.plan.members * self.plan.churn / CHURN_PERIOD
        return -math.log(1 - self._rng.random()) / rate

    def _replace(self) -> None:
        gone = self._rng.choice(list(self.mesh.up.values()))
        self.mesh.stop(gone, has_crashed=self._rng.random() < CRASH_SHARE)
        self.mesh.join(self._add(gone.is_hostile))
        for content_id, holders in self._holders.items():
            if holders.pop(gone.peer_id, None) is not None:
                self._hold(content_id)
        self.mesh.clock.after(self._until_churn(), self._replace)

    def _search(self) -> None:
        content_id = self._rng.choice(list(self._holders))
        holders = self._holders[content_id]
        askers = [
            member
            for member in self.mesh.joined.members
            if not member.is_hostile and member.peer_id not in holders and not holders.keys() & member.links.keys()
        ]
        if not askers:  # a group so small that everybody is linked with a holder
            return
        asker, now = self._rng.choice(askers), self.mesh.now
        counts = any(since <= now - HELD_FOR for since in holders.values())
        search = Search(asker, content_id, now, counts)
        self.searches.append(search)
        self._of_search[asker.peer_id, machine(asker).find(content_id, now)] = search
        self.mesh.pump(asker)

    def _hear(self, member: Member, event: object) -> None:
        assert isinstance(event, Found)
        search = self._of_search[member.peer_id, event.search_id]
        holders = self._holders[search.content_id]
        true = [each for each in event.contacts if each.peer_id in holders and each.peer_id in self.mesh.up]
        if event.contacts and not search.n_told:
            search.is_first_false = not true
        search.n_told += len(event.contacts)
        search.n_false += len(event.contacts) - len(true)
        if true and search.found_at is None:
            search.found_at = self.mesh.now

    def _result(self, period: float) -> Result:
        counted = [each for each in self.searches if each.asker.is_up and (each.counts or each.found_at is not None)]
        seconds = sorted(each.found_at - each.began_at for each in counted if each.found_at is not None) or [0.0]
        honest = [member for member in self.mesh.up.values() if not member.is_hostile]
        sent = {kind: sum(holder(each).sent[kind] for each in honest) for kind in (Announce.type, Find.type)}
        records = [machine(each).info.n_records for each in honest]
        n = max(1, len(counted))
        return Result(
            members=self.plan.members,
            seed=self.plan.seed,
            counted=len(counted),
            found=round(sum(each.found_at is not None for each in counted) / n, 5),
            median_seconds=round(seconds[len(seconds) // 2], 2),
            p95_seconds=round(seconds[len(seconds) * 95 // 100], 2),
            max_seconds=round(seconds[-1], 2),
            false_contacts_a_search=round(sum(each.n_false for each in counted) / n, 2),
            searches_with_false_first=round(sum(each.is_first_false for each in counted) / n, 3),
            bytes_a_search=sent[Find.type] // max(1, len(self.searches)),
            bytes_a_member_second=round(sent[Announce.type] / len(honest) / period, 1),
            records_of_member=round(sum(records) / len(records), 2),
            most_records_of_member=max(records),
            penalties=dict(self.mesh.penalties),
        )


def holder(member: Member) -> Holder:
    assert isinstance(member.routing, Holder)
    return member.routing


def machine(member: Member) -> Providers:
    return holder(member).providers


def simulate(plan: Plan) -> Result:
    return Simulation(plan).run()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--members", "--nodes", type=int, default=Plan.members)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--objects", type=int, default=Plan.objects)
    parser.add_argument("--holders", type=int, default=Plan.holders, help="members that hold an object")
    parser.add_argument("--searches", type=int, default=Plan.searches)
    parser.add_argument("--period", type=float, default=Plan.period, help="seconds over which they begin")
    parser.add_argument("--loss", type=float, default=Plan.loss, help="share of packets lost")
    parser.add_argument("--churn", type=float, default=Plan.churn, help="share of members replaced in 10 minutes")
    parser.add_argument("--hostile", type=float, default=Plan.hostile, help="share of members that lie and drop")


def main(arguments: argparse.Namespace) -> None:
    names = Plan.__dataclass_fields__
    result = simulate(Plan(**{name: getattr(arguments, name) for name in names}))
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    for name, value in asdict(result).items():
        print(f"{name:26} {value}")
