"""What one node answers, statement by statement of BEP 5, 32, 33, 42, 43, 44 and 51: bytes in, bytes out.

Questions are written as others write them, by hand or as dictionaries, not with our own encoder.
"""

from __future__ import annotations

from typing import Any

import pytest

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.dht import bencode, krpc
from swarmd.dht.contact import Contact, decode_contacts
from swarmd.dht.items import MAX_SALT_BYTES, Item, Signer, immutable, mutable_target
from swarmd.dht.krpc import PADDING_BYTES, Method, Query, Reply
from swarmd.dht.limits import ANSWER_BYTES, GROWTH
from swarmd.dht.node import MAX_ASKERS, Node, Settings
from swarmd.dht.responder import MAX_ITEM_REPLY_BYTES, MAX_REPLY_BYTES
from swarmd.dht.server import MAX_SAMPLES, SAMPLE_INTERVAL
from tests.dht.network import START

HOME, STRANGER = Address("198.51.100.7", 4000), Address("203.0.113.9", 4000)
HOME_IPV6 = Address("2001:db8::7", 4000)
OWN, ASKER = b"o" * 20, b"p" * 20
SIGNER = Signer(b"s" * 32)
Fields = dict[bytes, Any]


class Asked:
    """A node with a way to ask it from anywhere. Who is `proved` has answered a ping."""

    def __init__(self, *, has_ipv6: bool = False, key: bytes | None = None, is_public: bool = False) -> None:
        settings = Settings(network_key=key, has_ipv6=has_ipv6, is_public=is_public)
        self.node = Node(settings, SeededRng(1), START)
        self.now = START

    def send(self, data: bytes, source: Address = HOME) -> list[bytes]:
        self.node.receive_datagram(data, source, self.now)
        return [sent for sent, to in self.node.datagrams_to_send() if to == source]

    def ask(self, method: str, source: Address = HOME, /, **arguments: Any) -> Fields:
        """The reply or the error to it; pings to `source` are answered first."""
        top = {b"ro": 1} if arguments.pop("ro", None) else {}
        named = {name.encode(): value for name, value in arguments.items()}
        query = {b"a": {b"id": ASKER, **named}, b"q": method.encode(), b"t": b"aa", b"y": b"q", **top}
        return self.answer(self.send(_bytes(query), source), source)

    def answer(self, sent: list[bytes], source: Address) -> Fields:
        for data in sent:
            message: Any = bencode.decode(data)
            if message[b"y"] == b"q":
                sent += self.send(krpc.encode(Reply(ASKER, transaction=message[b"t"])), source)
            elif message[b"t"] == b"aa":
                assert len(data) <= (MAX_ITEM_REPLY_BYTES if b"v" in message.get(b"r", {}) else MAX_REPLY_BYTES)
                return dict(message)
        raise AssertionError("no answer")

    def code(self, method: str, source: Address = HOME, /, **arguments: Any) -> int:
        """0: a reply."""
        answer = self.ask(method, source, **arguments)
        return int(answer[b"e"][0]) if b"e" in answer else 0

    def token(self, target: bytes, source: Address = HOME) -> bytes:
        return bytes(self.ask("get", source, target=target)[b"r"][b"token"])

    def put(self, item: Item, **more: Any) -> int:
        fields: dict[str, Any] = {"v": bencode.decode(item.encoded), "token": self.token(item.target)}
        if item.is_mutable:
            fields |= {"k": item.key, "seq": item.seq, "sig": item.signature}
            fields |= {"salt": item.salt} if item.salt else {}
        return self.code("put", **fields | more)

    def meet(self, contact: Contact) -> None:
        """It asks, is pinged, and answers."""
        for data in self.send(krpc.encode(Query(Method.PING, contact.node_id, transaction=b"a")), contact.address):
            message = krpc.decode(data)
            if isinstance(message, Query):
                self.send(krpc.encode(Reply(contact.node_id, transaction=message.transaction)), contact.address)


def _bytes(fields: Any) -> bytes:
    return bencode.encode(fields)


# BEP 5, 32


