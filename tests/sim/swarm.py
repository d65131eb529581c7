"""`python -m tests.sim swarm`: one seeder and many leechers that all ask at once, on lines of one rate.

Each has a session with every other one; with `--neighbours` only with those, and of the latencies, that a group of that
size has settled on (`tests.sim.crowd`). With `--spread S` the lines' rates lie anywhere from `--rate` to S times that.

Prints the wall time over the time that the slowest line itself needs, how many copies the seeder sent, and what was
wasted.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, field
from functools import partial

from swarmd.core.rng import SeededRng
from swarmd.replication.pickers import Order
from tests.sim.clockwork import Clockwork
from tests.sim.content import Content
from tests.sim.crowd import Crowd
from tests.sim.network import GOODPUT, Host, Network, Stream
from tests.sim.node import Habits, Node

MIB = 1 << 20
JOIN_PERIOD = 10.0
SETTLE_PERIOD = 120.0
"""Seconds until the group's topology is what it stays."""

Pair = tuple[int, int]


@dataclass
class Plan:
    """What is simulated. Rates in Mbit/s, times in seconds; `nodes` counts leechers."""

    nodes: int = 16
    mib: float = 64
    chunk_kib: int = 256
    rate: float = 20
    seed: int = 1
    latency: float = 0.001
    kernel_kib: int = 16
    stagger: float = 0.0
    order: Order = Order.RAREST
    slow: float = 0.0  # share of leechers with a tenth of the rate
    churn: float = 0.0  # times a leecher is killed in the time the line needs, on the average
    down_period: float = 2.0
    liars: int = 0
    stallers: int = 0
    fails: float = 0.0
    limit: float = 40  # times the line's own time
    neighbours: bool = False
    spread: float = 1.0


@dataclass
class Result:
    nodes: int
    mib: float
    rate: float
    seed: int
    is_complete: bool
    wall: float
    ideal: float
    ratio: float
    median_ratio: float
    links: float
    links_of_seeder: int
    seeder_copies: float
    wasted_copies: float
    rejected: int
    penalties: int
    faults: list[str] = field(default_factory=list)


