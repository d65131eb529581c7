"""Attacks on whole nodes and on lookups: few addresses, invented contacts, loss, false addresses, forged tokens."""

from __future__ import annotations

import pytest

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.contact import Contact, bound_id, is_bound, region_of
from swarmd.dht.events import GetDone, PutDone
from swarmd.dht.items import Item, Signer, immutable
from swarmd.dht.krpc import Failure, Method, Query, Reply
from swarmd.dht.lookup import CREDIT, MAX_OF_REGION, Lookup
from swarmd.dht.node import Node, Settings
from swarmd.dht.state import State
from swarmd.dht.table import MAX_PER_REGION, K, Table
from swarmd.dht.tokens import ROTATE_PERIOD
from tests.dht.network import START, Host, Network
from tests.sim.dht import Setting, run
from tests.sim.liars import Places

PRIVATE = Settings(network_key=b"k" * 32)
HOME = Address("192.0.2.1", 6881)
SIGNER = Signer(b"s" * 32)


def _honest(number: int) -> Contact:
    return Contact(bytes([number]) + bytes(19), Address(f"20.0.{number}.1", 1))


def test_who_has_few_addresses_has_few_places_in_a_lookup() -> None:
    near = [Contact(bytes(19) + bytes([n]), Address(f"66.6.6.{n}", 1)) for n in range(1, 60)]
    lookup = Lookup(bytes(20), [_honest(n) for n in range(100, 130)], b"o" * 20)
    asked: list[Contact] = []
    while not lookup.is_done:
        for contact in lookup.pick_next():
            asked.append(contact)
            lookup.replied(contact, near if contact in near else [*near[:3], *(_honest(n) for n in range(1, 40, 2))])
    assert sum(contact in near for contact in asked) == MAX_OF_REGION
    assert _honest(1) in lookup.closest()


def test_a_network_on_one_host_is_looked_through_all_the_same() -> None:
    nodes = [Contact(bytes([n]) + bytes(19), Address("127.0.0.1", n)) for n in range(1, 21)]
    lookup = Lookup(bytes(20), nodes, b"o" * 20)
    while not lookup.is_done:
        for contact in lookup.pick_next():
            lookup.replied(contact, [])
    assert lookup.closest() == nodes[:K]


def test_who_names_nobody_but_the_silent_is_not_followed() -> None:
    """Invented contacts, nearer than anybody and each in a network of its own."""
    liar = _honest(99)
    lookup = Lookup(bytes(20), [liar, *(_honest(n) for n in range(100, 120))], b"o" * 20, n_paths=1)
    n_silent = 0
    while not lookup.is_done:
        for contact in lookup.pick_next():
            if contact.address.host.startswith("150."):
                n_silent += 1
                lookup.slow(contact)
                lookup.failed(contact)
            elif contact == liar:
                dead = [Contact(bytes(19) + bytes([n]), Address(f"150.{n}.1.1", 1)) for n in range(1, 9)]
                lookup.replied(contact, dead)
            else:
                lookup.replied(contact, [_honest(n) for n in range(1, 20)])
    assert n_silent <= CREDIT + 1
    assert _honest(1) in lookup.closest()


def test_a_region_with_too_many_places_in_a_bucket_gives_way() -> None:
    table = Table(bytes(20))
    for number in range(K):
        table.answered(Contact(bytes([128 + number]) * 20, Address(f"66.6.6.{number}", 1)), START)
    assert len(table) == K, "while nobody else is there"
    for number in range(2 * K):
        newcomer = Contact(bytes([160 + number]) * 20, Address(f"20.0.{number}.1", 1))
        assert table.has_room(newcomer) == (number < K - MAX_PER_REGION)
        table.answered(newcomer, START)
    regions = [region_of(contact.address.host) for contact in table.contacts()]
    assert regions.count(region_of("66.6.6.1")) == MAX_PER_REGION
    assert len(table) == K