@pytest.mark.parametrize("method", ["find_node", "get_peers", "get", "sample_infohashes"])
@pytest.mark.parametrize(
    ("source", "want", "keys"),
    [
        (HOME, None, {b"nodes"}),
        (HOME_IPV6, None, {b"nodes6"}),
        (HOME, [b"n6", b"n5", 7], {b"nodes6"}),
        (HOME, [b"n4", b"n6"], {b"nodes", b"nodes6"}),
        (HOME, [b"n5"], {b"nodes"}),
        (HOME, b"n6", {b"nodes"}),
    ],
)
def test_contacts_of_the_families_that_are_wanted(method: str, source: Address, want: Any, keys: set[bytes]) -> None:
    """There where nobody is known, too."""
    asked = Asked(has_ipv6=True)
    more = {} if want is None else {"want": want}
    for _ in range(2):
        values = asked.ask(method, source, target=b"t" * 20, info_hash=b"t" * 20, **more)[b"r"]
        assert {key for key in values if key.startswith(b"nodes")} == keys
        assert all(values[key] == b"" for key in keys), "those that ask are not named to themselves"


def test_the_eight_closest_nodes_are_named() -> None:
    asked = Asked()
    contacts = [Contact(bytes([number]) * 20, Address(f"198.51.{number}.1", 6881)) for number in range(60)]
    for contact in (Contact(ASKER, HOME), *contacts):
        asked.meet(contact)
    named = decode_contacts(asked.ask("find_node", target=bytes([5]) * 20)[b"r"][b"nodes"], ipv6=False, limit=99)
    known = [contact for contact in asked.node.state(START).contacts if contact.address != HOME]
    assert list(named) == sorted(known, key=lambda one: one.number ^ contacts[5].number)[:8]


def test_peers_are_of_the_family_that_asks_and_the_answer_at_most_1024_bytes() -> None:
    asked = Asked(has_ipv6=True)
    for number in range(1, 120):
        for source in (Address(f"198.51.100.{number}", 7), Address(f"2001:db8::{number}", 7)):
            token = asked.ask("get_peers", source, info_hash=b"h" * 20)[b"r"][b"token"]
            assert asked.code("announce_peer", source, info_hash=b"h" * 20, port=number, token=token) == 0
    for source, size, least in ((HOME, 6, 40), (HOME_IPV6, 18, 25)):
        values = asked.ask("get_peers", source, info_hash=b"h" * 20, want=[b"n4", b"n6"])[b"r"]
        assert {len(peer) for peer in values[b"values"]} == {size}
        assert len(values[b"values"]) >= least
        assert b"token" in values and b"nodes" in values


@pytest.mark.parametrize(
    ("arguments", "port"),
    [
        ({"port": 6881}, 6881),
        ({"port": 6881, "implied_port": 0}, 6881),
        ({"port": 6881, "implied_port": 1}, HOME.port),
        ({"port": 70000, "implied_port": 1}, HOME.port),
        ({"implied_port": 5}, HOME.port),
        ({"port": 0}, None),
        ({"port": 65536}, None),
        ({"port": b"6881"}, None),
        ({}, None),
    ],
)
def test_an_announcement_is_of_the_port_that_it_names(arguments: Any, port: int | None) -> None:
    asked = Asked()
    token = asked.ask("get_peers", info_hash=b"h" * 20)[b"r"][b"token"]
    code = asked.code("announce_peer", info_hash=b"h" * 20, token=token, seed=1, name=b"ignored", **arguments)
    assert code == (203 if port is None else 0)
    values = asked.ask("get_peers", info_hash=b"h" * 20, scrape=1, noseed=1)[b"r"].get(b"values", [])
    assert values == ([] if port is None else [Address(HOME.host, port).encode()])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"d1:ad2:id20:%be1:q4:ping1:t2:aa1:y1:qe" % ASKER, None),
        (b"d1:ad2:id20:%be1:q4:pong1:t2:aa1:y1:qe" % ASKER, 204),
        (b"d1:ad2:id20:%b6:target20:%be1:q5:vote!1:t2:aa1:y1:qe" % (ASKER, ASKER), 204),
        (b"d1:ad2:id20:%b6:target20:%be1:qi5e1:t2:aa1:y1:qe" % (ASKER, ASKER), 204),
        (b"d1:ad2:id19:%be1:q4:ping1:t2:aa1:y1:qe" % ASKER[1:], 203),
        (b"d1:ad2:id20:%b6:target21:!%be1:q9:find_node1:t2:aa1:y1:qe" % (ASKER, ASKER), 203),
        (b"d1:a20:%b1:q4:ping1:t2:aa1:y1:qe" % ASKER, 203),
        (b"d1:ad6:target0:2:id20:%be1:q4:ping1:t2:aa1:y1:qe" % ASKER, 203),
        (b"d1:ad2:id20:%b1:vi%bee1:q4:ping1:t2:aa1:y1:qe" % (ASKER, b"9" * 999), 203),
        (b"d1:vi%be1:t2:aa1:y1:qe" % (b"9" * 10**6), 203),
        (b"d1:ad2:id20:%b1:v%be1:q4:ping1:t2:aa1:y1:qe" % (ASKER, b"l" * 200 + b"e" * 200), 203),
        (b"d1:q4:ping1:ad2:id20:%be1:t2:aa1:y1:qe" % ASKER, 203),
        (b"d1:ad2:id20:%b1:v3000:%be1:q4:ping1:t2:aa1:y1:qe" % (ASKER, bytes(3000)), 203),
        (b"d1:ad2:id20:%b1:v3000:%be1:q3:put1:t2:aa1:y1:qe" % (ASKER, bytes(3000)), 205),
    ],
)
def test_a_query_that_is_wrong_is_told_so_with_the_askers_address(data: bytes, code: int | None) -> None:
    """BEP 5's codes; `ip` is in errors too (BEP 42)."""
    answer = Asked().answer(Asked().send(data), HOME)
    assert answer.get(b"e", [None])[0] == code
    assert answer[b"ip"] == HOME.encode()


