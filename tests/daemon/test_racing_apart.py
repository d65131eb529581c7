"""Races to a peer on another network, and sessions that move to a better one: two network namespaces, with a firewall
that swallows what a broken network would.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import Unreachable
from swarmd.core.rng import SystemRng
from swarmd.daemon.calling import Reached
from swarmd.daemon.dialer import Dialer
from swarmd.net.tcpcarrier import CONNECT_TIMEOUT
from swarmd.transport.paths import Kind
from swarmd.transport.racing import ATTEMPT_DELAY
from tests.daemon.both import Both, Known, one_session
from tests.daemon.hosts import PATIENCE, make_group
from tests.e2e.privileges import needs
from tests.net.namespaces import ANN, BOB, BOB_IPV4, cable, inside, ip

pytestmark = [needs("ip", "nft"), pytest.mark.root]

A_TIMEOUT = CONNECT_TIMEOUT / 2
"""Seconds: what is over by then has waited for nobody's time-out."""

# These look like public addresses to us, and lead nowhere from here.
ANN_FAR, BOB_FAR, BOB_FAR_TOO = "20.79.31.1", "20.79.31.2", "20.79.31.3"
ANN_FAR_V6, BOB_FAR_V6 = "2a02:79:31:1::1", "2a02:79:31:2::2"


@pytest.fixture(scope="module")
def two_networks() -> Iterator[None]:
    """ANN and BOB are on one cable, and reach each other by addresses of other networks as well."""
    with cable():
        for name, far, far_v6 in ((ANN, ANN_FAR, ANN_FAR_V6), (BOB, BOB_FAR, BOB_FAR_V6)):
            ip(f"-netns {name} address add {far}/24 dev lan0")
            ip(f"-netns {name} address add {far_v6}/32 dev lan0 nodad")
        ip(f"-netns {BOB} address add {BOB_FAR_TOO}/24 dev lan0")
        yield


@contextmanager
def firewall(*swallowed: str) -> Iterator[None]:
    """BOB hears nothing of this kind, and nobody is told: `udp`, or an address of BOB's."""
    rules = []
    for each in swallowed:
        family = "ip6" if ":" in each else "ip"
        rules.append("meta l4proto udp drop" if each == "udp" else f"{family} daddr {each} drop")
    lines = ["table inet race {", "chain input {", "type filter hook input priority 0;", *rules, "}", "}", ""]
    subprocess.run(["ip", "netns", "exec", BOB, "nft", "-f", "-"], input="\n".join(lines), text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "netns", "exec", BOB, "nft", "delete", "table", "inet", "race"], check=True)


@pytest.fixture
async def apart(two_networks: None) -> AsyncIterator[tuple[Both, Both, int]]:
    """The first node is ANN's, and so is this thread; the second one is BOB's, and listens on all addresses. And its
    port.
    """
    group = make_group()
    with ExitStack() as stack:
        with inside(BOB):
            far = Both(group)
            (any_v4,) = far.listen(Address("0.0.0.0", 0))
            far.listen(Address("::", any_v4.port))
        stack.enter_context(inside(ANN))
        near = Both(group)
        near.peers.set_own_addresses([Address(ANN_FAR, 7927), Address("10.79.31.1", 7927), Address(ANN_FAR_V6, 7927)])
        yield near, far, any_v4.port
        await near.peers.stop()
        await far.peers.stop()


Apart = tuple[Both, Both, int]


async def test_ipv6_that_swallows_everything_costs_one_delay(apart: Apart) -> None:
    near, far, port = apart
    addresses = [Address(BOB_FAR_V6, port), Address(BOB_FAR, port)]
    loop = asyncio.get_running_loop()
    with firewall(BOB_FAR_V6):
        begun = loop.time()
        reached = await near.peers.reach(addresses, far.peer_id)
        assert 0.9 * ATTEMPT_DELAY < loop.time() - begun < A_TIMEOUT
    assert reached == Reached(far.peer_id, addresses[1])
    await one_session(near, far)
    assert near.kind_to(far) is Kind.UDP


async def test_a_dead_address_and_no_udp_cost_two(apart: Apart) -> None:
    near, far, port = apart
    addresses = [Address(BOB_FAR_TOO, port), Address(BOB_FAR, port)]
    loop = asyncio.get_running_loop()
    with firewall(BOB_FAR_TOO, "udp"):
        begun = loop.time()
        reached = await near.peers.reach(addresses, far.peer_id)
        assert 1.8 * ATTEMPT_DELAY < loop.time() - begun < A_TIMEOUT
        assert reached == Reached(far.peer_id, addresses[1])
        await one_session(near, far)
    assert near.kind_to(far) is Kind.TCP


async def test_a_session_moves_when_udp_gets_through(apart: Apart) -> None:
    near, far, port = apart
    place = Address(BOB_FAR, port)
    dialer = Dialer(near.peers, Known(place), near.clock, SystemRng())
    now = near.clock.monotonic()
    with firewall("udp"):
        await near.peers.reach([place], far.peer_id)
        await one_session(near, far)
        assert near.kind_to(far) is Kind.TCP
        dialer.handle_timer(now)
        dialer.handle_timer(now + 40)
        assert dialer.is_dialing(place)
        await dialer.stop()
        await one_session(near, far)
    dialer = Dialer(near.peers, Known(place), near.clock, SystemRng())
    dialer.handle_timer(now)
    dialer.handle_timer(now + 40)
    await near.sink.until(lambda: near.kind_to(far) is Kind.UDP)
    await far.sink.until(lambda: len(far.peers.connections()) == 1 and far.kind_to(near) is Kind.UDP)
    await one_session(near, far)
    await dialer.stop()


async def test_a_session_moves_to_a_near_address_that_becomes_known(apart: Apart) -> None:
    near, far, port = apart
    place, home = Address(BOB_FAR, port), Address(BOB_IPV4, port)
    source = Known(place)
    dialer = Dialer(near.peers, source, near.clock, SystemRng())
    await near.peers.reach([place], far.peer_id)
    await one_session(near, far)
    (old,) = near.peers.connections()
    assert near.kind_to(far) is Kind.UDP
    now = near.clock.monotonic()
    for period in (0, 100, 200):
        dialer.handle_timer(now + period)
    assert not dialer.is_dialing(place) and not dialer.is_dialing(home), "there is nothing better"
    source.known = [place, home]
    dialer.handle_timer(now + 300)
    dialer.handle_timer(now + 340)
    assert dialer.is_dialing(home) and not dialer.is_dialing(place)
    await near.sink.until(lambda: old.link.is_closed)
    await one_session(near, far)
    (moved,) = near.peers.connections()
    assert (moved.dialled, moved.link.kind) == (home, Kind.TCP)
    assert far.kind_to(near) is Kind.TCP and not near.peers.can_improve(moved)
    await dialer.stop()


async def test_of_a_near_and_a_far_way_at_once_the_near_one_is_kept(apart: Apart) -> None:
    """Whichever opens first: both ends see alike which one that is."""
    near, far, port = apart
    place, home = Address(BOB_FAR, port), Address(BOB_IPV4, port)
    await asyncio.gather(
        *(near.peers.reach([address], far.peer_id) for address in (place, home)), return_exceptions=True
    )
    await near.sink.until(lambda: [each.dialled for each in near.peers.connections()] == [home])
    await one_session(near, far)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unreachable):
            await near.peers.reach([place], far.peer_id)
    assert [each.dialled for each in near.peers.connections()] == [home]