def test_ids_that_do_not_fit_their_address_are_not_taken_on_a_private_network_either() -> None:
    table = Table(bytes(20), is_bound=True)
    table.answered(Contact(b"\xff" * 20, Address("8.8.8.8", 1)), START)
    assert len(table) == 0
    table.answered(Contact(b"\xff" * 20, Address("192.168.1.8", 1)), START)
    assert len(table) == 1, "local addresses are exempt"


def test_a_new_node_takes_an_id_that_fits_its_address_and_keeps_it() -> None:
    network = Network(7)
    hosts = [network.add(PRIVATE) for _ in range(12)]
    for host in hosts[1:]:
        network.join(host, hosts[:1])
    network.run(30.0)
    newcomer = network.add(PRIVATE, state=State(b"\xff" * 20))
    network.join(newcomer, hosts[:1])
    network.run(30.0)
    taken = newcomer.node.node_id
    assert is_bound(taken, newcomer.address.host) and taken != b"\xff" * 20
    assert newcomer.node.status().n_nodes >= K
    assert newcomer.node.status().seen_as == newcomer.address
    known = [host for host in hosts if Contact(taken, newcomer.address) in host.node.state(0.0).contacts]
    assert known, "and is taken into tables by it"
    network.run(600.0)
    assert newcomer.node.node_id == taken
    moved = network.add(PRIVATE, state=newcomer.node.state(network.clock.now))
    network.join(moved, hosts[:1])
    network.run(60.0)
    assert is_bound(moved.node.node_id, moved.address.host), "and another one when it has moved"


def test_each_family_has_its_own_id() -> None:
    node = Node(Settings(is_public=True, has_ipv6=True), SeededRng(1), START)
    seen = {False: Address("9.9.9.9", 5), True: Address("2606:4700::1111", 5)}
    for voter in (Address("20.0.0.1", 1), Address("2600::1", 1)):
        node.bootstrap([voter], START)
        for data, to in node.datagrams_to_send():
            question = krpc.decode(data)
            if to == voter and isinstance(question, Query):
                node_id = bound_id(voter, SeededRng(2))
                answer = Reply(node_id, transaction=question.transaction, seen_as=seen[voter.is_ipv6])
                node.receive_datagram(krpc.encode(answer), voter, START)
    state = node.state(START)
    assert is_bound(state.node_id, seen[False].host) and is_bound(state.node_id_ipv6, seen[True].host)
    again = Node(Settings(is_public=True, has_ipv6=True), SeededRng(3), START, state).state(START)
    assert (again.node_id, again.node_id_ipv6) == (state.node_id, state.node_id_ipv6)


def test_one_lost_datagram_in_five_costs_no_item() -> None:
    network = Network(3, loss=0.2)
    hosts = [network.add(PRIVATE) for _ in range(30)]
    for host in hosts[1:]:
        network.join(host, hosts[:3])
        network.run(0.5)
    network.run(60.0)
    items = [immutable(number) for number in range(20)]
    for number, item in enumerate(items):
        done = _done(hosts[number], lambda now, node=hosts[number].node, item=item: node.put(item, now))
        assert isinstance(done, PutDone) and done.n_copies >= K // 2
    for number, item in enumerate(items):
        done = _done(
            hosts[-1 - number], lambda now, node=hosts[-1 - number].node, item=item: node.get(item.target, now)
        )
        assert isinstance(done, GetDone) and done.item == item


def _done(host: Host, command: object) -> object:
    return host.result(host.does(command))  # type: ignore[arg-type]


def _answer(node: Node, query: Query, address: Address, now: float) -> krpc.Message:
    node.receive_datagram(krpc.encode(query), address, now)
    return next(krpc.decode(data) for data, to in node.datagrams_to_send() if to == address)


