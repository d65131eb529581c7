"""BEP 43 with real daemons: who is behind a NAT becomes read-only, and who is in the open does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.farm import Farm
from tests.e2e.internet import HOME, HOME_PLACE, NAT, OPEN, OPEN_PLACE, Internet, world
from tests.e2e.nodes import Node
from tests.e2e.privileges import needs

pytestmark = [needs("ip", "nft"), pytest.mark.root]

NODES = 24
NEWCOMERS = 80
WAIT = 40.0


@pytest.fixture
def net() -> Iterator[Internet]:
    """The NAT forgets a way after a second: sooner than daemons take it for forgotten."""
    with world(udp_timeout=1), Internet(seed=1) as net:
        for _ in range(NODES // 4):
            net.add(4)
            net.run(0.1)
        yield net


def daemon(farm: Farm, net: Internet, host: str, place: str) -> Node:
    config = f'[dht]\nmode = "public"\nbootstrap = ["{net.first}"]\n'
    prefix = ("ip", "netns", "exec", place)
    return farm.node(listen=(f"{host}:7927",), config=config, prefix=prefix, module="tests.e2e.hasty").start()


def come(net: Internet, *sought: Node) -> bool:
    """Somebody new, who looks for the places of these and is told of them by others; whether he knows each."""
    (newcomer,) = net.add()
    net.run(0.2)
    for node in sought:
        net.look(newcomer, bytes.fromhex(node.call("dht.status")["node_id"]))
    net.run(0.3)
    return net.n_that_know(OPEN, [newcomer]) > 0


def test_a_daemon_behind_a_nat_becomes_read_only_and_one_in_the_open_does_not(net: Internet, farm: Farm) -> None:
    home, far = daemon(farm, net, HOME, HOME_PLACE), daemon(farm, net, OPEN, OPEN_PLACE)
    come(net, home, far)
    assert net.heard[NAT] is False, "it asks as others do"
    for _ in range(NEWCOMERS):
        if home.call("dht.status")["read_only"]:
            break
        come(net, home, far)
    assert "read-only: in" in home.swarm("dht", "status")
    assert home.call("dht.status")["seen_as"].startswith(f"{NAT}:")
    assert any(host.address in net.tried for host in net.hosts[NODES:]), "they did try"
    home.popen("dht", "get", "00" * 20)
    assert net.run(WAIT, until=lambda: net.heard[NAT]), "its questions say that it is read-only"
    found = [come(net, home, far) for _ in range(4)]
    assert any(found) and net.n_that_know(NAT, net.hosts[-4:]) == 0, "nobody has it in a table"
    status = far.call("dht.status")
    assert (status["read_only"], "reached from outside" in status["reached"]) == (False, True)
    assert net.heard[OPEN] is False
