"""Any bytes into a DHT node that is busy: no exception, nothing false believed, no address used against its owner,
tables and storage as they should be.

`python -m tests.fuzz.dht -max_len=4000 CORPUS` runs until it is stopped or something breaks.

The input is a script: steps of a kind, a length and so many bytes. Some of what a fuzzer cannot guess is filled in: the
transaction and the sender of an answer to a question of ours, and a good token where TOKEN stands.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from enum import Enum

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht import bencode, krpc
from swarmd.dht.contact import bound_id
from swarmd.dht.events import GetDone
from swarmd.dht.items import Item, Signer, immutable, verified
from swarmd.dht.krpc import Failure, Message, Method, Query, Reply
from swarmd.dht.limits import GROWTH
from swarmd.dht.node import Node, Settings
from swarmd.dht.operations import MAX_COPIES
from swarmd.dht.questions import ANSWER_TIMEOUT
from swarmd.dht.state import State
from swarmd.dht.storage import ITEM_OVERHEAD_BYTES

NOW = 1000.0
STRANGER_IPV6 = Address("2001:db8::9", 4000)
STRANGER, NEIGHBOUR = Address("203.0.113.9", 4000), Address("198.51.100.7", 5000)
OWN = Address("192.0.2.33", 6881)
KEY, WALL = b"k" * 32, 1.8e9
NEIGHBOUR_ID = bound_id(NEIGHBOUR, SeededRng(3))
TOKEN = b"a-token."
SIGNER = Signer(b"s" * 32)
VALUE = immutable(b"what is looked for")
MAX_STEPS = 60
MAX_ASKED_AT_ONCE = 40
"""Three operations of three paths with two questions each, their puts, pings."""


class Kind(Enum):
    STRANGER = 0
    NEIGHBOUR = 1
    ANSWER = 2
    """The body of an answer, to the oldest question of ours that waits."""
    TIME = 3
    STRANGER_IPV6 = 4


_SOURCES = {Kind.STRANGER: STRANGER, Kind.STRANGER_IPV6: STRANGER_IPV6, Kind.NEIGHBOUR: NEIGHBOUR}


class Victim:
    """A node that knows one neighbour and looks for three things."""

    def __init__(self, key: bytes | None = None) -> None:
        """With a key, of a private network: what comes is tagged as one of its members could."""
        self.now, self._key = NOW, key
        self.node = Node(
            Settings(network_key=key, has_ipv6=True), SeededRng(1), NOW, State(bound_id(OWN, SeededRng(2)))
        )
        self.node.set_clock(WALL, NOW)
        self.asked: list[tuple[Query, Address]] = []
        self.proved = {NEIGHBOUR}
        """Who has answered us, or shown a good token."""
        self._introduce()
        self.targets = {self.node.get(VALUE.target, NOW): VALUE.target}
        self.node.put(SIGNER.item(b"mine", 5, b"salt"), NOW)
        self.node.announce(b"h" * 20, NOW)
        self.collect()

    def step(self, kind: Kind, data: bytes) -> None:
        if kind is Kind.TIME:
            self.now += ANSWER_TIMEOUT / 2
            self.node.handle_timer(self.now)
        elif kind is Kind.ANSWER:
            self._answer(data)
        else:
            source = _SOURCES[kind]
            data = self._sealed(self._with_token(data, source))
            self.node.receive_datagram(data, source, self.now)
            sent = self.collect().get(source, 0)
            assert source in self.proved or sent <= GROWTH * len(data), "more than it may be"
        self.collect()
        self.check()

    def collect(self) -> dict[Address, int]:
        """Fetch what it sends; bytes for each address."""
        sent: dict[Address, int] = {}
        for data, address in self.node.datagrams_to_send():
            sent[address] = sent.get(address, 0) + len(data)
            message = krpc.decode(data, self._key)
            if isinstance(message, Query):
                self.asked.append((message, address))
        return sent

    def check(self) -> None:
        status = self.node.status()
        assert status.n_questions <= MAX_ASKED_AT_ONCE + MAX_COPIES, "questions pile up"
        state = self.node.state(self.now)
        for saved in state.items:
            verified(saved.item, saved.item.target)
        assert status.n_item_bytes == sum(saved.item.size + ITEM_OVERHEAD_BYTES for saved in state.items)
        assert len(state.peers) <= MAX_STEPS
        assert len({contact.address for contact in state.contacts}) == len(state.contacts), "an address has one place"
        assert {contact.address for contact in state.contacts} <= self.proved, "who has not answered has none"
        while (event := self.node.next_event()) is not None:
            if isinstance(event, GetDone) and event.item is not None:
                verified(event.item, self.targets[event.operation])

    def end(self) -> None:
        for _ in range(200):
            self.now += ANSWER_TIMEOUT
            self.node.handle_timer(self.now)
            self.collect()
            if not self.node.status().n_operations:
                break
        assert not self.node.status().n_operations, "an operation that does not end"
        self.check()

    def _introduce(self) -> None:
        self.node.bootstrap([NEIGHBOUR], NOW)
        self.collect()
        self._answer(b"2:id20:" + NEIGHBOUR_ID)
        self.collect()
        self.asked.clear()

    def _answer(self, body: bytes) -> None:
        if not self.asked:
            return
        query, address = self.asked.pop(0)
        data = b"d1:rd%be1:t%d:%b1:y1:re" % (body, len(query.transaction), query.transaction)
        self.proved.add(address)
        self.node.receive_datagram(self._sealed(data), address, self.now)

    def _sealed(self, data: bytes) -> bytes:
        return data if self._key is None else krpc.tagged(data, self._key)

    def _with_token(self, data: bytes, source: Address) -> bytes:
        if TOKEN not in data:
            return data
        try:
            query = krpc.decode(data)
        except RemoteError:
            return data
        if not isinstance(query, Query) or query.token != TOKEN:
            return data
        target = query.target if query.item is None else query.item.target
        self.proved.add(source)
        return krpc.encode(replace(query, token=self._good_token(target, source)))

    def _good_token(self, target: bytes, source: Address) -> bytes:
        question = Query(Method.GET, NEIGHBOUR_ID, target, transaction=b"t" * 8, is_read_only=True)
        self.node.receive_datagram(krpc.encode(question, self._key), source, self.now)
        for data, address in self.node.datagrams_to_send():
            message = krpc.decode(data, self._key)
            if address == source and isinstance(message, Reply) and message.token:
                return message.token
        return TOKEN


def target(data: bytes) -> None:
    _check_decoding(data)
    steps = _steps(data)
    for key in (None, KEY):
        victim = Victim(key)
        for kind, part in steps:
            _check_decoding(part)
            victim.step(kind, part)
        victim.end()


def _check_decoding(data: bytes) -> None:
    try:
        message = krpc.decode(data)
    except RemoteError:
        return
    written = krpc.encode(message)
    bencode.decode(written)
    assert krpc.decode(written) == _as_written(message), "what was understood is understood again"


def _as_written(message: Message) -> Message:
    """What has no place in a message of its kind is not written."""
    if isinstance(message, Query):
        put = message.method is Method.PUT
        item = message.item if put else None
        return replace(message, item=item)
    if isinstance(message, Reply) and message.samples is None:
        return replace(message, n_stored=0, interval=0)
    return message


def _steps(data: bytes) -> list[tuple[Kind, bytes]]:
    steps: list[tuple[Kind, bytes]] = []
    while len(data) >= 3 and len(steps) < MAX_STEPS:
        length = int.from_bytes(data[1:3], "big") % 2100
        steps.append((Kind(data[0] % len(Kind)), data[3 : 3 + length]))
        data = data[3 + length :]
    return steps


def script(*steps: tuple[Kind, bytes]) -> bytes:
    return b"".join(bytes([kind.value]) + len(part).to_bytes(2, "big") + part for kind, part in steps)


def _asked(method: Method, **more: object) -> bytes:
    return krpc.encode(replace(Query(method, b"q" * 20, VALUE.target, transaction=b"aa"), **more))  # type: ignore[arg-type]


_ANSWER = b"2:id20:" + NEIGHBOUR_ID
_NODES = b"5:nodes52:" + b"x" * 20 + b"\xc0\0\2\1\x1a\xe1" + b"y" * 20 + b"\xcb\0\x71\x09\x0f\xa0"
_FORGED = Item(b"5:false", SIGNER.key, b"salt", 9, bytes(64))

_LARGE = immutable(bytes(990))

SEEDS = (
    script(*((Kind.STRANGER, _asked(method)) for method in (Method.PING, Method.FIND_NODE, Method.GET_PEERS))),
    script((Kind.STRANGER, _asked(Method.GET)), (Kind.ANSWER, _ANSWER), (Kind.STRANGER, _asked(Method.SAMPLE))),
    script((Kind.NEIGHBOUR, _asked(Method.PUT, item=VALUE, token=TOKEN)), (Kind.STRANGER, _asked(Method.GET))),
    script((Kind.NEIGHBOUR, _asked(Method.ANNOUNCE, port=9, token=TOKEN)), (Kind.STRANGER, _asked(Method.GET_PEERS))),
    script((Kind.NEIGHBOUR, _asked(Method.PUT, item=SIGNER.item(b"v", 3, b"s"), cas=2, token=TOKEN))),
    script((Kind.NEIGHBOUR, _asked(Method.PUT, item=_FORGED, token=TOKEN)), (Kind.TIME, b"")),
    script(*[(Kind.ANSWER, _ANSWER + _NODES + b"3:nowi1800000000e5:token1:t")] * 6, (Kind.TIME, b""), (Kind.TIME, b"")),
    script((Kind.ANSWER, _ANSWER + b"5:token1:t1:v" + VALUE.encoded), (Kind.ANSWER, _ANSWER + b"1:v5:false")),
    script((Kind.ANSWER, _ANSWER + b"5:token1:t6:valuesl6:abcdef18:abcdefghijklmnopqre")),
    script(
        (Kind.NEIGHBOUR, _asked(Method.PUT, item=_LARGE, token=TOKEN)),
        (Kind.STRANGER, _asked(Method.GET, target=_LARGE.target)),
    ),
    script((Kind.STRANGER, krpc.encode(Failure(201, b"no", b"aa"))), (Kind.STRANGER, b"d1:q4:pong1:t2:aa1:y1:qe")),
)


def main() -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("this needs atheris, the coverage-guided fuzzer for Python: pip install atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