@pytest.mark.parametrize(
    "data",
    [
        b"d1:ad2:id20:%be1:q4:ping1:t2:aa1:y1:q" % ASKER,
        b"d1:ad2:id20:%be1:q4:ping1:y1:qe" % ASKER,
        b"d1:ad2:id20:%be1:q4:ping1:ti5e1:y1:qe" % ASKER,
        b"d1:ad2:id20:%be1:q4:ping1:t33:%b1:y1:qe" % (ASKER, bytes(33)),
        b"d1:ad2:id20:%b1:vi%bee1:t2:aa1:y1:re" % (ASKER, b"9" * 10**6),
        b"d1:a" * 10**5,
        b"d1:a" + b"l" * 10**6,
        b"d1:v" + b"le" * 2000 + b"1:t2:aa1:y1:qe",
        b"d99999999:",
        b"d1:y1:qe",
        b"",
    ],
)
def test_what_names_no_transaction_gets_no_answer(data: bytes) -> None:
    asked = Asked()
    assert asked.send(data) == []
    assert asked.node.status().counts == {"bad": 1}


def test_of_a_network_that_floods_only_answers_to_us_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """To read the worst of 2,000 bytes takes 0.4 ms: 2,500 of them a second would be all that a node does."""
    asked, n_read = Asked(), 0
    decode = krpc.decode

    def counted(data: bytes, key: bytes | None = None) -> krpc.Message:
        nonlocal n_read
        n_read += 1
        return decode(data, key)

    monkeypatch.setattr(krpc, "decode", counted)
    rates = asked.node.settings.rates
    worst = b"d1:ad2:id20:%b1:vl%bee1:q4:ping1:t2:aa1:y1:q" % (ASKER, b"i0e" * 600)
    for data in (worst, krpc.encode(Reply(OWN, transaction=b"none"))):
        for number in range(2_000):
            asked.send(data, Address("203.0.113.5", 1 + number))
    assert n_read == rates.of_network_burst
    assert asked.send(krpc.encode(Query(Method.PING, ASKER, transaction=b"aa"))), "others are answered"
    asked.node.bootstrap([STRANGER], START)
    ((question, _),) = asked.node.datagrams_to_send()
    asking = decode(question)
    asked.send(krpc.encode(Reply(OWN, transaction=asking.transaction)), STRANGER)
    assert asked.node.status().n_nodes == 1, "it is of the flood's network"
    asked.now += 10.0
    assert asked.send(krpc.encode(Query(Method.PING, ASKER, transaction=b"aa")), Address("203.0.113.5", 9))


# BEP 33


