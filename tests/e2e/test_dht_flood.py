"""A daemon on the public DHT under floods of all that is wrong: it goes on answering, keeps nothing, and does not grow.

Each flood comes from a host of loopback in a network of its own, so that each is answered at first; another host asks
after each, and a second daemon uses the DHT in the end.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.dht import bencode, krpc
from swarmd.dht.items import Item, Signer
from swarmd.dht.krpc import Failure, Method, Query, Reply
from tests.e2e.farm import Farm
from tests.e2e.nodes import Node

PUBLIC = '[dht]\nmode = "public"\nbootstrap = ["127.0.0.1:9"]\n'
COUNT = 1_500
"""Datagrams of a flood: three times what a /24 may ask at once."""
PATIENCE = 30.0
ATTEMPT = 0.5
MAX_GROWTH = 8 << 20
"""It was 160 KiB."""
SIGNER, OTHER = Signer(b"s" * 32), Signer(b"t" * 32)
ASKER, TARGET = b"q" * 20, b"t" * 20


class Caller:
    """Somebody at another address of loopback."""

    def __init__(self, host: str, daemon: Address) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.settimeout(ATTEMPT)
        self.daemon = (daemon.host, daemon.port)

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.daemon)

    def ask(self, query: Query) -> Reply | Failure:
        """Asked again until the answer is there, since a flood may push it out of the kernel's queue."""
        clock = SystemClock()
        end = clock.monotonic() + PATIENCE
        while clock.monotonic() < end:
            self.send(krpc.encode(query))
            try:
                while True:
                    message = krpc.decode(self.socket.recv(4096))
                    if isinstance(message, Query):
                        self.send(krpc.encode(Reply(ASKER, transaction=message.transaction)))
                    elif message.transaction == query.transaction:
                        return message
            except TimeoutError:
                pass
        raise AssertionError("it answers nobody")


def test_floods(farm: Farm) -> None:
    (daemon,) = farm.start(arguments=("--no-mdns",), config=PUBLIC)
    (friend,) = farm.start(arguments=("--no-mdns", "--bootstrap", daemon.address()), config=PUBLIC)
    key = friend.swarm("dht", "put", "-", stdin="kept").strip()
    with _caller("127.5.5.5", daemon) as asker:
        newest = SIGNER.item(b"newest", 9)
        assert isinstance(_put(asker, newest), Reply)
        before = _memory(daemon)
        floods = _floods(_token(asker, newest.target))
        for number, (kind, datagrams) in enumerate(floods.items()):
            with _caller(f"127.9.{number}.9", daemon) as flooder:
                for data in datagrams:
                    flooder.send(data)
            assert isinstance(asker.ask(Query(Method.PING, ASKER, transaction=b"ping")), Reply)
            grown = _memory(daemon) - before
            assert grown < MAX_GROWTH, f"{grown} bytes more after {kind}"
        for fate in ("answered", "unanswered", "bad", "unasked"):
            assert _count(daemon, fate) > COUNT // 5, f"what was to be {fate} has come"
        status = daemon.call("dht.status")
        assert (status["items"], status["nodes"]) == (2, 2), "what was put, and who has answered"
        kept = asker.ask(Query(Method.GET, ASKER, newest.target, transaction=b"get"))
        assert isinstance(kept, Reply) and kept.item is not None and kept.item.seq == 9
    assert friend.swarm("dht", "get", key) == "kept"


@contextmanager
def _caller(host: str, daemon: Node) -> Iterator[Caller]:
    caller = Caller(host, Address.parse(daemon.address()))
    try:
        yield caller
    finally:
        caller.socket.close()


def _floods(token: bytes) -> dict[str, list[bytes]]:
    """`token` is good for another host only."""
    question = krpc.encode(Query(Method.FIND_NODE, ASKER, TARGET, transaction=b"aa"))
    forged = Item(b"5:false", SIGNER.key, b"", 10, OTHER.item(b"false", 10).signature)
    large = b"d1:ad2:id20:%b5:token8:%b1:v%d:%be1:q3:put1:t2:aa1:y1:qe"
    numbers = b"d1:ad2:id20:%b3:seqi%be6:target20:%be1:q3:get1:t2:aa1:y1:qe"
    return {
        "pings": [krpc.encode(Query(Method.PING, ASKER, transaction=b"p%d" % number)) for number in range(COUNT)],
        "truncated": [question[: number % len(question)] for number in range(3, COUNT)],
        "deep": [b"d1:a" + b"l" * (number * 20) for number in range(COUNT)],
        "deep and whole": [b"d1:ad1:v" + b"l" * 900 + b"e" * 900 + b"e1:q4:ping1:t2:aa1:y1:qe"] * COUNT,
        "many parts": [b"d1:al" + b"0:" * 20_000 + b"e1:q4:ping1:t2:aa1:y1:qe"] * 200,
        "wrong types": [_query(b"find_node", {b"id": ASKER, b"target": number}) for number in range(COUNT)],
        "short IDs": [_query(b"ping", {b"id": ASKER[: number % 20]}) for number in range(COUNT)],
        "long numbers": [numbers % (ASKER, b"9" * (20 + 37 * number), TARGET) for number in range(COUNT)],
        "forged tokens": [_announce(number, token) for number in range(COUNT)],
        "forged signatures": [_put_query(forged, token)] * COUNT,
        "an old seq": [_put_query(SIGNER.item(b"old", 8), token)] * COUNT,
        "large values": [large % (ASKER, token, size, bytes(size)) for size in range(1000, 1000 + 20 * COUNT, 20)],
        "unasked": [krpc.encode(Reply(TARGET, transaction=number.to_bytes(4, "big"))) for number in range(COUNT)],
        "errors": [krpc.encode(Failure(201, b"no", number.to_bytes(4, "big"))) for number in range(COUNT)],
        "questions": [krpc.encode(Query(Method.GET, ASKER, TARGET, transaction=b"aa"))] * COUNT,
    }


def _query(method: bytes, arguments: dict[bytes, bencode.Value]) -> bytes:
    return bencode.encode({b"a": arguments, b"q": method, b"t": b"aa", b"y": b"q"})


def _announce(number: int, token: bytes) -> bytes:
    given = (b"", b"12345678", token)[number % 3]
    return krpc.encode(Query(Method.ANNOUNCE, ASKER, number.to_bytes(20, "big"), token=given or b"t", port=5))


def _put_query(item: Item, token: bytes) -> bytes:
    return krpc.encode(Query(Method.PUT, ASKER, token=token, item=item, transaction=b"put"))


def _token(caller: Caller, target: bytes) -> bytes:
    reply = caller.ask(Query(Method.GET, ASKER, target, transaction=b"tk"))
    assert isinstance(reply, Reply)
    return reply.token


def _put(caller: Caller, item: Item) -> Reply | Failure:
    return caller.ask(Query(Method.PUT, ASKER, token=_token(caller, item.target), item=item, transaction=b"put"))


def _count(daemon: Node, fate: str) -> int:
    name = f'swarmd_dht_queries_total{{result="{fate}"}} '
    return next(int(float(line[len(name) :])) for line in daemon.swarm("metrics").splitlines() if line.startswith(name))


def _memory(daemon: Node) -> int:
    """What it holds in bytes: private memory, since files that it maps are the system's."""
    pages = Path(f"/proc/{daemon.pid}/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * 4096
