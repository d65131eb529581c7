"""A DHT of many nodes in virtual time: lookups, items and how many of them are found, with loss, churn and hostile
nodes.

All join through a few, some put items, others get them. With `--hours` the network then lives on: `--churn` of the
nodes is replaced each hour, and the items are asked for again at the end, whether who put them is there or not.

Every host has an address of its own and an ID bound to it. Hostile nodes (`--hostile`; `--eclipse`: with IDs made for
whatever is looked for) are described in `liars`. They answer lookups too, so `right` says in how many the closest
honest node was among those that something would have been put to.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.contact import bound_id
from swarmd.dht.events import GetDone, NodesDone, PutDone
from swarmd.dht.items import Item, Signer, immutable
from swarmd.dht.krpc import Method, Query
from swarmd.dht.node import Settings
from swarmd.dht.state import State
from tests.dht.network import Host, Network
from tests.sim.liars import Coven, Liar

KEY = b"k" * 32
N_FIRST = 3
COLLECT_EVERY = 200
"""Nodes that left: a node and its parts refer to each other."""
AT_ONCE = 20
"""Operations that are under way together."""


@dataclass(frozen=True)
class Setting:
    nodes: int
    seed: int = 1
    items: int = 200
    lookups: int = 200
    loss: float = 0.0
    churn: float = 0.0
    hours: float = 0.0
    hostile: float = 0.0
    eclipse: bool = False
    join_period: float = 120.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--lookups", type=int, default=200)
    parser.add_argument("--loss", type=float, default=0.0, help="share of datagrams that are lost")
    parser.add_argument("--churn", type=float, default=0.0, help="share of nodes that is replaced every hour")
    parser.add_argument("--hours", type=float, default=0.0, help="how long the network lives before the last gets")
    parser.add_argument("--hostile", type=float, default=0.0, help="share of nodes that lie")
    parser.add_argument("--eclipse", action="store_true", help="with IDs around whatever is looked for")
    parser.add_argument("--join-period", type=float, default=120.0, help="seconds in which all come")


def main(arguments: argparse.Namespace) -> None:
    gc.disable()  # millions of short-lived objects, none in cycles that matter
    names = Setting.__dataclass_fields__
    figures = run(Setting(**{name: value for name, value in vars(arguments).items() if name in names}))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value}")


class Crowd:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.network = Network(setting.seed, setting.loss)
        self.rng = SeededRng(setting.seed + 1)
        self.settings = Settings(network_key=KEY)
        self.honest: list[Host] = []
        self.coven = Coven(self.rng, KEY, is_eclipsing=setting.eclipse)

    def add(self, is_hostile: bool = False) -> Host:
        network = self.network
        address = network.fresh_address()
        host = network.add(self.settings, address, State(bound_id(address, network.rng)))
        if is_hostile:
            network.join(host, [])
            self._be_known(Liar(host, self.coven))
        else:
            self.honest.append(host)
            first = self.honest[:-1]
            network.join(host, first if len(first) <= N_FIRST else self.rng.sample(first, N_FIRST))
        return host

    def _be_known(self, liar: Liar) -> None:
        """It asks some for itself, and answers when they ask back; so tables fill with it as with others."""
        for host in self.rng.sample(self.honest, min(len(self.honest), 40)):
            query = Query(Method.FIND_NODE, liar.node_id, liar.node_id, transaction=b"liar")
            data = krpc.encode(query, self.settings.network_key)
            self.network.send(data, liar.host.address, host.address)

    def replace_one(self) -> None:
        host = self.honest.pop(self.rng.randrange(len(self.honest)))
        self.network.remove(host)
        self.add()

    def results(self, starts: list[Any]) -> list[Any]:
        """Of commands `(host, command)`, AT_ONCE at a time; None where the host was gone."""
        ends: list[Any] = []
        for at in range(0, len(starts), AT_ONCE):
            numbers = [(host, host.does(command)) for host, command in starts[at : at + AT_ONCE]]
            ends += [host.result(number, 300.0) for host, number in numbers]
        return ends

    def some(self, count: int) -> list[Host]:
        return [self.rng.choice(self.honest) for _ in range(count)]


def run(setting: Setting) -> dict[str, Any]:
    began = SystemClock().monotonic()
    crowd = Crowd(setting)
    _join(crowd, setting)
    figures: dict[str, Any] = {"nodes": setting.nodes, "seed": setting.seed}
    figures |= _look_up(crowd, setting)
    items = _put(crowd, setting, figures)
    figures["found"], figures["false"], figures["get_rounds_median"] = _get(crowd, items)
    if setting.hours:
        before, up = crowd.network.n_datagrams, len(crowd.honest)
        _live(crowd, setting)
        rate = (crowd.network.n_datagrams - before) / up / (setting.hours * 3600)
        figures["datagrams_per_node_per_s"] = round(rate, 3)
        figures["found_at_end"], figures["false_at_end"], _ = _get(crowd, items)
    figures["table_size"] = round(mean(host.node.status().n_nodes for host in crowd.honest), 1)
    figures["datagrams"] = crowd.network.n_datagrams
    figures["cpu_s"] = round(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]), 1)
    figures["wall_s"] = round(SystemClock().monotonic() - began, 1)
    figures["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return figures


def _join(crowd: Crowd, setting: Setting) -> None:
    for number in range(setting.nodes):
        crowd.add(number > N_FIRST and crowd.rng.random() < setting.hostile)
        crowd.network.run(setting.join_period / setting.nodes)
    crowd.network.run(60.0)


def _look_up(crowd: Crowd, setting: Setting) -> dict[str, Any]:
    """Right is: the closest honest node of all is among those found."""
    targets = [crowd.rng.bytes(20) for _ in range(setting.lookups)]
    hosts = crowd.some(setting.lookups)
    starts = [(host, _find(host, target)) for host, target in zip(hosts, targets, strict=True)]
    ends: list[NodesDone] = crowd.results(starts)
    n_right = 0
    for host, target, end in zip(hosts, targets, ends, strict=True):
        number = int.from_bytes(target, "big")
        others = (other.node.node_id for other in crowd.honest if other is not host)
        n_right += min(others, key=lambda other: int.from_bytes(other, "big") ^ number) in end.node_ids
    rounds = [end.rounds for end in ends]
    return {"right": n_right / len(ends), "rounds_median": median(rounds), "rounds_most": max(rounds)}


def _find(host: Host, target: bytes) -> Any:
    return lambda now: host.node.find_nodes(target, now)


def _put(crowd: Crowd, setting: Setting, figures: dict[str, Any]) -> list[Item]:
    """Every second one is mutable."""
    signer = Signer(b"s" * 32)
    items = []
    for number in range(setting.items):
        value = b"%d" % number + b"." * 100
        items.append(signer.item(value, 1, b"%d" % number) if number % 2 else immutable(value))
    crowd.coven.items = {item.target: item for item in items if item.is_mutable}
    starts = [(host, _putting(host, item)) for host, item in zip(crowd.some(len(items)), items, strict=True)]
    ends: list[PutDone] = crowd.results(starts)
    figures["copies_mean"] = round(mean(end.n_copies for end in ends), 2)
    return items


def _putting(host: Host, item: Item) -> Any:
    return lambda now: host.node.put(item, now)


def _get(crowd: Crowd, items: list[Item]) -> tuple[float, int, float]:
    starts = [(host, _getting(host, item)) for host, item in zip(crowd.some(len(items)), items, strict=True)]
    ends: list[GetDone] = crowd.results(starts)
    n_found = sum(end.item == item for end, item in zip(ends, items, strict=True))
    n_false = sum(end.item not in (None, item) for end, item in zip(ends, items, strict=True))
    return n_found / len(items), n_false, median(end.rounds for end in ends)


def _getting(host: Host, item: Item) -> Any:
    return lambda now: host.node.get(item.target, now, salt=item.salt)


def _live(crowd: Crowd, setting: Setting) -> None:
    end = crowd.network.clock.now + setting.hours * 3600
    period = 3600 / (setting.churn * setting.nodes) if setting.churn else setting.hours * 3600
    n_replaced = 0
    while crowd.network.clock.now < end:
        crowd.network.run(min(period, end - crowd.network.clock.now))
        if setting.churn:
            crowd.replace_one()
            n_replaced += 1
            if not n_replaced % COLLECT_EVERY:
                gc.collect()
