"""KRPC: BEP 5's examples, each message there and back, the tag of a private network, any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.dht import bencode, krpc
from swarmd.dht.contact import Contact
from swarmd.dht.items import Item, Signer, immutable
from swarmd.dht.krpc import MAX_MESSAGE_BYTES, Failure, Message, Method, Query, Reply, Unanswerable

ASKER, ANSWERER, HASH = b"abcdefghij0123456789", b"0123456789abcdefghij", b"mnopqrstuvwxyz123456"
KEY = b"k" * 32
PEERS = (Address("97.120.106.101", 11893), Address("105.100.104.116", 28269))
ITEM = Signer(b"s" * 32).item(b"value", 3, b"salt")
CONTACTS = (Contact(HASH, Address("192.0.2.1", 6881)), Contact(ASKER, Address("2001:db8::1", 6881)))

EXAMPLES: list[tuple[bytes, Message]] = [
    (b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe", Query(Method.PING, ASKER, transaction=b"aa")),
    (b"d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re", Reply(HASH, transaction=b"aa")),
    (b"d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee", Failure(201, b"A Generic Error Ocurred", b"aa")),
    (
        b"d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
        Query(Method.FIND_NODE, ASKER, HASH, transaction=b"aa"),
    ),
    (
        b"d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:qe",
        Query(Method.GET_PEERS, ASKER, HASH, transaction=b"aa"),
    ),
    (
        b"d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
        Reply(ASKER, token=b"aoeusnth", peers=PEERS, transaction=b"aa"),
    ),
    (
        b"d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti1e5:token8:aoeusnthe"
        b"1:q13:announce_peer1:t2:aa1:y1:qe",
        Query(Method.ANNOUNCE, ASKER, HASH, token=b"aoeusnth", transaction=b"aa"),
    ),
]

MORE: list[Message] = [
    Query(Method.FIND_NODE, ASKER, HASH, want=(False, True), transaction=b"\0" * 4),
    Query(Method.ANNOUNCE, ASKER, HASH, token=b"t", port=7000, transaction=b"a"),
    Query(Method.GET, ASKER, HASH, seq=7, transaction=b"a", is_read_only=True),
    Query(Method.PUT, ASKER, token=b"t", item=immutable({b"a": [1, b"2"]}), transaction=b"a"),
    Query(Method.PUT, ASKER, token=b"t", item=ITEM, cas=2, age=60, transaction=b"a"),
    Query(Method.SAMPLE, ASKER, HASH, transaction=b"a"),
    Reply(ASKER, CONTACTS, token=b"t", transaction=b"a", seen_as=Address("192.0.2.9", 5)),
    Reply(ASKER, item=immutable(b"v"), transaction=b"a"),
    Reply(ASKER, seq=9, transaction=b"a"),
    Reply(ASKER, CONTACTS, b"t", item=immutable(b"v"), clock=1_795_427_220, transaction=b"a"),
    Failure(203, b"no", b"a", Address("192.0.2.9", 5)),
    Reply(ASKER, samples=(HASH, ASKER), n_stored=2, interval=60, transaction=b"a"),
]


@pytest.mark.parametrize(("data", "message"), EXAMPLES)
def test_examples_of_bep_5(data: bytes, message: Message) -> None:
    assert krpc.decode(data) == message
    assert krpc.encode(message) == data


@pytest.mark.parametrize("message", MORE)
def test_there_and_back(message: Message) -> None:
    assert krpc.decode(krpc.encode(message)) == message
    assert krpc.decode(krpc.encode(message, KEY), KEY) == message


def test_a_mutable_item_in_a_reply_has_all_but_the_salt() -> None:
    reply = krpc.decode(krpc.encode(Reply(ASKER, item=ITEM, transaction=b"a")))
    assert isinstance(reply, Reply)
    assert reply.item == Item(ITEM.encoded, ITEM.key, b"", ITEM.seq, ITEM.signature)


def test_a_private_network_refuses_others_and_is_understood_by_mainline() -> None:
    message = EXAMPLES[3][1]
    tagged = krpc.encode(message, KEY)
    assert krpc.decode(tagged) == message, "Mainline ignores the tag"
    for data in (EXAMPLES[3][0], krpc.encode(message, b"x" * 32), tagged.replace(b"mnop", b"mnoq"), b"", b"de"):
        with pytest.raises(RemoteError):
            krpc.decode(data, KEY)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe", 203),
        (b"d1:ade1:q4:ping1:t2:aa1:y1:qe", 203),
        (b"d1:q4:ping1:t2:aa1:y1:qe", 203),
        (b"d1:ad2:id20:abcdefghij0123456789e1:q4:pong1:t2:aa1:y1:qe", 204),
        (b"d1:ad2:id20:abcdefghij01234567896:targeti1ee1:q9:find_node1:t2:aa1:y1:qe", 203),
        (b"d1:ad2:id20:abcdefghij0123456789e1:q3:put1:t2:aa1:y1:qe", 203),
    ],
)
def test_wrong_queries_deserve_an_error(data: bytes, code: int) -> None:
    with pytest.raises(Unanswerable) as caught:
        krpc.decode(data)
    assert (caught.value.failure.code, caught.value.failure.transaction) == (code, b"aa")


@pytest.mark.parametrize(
    "data",
    [
        b"i1e",
        b"de",
        b"d1:y1:qe",
        b"d1:t2:aa1:y1:xe",
        b"d1:rd2:id20:mnopqrstuvwxyz1234565:nodes25:" + bytes(25) + b"e1:t2:aa1:y1:re",
        b"d1:t2:aa1:y1:re",
        b"d1:ele1:t2:aa1:y1:ee",
        b"d1:t33:" + b"t" * 33 + b"1:y1:qe",
        b"d1:t2:aa1:v%d:" % MAX_MESSAGE_BYTES + bytes(MAX_MESSAGE_BYTES) + b"1:y1:re",
    ],
)
def test_what_is_no_message_gets_no_answer(data: bytes) -> None:
    with pytest.raises(RemoteError) as caught:
        krpc.decode(data)
    assert not isinstance(caught.value, Unanswerable)


def test_contacts_that_nobody_could_send_to_are_dropped() -> None:
    nodes = HASH + bytes(6) + ASKER + b"\xc0\0\2\1\x1a\xe1"
    data = b"d1:rd2:id20:mnopqrstuvwxyz1234565:nodes52:" + nodes + b"e1:t2:aa1:y1:re"
    reply = krpc.decode(data)
    assert isinstance(reply, Reply)
    assert reply.contacts == (Contact(ASKER, Address("192.0.2.1", 6881)),)


def test_lists_in_a_reply_are_bounded() -> None:
    nodes = b"".join(ASKER + bytes([192, 0, 2, number, 26, 225]) for number in range(1, 50))
    data = b"d1:rd2:id20:%b5:nodes%d:%be1:t1:a1:y1:re" % (ASKER, len(nodes), nodes)
    assert _reply(data).contacts == tuple(
        Contact(ASKER, Address(f"192.0.2.{number}", 6881)) for number in range(1, 1 + krpc.MAX_CONTACTS)
    )
    samples = b"".join(bytes([number]) * 20 for number in range(60))
    data = b"d1:rd2:id20:%b7:samples%d:%be1:t1:a1:y1:re" % (ASKER, len(samples), samples)
    assert _reply(data).samples == tuple(bytes([number]) * 20 for number in range(krpc.MAX_SAMPLES))
    peers = b"".join(b"6:" + bytes([192, 0, 2, 1, 26, number]) for number in range(230))
    data = b"d1:rd2:id20:%b6:valuesl%bee1:t1:a1:y1:re" % (ASKER, peers)
    assert len(_reply(data).peers) == krpc.MAX_PEERS


def _reply(data: bytes) -> Reply:
    reply = krpc.decode(data)
    assert isinstance(reply, Reply)
    return reply


def test_samples_of_the_wrong_length() -> None:
    with pytest.raises(RemoteError, match="samples of the wrong length"):
        krpc.decode(b"d1:rd2:id20:%b7:samples19:%be1:t1:a1:y1:re" % (ASKER, bytes(19)))


FIELDS = st.sampled_from(
    [b"a", b"e", b"q", b"r", b"t", b"y", b"id", b"k", b"nodes", b"now", b"seq", b"sig", b"target", b"v", b"token"]
)
WORDS = st.sampled_from([b"q", b"r", b"e", b"ping", b"get", b"put", b"find_node", ASKER, bytes(32), bytes(64)])
VALUES = st.recursive(
    st.integers(-5, 5) | WORDS | st.binary(max_size=26),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=8),
    max_leaves=20,
)


@given(st.binary(max_size=80) | st.dictionaries(FIELDS, VALUES, max_size=8).map(lambda fields: bencode.encode(fields)))
def test_any_bytes(data: bytes) -> None:
    try:
        message = krpc.decode(data)
    except RemoteError:
        return
    assert krpc.decode(krpc.encode(message)).transaction == message.transaction