def test_answers_to_a_scrape_are_understood_without_their_filters() -> None:
    data = b"d1:rd4:BFpe256:%b4:BFsd256:%b2:id20:%b6:valuesl6:abcdefee1:t2:aa1:y1:re" % (bytes(256), bytes(256), OWN)
    reply = krpc.decode(data)
    assert isinstance(reply, Reply) and len(reply.peers) == 1


# BEP 42


def test_who_answers_says_where_we_are_even_with_an_error() -> None:
    asked = Asked()
    asked.node.bootstrap([STRANGER], START)
    ((data, _),) = asked.node.datagrams_to_send()
    question: Any = bencode.decode(data)
    asked.send(b"d1:eli203e2:ide2:ip6:%b1:t4:%b1:y1:ee" % (HOME.encode(), question[b"t"]), STRANGER)
    assert asked.node.status().seen_as == HOME


def test_who_has_an_id_that_does_not_fit_is_served_and_not_taken_in() -> None:
    asked = Asked(key=b"k" * 32)
    public = Address("8.8.8.8", 5)
    query = krpc.encode(Query(Method.FIND_NODE, b"\xff" * 20, ASKER, transaction=b"aa"), b"k" * 32)
    (data,) = asked.send(query, public)
    assert isinstance(krpc.decode(data), Reply), "and it is not pinged"


# BEP 43


def test_who_is_read_only_is_served_and_not_pinged() -> None:
    asked = Asked()
    ping: Fields = {b"a": {b"id": ASKER}, b"q": b"ping", b"ro": 1, b"t": b"aa", b"y": b"q"}
    (data,) = asked.send(_bytes(ping), STRANGER)
    assert isinstance(krpc.decode(data), Reply)
    assert len(asked.send(_bytes({**ping, b"ro": 0}), STRANGER)) == 2


def test_a_read_only_node_is_given_items_since_its_question_is_long() -> None:
    """It cannot be proved by a ping, and gets three times the bytes of its question at most."""
    asked, asker = Asked(), Node(Settings(is_read_only=True), SeededRng(2), START)
    largest = SIGNER.item(bytes(996), 2**63 - 1, bytes(64))
    assert asked.put(largest) == 0
    asker.bootstrap([HOME], START)
    ((first, _),) = asker.datagrams_to_send()
    asker.receive_datagram(asked.send(first, STRANGER)[0], HOME, START)
    asker.datagrams_to_send()
    asker.get(largest.target, START, salt=largest.salt)
    questions = [data for data, _ in asker.datagrams_to_send() if b"3:get" in data]
    (answer,) = asked.send(questions[0], STRANGER)
    reply = krpc.decode(answer)
    assert len(questions[0]) > PADDING_BYTES and len(answer) <= GROWTH * len(questions[0])
    assert isinstance(reply, Reply) and reply.item is not None and reply.item.encoded == largest.encoded


def test_a_node_becomes_read_only_and_takes_part_again() -> None:
    asked = Asked()
    for is_read_only in (False, True, False):
        asked.node.set_read_only(is_read_only)
        assert asked.node.status().is_read_only is is_read_only
        asked.node.bootstrap([STRANGER], START)
        questions: list[Any] = [bencode.decode(data) for data, _ in asked.node.datagrams_to_send()]
        assert questions and all((question.get(b"ro") == 1) is is_read_only for question in questions)
        ping = krpc.encode(Query(Method.PING, ASKER, transaction=b"aa", is_read_only=True))
        assert len(asked.send(ping)) == (not is_read_only)
        assert asked.node.take_askers() == {HOME.host}, "it hears them all the same"
    assert asked.node.take_askers() == set()
    for number in range(300):
        asked.send(ping, Address(f"198.51.{number >> 8}.{number & 255}", 5))
    assert len(asked.node.take_askers()) == MAX_ASKERS


def test_a_read_only_stranger_is_given_as_many_peers_as_fit() -> None:
    asked = Asked()
    for port in range(1, 60):
        token = asked.ask("get_peers", info_hash=b"h" * 20)[b"r"][b"token"]
        asked.ask("announce_peer", info_hash=b"h" * 20, port=port, token=token)
    values = asked.ask("get_peers", STRANGER, info_hash=b"h" * 20, ro=True)[b"r"]
    assert 5 < len(values[b"values"]) < 50 and values[b"token"]


