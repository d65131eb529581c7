"""`python -m tests.sim route`: messages carried to members and to keys, while members come, go, and lie.

Prints how many reached whom they should (for a key: whoever is truly nearest to it when it is sent or when it arrives,
of all that are up; a newcomer of the last seconds, who has no links yet, may be passed over), in how many hops and how
long. Senders and receivers are honest members that stay up meanwhile;
with hostile members, keys that one of them is nearest to are left out, since nobody else can take their place.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, field

from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import Arrived, Routed, RoutingEvent
from swarmd.groups.routing.messages import Answer, Envelope, Locate, Located, decode
from swarmd.groups.routing.service import Routing
from swarmd.identity.identity import Identity
from tests.sim.ringmesh import Member, Mesh

CHURN_PERIOD = 600.0
"""Seconds in which the share `churn` of the members is replaced."""
SETTLED_AT = 60.0
REMAINING = 60.0
"""Seconds after the last message was sent."""
EXACT_SHARE = 0.5
REPLY_SHARE = 0.25
CRASH_SHARE = 0.5


@dataclass
class Plan:
    """What is simulated; shares are 0 to 1."""

    members: int = 1000
    seed: int = 1
    routes: int = 2000
    period: float = 300.0
    """Seconds over which they are sent."""
    loss: float = 0.0
    churn: float = 0.0
    hostile: float = 0.0
    message_bytes: int = 200


@dataclass
class Result:
    """Shares are of the routes that count: whose ends stayed up."""

    members: int
    seed: int
    counted: int
    reached: float
    exact_reached: float
    nearest_reached: float
    replied: float
    said_delivered_wrongly: int
    """Of a key: somebody else than the nearest took it."""
    delivered_twice: int
    """To the same member: must be 0."""
    mean_hops: float
    max_hops: int
    log2_members: float
    median_seconds: float
    p99_seconds: float
    sent_bytes_a_route: int
    results: dict[str, int] = field(default_factory=dict)
    penalties: dict[str, int] = field(default_factory=dict)


@dataclass
class Trip:
    sender: Member
    address: GroupAddress
    receiver: Member
    """The right one, when it was sent."""
    is_exact: bool
    reply_wanted: bool
    sent_at: float
    arrivals: list[Member] = field(default_factory=list)
    is_right: bool = False
    arrived_at: float = 0.0
    ended: Routed | None = None


class Hostile(Routing):
    """Drops what it should pass on, says that it is the nearest, repeats what it has heard, now and then forges."""

    def __init__(self, spec: GroupSpec, identity: Identity, rng: SeededRng, now: float) -> None:
        super().__init__(spec, identity, rng, now, secrets=rng)
        self._malice = rng
        self._heard: list[bytes] = []

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        message, chance = decode(data), self._malice.random()
        self._heard = [*self._heard[-20:], bytes(data)]
        if chance < 0.1:
            self._links.send(self._malice.choice(self._links.peers), decode(self._malice.choice(self._heard)))
        match message:
            case Locate() if chance < 0.5:
                self._links.send(peer, self._receiving.locate(message.way, now))
            case Locate() if chance < 0.51:
                false = self._receiving.locate(message.way, now)
                self._links.send(peer, Located(false.path, false.certificate, false.epoch, bytes(64)))
            case Envelope() if chance < 0.3:
                self._links.send(peer, Answer(message.way.path, False, self._malice.bytes(49)))
            case _:
                pass


def honest(spec: GroupSpec, identity: Identity, rng: SeededRng, now: float) -> Routing:
    return Routing(spec, identity, rng, now, secrets=rng)


class Simulation:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.mesh = Mesh(plan.seed, plan.loss, self._hear)
        self.trips: list[Trip] = []
        self._rng = SeededRng(plan.seed + 1)
        self._of_route: dict[tuple[PeerId, int], Trip] = {}
        self._n_hostile = round(plan.members * plan.hostile)

    def run(self) -> Result:
        plan, clock = self.plan, self.mesh.clock
        self.mesh.found([self._add(number < self._n_hostile) for number in range(plan.members)])
        if plan.churn:
            clock.after(self._until_churn(), self._replace)
        for _ in range(plan.routes):
            clock.at(SETTLED_AT + self._rng.random() * plan.period, self._send)
        clock.run(SETTLED_AT + plan.period + REMAINING, lambda: False)
        return self._result()

    def _add(self, is_hostile: bool) -> Member:
        return self.mesh.add(Hostile if is_hostile else honest, is_hostile=is_hostile)

    def _until_churn(self) -> float:
        """Exponential, so that members go independently of each other."""
        rate = self.plan.members * self.plan.churn / CHURN_PERIOD
        return -math.log(1 - self._rng.random()) / rate

    def _replace(self) -> None:
        gone = self._rng.choice(list(self.mesh.up.values()))
        self.mesh.stop(gone, has_crashed=self._rng.random() < CRASH_SHARE)
        self.mesh.join(self._add(gone.is_hostile))
        self.mesh.clock.after(self._until_churn(), self._replace)

    def _send(self) -> None:
        members = [member for member in self.mesh.joined.members if not member.is_hostile]
        sender, is_exact = self._rng.choice(members), self._rng.random() < EXACT_SHARE
        receiver = self._rng.choice(members)
        address = receiver.routing.address
        while not is_exact:
            address = GroupAddress(self._rng.bytes(32))
            receiver = self.mesh.joined.nearest(address)
            if not receiver.is_hostile:
                break
        reply_wanted = self._rng.random() < REPLY_SHARE
        trip = Trip(sender, address, receiver, is_exact, reply_wanted, self.mesh.now)
        message = len(self.trips).to_bytes(4, "big").ljust(self.plan.message_bytes, b"\0")
        self.trips.append(trip)
        route_id = sender.routing.route(address, message, self.mesh.now, reply_wanted=reply_wanted, is_exact=is_exact)
        self._of_route[sender.peer_id, route_id] = trip
        self.mesh.pump(sender)

    def _hear(self, member: Member, event: RoutingEvent) -> None:
        if isinstance(event, Routed):
            self._of_route[member.peer_id, event.id].ended = event
        elif isinstance(event, Arrived):
            trip = self.trips[int.from_bytes(event.message[:4], "big")]
            trip.arrivals.append(member)
            right = {trip.receiver} if trip.is_exact else {trip.receiver, *self._nearest(trip.address)}
            if member in right and not trip.is_right:
                trip.is_right, trip.arrived_at = True, self.mesh.now
            if event.reply_id is not None:
                self.mesh.clock.after(0.5, self._reply, member, event.reply_id)

    def _nearest(self, address: GroupAddress) -> list[Member]:
        """Of all that are up, and of those that have been for `JOINING_PERIOD`."""
        return [self.mesh.circle.nearest(address), self.mesh.joined.nearest(address)]

    def _reply(self, member: Member, reply_id: int) -> None:
        if member.is_up:
            member.routing.reply(reply_id, b"yes")
            self.mesh.pump(member)

    def _result(self) -> Result:
        counted = [trip for trip in self.trips if trip.sender.is_up and (trip.is_right or trip.receiver.is_up)]
        right = [trip for trip in counted if trip.is_right]
        hops = [trip.ended.n_hops for trip in right if trip.ended and trip.ended.n_hops is not None]
        seconds = sorted(trip.arrived_at - trip.sent_at for trip in right) or [0.0]
        results = [trip.ended.result.value if trip.ended else "never" for trip in counted]
        asked = [trip for trip in right if trip.reply_wanted]
        sent = sum(member.routing.info.sent_bytes for member in self.mesh.up.values())
        return Result(
            members=self.plan.members,
            seed=self.plan.seed,
            counted=len(counted),
            reached=share(len(right), len(counted)),
            exact_reached=share(*count([trip.is_right for trip in counted if trip.is_exact])),
            nearest_reached=share(*count([trip.is_right for trip in counted if not trip.is_exact])),
            replied=share(sum(1 for trip in asked if trip.ended and trip.ended.reply), len(asked)),
            said_delivered_wrongly=sum(1 for trip in counted if trip.arrivals and not trip.is_right),
            delivered_twice=sum(len(trip.arrivals) - len(set(map(id, trip.arrivals))) for trip in self.trips),
            mean_hops=round(sum(hops) / max(1, len(hops)), 2),
            max_hops=max(hops, default=0),
            log2_members=round(math.log2(self.plan.members), 2),
            median_seconds=round(seconds[len(seconds) // 2], 2),
            p99_seconds=round(seconds[len(seconds) * 99 // 100], 2),
            sent_bytes_a_route=sent // max(1, len(self.trips)),
            results={result: results.count(result) for result in sorted(set(results))},
            penalties=dict(self.mesh.penalties),
        )


def share(part: int, whole: int) -> float:
    return round(part / whole, 5) if whole else 1.0


def count(truths: list[bool]) -> tuple[int, int]:
    return sum(truths), len(truths)


def simulate(plan: Plan) -> Result:
    return Simulation(plan).run()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--members", "--nodes", type=int, default=Plan.members)
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--routes", type=int, default=Plan.routes, help="messages that are sent")
    parser.add_argument("--period", type=float, default=Plan.period, help="seconds over which they are sent")
    parser.add_argument("--loss", type=float, default=Plan.loss, help="share of packets lost")
    parser.add_argument("--churn", type=float, default=Plan.churn, help="share of members replaced in 10 minutes")
    parser.add_argument("--hostile", type=float, default=Plan.hostile, help="share of members that lie and drop")
    parser.add_argument("--message-bytes", type=int, default=Plan.message_bytes)


def main(arguments: argparse.Namespace) -> None:
    names = Plan.__dataclass_fields__
    result = simulate(Plan(**{name: getattr(arguments, name) for name in names}))
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    for name, value in asdict(result).items():
        print(f"{name:24} {value}")
