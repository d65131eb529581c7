"""Who is behind a NAT becomes read-only, and nobody else: nodes of the public internet in virtual time, and of a home.

A NAT lets in, for NAT_PERIOD, whom its node has sent to.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise

import pytest

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.daemon import dht_reachability
from swarmd.daemon.dht_reachability import (
    LONGEST_REST_PERIOD,
    MAX_HOSTS,
    OPEN_PERIOD,
    OUTSIDE,
    PROVED_PERIOD,
    REST_PERIOD,
    TRIAL_PERIOD,
    Reach,
    Reachability,
    reason_of,
)
from swarmd.dht.contact import bound_id
from swarmd.dht.node import Node, Settings
from swarmd.dht.state import State
from tests.dht.network import Host, Network

SETTINGS = Settings(is_public=True)
NAT_PERIOD = 300.0
KNOWN = [Address(f"20.7.{number}.1", 5) for number in range(OUTSIDE)]
STRANGER = "20.9.0.1"


class Watched(Host):
    """A node that minds whether it is reached, as a daemon does; behind a NAT if `is_shut`."""

    def __init__(self, network: Network, address: Address, *, is_shut: bool = False) -> None:
        rng = SeededRng(network.rng.randrange(2**60))
        node = Node(SETTINGS, rng, network.clock.now, State(bound_id(address, rng)))
        super().__init__(network, node, address)
        self.reachability = Reachability(network.clock.now)
        self.is_shut = is_shut
        self.verdicts = {Reach.UNKNOWN}
        self.opened: dict[str, float] = {}
        network.hosts[address] = self

    def flush(self) -> None:
        now = self.network.clock.now
        for data, address in self.node.datagrams_to_send():
            self.reachability.sent(address.host, now)
            self.opened[address.host] = now
            self.network.send(data, self.address, address)
        super().flush()
        if self.reachability.is_look_due(now):
            known = [contact.address for table in self.node.tables.values() for contact in table.contacts()]
            self.reachability.look(known, self.node.status().seen_as, now)
            self._follow()

    def receive(self, data: bytes, source: Address) -> None:
        now = self.network.clock.now
        if self.is_shut and now - self.opened.get(source.host, -NAT_PERIOD) >= NAT_PERIOD:
            return
        self.node.receive_datagram(data, source, now)
        self.reachability.asked(self.node.take_askers(), now)
        self._follow()
        self.flush()

    def _follow(self) -> None:
        self.verdicts.add(self.reachability.reach)
        self.node.set_read_only(self.reachability.is_read_only)


def world(seed: int, count: int, shut: int, address: str = "") -> tuple[Network, list[Watched]]:
    """All joined through the last one; the first `shut` are behind NATs."""
    network = Network(seed)
    hosts = []
    for number in range(count):
        place = Address(address.format(number), 6881) if address else network.fresh_address()
        hosts.append(Watched(network, place, is_shut=number < shut))
    for host in hosts[:-1]:
        network.join(host, hosts[-1:])
        network.run(0.2)
    return network, hosts


def test_who_is_behind_a_nat_becomes_read_only_and_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dht_reachability, "OUTSIDE", 8)  # the network is small, to be cheap, but all use it
    network, hosts = world(seed=1, count=50, shut=4)
    for _ in range(round(TRIAL_PERIOD / 300) + 3):
        for host in hosts:
            host.does(partial(host.node.find_nodes, network.rng.bytes(20)))
        network.run(300.0)
    assert all(Reach.UNREACHED not in host.verdicts for host in hosts[4:])
    assert sum(host.reachability.reach is Reach.REACHED for host in hosts[4:]) > 40
    assert all(host.node.status().is_read_only for host in hosts[:4]), "what a NAT lets in is no proof"
    hosts[0].is_shut = False
    stranger = network.add(SETTINGS)
    stranger.node.bootstrap([hosts[0].address], network.clock.now)
    stranger.flush()
    network.run(2.0)
    assert not hosts[0].node.status().is_read_only, "nor is it any more, once somebody gets through"


@pytest.mark.parametrize("address", ["127.0.0.{0}", "192.168.1.{0}", "10.0.{0}.1"])
def test_in_a_home_nobody_becomes_read_only(address: str) -> None:
    """With as many as there may be, all of them behind what looks like a NAT."""
    made = Reachability(0.0)
    known = [Address(address.format(number), 5) for number in range(1, 200)]
    minutes(made, range(3 * TRIAL), known)
    assert (made.reach, made.is_read_only) == (Reach.UNKNOWN, False)
    made.asked({"192.168.1.250", "127.0.0.9"}, 24 * 3600.0)
    assert made.reach is Reach.UNKNOWN, "nor does it prove anything"
    assert "fewer nodes of the public internet" in reason_of(made, 0.0)


def minutes(made: Reachability, period: Iterable[int], known: list[Address], seen: str = "198.51.100.1") -> None:
    for minute in period:
        made.look(known, Address(seen, 5), minute * 60.0)


TRIAL = round(TRIAL_PERIOD / 60)
REST = round(REST_PERIOD / 60)


def test_few_nodes_are_no_trial() -> None:
    made = Reachability(0.0)
    minutes(made, range(10 * TRIAL), KNOWN[1:])
    assert made.reach is Reach.UNKNOWN
    minutes(made, range(10 * TRIAL, 11 * TRIAL - 1), KNOWN)
    assert made.reach is Reach.UNKNOWN, "they have to be known all the time"
    minutes(made, [11 * TRIAL], KNOWN)
    assert made.is_read_only
    minutes(made, [11 * TRIAL + 1], KNOWN[1:])
    assert not made.is_read_only, "it has moved to a small network, perhaps"


def test_it_is_tried_again_ever_more_rarely() -> None:
    made = Reachability(0.0)
    is_read_only = []
    for minute in range(4 * 24 * 60):
        minutes(made, [minute], KNOWN)
        is_read_only.append(made.is_read_only)
    turns = [at for at in range(1, len(is_read_only)) if is_read_only[at] != is_read_only[at - 1]]
    lengths = [after - before for before, after in pairwise(turns)]
    rests, trials = lengths[::2], lengths[1::2]
    assert rests[:3] == [REST, 2 * REST, 4 * REST] and max(rests) == LONGEST_REST_PERIOD / 60
    assert set(trials) == {TRIAL}


def test_a_query_of_a_stranger_ends_it_at_once() -> None:
    made = Reachability(0.0)
    minutes(made, range(TRIAL + 1), KNOWN)
    assert made.is_read_only and "read-only" in reason_of(made, 60.0)
    made.sent(STRANGER, TRIAL_PERIOD)
    made.asked({STRANGER}, TRIAL_PERIOD + OPEN_PERIOD - 1)
    assert made.is_read_only, "it was let in because we have sent there"
    made.asked({STRANGER}, TRIAL_PERIOD + OPEN_PERIOD)
    assert made.reach is Reach.REACHED and not made.is_read_only
    later = TRIAL + 10 + round(PROVED_PERIOD / 60)
    minutes(made, range(TRIAL, later + TRIAL), KNOWN)
    assert not made.is_read_only, "a proof holds, and then it is tried anew"
    minutes(made, [later + TRIAL], KNOWN)
    assert made.is_read_only


def test_behind_another_address_nothing_holds_that_was_known() -> None:
    made = Reachability(0.0)
    minutes(made, range(TRIAL + 1), KNOWN)
    minutes(made, [TRIAL + 2], KNOWN, "198.51.100.2")
    assert (made.reach, made.is_read_only) == (Reach.UNKNOWN, False)


def test_hosts_that_sessions_have_spoken_with_prove_nothing() -> None:
    made = Reachability(0.0, lambda: {STRANGER})
    made.asked({STRANGER}, OPEN_PERIOD)
    assert made.reach is Reach.UNKNOWN


def test_where_too_much_was_sent_nothing_is_believed_for_a_while() -> None:
    """A NAT may let in one of those that were forgotten."""
    made = Reachability(0.0)
    hosts = [f"20.8.{number >> 8}.{number & 255}" for number in range(MAX_HOSTS + 1)]
    for host in hosts:
        made.sent(host, 1.0)
    verdicts = []
    for now in (OPEN_PERIOD, OPEN_PERIOD + 1.0):
        made.asked(hosts, now)
        verdicts.append(made.reach)
    assert verdicts == [Reach.UNKNOWN, Reach.REACHED]
