"""`python -m tests.sim post`: members come and go, lose packets and lie, and what some of them post reaches the others.

A light mesh of its own: each member is linked with floor(log2 N) + 13 others at random, and gets a new link for one
that it loses. A session carries messages in order; a lost packet is sent again and delays what follows. Half of those
who leave say so, the others are noticed after `SILENCE_TIMEOUT`. Hostile members announce whatever they hear of, give
nothing and pass on nothing; half of them say nothing at all, half say Busy and ask everybody for everything.

Prints how many of those present had a post in 10 s, of those who stayed a minute in a minute, of those who came later
within a minute of coming; and what members sent for it, as a multiple of the posts' bytes.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass, field
from functools import cache, partial

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.events import PeerFaulted
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.posting import messages
from swarmd.groups.posting.messages import Announce, Busy, Request
from swarmd.groups.posting.post import Posted, PostId
from swarmd.groups.posting.posting import Posting
from swarmd.groups.service import POSTING_TYPES
from swarmd.groups.topology import target_links
from swarmd.identity.identity import Identity
from tests.sim.clockwork import Clockwork

WALL = 1_700_000_000.0
LATENCIES = (0.010, 0.100)
"""Seconds, one way."""
PACKET_BYTES = 1200
MESSAGE_OVERHEAD = 60
"""Of the record and the headers below: takes time on the line, and is not counted as sent for posting."""
RESEND_PERIOD = 0.25
"""And a round trip: until a lost packet is sent again. Half as long again each time."""
SILENCE_TIMEOUT = 15.0
"""Seconds until the neighbours of a member that vanished notice it."""
RELINK_PERIOD = 1.0
WARM_UP = 30.0
SOON = 10.0
MINUTE = 60.0
LATE = 200.0
"""Seconds after a post in which who joins is to get it; it lives for 300."""


@cache
def _spec() -> GroupSpec:
    return GroupSpec.create("posts", SeededRng(1), capabilities=Capability.POSTING).spec


@cache
def _identity(number: int) -> Identity:
    return Identity.generate(SeededRng(number))


@dataclass
class Plan:
    """What is simulated. loss: share of packets; churn: share of members replaced in 10 minutes; rate: Mbit/s up."""

    members: int = 1000
    seed: int = 1
    loss: float = 0.05
    churn: float = 0.2
    hostile: float = 0.0
    posts: int = 60
    bytes: int = 200
    interval: float = 5.0
    rate: float = 10.0


@dataclass
class Result:
    """Shares are of pairs of a post and an honest member. Times in seconds."""

    members: int
    seed: int
    posts: int
    in_10_s: float
    stayed_a_minute: float
    came_later: float
    n_missed_10_s: int
    n_missed_minute: int
    n_missed_later: int
    median: float
    percentile_99: float
    slowest: float
    sent_mean: float
    """Bytes that a member sent, over the bytes of all posts; `sent_most`: of the member that sent most."""
    sent_most: float
    data_mean: float
    idle_bytes_per_s: float
    """What a member sent each second before the first post."""
    post_bytes: int
    n_joined: int
    faults: dict[str, int] = field(default_factory=dict)


class Liar:
    """Claims to have what it hears of and gives nothing."""

    def __init__(self, *, says_busy: bool) -> None:
        self._says_busy = says_busy
        self._peers: set[PeerId] = set()
        self._claimed: set[bytes] = set()
        self._messages: list[tuple[PeerId, bytes]] = []

    @property
    def types(self) -> range:
        return POSTING_TYPES

    def open_link(self, peer: PeerId, now: float) -> None:
        self._peers.add(peer)

    def close_link(self, peer: PeerId, now: float) -> None:
        self._peers.discard(peer)

    def receive(self, peer: PeerId, data: bytes, now: float, wall: float) -> None:
        message = messages.decode(data)
        if isinstance(message, Announce):
            new = tuple(key for key in message.keys if key not in self._claimed)
            self._claimed.update(new)
            if self._says_busy:
                self._messages.append((peer, Request(message.keys, insists=False).encode()))
            if new:
                self._messages += [(other, Announce(new, is_news=True).encode()) for other in sorted(self._peers)]
        elif isinstance(message, Request) and self._says_busy:
            self._messages.append((peer, Busy(message.keys).encode()))

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        sending, self._messages = self._messages, []
        return sending

    def next_event(self) -> None:
        return None

    def next_deadline(self) -> float | None:
        return None

    def handle_timer(self, now: float, wall: float) -> None:
        """It has none."""


@dataclass(eq=False)
class Link:
    """`arrived_at`: of each way, when the last message arrives."""

    latency: float
    arrived_at: dict[PeerId, float]
    is_open: bool = True


@dataclass(eq=False)
class Member:
    peer_id: PeerId
    machine: Posting | Liar
    joined_at: float
    left_at: float = math.inf
    links: dict[PeerId, Link] = field(default_factory=dict)
    line_free_at: float = 0.0
    timer_at: float = -1.0
    sent_bytes: int = 0
    got: dict[PostId, float] = field(default_factory=dict)

    @property
    def is_honest(self) -> bool:
        return isinstance(self.machine, Posting)

    @property
    def is_left(self) -> bool:
        """Which half it is in when the group is split."""
        return self.peer_id[0] < 128


class Mesh:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clockwork = Clockwork()
        self.rng = SeededRng(plan.seed)
        self.present: dict[PeerId, Member] = {}
        self.everybody: list[Member] = []
        self.posted: dict[PostId, tuple[float, int]] = {}
        self.faults: dict[str, int] = {}
        self.is_split = False
        for _ in range(plan.members):
            self.add()
        for member in self.everybody:
            self.fill(member)

    @property
    def now(self) -> float:
        return self.clockwork.now

    # members and links

    def add(self) -> Member:
        number = len(self.everybody)
        own = _identity(self.plan.seed * 1_000_000 + number)
        rng = SeededRng(self.rng.randrange(2**32))
        machine = (
            Liar(says_busy=number % 2 == 0)
            if self.rng.random() < self.plan.hostile
            else Posting(_spec(), own, rng, self.now)
        )
        member = Member(own.peer_id, machine, self.now)
        self.everybody.append(member)
        self.present[member.peer_id] = member
        return member

    def fill(self, member: Member) -> None:
        """Link it with others at random until it has its target."""
        others = [other for other in self.present.values() if not self.are_apart(member, other)]
        target = min(target_links(len(others)), len(others) - 1)
        while len(member.links) < target and member.peer_id in self.present:
            other = self.rng.choice(others)
            if other is not member and other.peer_id not in member.links:
                self.open(member, other)

    def open(self, one: Member, other: Member) -> None:
        latency = LATENCIES[0] + self.rng.random() * (LATENCIES[1] - LATENCIES[0])
        link = Link(latency, {one.peer_id: 0.0, other.peer_id: 0.0})
        for member, peer in ((one, other), (other, one)):
            member.links[peer.peer_id] = link
            member.machine.open_link(peer.peer_id, self.now)
            self.pump(member)

    def are_apart(self, one: Member, other: Member) -> bool:
        return self.is_split and one.is_left is not other.is_left

    def split(self) -> None:
        """Cut the group in two: no links across."""
        self.is_split = True
        for member in self.everybody:
            for peer in list(member.links):
                if self.are_apart(member, self.present[peer]):
                    self.close(member, peer)

    def heal(self, n_links: int) -> None:
        """So many links across."""
        self.is_split = False
        left = [member for member in self.present.values() if member.is_left]
        right = [member for member in self.present.values() if not member.is_left]
        for one, other in zip(self.rng.sample(left, n_links), self.rng.sample(right, n_links), strict=True):
            self.open(one, other)

    def have_all(self) -> bool:
        return all(len(member.got) == len(self.posted) for member in self.present.values())

    def close(self, member: Member, peer: PeerId) -> None:
        link = member.links.pop(peer, None)
        if link is None:
            return
        link.is_open = False
        member.machine.close_link(peer, self.now)
        self.pump(member)
        self.clockwork.after(RELINK_PERIOD * (0.5 + self.rng.random()), self.fill, member)

    def leave(self, member: Member, *, says_so: bool) -> None:
        member.left_at = self.now
        del self.present[member.peer_id]
        for peer, link in member.links.items():
            if (other := self.present.get(peer)) is not None:
                delay = link.latency if says_so else SILENCE_TIMEOUT
                self.clockwork.after(delay, self.close, other, member.peer_id)

    def replace_one(self) -> None:
        self.leave(self.rng.choice(list(self.present.values())), says_so=self.rng.random() < 0.5)
        self.fill(self.add())
        self.plan_replacement()

    def plan_replacement(self) -> None:
        if self.plan.churn:
            mean = 600.0 / (self.plan.churn * self.plan.members)
            self.clockwork.after(2 * mean * self.rng.random(), self.replace_one)

    # messages and timers

    def pump(self, member: Member) -> None:
        if member.peer_id not in self.present:
            return
        for peer, data in member.machine.messages_to_send():
            self.carry(member, peer, data)
        while (event := member.machine.next_event()) is not None:
            if isinstance(event, Posted):
                assert event.post.id not in member.got, "a post is shown once"
                member.got[event.post.id] = self.now
            elif isinstance(event, PeerFaulted):
                self.note(event.reason)
        deadline = member.machine.next_deadline()
        if deadline is not None and deadline < math.inf and deadline != member.timer_at:
            member.timer_at = deadline
            self.clockwork.at(deadline, self.fire, member, deadline)

    def fire(self, member: Member, deadline: float) -> None:
        if member.timer_at == deadline and member.peer_id in self.present:
            member.timer_at = -1.0
            member.machine.handle_timer(self.now, WALL + self.now)
            self.pump(member)
            assert member.timer_at > self.now, "a deadline that does not pass"

    def carry(self, member: Member, peer: PeerId, data: bytes) -> None:
        member.sent_bytes += len(data)
        link = member.links[peer]
        size = len(data) + MESSAGE_OVERHEAD
        member.line_free_at = max(member.line_free_at, self.now) + size * 8e-6 / self.plan.rate
        arrives_at = member.line_free_at + link.latency + self.resending(-(-size // PACKET_BYTES), link.latency)
        arrives_at = link.arrived_at[peer] = max(arrives_at, link.arrived_at[peer])
        self.clockwork.at(arrives_at, self.deliver, member.peer_id, peer, link, data)

    def resending(self, packets: int, latency: float) -> float:
        """Seconds by which lost packets delay a message."""
        delay, period = 0.0, RESEND_PERIOD + 2 * latency
        while packets := sum(self.rng.random() < self.plan.loss for _ in range(packets)):
            delay += period
            period *= 1.5
        return delay

    def deliver(self, sender: PeerId, receiver: PeerId, link: Link, data: bytes) -> None:
        member = self.present.get(receiver)
        if member is None or member.links.get(sender) is not link or not link.is_open:
            return
        try:
            member.machine.receive(sender, data, self.now, WALL + self.now)
        except RemoteError as error:
            self.note(str(error))
        self.pump(member)

    def note(self, fault: str) -> None:
        self.faults[fault] = self.faults.get(fault, 0) + 1

    # posts

    def post(self, size: int) -> None:
        author = self.rng.choice([member for member in self.present.values() if member.is_honest])
        assert isinstance(author.machine, Posting)
        post = author.machine.post(self.rng.bytes(size), self.now, WALL + self.now)
        self.posted[post.id] = (self.now, len(post.encoded))
        self.pump(author)

    def run(self, seconds: float) -> None:
        """By an event of its own, so that none is lost when it is called again."""
        ended: list[bool] = []
        self.clockwork.after(seconds, ended.append, True)
        self.clockwork.run(math.inf, lambda: bool(ended))


def simulate(plan: Plan) -> Result:
    mesh = Mesh(plan)
    mesh.run(WARM_UP)
    idle = sum(member.sent_bytes for member in mesh.everybody if member.is_honest)
    for member in mesh.everybody:
        member.sent_bytes = 0
    mesh.plan_replacement()
    for number in range(plan.posts):
        mesh.clockwork.after(number * plan.interval, partial(mesh.post, plan.bytes))
    mesh.run(plan.posts * plan.interval + LATE + MINUTE if plan.churn else plan.posts * plan.interval + MINUTE)
    return _result(mesh, idle / WARM_UP)


def _result(mesh: Mesh, idle_rate: float) -> Result:
    honest = [member for member in mesh.everybody if member.is_honest]
    times: list[float] = []
    soon, minute, later = Tally(), Tally(), Tally()
    for post, (at, _) in mesh.posted.items():
        for member in honest:
            got_at = member.got.get(post, math.inf)
            if member.joined_at <= at < member.left_at:
                if got_at < math.inf:
                    times.append(got_at - at)
                if member.left_at >= at + SOON:
                    soon.add(got_at <= at + SOON)
                if member.left_at >= at + MINUTE:
                    minute.add(got_at <= at + MINUTE)
            elif at < member.joined_at <= at + LATE and member.left_at >= member.joined_at + MINUTE:
                later.add(got_at <= member.joined_at + MINUTE)
    times.sort()
    sizes = sum(size for _, size in mesh.posted.values())
    n_honest = mesh.plan.members * (1 - mesh.plan.hostile)
    machines = [member.machine for member in honest if isinstance(member.machine, Posting)]
    return Result(
        members=mesh.plan.members,
        seed=mesh.plan.seed,
        posts=len(mesh.posted),
        in_10_s=soon.share,
        stayed_a_minute=minute.share,
        came_later=later.share,
        n_missed_10_s=soon.missed,
        n_missed_minute=minute.missed,
        n_missed_later=later.missed,
        median=round(times[len(times) // 2], 3),
        percentile_99=round(times[len(times) * 99 // 100], 3),
        slowest=round(times[-1], 3),
        sent_mean=round(sum(member.sent_bytes for member in honest) / n_honest / sizes, 3),
        sent_most=round(max(member.sent_bytes for member in honest) / sizes, 3),
        data_mean=round(sum(machine.traffic.data_sent for machine in machines) / n_honest / sizes, 3),
        idle_bytes_per_s=round(idle_rate / n_honest, 2),
        post_bytes=sizes // len(mesh.posted),
        n_joined=len(mesh.everybody) - mesh.plan.members,
        faults=mesh.faults,
    )


@dataclass
class Tally:
    """Of those who should have had something."""

    reached: int = 0
    missed: int = 0

    def add(self, is_reached: bool) -> None:
        self.reached += is_reached
        self.missed += not is_reached

    @property
    def share(self) -> float:
        total = self.reached + self.missed
        return round(self.reached / total, 6) if total else 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    plan = Plan()
    parser.add_argument("--members", "--nodes", type=int, default=plan.members)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--loss", type=float, default=plan.loss, help="share of packets that are lost")
    parser.add_argument("--churn", type=float, default=plan.churn, help="share of members replaced in 10 minutes")
    parser.add_argument("--hostile", type=float, default=plan.hostile, help="share of members that lie")
    parser.add_argument("--posts", type=int, default=plan.posts)
    parser.add_argument("--bytes", type=int, default=plan.bytes, help="of each message, without its envelope")
    parser.add_argument("--interval", type=float, default=plan.interval, help="seconds between posts")
    parser.add_argument("--rate", type=float, default=plan.rate, help="Mbit/s that a member can send")


def main(arguments: argparse.Namespace) -> None:
    names = Plan.__dataclass_fields__
    result = simulate(Plan(**{name: value for name, value in vars(arguments).items() if name in names}))
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    for name, value in asdict(result).items():
        print(f"{name:18} {value}")