# BEP 44


@pytest.mark.parametrize("value", [b"", b"Hello World!", 5, [1, b"two", [3]], {b"a": 1, b"b": {b"c": []}}, bytes(996)])
def test_any_value_of_at_most_1000_bytes_is_kept_as_it_was_put(value: Any) -> None:
    asked = Asked()
    for item in (immutable(value), SIGNER.item(value, 0), SIGNER.item(value, 2**63 - 1, bytes(MAX_SALT_BYTES))):
        assert asked.put(item) == 0
        values = asked.ask("get", target=item.target)[b"r"]
        fields = {b"v": value}
        if item.is_mutable:
            fields |= {b"k": item.key, b"seq": item.seq, b"sig": item.signature}
        assert {key: values[key] for key in values if key not in (b"id", b"token", b"nodes")} == fields, "and no salt"


def test_errors_of_a_put_in_their_order() -> None:
    asked = Asked()
    old, good = SIGNER.item(b"old", 4, b"salt"), SIGNER.item(b"new", 5, b"salt")
    large = Item(b"997:" + bytes(997))
    assert asked.put(old) == 0
    assert asked.put(large) == asked.put(good, v=bytes(997), token=b"bad") == 205
    assert asked.put(good, salt=bytes(65)) == asked.put(good, salt=bytes(65), token=b"bad") == 207
    for token in (b"", b"bad", bytes(8), asked.token(old.target, STRANGER), asked.token(b"x" * 20)):
        assert asked.put(good, token=token) == 203
    for more in ({"v": b"other"}, {"seq": 6}, {"sig": bytes(64)}, {"sig": Signer(b"t" * 32).item(b"new", 5).signature}):
        assert asked.put(good, **more) == 206
    for more in (
        {"k": bytes(31)},
        {"sig": bytes(63)},
        {"seq": -1},
        {"seq": b"5"},
        {"cas": b"4"},
        {"salt": 5},
        {"token": 5},
    ):
        assert asked.put(good, **more) == 203, more
    assert asked.put(good, cas=3) == 301
    assert asked.put(SIGNER.item(b"old", 3, b"salt")) == asked.put(SIGNER.item(b"other", 4, b"salt")) == 302
    assert asked.put(SIGNER.item(b"old", 3, b"salt"), cas=1) == 301, "cas is looked at first"
    assert asked.ask("get", target=old.target)[b"r"][b"v"] == b"old"
    assert asked.put(good, cas=4) == 0
    assert asked.ask("get", target=old.target)[b"r"][b"v"] == b"new"


def test_cas_of_the_same_item_once_more() -> None:
    """The same put sent again is no failure; one that expects something else is."""
    asked = Asked()
    assert asked.put(SIGNER.item(b"1", 1), cas=77) == 0, "nothing is there to compare with"
    assert asked.put(SIGNER.item(b"1", 1), cas=77) == 0
    second = SIGNER.item(b"2", 2)
    assert [asked.put(second, cas=1), asked.put(second, cas=1), asked.put(second, cas=2)] == [0, 0, 0]
    assert asked.put(second, cas=0) == asked.put(second, cas=3) == 301
    assert asked.put(second) == 0
    assert asked.put(immutable(b"x"), cas=9) == asked.put(immutable(b"x"), cas=9) == 0, "of mutable items only"


def test_cas_is_sent_only_to_who_has_something_there() -> None:
    asker, old, new = Node(Settings(), SeededRng(1), START), SIGNER.item(b"old", 1), SIGNER.item(b"new", 2)
    asker.bootstrap([HOME, STRANGER], START)
    terms: dict[Address, int | None] = {}
    is_putting = False
    for _ in range(8):
        for data, to in asker.datagrams_to_send():
            query = krpc.decode(data)
            assert isinstance(query, Query)
            if query.method is Method.PUT:
                terms[to] = query.cas
            node_id, item = (b"h" * 20, old) if to == HOME else (b"s" * 20, None)
            given = item if query.method is Method.GET else None
            reply = Reply(node_id, token=b"token", item=given, transaction=query.transaction)
            asker.receive_datagram(krpc.encode(reply), to, START)
        asker.handle_timer(START)
        if not is_putting and asker.status().n_nodes == 2:
            is_putting = bool(asker.put(new, START, cas=1))
    assert terms == {HOME: 1, STRANGER: None}


