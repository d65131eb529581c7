"""How soon a `get` has ended in a group that is larger than anybody's neighbours, whoever holds the object.

usage: python -m tests.bench.providers [--daemons 30] [--rounds 20] [--seed 1] [--deaf]

One group of real daemons in one DHT, who were told nothing but one address. In each round one of them, drawn by lot,
shares a file of 1 MiB, and a member that is not linked with it gets it, as soon as it is listed there. --deaf: the
ring of the group knows nothing (`tests.e2e.deaf`), so that only the DHT can tell who holds what.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from tests.bench._places import place_for
from tests.e2e.farm import MIB, Farm
from tests.e2e.nodes import Node

NAME = "bench"
SPACE = 512 << 20
AT_ONCE = 3
"""Daemons started side by side."""
LOCAL = "--no-mdns"
LOOK_PERIOD, SETTLE_LOOKS = 20.0, 6
"""Whether the group has settled; it is more meshed than it wants to be for two minutes at most."""


@dataclass(frozen=True, slots=True)
class Round:
    period: float
    """Seconds from the call until it is done."""
    by: str
    """What found the holder; "met": the group has linked the two meanwhile."""


def main(daemons: int, rounds: int, seed: int, module: str) -> None:
    with tempfile.TemporaryDirectory(dir=place_for(SPACE)) as folder:
        farm = Farm(Path(folder))
        try:
            bench(farm, form(farm, daemons, module), rounds, SeededRng(seed))
        finally:
            farm.kill()


def form(farm: Farm, count: int, module: str) -> list[Node]:
    """One group, in which all know of all."""
    clock = SystemClock()
    began = clock.monotonic()
    nodes = farm.start(arguments=(LOCAL,), module=module)
    while len(nodes) < count:
        arguments = (LOCAL, "--bootstrap", nodes[0].address())
        nodes += farm.start(min(AT_ONCE, count - len(nodes)), arguments=arguments, module=module)
    ticket = nodes[0].call("group.create", name=NAME)["ticket"]
    for node in nodes[1:]:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        node.wait_until(partial(is_complete, node, count), "members")
    settle(nodes)
    links = [len(neighbours(node)) for node in nodes]
    print(f"{count} members after {clock.monotonic() - began:.0f} s, links: {min(links)} to {max(links)}", flush=True)
    return nodes


def settle(nodes: list[Node]) -> None:
    """Until links that nobody needs are not let go any more."""
    n_links, n_before, looks = count_links(nodes), 0, 0
    while n_links != n_before and looks < SETTLE_LOOKS:
        time.sleep(LOOK_PERIOD)
        n_links, n_before, looks = count_links(nodes), n_links, looks + 1


def count_links(nodes: list[Node]) -> int:
    return sum(len(neighbours(node)) for node in nodes)


def is_complete(node: Node, count: int) -> bool:
    return int(node.call("group.show", group=NAME)["members"]) == count - 1


def neighbours(node: Node) -> set[str]:
    return {each["peer_id"] for each in node.call("group.show", group=NAME)["neighbours"]}


def bench(farm: Farm, nodes: list[Node], rounds: int, rng: SeededRng) -> None:
    ids = {node.call("id")["peer_id"]: node for node in nodes}
    done: list[Round] = []
    for number in range(rounds):
        path = farm.file(f"{number}.bin", MIB)
        _, getter = one_round(ids, path, rng)
        done.append(fetch(getter, path))
        print(f"  {done[-1].period:6.2f} s by {done[-1].by}", flush=True)
        assert (getter.downloads / path.name).read_bytes() == path.read_bytes()
    times = sorted(each.period for each in done)
    most = times[int(0.95 * (len(times) - 1))]
    print(f"done after {statistics.median(times):.2f} s (median), {most:.2f} s (95 %), {times[-1]:.2f} s at most")
    print(f"found by: {dict(Counter(each.by for each in done))}")


def one_round(ids: dict[str, Node], path: Path, rng: SeededRng) -> tuple[Node, Node]:
    """Who has shared it, and one who lists it and is not linked with it."""
    while True:
        giver_id, giver = rng.choice(sorted(ids.items()))
        far = sorted(ids.keys() - neighbours(giver) - {giver_id})
        if far:
            break
    giver.call("share", path=str(path), group=NAME)
    while True:
        getter = ids[rng.choice(far)]
        getter.wait_until(partial(is_listed, getter, path.name), "shares")
        if giver_id not in neighbours(getter):
            return giver, getter
        far = sorted(ids.keys() - neighbours(giver) - {giver_id})
        assert far, "all are linked with it meanwhile"


def is_listed(node: Node, name: str) -> bool:
    return any(share["name"] == name for share in node.call("ls")["shares"])


def fetch(node: Node, path: Path, group: str = NAME) -> Round:
    clock = SystemClock()
    before, began = found(node), clock.monotonic()
    transfer = node.call("get", source=path.name, group=group, target_dir=str(node.downloads))
    with node.control() as control:
        control.ask("transfer.wait", id=transfer["id"])
        while "params" in (message := control.receive()):
            pass
    period = clock.monotonic() - began
    assert message.get("result", {}).get("state") == "done", message
    by = [way for way, count in found(node).items() if count > before[way]]
    return Round(period, " and ".join(by) or "met")


def found(node: Node) -> dict[str, int]:
    """How many providers it has found so far, by what."""
    lines = str(node.call("metrics")["text"]).splitlines()
    ways = {way: f'swarmd_providers_found_total{{by="{way}"}} ' for way in ("ring", "dht")}
    return {way: int(line.removeprefix(head)) for line in lines for way, head in ways.items() if line.startswith(head)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option, default in (("daemons", 30), ("rounds", 20), ("seed", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--deaf", dest="module", action="store_const", const="tests.e2e.deaf", default="swarmd")
    main(**vars(parser.parse_args()))
