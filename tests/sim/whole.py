"""`python -m tests.sim whole`: a group that posts, routes and shares on the mesh that it keeps up itself.

Members are whole Group machines that come through one bootstrap peer, lose packets, leave or crash, and lie
(`tests.sim.crowd`, `corrupt`). While they come and go, some of them post, send routed messages and publish. At the
end, with `--split-period`, odd and even ones are cut off from each other; both halves go on posting and publishing; and
it is measured how long after the way is open again all have what lives of it.

Counted are honest members. A routed message goes to a member, or to a key that an honest one is nearest to of those who
have been up for `JOINING_PERIOD`.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.events import PeerFaulted
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability
from swarmd.groups.posting.post import Post, Posted, PostId
from swarmd.groups.records import Record, Share, ShareKind
from swarmd.groups.ring import GroupAddress, by_distance, group_address
from swarmd.groups.routing.events import Arrived, Routed
from tests.sim.crowd import WALL, Crowd, Node
from tests.sim.inventions import Inventions
from tests.sim.post import Liar, Tally
from tests.sim.route import Hostile

JOIN_PERIOD = 10.0
REMAINING = 60.0
CHURN_PERIOD = 600.0
"""Seconds in which the share `churn` is replaced."""
JOINING_PERIOD = 5.0
SOON, MINUTE, LATE = 10.0, 60.0, 200.0
"""As in `tests.sim.post`: after a post, of those who were there; for those who join that long after it."""
EXACT_SHARE, CRASH_SHARE = 0.5, 0.5
SPLIT_STEP = 15.0
"""Seconds between two posts, and two shares, of each half."""
HEAL_LIMIT = 300.0


@dataclass(frozen=True)
class Plan:
    """What is simulated; shares are 0 to 1. `period`: seconds over which posts, routes and shares are spread."""

    members: int = 1000
    seed: int = 1
    loss: float = 0.05
    churn: float = 0.2
    hostile: float = 0.0
    period: float = 300.0
    posts: int = 60
    bytes: int = 200
    routes: int = 1000
    shares: int = 60
    split_period: float = 0.0
    settled_at: float = 90.0


@dataclass
class Result:
    """Times in seconds; `sent` is what members sent for posting, over the bytes of all posts."""

    members: int
    seed: int
    posts_in_10_s: float
    posts_stayed_a_minute: float
    posts_came_later: float
    posts_median: float
    posts_slowest: float
    posts_sent_mean: float
    posts_sent_most: float
    routes_counted: int
    routes_reached: float
    routes_exact: float
    routes_to_keys: float
    routes_twice: int
    hops_mean: float
    log2_members: float
    shares_in_a_minute: float
    ring_wrong: float
    invented_share: float
    invented_share_most: float
    healed_ring: float | None = None
    """After the way was open again."""
    healed_posts: float | None = None
    healed_shares: float | None = None
    posts_of_split: int = 0
    shares_of_split: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    caught: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False)
class Trip:
    sender: Node
    right: set[PeerId]
    address: GroupAddress
    is_exact: bool
    arrivals: list[PeerId] = field(default_factory=list)
    n_hops: int | None = None

    @property
    def is_right(self) -> bool:
        return not self.right.isdisjoint(self.arrivals)


class Whole:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        has = Capability.REPLICATION | Capability.POSTING | Capability.ROUTING
        self.crowd = Crowd(plan.seed, plan.loss, has, self._hear, self._corrupt)
        self.rng = self.crowd.rng
        self.left_at: dict[int, float] = {}
        self.posted: dict[PostId, tuple[float, Post]] = {}
        self.got: dict[int, dict[PostId, float]] = {}
        self.trips: list[Trip] = []
        self.published: list[tuple[float, Record]] = []
        self.lacking_shares = Tally()
        self.faulted: Counter[str] = Counter()
        self.ring_wrong: list[float] = []
        self.inventions: Inventions | None = None
        self._of_route: dict[tuple[int, int], Trip] = {}

    # the run

    def run(self) -> Result:
        plan, crowd = self.plan, self.crowd
        if plan.hostile:
            crowd.invent()
            self.inventions = Inventions(crowd)
        crowd.add()
        for number in range(1, plan.members):
            crowd.clock.at(number * JOIN_PERIOD / plan.members, self._join, 0)
        crowd.run(plan.settled_at)
        if plan.churn:
            crowd.clock.after(self._until_churn(), self._replace, crowd.now + plan.period + REMAINING)
        for n, action in ((plan.posts, self._post), (plan.routes, self._route), (plan.shares, self._publish)):
            for step in range(n):
                crowd.clock.after(step * plan.period / n, action)
        for _ in range(int((plan.period + REMAINING) / 20.0)):
            crowd.run(20.0)
            self.ring_wrong.append(crowd.ring_errors() / len(crowd.up()))
        result = self._result()
        if plan.split_period:
            self._split(result)
        return result

    def _join(self, contact: int) -> None:
        self.crowd.add(contact, is_hostile=self.rng.random() < self.plan.hostile)

    def _until_churn(self) -> float:
        return -math.log(1 - self.rng.random()) * CHURN_PERIOD / (self.plan.members * self.plan.churn)

    def _replace(self, until: float) -> None:
        gone = self.rng.choice(self.crowd.up()[1:]).number
        self.left_at[gone] = self.crowd.now
        (self.crowd.crash if self.rng.random() < CRASH_SHARE else self.crowd.leave)(gone)
        self._join(self.rng.choice(self._honest()).number)
        if (period := self._until_churn()) < until - self.crowd.now:
            self.crowd.clock.after(period, self._replace, until)

    # what members do

    def _honest(self, side: int | None = None) -> list[Node]:
        return [
            node for node in self.crowd.nodes if node.is_up and not node.is_hostile and side in (None, node.number & 1)
        ]

    def _settled(self) -> list[Node]:
        return [node for node in self._honest() if node.joined_at <= self.crowd.now - JOINING_PERIOD]

    def _post(self, side: int | None = None) -> None:
        author = self.rng.choice(self._honest(side))
        assert author.group.posting is not None
        now = self.crowd.now
        post = author.group.posting.post(self.rng.bytes(self.plan.bytes), now, WALL + now)
        self.posted[post.id] = (now, post)
        self.crowd.pump(author)

    def _publish(self, side: int | None = None) -> None:
        publisher, now = self.rng.choice(self._honest(side)), self.crowd.now
        share = Share(f"share {len(self.published)}", ContentId(self.rng.bytes(32)), 1000, ShareKind.FILE)
        record = publisher.group.sign_share(share, WALL + now)
        assert publisher.group.adopt(record, now, WALL + now)
        self.published.append((now, record))
        self.crowd.pump(publisher)
        if side is None:
            there = self._honest()
            self.crowd.clock.after(MINUTE, self._count_share, record, there)

    def _count_share(self, record: Record, there: list[Node]) -> None:
        for node in there:
            if node.is_up:
                self.lacking_shares.add(node.group.held(record) is not None)

    def _route(self) -> None:
        settled, is_exact = self._settled(), self.rng.random() < EXACT_SHARE
        sender = self.rng.choice(settled)
        receiver = self.rng.choice(settled)
        address, right = group_address(receiver.peer_id), {receiver.peer_id}
        while not is_exact:
            address = GroupAddress(self.rng.bytes(32))
            right = self._nearest(address)
            if not any(node.is_hostile for node in self.crowd.up() if node.peer_id in right):
                break
        trip = Trip(sender, right, address, is_exact)
        assert sender.group.routing is not None
        message = len(self.trips).to_bytes(4, "big")
        self.trips.append(trip)
        route = sender.group.routing.route(address, message, self.crowd.now, is_exact=is_exact)
        self._of_route[sender.number, route] = trip
        self.crowd.pump(sender)

    def _nearest(self, address: GroupAddress) -> set[PeerId]:
        """Of all that are up, and of those that have been for a while."""
        up = {group_address(node.peer_id): node for node in self.crowd.up()}
        order = by_distance(address, up)
        joined = (each for each in order if up[each].joined_at <= self.crowd.now - JOINING_PERIOD)
        return {up[order[0]].peer_id, up[next(joined)].peer_id}

    def _hear(self, node: Node, event: object) -> None:
        match event:
            case Posted() if not node.is_hostile:
                got = self.got.setdefault(node.number, {})
                assert event.post.id not in got, "a post is shown once"
                got[event.post.id] = self.crowd.now
            case Arrived():
                trip = self.trips[int.from_bytes(event.message[:4], "big")]
                trip.arrivals.append(node.peer_id)
                if not trip.is_exact and not trip.is_right:
                    trip.right |= self._nearest(trip.address)
            case Routed():
                self._of_route[node.number, event.id].n_hops = event.n_hops
            case PeerFaulted():
                self.faulted[event.reason] += 1

    def _corrupt(self, node: Node) -> None:
        corrupt(node.group, node, self.rng.randrange(2**32))

    # what is measured

    def _result(self) -> Result:
        plan = self.plan
        soon, minute, later, times = self._count_posts()
        sizes = sum(len(post.encoded) for _, post in self.posted.values()) or 1
        honest = [node for node in self.crowd.nodes if not node.is_hostile]
        sent = [
            posting.traffic.data_sent + posting.traffic.control_sent
            for node in honest
            if (posting := node.group.posting)
        ]
        counted = [trip for trip in self.trips if trip.sender.is_up and (trip.is_right or self._is_up(trip.right))]
        hops = [trip.n_hops for trip in counted if trip.is_right and trip.n_hops is not None]
        return Result(
            members=plan.members,
            seed=plan.seed,
            posts_in_10_s=soon.share,
            posts_stayed_a_minute=minute.share,
            posts_came_later=later.share,
            posts_median=round(times[len(times) // 2], 3),
            posts_slowest=round(times[-1], 3),
            posts_sent_mean=round(sum(sent) / (plan.members * (1 - plan.hostile)) / sizes, 3),
            posts_sent_most=round(max(sent) / sizes, 3),
            routes_counted=len(counted),
            routes_reached=_share([trip.is_right for trip in counted]),
            routes_exact=_share([trip.is_right for trip in counted if trip.is_exact]),
            routes_to_keys=_share([trip.is_right for trip in counted if not trip.is_exact]),
            routes_twice=sum(len(trip.arrivals) - len(set(trip.arrivals)) for trip in self.trips),
            hops_mean=round(sum(hops) / max(1, len(hops)), 2),
            log2_members=round(math.log2(plan.members), 2),
            shares_in_a_minute=self.lacking_shares.share,
            ring_wrong=round(sum(self.ring_wrong) / max(1, len(self.ring_wrong)), 4),
            invented_share=round(self.inventions.mean, 4) if self.inventions else 0.0,
            invented_share_most=round(self.inventions.worst, 4) if self.inventions else 0.0,
            faults=dict(Counter(self.crowd.faults) + (Counter() if plan.hostile else self.faulted)),
            caught=dict(self.crowd.caught + (self.faulted if plan.hostile else Counter())),
        )

    def _is_up(self, peers: set[PeerId]) -> bool:
        return any(node.peer_id in peers for node in self.crowd.up())

    def _count_posts(self) -> tuple[Tally, Tally, Tally, list[float]]:
        times: list[float] = []
        soon, minute, later = Tally(), Tally(), Tally()
        for node in self.crowd.nodes:
            if node.is_hostile:
                continue
            got, left_at = self.got.get(node.number, {}), self.left_at.get(node.number, math.inf)
            for post, (at, _) in self.posted.items():
                got_at = got.get(post, math.inf)
                if node.joined_at <= at < left_at:
                    if got_at < math.inf:
                        times.append(got_at - at)
                    if left_at >= at + SOON:
                        soon.add(got_at <= at + SOON)
                    if left_at >= at + MINUTE:
                        minute.add(got_at <= at + MINUTE)
                elif at < node.joined_at <= at + LATE and min(left_at, self.crowd.now) >= node.joined_at + MINUTE:
                    later.add(got_at <= node.joined_at + MINUTE)
        return soon, minute, later, sorted(times) or [0.0]

    # the split

    def _split(self, result: Result) -> None:
        crowd, n_records = self.crowd, len(self.published)
        split_at = crowd.now
        crowd.split()
        for _ in range(int(self.plan.split_period / SPLIT_STEP)):
            for side in (0, 1):
                self._post(side)
                self._publish(side)
            crowd.run(SPLIT_STEP)
        crowd.heal()
        begin = crowd.now
        fresh = [post for at, post in self.posted.values() if at >= split_at]
        posts = [post.id for post in fresh if post.expires_at / 1000 > WALL + begin + MINUTE]
        records = [record for _, record in self.published[n_records:]]
        result.posts_of_split, result.shares_of_split = len(posts), len(records)
        assert any(not self._has_posts(node, posts) for node in self._honest()), "there was no split"
        while None in (result.healed_ring, result.healed_posts, result.healed_shares):
            if crowd.now - begin > HEAL_LIMIT:
                return
            crowd.run(1.0)
            after, honest = round(crowd.now - begin, 1), self._honest()
            if result.healed_ring is None and not crowd.ring_errors():
                result.healed_ring = after
            if result.healed_posts is None and all(self._has_posts(node, posts) for node in honest):
                result.healed_posts = after
            if result.healed_shares is None and all(_has_records(node, records) for node in honest):
                result.healed_shares = after

    def _has_posts(self, node: Node, posts: list[PostId]) -> bool:
        got = self.got.get(node.number, {})
        return all(post in got for post in posts)


def _has_records(node: Node, records: list[Record]) -> bool:
    return all(node.group.held(record) == record for record in records)


def corrupt(group: Group, node: Node, seed: int) -> None:
    """It claims to have every post and gives none, drops what it should carry, or says that it is the nearest."""
    assert group.routing is not None
    made = Hostile(group.spec, node.identity, SeededRng(seed), node.joined_at)
    services: list[Any] = [Liar(says_busy=node.number % 2 == 0), made]
    group._services = services + ([group.providers] if group.providers is not None else [])
    group.posting, group.routing = None, made


def _share(truths: list[bool]) -> float:
    return round(sum(truths) / len(truths), 5) if truths else 1.0


def simulate(plan: Plan) -> Result:
    return Whole(plan).run()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    plan = Plan()
    parser.add_argument("--members", "--nodes", type=int, default=plan.members)
    parser.add_argument("--seed", type=int, default=plan.seed)
    parser.add_argument("--loss", type=float, default=plan.loss, help="share of packets that are lost")
    parser.add_argument("--churn", type=float, default=plan.churn, help="share of members replaced in 10 minutes")
    parser.add_argument("--hostile", type=float, default=plan.hostile, help="share of members that lie and drop")
    parser.add_argument("--period", type=float, default=plan.period, help="seconds over which all is spread")
    parser.add_argument("--posts", type=int, default=plan.posts)
    parser.add_argument("--bytes", type=int, default=plan.bytes, help="of each post, without its envelope")
    parser.add_argument("--routes", type=int, default=plan.routes)
    parser.add_argument("--shares", type=int, default=plan.shares)
    parser.add_argument("--split-period", type=float, default=plan.split_period, help="seconds of a split at the end")


def main(arguments: argparse.Namespace) -> None:
    gc.disable()  # some hundred thousand entries live as long as the run
    names = Plan.__dataclass_fields__
    result = simulate(Plan(**{name: value for name, value in vars(arguments).items() if name in names}))
    if arguments.json:
        print(json.dumps(asdict(result)))
        return
    for name, value in asdict(result).items():
        print(f"{name:22} {value}")