@pytest.mark.parametrize("missing", [{"k"}, {"seq"}, {"sig"}, {"seq", "sig"}, {"k", "seq"}])
def test_half_of_a_mutable_item_is_none(missing: set[str]) -> None:
    asked, item = Asked(), SIGNER.item(b"v", 1)
    parts = {"k": item.key, "seq": item.seq, "sig": item.signature}
    given = {name: parts[name] for name in parts if name not in missing}
    for target in (item.target, immutable(b"v").target):
        assert asked.code("put", v=b"v", token=asked.token(target), **given) == 203
    assert asked.node.status().n_items == 0


@pytest.mark.parametrize(
    "value", [b"d1:bi1e1:ai2ee", b"d1:ai1e1:ai2ee", b"i-0e", b"i01e", b"02:ab", b"l" * 99 + b"e" * 99]
)
def test_a_value_that_is_no_proper_bencode_is_refused_with_203(value: bytes) -> None:
    asked = Asked()
    data = b"d1:ad2:id20:%b5:token8:%b1:v%be1:q3:put1:t2:aa1:y1:qe"
    answer = asked.answer(asked.send(data % (ASKER, asked.token(immutable(b"v").target), value)), HOME)
    assert answer[b"e"][0] == 203
    assert asked.node.status().n_items == 0


def test_get_with_a_seq_sends_only_what_is_newer() -> None:
    asked, item = Asked(), SIGNER.item(b"v", 5)
    asked.put(item)
    for seq, is_sent in ((4, True), (5, False), (6, False)):
        values = asked.ask("get", target=mutable_target(SIGNER.key), seq=seq)[b"r"]
        assert {b"k", b"v", b"sig"} & set(values) == ({b"k", b"v", b"sig"} if is_sent else set())
        assert values[b"seq"] == 5 and values[b"token"] and b"nodes" in values


def test_on_the_public_network_a_network_gets_so_many_bytes_a_second_whatever_it_has_proved() -> None:
    """Somebody forges questions of a node, which answers our ping as it answers everybody's."""
    asked = Asked(is_public=True)
    large = immutable(bytes(996))
    assert asked.put(large) == 0
    query = {b"a": {b"id": ASKER, b"target": large.target}, b"q": b"get", b"t": b"aa", b"y": b"q"}
    n_sent = asked.ask("get", STRANGER, target=large.target)[b"r"][b"v"] and 0
    for second in range(20):
        asked.now = START + second
        n_sent += sum(len(sent) for _ in range(1_000) for sent in asked.send(_bytes(query), STRANGER))
    rates = asked.node.settings.rates
    most = (rates.of_network_burst + 20 * rates.of_network) * ANSWER_BYTES
    assert most / 2 < n_sent < most + 20 * MAX_ITEM_REPLY_BYTES


# BEP 51


@pytest.mark.parametrize("n_hashes", [0, 3, 100])
def test_samples_for_everybody(n_hashes: int) -> None:
    """A stranger that answers its ping gets them all, one that is read-only those that fit."""
    asked = Asked()
    for number in range(40):
        asked.meet(Contact(bytes([number * 6]) * 20, Address(f"198.51.{number}.1", 6881)))
    hashes = {number.to_bytes(20, "big") for number in range(1, n_hashes + 1)}
    for info_hash in hashes:
        token = asked.ask("get_peers", info_hash=info_hash)[b"r"][b"token"]
        asked.ask("announce_peer", info_hash=info_hash, port=5, token=token)
    for source, ro, least in ((HOME, False, MAX_SAMPLES), (STRANGER, True, 4), (STRANGER, False, MAX_SAMPLES)):
        values = asked.ask("sample_infohashes", source, target=b"t" * 20, ro=ro)[b"r"]
        samples = {values[b"samples"][at : at + 20] for at in range(0, len(values[b"samples"]), 20)}
        assert samples <= hashes and len(samples) >= min(least, n_hashes)
        assert (values[b"num"], values[b"interval"]) == (n_hashes, SAMPLE_INTERVAL)
        assert values[b"nodes"]
