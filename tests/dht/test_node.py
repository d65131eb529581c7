"""Whole nodes in virtual time: commands, hostile questions and answers, restarts, what may be sent to strangers."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import Conflict, InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.blob import LEAF_BYTES, MAX_BLOB_BYTES, Assembly, items_of
from swarmd.dht.contact import Contact, bound_id
from swarmd.dht.events import GetDone, PeersDone, PeersFound, PutDone
from swarmd.dht.items import Item, Signer, immutable
from swarmd.dht.krpc import Failure, Method, Query, Reply
from swarmd.dht.lookup import ALPHA, MAX_ASKED, MAX_NAMED, PATHS, Lookup
from swarmd.dht.node import MAX_OPERATIONS, Node, Settings
from swarmd.dht.responder import MAX_HELD, MAX_HELD_OF_ONE
from swarmd.dht.shelf import Shelf
from swarmd.dht.state import SavedItem, State
from swarmd.dht.table import GOOD_PERIOD, MAX_FAILURES, K, Table
from tests.dht.network import START, Host, Network, network_of

PRIVATE = Settings(network_key=b"k" * 32)
OPEN = Settings()
STRANGER = Address("203.0.113.9", 4000)
SIGNER = Signer(b"s" * 32)


@pytest.fixture(scope="module")
def crowd() -> list[Host]:
    return network_of(30, PRIVATE)[1]


def _got(host: Host, item: Item) -> Item | None:
    end = host.result(host.does(lambda now: host.node.get(item.target, now, salt=item.salt)))
    assert isinstance(end, GetDone)
    return end.item


def _put(host: Host, item: Item, cas: int | None = None) -> PutDone:
    end = host.result(host.does(lambda now: host.node.put(item, now, cas=cas)))
    assert isinstance(end, PutDone)
    return end


def test_all_know_others_from_one_contact(crowd: list[Host]) -> None:
    assert min(host.node.status().n_nodes for host in crowd) >= K


def test_items_are_found_by_everybody(crowd: list[Host]) -> None:
    for item in (immutable(b"any" * 300), SIGNER.item([b"list", 5], 1, b"salt"), SIGNER.item(b"no salt", 1)):
        assert _put(crowd[3], item).n_copies >= K
        assert [_got(host, item) for host in crowd[5:12]] == [item] * 7
    assert _got(crowd[4], immutable(b"nowhere")) is None


def test_a_newer_item_takes_the_place_and_an_older_one_does_not(crowd: list[Host]) -> None:
    old, new = (SIGNER.item(b"v", seq, b"news") for seq in (1, 2))
    _put(crowd[0], old)
    assert _put(crowd[1], new, cas=1).n_copies >= K
    outdone = _put(crowd[2], old)
    assert (outdone.n_copies, outdone.newer) == (0, new)
    assert _put(crowd[2], SIGNER.item(b"v", 3, b"news"), cas=1).newer == new
    assert _got(crowd[3], old) == new


def test_who_announces_is_found(crowd: list[Host]) -> None:
    info_hash = b"h" * 20
    for host in crowd[:3]:
        done = host.result(host.does(lambda now, host=host: host.node.announce(info_hash, now, port=99)))  # type: ignore[misc]
        assert isinstance(done, PeersDone) and done.n_copies >= K
    seeker = crowd[9]
    seeker.result(seeker.does(lambda now: seeker.node.get_peers(info_hash, now)))
    found = {peer for event in seeker.events if isinstance(event, PeersFound) for peer in event.peers}
    assert found == {Address(host.address.host, 99) for host in crowd[:3]}


def test_a_large_value_is_put_and_got(crowd: list[Host]) -> None:
    data = SeededRng(3).bytes(60_000)
    shelves = {host: Shelf(host.node) for host in (crowd[1], crowd[20])}
    _, key = shelves[crowd[1]].put(data, crowd[1].network.clock.now)
    assert _shelved(crowd[1], shelves[crowd[1]]) == (True, None)
    shelves[crowd[20]].get(key, crowd[20].network.clock.now)
    assert _shelved(crowd[20], shelves[crowd[20]]) == (True, data)
    shelves[crowd[20]].get(b"n" * 20, crowd[20].network.clock.now)
    assert _shelved(crowd[20], shelves[crowd[20]]) == (False, None)


def _shelved(host: Host, shelf: Shelf) -> tuple[bool, bytes | None]:
    for _ in range(2000):
        host.flush()
        for event in host.events:
            shelf.receive_event(event, host.network.clock.now)
        host.events.clear()
        if (done := shelf.next_event()) is not None:
            return done.is_whole, done.data
        host.flush()
        host.network.run(0.05)
    raise AssertionError("it ends")


@pytest.mark.parametrize("size", [0, 1, LEAF_BYTES, LEAF_BYTES + 1, 50 * LEAF_BYTES, MAX_BLOB_BYTES])
def test_a_value_as_items_and_back(size: int) -> None:
    data = SeededRng(size).bytes(size)
    items = {item.target: item for item in items_of(data)}
    assembly = Assembly(items_of(data)[-1].target)
    wanted = list(assembly.wanted)
    while wanted:
        assembly.receive(items[wanted.pop()])
        wanted += assembly.wanted
    assert assembly.result == data
    with pytest.raises(InvalidArgument):
        items_of(bytes(MAX_BLOB_BYTES + 1))


def test_a_root_that_lies_is_refused() -> None:
    data = SeededRng(1).bytes(5000)
    *parts, root = items_of(data)
    fields = root.value
    assert isinstance(fields, dict)
    for name, value in ((b"l", 10**9), (b"l", 999_999), (b"t", b"short"), (b"z", 2), (b"h", 5)):
        false = immutable({**fields, name: value})
        with pytest.raises(RemoteError):
            Assembly(false.target).receive(false)
    false = immutable({**fields, b"h": bytes(32)})
    assembly = Assembly(false.target)
    with pytest.raises(RemoteError):
        for item in (false, parts[-1], *parts[:-1]):
            assembly.receive(item)


def test_a_private_network_does_not_hear_others(crowd: list[Host]) -> None:
    network = crowd[0].network
    for settings in (OPEN, Settings(network_key=b"x" * 32)):
        outsider = network.add(settings)
        network.join(outsider, crowd[:3])
        network.run(10.0)
        assert outsider.node.status().n_nodes == 0
        network.remove(outsider)


def test_a_restarted_node_finds_again_within_seconds() -> None:
    network, hosts = network_of(20, PRIVATE)
    item = immutable(b"kept")
    _put(hosts[2], item)
    old = hosts[7]
    network.remove(old)
    new = network.add(PRIVATE, old.address, old.node.state(network.clock.now))
    network.run(2.0)
    assert new.node.node_id == old.node.node_id
    assert new.node.status().n_nodes >= K
    assert _got(new, item) == item


def test_a_node_alone_ends_what_it_is_told() -> None:
    host = Network(1).add(PRIVATE)
    item = immutable(b"v")
    assert _got(host, item) is None
    assert _put(host, item).n_copies == 0
    host.network.run(100.0)
    assert host.node.status().n_operations == 0


def test_items_outlive_their_owner_and_their_first_holders() -> None:
    network, hosts = network_of(24, PRIVATE)
    item = immutable(b"kept")
    _put(hosts[0], item)
    for _ in range(3):
        network.run(2400.0)
        holders = [host for host in network.hosts.values() if host.node.status().n_items]
        for host in holders[: len(holders) // 2]:
            network.remove(host)
            network.join(network.add(PRIVATE), list(network.hosts.values())[:1])
    network.run(60.0)
    assert _got(next(reversed(network.hosts.values())), item) == item


def test_too_many_searches_are_refused() -> None:
    network, hosts = network_of(12, PRIVATE)
    node = hosts[0].node
    with pytest.raises(Conflict):
        for number in range(MAX_OPERATIONS + 1):
            node.find_nodes(number.to_bytes(20, "big"), network.clock.now)
    hosts[0].flush()
    network.run(30.0)
    assert node.status().n_operations == 0


def _lone(settings: Settings = OPEN) -> Node:
    return Node(settings, SeededRng(1), START)


def _asked(node: Node, query: Query, address: Address = STRANGER) -> list[bytes]:
    node.receive_datagram(krpc.encode(query, node.settings.network_key), address, START)
    return [data for data, to in node.datagrams_to_send() if to == address]


def _prove(node: Node, address: Address, node_id: bytes = b"p" * 20) -> None:
    for data in _asked(node, Query(Method.PING, node_id, transaction=b"a"), address):
        message = krpc.decode(data)
        if isinstance(message, Query):
            node.receive_datagram(krpc.encode(Reply(node_id, transaction=message.transaction)), address, START)


@pytest.mark.parametrize("method", [Method.PING, Method.FIND_NODE, Method.GET_PEERS, Method.GET, Method.SAMPLE])
def test_a_stranger_is_not_sent_more_than_three_times_its_question(method: Method) -> None:
    node = _lone()
    for number in range(30):
        _prove(node, Address(f"198.51.{number}.1", 1), bytes([number * 8]) * 20)
    target = _fill(node)
    for padding in (b"a", b"a" * 20):
        question = Query(method, b"q" * 20, target, want=(False, True), transaction=padding)
        sent = _asked(node, question)
        assert 0 < sum(map(len, sent)) <= 3 * len(krpc.encode(question))


def _fill(node: Node) -> bytes:
    """With an item of the largest size and peers under its target."""
    address = Address("198.51.0.1", 1)
    item = immutable(bytes(996))
    token = _token(node, address, item.target)
    assert _asked(node, Query(Method.PUT, b"p" * 20, token=token, item=item, transaction=b"a"), address)
    for port in range(1, 60):
        question = Query(Method.ANNOUNCE, b"p" * 20, item.target, token=token, port=port, transaction=b"a")
        assert _asked(node, question, address)
    return item.target


def _token(node: Node, address: Address, target: bytes) -> bytes:
    answers = [
        krpc.decode(data) for data in _asked(node, Query(Method.GET, b"p" * 20, target, transaction=b"a"), address)
    ]
    return next(answer.token for answer in answers if isinstance(answer, Reply))


def test_a_large_answer_goes_once_the_address_is_proved() -> None:
    node = _lone()
    _prove(node, Address("198.51.0.1", 1))
    target = _fill(node)
    (ping,) = _asked(node, Query(Method.GET, b"q" * 20, target, transaction=b"mine"))
    question = krpc.decode(ping)
    assert isinstance(question, Query) and question.method is Method.PING
    reply = krpc.encode(Reply(b"q" * 20, transaction=question.transaction))
    node.receive_datagram(reply, Address(STRANGER.host, STRANGER.port + 1), START)
    assert node.datagrams_to_send() == [], "somebody else's answer proves nothing"
    node.receive_datagram(reply, STRANGER, START)
    ((answer, address),) = node.datagrams_to_send()
    held = krpc.decode(answer)
    assert address == STRANGER and isinstance(held, Reply)
    assert (held.transaction, held.item) == (b"mine", immutable(bytes(996)))


def test_answers_that_wait_are_bounded_and_the_oldest_gives_way() -> None:
    node = _lone()
    _prove(node, Address("198.51.0.1", 1))
    target = _fill(node)
    askers = [Address(f"203.{number}.113.1", 6881) for number in range(MAX_HELD + 1)]
    pings = {
        address: _asked(node, Query(Method.GET, b"q" * 20, target, transaction=b"a"), address) for address in askers
    }
    assert all(len(sent) <= 1 for sent in pings.values())
    assert len(node._responder._held) == MAX_HELD
    assert _answered(node, askers[0], pings[askers[0]]) == [], "the first has waited longest"
    assert len(_answered(node, askers[-1], pings[askers[-1]])) == 1


def test_answers_that_wait_for_one_address_are_bounded() -> None:
    node = _lone()
    _prove(node, Address("198.51.0.1", 1))
    target = _fill(node)
    sent = [
        _asked(node, Query(Method.GET, b"q" * 20, target, transaction=b"%d" % number))
        for number in range(MAX_HELD_OF_ONE + 5)
    ]
    assert len(_answered(node, STRANGER, sent[0])) == MAX_HELD_OF_ONE


def _answered(node: Node, address: Address, pings: list[bytes]) -> list[bytes]:
    """What goes to an address once it has answered our ping."""
    for data in pings:
        ping = krpc.decode(data)
        assert isinstance(ping, Query) and ping.method is Method.PING
        node.receive_datagram(krpc.encode(Reply(b"q" * 20, transaction=ping.transaction)), address, START)
    return [data for data, to in node.datagrams_to_send() if to == address]


def test_a_flood_from_one_network_is_answered_in_part() -> None:
    node = _lone()
    sent: Counter[bool] = Counter()
    for number in range(2000):
        sent[
            bool(_asked(node, Query(Method.PING, b"q" * 20, transaction=b"a"), Address("203.0.113.5", 1 + number)))
        ] += 1
    assert sent[True] == node.settings.rates.of_network_burst
    assert _asked(node, Query(Method.PING, b"q" * 20, transaction=b"a"), Address("198.51.100.1", 1))


def test_wrong_puts_are_refused_with_the_code_of_bep_44() -> None:
    node = _lone()
    address = Address("198.51.0.1", 1)
    _prove(node, address)
    good = SIGNER.item(b"v", 5, b"salt")
    token = _token(node, address, good.target)
    forged = Item(b"5:other", good.key, good.salt, good.seq, good.signature)
    large = Item(b"1001:" + bytes(1001))
    cases = [
        (good, b"12345678", 203),
        (forged, token, 206),
        (large, _token(node, address, large.target), 205),
        (good, token, 0),
        (SIGNER.item(b"v", 4, b"salt"), token, 302),
    ]
    for item, used, code in cases:
        (answer,) = _asked(node, Query(Method.PUT, b"p" * 20, token=used, item=item, transaction=b"a"), address)
        message = krpc.decode(answer)
        assert (message.code if isinstance(message, Failure) else 0) == code


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    node = _lone()
    node.receive_datagram(krpc.encode(Reply(b"q" * 20, transaction=b"abcd")), STRANGER, START)
    assert (node.status().n_nodes, node.status().counts["unasked"]) == (0, 1)
    assert node.datagrams_to_send() == []


def test_a_node_that_is_not_who_was_asked_is_not_believed() -> None:
    node = _lone()
    pings = _asked(node, Query(Method.PING, b"q" * 20, transaction=b"a"))
    question = next(message for message in map(krpc.decode, pings) if isinstance(message, Query))
    node.receive_datagram(krpc.encode(Reply(b"x" * 20, transaction=question.transaction)), STRANGER, START)
    assert node.status().n_nodes == 0


def test_a_read_only_node_asks_as_such_and_answers_nobody() -> None:
    node = _lone(Settings(is_read_only=True))
    assert _asked(node, Query(Method.PING, b"q" * 20, transaction=b"a")) == []
    node.bootstrap([STRANGER], START)
    asked = krpc.decode(node.datagrams_to_send()[0][0])
    assert isinstance(asked, Query) and asked.is_read_only


def test_on_the_public_network_false_ids_are_not_taken() -> None:
    table = Table(bytes(20), is_bound=True, is_public=True)
    address = Address("8.8.8.8", 1)
    table.answered(Contact(b"\xff" * 20, address), START)
    assert len(table) == 0
    table.answered(Contact(bound_id(address, SeededRng(1)), address), START)
    assert len(table) == 1
    table.answered(Contact(bound_id(address, SeededRng(2)), Address("8.8.8.8", 2)), START)
    assert len(table) == 1, "a host has one place"


@given(st.lists(st.binary(min_size=20, max_size=20), max_size=60), st.binary(min_size=20, max_size=20))
def test_the_closest_are_the_closest(ids: list[bytes], target: bytes) -> None:
    table = Table(bytes(20))
    for number, node_id in enumerate(ids):
        table.answered(Contact(node_id, Address("192.0.2.1", number + 1)), START)
    known = sorted(table.contacts(), key=lambda contact: contact.number ^ int.from_bytes(target, "big"))
    assert table.closest(target) == known[:K]


def test_good_nodes_stay_and_dead_ones_are_replaced() -> None:
    table = Table(bytes(20))
    contacts = [Contact(bytes([255 - number]) * 20, Address("192.0.2.1", number + 1)) for number in range(2 * K)]
    for contact in contacts:
        table.answered(contact, START)
    assert table.contacts() == contacts[:K]
    assert table.questionable(START + GOOD_PERIOD, 60.0) == contacts[:1]
    for _ in range(MAX_FAILURES):
        table.failed(contacts[0])
    assert table.contacts() == [*contacts[1:K], contacts[-1]]
    place = table.stale(START + GOOD_PERIOD)
    assert place == 0
    assert table.target_in(place, bytes(20))[0] & 0x80


def test_a_lookup_ends_whatever_others_invent() -> None:
    rng = SeededRng(1)
    contacts = [Contact(rng.bytes(20), Address("192.0.2.1", port)) for port in range(1, 10)]
    lookup = Lookup(bytes(20), contacts, b"o" * 20)
    asked = 0
    while not lookup.is_done:
        picked = lookup.pick_next()
        assert len(picked) <= PATHS * ALPHA
        for contact in picked:
            asked += 1
            nearer = contact.number // 2
            lie = [Contact((nearer + n).to_bytes(20, "big"), Address(f"10.0.{asked}.1", n + 1)) for n in range(20)]
            lookup.replied(contact, lie)
    assert asked == MAX_ASKED


def test_of_a_long_reply_the_closest_are_asked() -> None:
    first = Contact(b"\xff" * 20, Address("203.0.113.1", 1))
    named = [Contact(bytes(18) + bytes([n, 0]), Address(f"10.0.{n}.1", 1)) for n in range(1, 40)]
    lookup = Lookup(bytes(20), [first], b"o" * 20, n_paths=1)
    asked: list[Contact] = []
    while picked := lookup.pick_next():
        asked += picked
        for contact in picked:
            lookup.failed(contact) if contact != first else lookup.replied(contact, reversed(named))
    assert asked == [first, *named[:MAX_NAMED]]


def test_a_hostile_path_does_not_capture_the_others() -> None:
    """One of three first contacts names only its own kind, nearer than anybody: honest nodes are found too."""
    honest = {n: Contact(bytes([n]) + bytes(19), Address("192.0.2.1", n)) for n in range(1, 100)}
    target = b"\0" * 20
    liar = Contact(b"\xff" * 20, Address("203.0.113.1", 1))
    lies = [Contact(bytes(19) + bytes([n]), Address("203.0.113.2", n)) for n in range(1, 9)]
    lookup = Lookup(target, [liar, honest[90], honest[80]], b"o" * 20)
    while not lookup.is_done:
        for contact in lookup.pick_next():
            number = contact.node_id[0]
            near = [honest[n] for n in range(max(1, number // 2 - 4), number // 2 + 5) if n in honest]
            lookup.replied(contact, lies if contact == liar or contact in lies else near)
    assert honest[1] in lookup.closest(2 * K)


NODE_BYTES = st.binary(max_size=100) | st.builds(
    lambda method, target, token, padding: krpc.encode(
        Query(method, b"q" * 20, target, token=token, item=immutable(b"x"), transaction=padding)
    ),
    st.sampled_from(list(Method)),
    st.binary(min_size=20, max_size=20),
    st.binary(max_size=10),
    st.binary(max_size=40),
)


@given(st.lists(NODE_BYTES, max_size=10))
def test_any_bytes_into_a_node(datagrams: list[bytes]) -> None:
    node = _lone()
    for data in datagrams:
        node.receive_datagram(data, STRANGER, START)
        sent = sum(len(answer) for answer, _ in node.datagrams_to_send())
        assert sent <= 3 * len(data)
    node.handle_timer(START + 100.0)
    assert node.status().n_items == 0


def test_state_is_what_a_restart_needs() -> None:
    saved = (SavedItem(immutable(b"v"), "a", 100.0, 7150.0),)
    node = Node(OPEN, SeededRng(1), START, State(b"n" * 20, (), saved))
    assert (node.node_id, node.status().n_items) == (b"n" * 20, 1)
    assert node.state(START).items == saved
    assert node.state(START + 100.0).items == ()