class Swarm:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clockwork = Clockwork()
        self.network = Network(self.clockwork, plan.kernel_kib << 10)
        self.content = Content(int(plan.mib * MIB), plan.chunk_kib << 10)
        self.rng = SeededRng(plan.seed)
        self.nodes = [self._make_node(number) for number in range(plan.nodes + 1)]
        self.seeder, *self.leechers = self.nodes
        self.latencies = settled_links(len(self.nodes), plan.seed) if plan.neighbours else self._all_links()

    @property
    def ideal(self) -> float:
        return self.content.shape.total_size * 8 / self.plan.rate / 1e6

    def _make_node(self, number: int) -> Node:
        plan = self.plan
        rate = plan.rate * 1e6 / 8 * GOODPUT
        if plan.spread > 1:
            rate *= 1 + (plan.spread - 1) * self.rng.random()
        if number and self.rng.random() < plan.slow:
            rate /= 10
        habits = Habits(fails=plan.fails if number else 0.0)
        if 0 < number <= plan.liars:
            habits = Habits(lies=0.3)
        elif plan.liars < number <= plan.liars + plan.stallers:
            habits = Habits(hangs=0.1)
        return Node(number, self.clockwork, self.content, Host(rate, rate), plan.seed, habits)

    def run(self) -> Result:
        plan = self.plan
        self.seeder.start()
        self.seeder.seed()
        for node in self.leechers:
            node.start()
        for one, other in self.latencies:
            self._connect(self.nodes[one], self.nodes[other])
        for i, node in enumerate(self.leechers):
            self.clockwork.at(1.0 + plan.stagger * i, node.fetch, plan.order)
        if plan.churn:
            self._plan_churn()
        staying = self.leechers[plan.liars :]  # who lies is thrown out and may end with nothing
        self.clockwork.run(1.0 + plan.limit * self.ideal, lambda: all(node.is_done for node in staying))
        return self._result()

    def _all_links(self) -> dict[Pair, float]:
        numbers = range(len(self.nodes))
        return {(one, other): self.plan.latency for one in numbers for other in range(one)}

    def _connect(self, one: Node, other: Node) -> None:
        if not (one.is_up and other.is_up) or one.is_connected(other):
            return
        latency = self.latencies[max(one.number, other.number), min(one.number, other.number)]
        for near, far in ((one, other), (other, one)):
            stream = Stream(
                self.network,
                near.host,
                far.host,
                latency,
                partial(far.deliver, near),
                partial(near.drained, far),
            )
            near.connect(far, stream)

    def _plan_churn(self) -> None:
        for node in self.leechers:
            self.clockwork.after(1.0 + self._until_next_kill(), self._kill, node)

    def _until_next_kill(self) -> float:
        return self.rng.random() * 2 * self.ideal / self.plan.churn

    def _kill(self, node: Node) -> None:
        node.stop()
        self.clockwork.after(self.rng.random() * 2 * self.plan.down_period, self._restart, node)

    def _restart(self, node: Node) -> None:
        node.start()
        for pair in self.latencies:
            if node.number in pair:
                self._connect(*(self.nodes[number] for number in pair))
        node.fetch(self.plan.order)
        self.clockwork.after(self._until_next_kill(), self._kill, node)

    def _result(self) -> Result:
        plan, ideal = self.plan, self.ideal
        size = self.content.shape.total_size
        ends = sorted((node.tally.done_at or self.clockwork.now) - 1.0 for node in self.leechers)
        progress = [node.replicator.progress(self.content.content_id) for node in self.leechers]
        return Result(
            nodes=plan.nodes,
            mib=plan.mib,
            rate=plan.rate,
            seed=plan.seed,
            is_complete=all(node.is_done for node in self.leechers),
            wall=round(ends[-1], 3),
            ideal=round(ideal, 3),
            ratio=round(ends[-1] / ideal, 4),
            median_ratio=round(ends[len(ends) // 2] / ideal, 4),
            links=round(2 * len(self.latencies) / len(self.nodes), 1),
            links_of_seeder=sum(0 in pair for pair in self.latencies),
            seeder_copies=round(self.seeder.host.sent_bytes / size, 4),
            wasted_copies=round(sum(one.wasted_bytes for one in progress if one) / size, 4),
            rejected=sum(node.tally.rejected for node in self.nodes),
            penalties=sum(node.tally.penalties for node in self.nodes),
            faults=[fault for node in self.nodes for fault in node.tally.faults],
        )


def settled_links(n_members: int, seed: int) -> dict[Pair, float]:
    """Pairs of neighbours, the higher number first, and their latencies, in a group that formed through one member."""
    crowd = Crowd(seed)
    crowd.add()
    for _ in range(1, n_members):
        crowd.add(0)
        crowd.run(JOIN_PERIOD / n_members)
    crowd.run(SETTLE_PERIOD)
    return {
        (node.number, other): link.latency
        for node in crowd.nodes
        for other, link in sorted(node.links.items())
        if other < node.number
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, kind in (("nodes", int), ("mib", float), ("chunk-kib", int), ("rate", float), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Plan, name.replace("-", "_")))
    parser.add_argument("--neighbours", action="store_true", help="links as a settled group has them")
    for name in ("latency", "stagger", "slow", "spread", "churn", "fails"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Plan, name))
    for name in ("kernel-kib", "liars", "stallers"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Plan, name.replace("-", "_")))
    parser.add_argument("--order", type=Order, choices=list(Order), default=Order.RAREST)


def main(arguments: argparse.Namespace) -> None:
    names = Plan.__dataclass_fields__.keys() & vars(arguments).keys()
    result = Swarm(Plan(**{name: getattr(arguments, name) for name in names})).run()
    if arguments.json:
        print(json.dumps(asdict(result)))
    else:
        for name, value in asdict(result).items():
            print(f"{name:14} {value}")