@pytest.mark.parametrize(
    ("age", "address", "other_target", "code"),
    [
        (0.0, HOME, False, 0),
        (1.9 * ROTATE_PERIOD, HOME, False, 0),
        (2 * ROTATE_PERIOD, HOME, False, 203),
        (0.0, Address("192.0.2.2", 6881), False, 203),
        (0.0, HOME, True, 203),
    ],
)
@pytest.mark.parametrize("method", [Method.PUT, Method.ANNOUNCE])
def test_stale_and_forged_tokens(method: Method, age: float, address: Address, other_target: bool, code: int) -> None:
    node = Node(Settings(), SeededRng(1), 0.0)
    item = immutable(b"v")
    target = b"x" * 20 if other_target else item.target
    given = _answer(node, Query(Method.GET, b"q" * 20, target, transaction=b"a"), HOME, 0.0)
    assert isinstance(given, Reply)
    kept = item if method is Method.PUT else None
    query = Query(method, b"q" * 20, item.target, token=given.token, item=kept, transaction=b"a", is_read_only=True)
    answer = _answer(node, query, address, age)
    assert (answer.code if isinstance(answer, Failure) else 0) == code
    assert node.status().n_items + node.status().n_info_hashes == (not code)


def test_false_items_are_not_kept_and_not_believed() -> None:
    node = Node(Settings(), SeededRng(1), 0.0)
    good = SIGNER.item(b"true", 5, b"salt")
    other = Signer(b"o" * 32)
    false = [
        Item(good.encoded, good.key, good.salt, good.seq, other.item(b"true", 5, b"salt").signature),
        Item(good.encoded, good.key, good.salt, 6, good.signature),
        Item(b"5:false", good.key, good.salt, good.seq, good.signature),
        Item(good.encoded, good.key, b"pepper", good.seq, good.signature),
    ]
    for item in false:
        given = _answer(node, Query(Method.GET, b"q" * 20, item.target, transaction=b"a"), HOME, 0.0)
        assert isinstance(given, Reply)
        query = Query(Method.PUT, b"q" * 20, token=given.token, item=item, transaction=b"a", is_read_only=True)
        answer = _answer(node, query, HOME, 0.0)
        assert isinstance(answer, Failure) and answer.code == 206
    assert node.status().n_items == 0


def test_a_flood_of_questions_leaves_what_is_kept_bounded() -> None:
    """From as many addresses as one likes to forge."""
    node = Node(PRIVATE, SeededRng(1), 0.0)
    for number in range(12_000):
        address = Address(f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1", 6881)
        query = Query(Method.GET, bound_id(address, SeededRng(number)), number.to_bytes(20, "big"), transaction=b"a")
        node.receive_datagram(krpc.encode(query, PRIVATE.network_key), address, number / 2_000)
        node.datagrams_to_send()
    status = node.status()
    assert (status.n_nodes, status.n_items, status.n_info_hashes) == (0, 0, 0), "nobody has answered anything"
    assert status.n_questions <= 200


def test_the_nearest_places_of_hostile_addresses_are_found() -> None:
    """The attack that the simulation makes is the one that it says."""
    rng = SeededRng(5)
    addresses = [Address(f"30.{number}.7.1", 1) for number in range(200)]
    places = Places()
    for address in addresses:
        places.add(address)
    for _ in range(20):
        target = rng.bytes(20)
        number = int.from_bytes(target, "big")
        best = sorted(int.from_bytes(Places.of_address(address, target), "big") ^ number for address in addresses)
        found = places.nearest(target, 5)
        assert [contact.number ^ number for contact in found] == best[:5]
        assert all(is_bound(contact.node_id, contact.address.host) for contact in found)


def test_lookups_are_right_where_a_fifth_is_hostile_and_around_the_keys() -> None:
    """Small, so that it is quick; `python -m tests.sim dht --nodes 1000 --hostile 0.2 --eclipse` is the figure."""
    figures = run(Setting(60, seed=11, items=30, lookups=30, hostile=0.2, eclipse=True))
    assert figures["false"] == 0
    assert figures["found"] >= 0.9 and figures["right"] >= 0.9
