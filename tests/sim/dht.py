"""A DHT of many nodes in virtual time: lookups, items and how many of them are found, with loss, churn and hostile
nodes.

All join through a few, some put items, others get them. With `--hours` the network then lives on: `--churn` of the
nodes is replaced each hour, and the items are asked for again at the end, whether who put them is there or not.

Hostile nodes (`--hostile`; BEP 42 is on then, every host has an address of its own) answer each question with their
own kind closest to the target, dead contacts whose IDs fit their addresses, and false values; they never keep
anything.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.contact import Contact, bound_id
from swarmd.dht.events import GetDone, NodesDone, PutDone
from swarmd.dht.items import Item, Signer, immutable
from swarmd.dht.krpc import Method, Query, Reply
from swarmd.dht.node import Settings, State
from tests.dht.network import Host, Network

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


class Liar:
    """A hostile node in the place of a `Node`: it answers at once and tells nothing but lies."""

    def __init__(self, host: Host, crowd: Crowd) -> None:
        self.host = host
        self.crowd = crowd
        self.node_id = host.node.node_id

    def receive(self, data: bytes, source: Address) -> None:
        key = self.crowd.settings.network_key
        try:
            query = krpc.decode(data, key)
        except RemoteError:
            return
        if isinstance(query, Query):
            self.host.network.send(krpc.encode(self._lie(query), key), self.host.address, source)

    def _lie(self, query: Query) -> Reply:
        reply = Reply(self.node_id, transaction=query.transaction, token=b"whatever")
        if not query.target:
            return reply
        number = int.from_bytes(query.target, "big")
        friends = sorted(self.crowd.liars, key=lambda liar: int.from_bytes(liar.node_id, "big") ^ number)[:6]
        contacts = [Contact(liar.node_id, liar.host.address) for liar in friends]
        contacts += [self.crowd.dead_contact(query.target) for _ in range(2)]
        reply = replace(reply, contacts=tuple(contacts))
        if query.method is not Method.GET:
            return reply
        mutable = self.crowd.mutable.get(query.target)
        false = Item(b"5:false") if mutable is None else replace(mutable, encoded=b"5:false", seq=99)
        return replace(reply, item=false)


class Crowd:
    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.network = Network(setting.seed, setting.loss)
        self.rng = SeededRng(setting.seed + 1)
        self.settings = Settings(is_public=True) if setting.hostile else Settings(network_key=KEY)
        self.honest: list[Host] = []
        self.liars: list[Liar] = []
        self.mutable: dict[bytes, Item] = {}

    def add(self, is_hostile: bool = False) -> Host:
        network = self.network
        address = network.fresh_address()
        host = network.add(self.settings, address, State(bound_id(address, network.rng)))
        if is_hostile:
            network.join(host, [])
            liar = Liar(host, self)
            host.receive = liar.receive  # type: ignore[method-assign]
            self.liars.append(liar)
            self._be_known(liar)
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

    def dead_contact(self, target: bytes) -> Contact:
        """Nobody is there; of the public internet, so BEP 42 has a say: a few tries for an ID near the target."""
        number = int.from_bytes(target, "big")
        tries = []
        for _ in range(4):
            address = Address(f"150.{self.rng.randrange(256)}.{self.rng.randrange(256)}.1", 6881)
            tries.append(Contact(bound_id(address, self.rng), address))
        return min(tries, key=lambda contact: contact.number ^ number)

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
    crowd.mutable = {item.target: item for item in items if item.is_mutable}
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
