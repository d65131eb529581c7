"""BEP 43 with real daemons as they are: one at home behind a NAT, one in the open, on a small internet of DHT nodes.

How long it takes until the one at home says that it is read-only, and until nobody has it in his tables any more; the
one in the open is never to be read-only. Newcomers join all the time, as on the real network, and look for the places
of both. Half an hour at the least, for that is what the daemon waits (`daemon.dht_reachability`); hardly any CPU.

usage: python -m tests.bench.dht_nat [NODES] [SEED]          as root
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from swarmd.core.clock import SystemClock
from tests.e2e.farm import Farm
from tests.e2e.internet import HOME, HOME_PLACE, NAT, OPEN, OPEN_PLACE, Host, Internet, world
from tests.e2e.nodes import Node

NODES = 150
NEWCOMER_PERIOD = 60.0
LIMIT = 60
"""Newcomers, one a minute, after whom it is given up."""
AFTER = 15
"""More of them, once it is read-only."""


def main(nodes: int = NODES, seed: int = 1) -> None:
    with world(), Internet(seed) as net, tempfile.TemporaryDirectory() as folder:
        farm = Farm(Path(folder))
        try:
            while len(net.hosts) < nodes:
                net.add(5)
                net.run(0.2)
            bench(net, *daemons(farm, net))
        finally:
            farm.kill()


def daemons(farm: Farm, net: Internet) -> tuple[Node, Node]:
    """At home, in the open."""
    config = f'[dht]\nmode = "public"\nbootstrap = ["{net.first}"]\n'
    places = ((HOME, HOME_PLACE), (OPEN, OPEN_PLACE))
    home, far = (
        farm.node(listen=(f"{host}:7927",), config=config, prefix=("ip", "netns", "exec", place))
        for host, place in places
    )
    return home.start(), far.start()


def bench(net: Internet, home: Node, far: Node) -> None:
    clock = SystemClock()
    began = clock.monotonic()
    for _ in range(LIMIT):
        minute(net, home, far)
        if report(net, home, far, clock.monotonic() - began):
            break
    print(f"read-only after {(clock.monotonic() - began) / 60:.1f} min", flush=True)
    for _ in range(AFTER):
        newcomer = minute(net, home, far)
        report(net, home, far, clock.monotonic() - began)
        assert not net.n_that_know(NAT, newcomer), "nobody learns of it any more"
    assert net.heard[NAT], "its queries say so"
    assert not far.call("dht.status")["read_only"]


def minute(net: Internet, home: Node, far: Node) -> list[Host]:
    """Somebody joins, and looks for the places of both; others look for this and that."""
    newcomer = net.add()
    net.run(2.0)
    for node in (home, far):
        net.look(newcomer[0], bytes.fromhex(node.call("dht.status")["node_id"]))
    for host in net.rng.sample(net.hosts, len(net.hosts) // 10):
        net.look(host, net.rng.bytes(20))
    net.run(NEWCOMER_PERIOD - 2.0)
    return newcomer


def report(net: Internet, home: Node, far: Node, period: float) -> bool:
    """Whether the one at home is read-only."""
    for name, node, host in (("home", home, NAT), ("open", far, OPEN)):
        status = node.call("dht.status")
        print(
            f"{period / 60:5.1f} min, {name}: {status['nodes']} known, in {net.n_that_know(host)} tables,"
            f" ro={int(net.heard.get(host, False))}; {status['reached']}",
            flush=True,
        )
    return bool(home.call("dht.status")["read_only"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
