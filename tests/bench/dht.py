"""Queries that a DHT node answers in a second on one core, and what 10,000 stored items cost in memory.

Beside each figure, from the same run, how often the standard library does the SHA-1 of a datagram, so that figures of
different machines and busy ones can be compared. CPU seconds, since other programs run too.

usage: python -m tests.bench.dht
"""

from __future__ import annotations

import gc
import hashlib
import resource
import tracemalloc
from dataclasses import replace

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.contact import Contact, bound_id
from swarmd.dht.items import Signer, immutable
from swarmd.dht.krpc import Method, Query, Reply
from swarmd.dht.limits import Rates
from swarmd.dht.node import Node, Settings
from swarmd.dht.storage import Storage

KEY = b"k" * 32
N_QUERIES = 20_000
N_ITEMS = 10_000
N_ASKERS = 500
NOW = 1000.0
UNLIMITED = Rates(1e9, 1e9, 1e9)
PRIVATE = Settings(network_key=KEY, rates=UNLIMITED)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _address(number: int) -> Address:
    return Address(f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1", 6881)


def full_node(settings: Settings, *, has_ipv6: bool = False) -> Node:
    """With a table as in a network of some thousands: each it hears of answers its ping."""
    rng = SeededRng(1)
    node = Node(replace(settings, has_ipv6=has_ipv6), rng, NOW)
    addresses = [_address(number) for number in range(2_000)]
    if has_ipv6:
        addresses += [Address(f"2600:{number}::1", 6881) for number in range(500)]
    for address in addresses:
        node_id = bound_id(address, rng)
        question = Query(Method.PING, node_id, transaction=b"abcd")
        node.receive_datagram(krpc.encode(question, settings.network_key), address, NOW)
        for data, to in node.datagrams_to_send():
            message = krpc.decode(data, settings.network_key)
            if isinstance(message, Query):
                reply = Reply(node_id, transaction=message.transaction)
                node.receive_datagram(krpc.encode(reply, settings.network_key), to, NOW)
        node.datagrams_to_send()
    return node


def queries(method: Method, settings: Settings) -> list[tuple[bytes, Address]]:
    rng = SeededRng(2)
    askers = [Contact(bound_id(_address(number), rng), _address(number)) for number in range(N_ASKERS)]
    return [
        (
            krpc.encode(Query(method, asker.node_id, rng.bytes(20), transaction=rng.bytes(4)), settings.network_key),
            asker.address,
        )
        for asker in (askers[number % N_ASKERS] for number in range(N_QUERIES))
    ]


def rate(method: Method, settings: Settings) -> tuple[float, float]:
    """Answers a CPU second, and bytes of one on average."""
    node = full_node(settings)
    asked = queries(method, settings)
    n_answers = n_bytes = 0
    began = _cpu()
    for data, address in asked:
        node.receive_datagram(data, address, NOW)
        for answer, _ in node.datagrams_to_send():
            n_answers += 1
            n_bytes += len(answer)
    return n_answers / (_cpu() - began), n_bytes / n_answers


def filled_node(settings: Settings) -> tuple[Node, list[bytes]]:
    """A full one of both families, with all there is to ask for; and the targets of that.

    Items of both kinds and several sizes, peers of both families, info hashes to sample."""
    node = full_node(settings, has_ipv6=True)
    signer = Signer(b"s" * 32)
    items = [immutable(bytes(990)), immutable(bytes(200)), immutable(5)]
    items += [signer.item(bytes(size), 2**62, bytes([size % 60])) for size in (30, 120, 300, 990)]
    for address in (_address(9), Address("2600::1", 5)):
        for item in items:
            put = Query(Method.PUT, bytes(20), token=_token(node, item.target, address), item=item)
            node.receive_datagram(krpc.encode(put, settings.network_key), address, NOW)
        for number in range(80):
            target = number.to_bytes(20, "big") if number < 40 else bytes(20)
            token = _token(node, target, address)
            announced = Query(Method.ANNOUNCE, bytes(20), target, token=token, port=1 + number)
            node.receive_datagram(krpc.encode(announced, settings.network_key), address, NOW)
    node.datagrams_to_send()
    return node, [*(item.target for item in items), bytes(20), b"\xff" * 20]


def _token(node: Node, target: bytes, address: Address) -> bytes:
    node.receive_datagram(krpc.encode(Query(Method.GET, bytes(20), target), node.settings.network_key), address, NOW)
    replies = [krpc.decode(data, node.settings.network_key) for data, _ in node.datagrams_to_send()]
    return next(reply.token for reply in replies if isinstance(reply, Reply))


def sent_back(node: Node, data: bytes, number: int, *, ipv6: bool = False) -> float:
    """Bytes that go to a `number`-th address, which proved nothing, for each byte of `data` that seems to come from it.

    Each at a time of its own, so that pings of earlier ones have ended."""
    now = NOW + 3.0 * number
    node.handle_timer(now)
    node.datagrams_to_send()
    host = f"2601:{number >> 16:x}:{number & 65535:x}::1" if ipv6 else f"90.{number >> 8 & 255}.{number & 255}.1"
    address = Address(host, 1 + (number >> 16))
    node.receive_datagram(data, address, now)
    return sum(len(sent) for sent, to in node.datagrams_to_send() if to == address) / len(data)


def growth(method: Method, settings: Settings) -> float:
    """The worst of many questions. They want either family or both, have transactions of any length, and ask for what
    there is and what is not."""
    node, targets = filled_node(settings)
    worst = 0.0
    for number in range(3_000):
        query = Query(
            method,
            bound_id(_address(number), SeededRng(number)),
            targets[number % len(targets)],
            (None, (False,), (True,), (False, True))[number % 4],
            token=b"t" if method in (Method.PUT, Method.ANNOUNCE) else b"",
            item=immutable(5) if method is Method.PUT else None,
            seq=number % 2 or None,
            is_read_only=number % 3 == 0,
            transaction=bytes(number % 33),
        )
        data = krpc.encode(query, settings.network_key)
        worst = max(worst, sent_back(node, data, number % 300, ipv6=number % 5 == 0))
    return worst


def memory() -> float:
    """MiB that a storage of N_ITEMS of the largest size takes, as Python counts what it has given out."""
    gc.collect()
    tracemalloc.start()
    storage = Storage()
    n_kept = 0
    for number in range(N_ITEMS * 2):
        data = krpc.encode(Query(Method.PUT, bytes(20), token=b"t", item=immutable(b"%09d" % number * 110)))
        query = krpc.decode(data)
        assert isinstance(query, Query) and query.item is not None
        if storage.put(query.item.target, query.item, str(number % 64), NOW) is None:
            n_kept += 1
    used = tracemalloc.get_traced_memory()[0] / 2**20
    tracemalloc.stop()
    print(f"{n_kept} items of 994 bytes, {storage.n_bytes / 2**20:.1f} MiB by its own count: {used:.1f} MiB")
    return used


def main() -> None:
    datagram = bytes(100)
    began = _cpu()
    for _ in range(200_000):
        hashlib.sha1(datagram).digest()
    print(f"yardstick: {200_000 / (_cpu() - began):,.0f} SHA-1 of 100 bytes a CPU second")
    for label, settings in (
        ("private", PRIVATE),
        ("public", Settings(is_public=True, rates=UNLIMITED)),
    ):
        for method in (Method.PING, Method.FIND_NODE, Method.GET_PEERS, Method.GET):
            answers, size = rate(method, settings)
            print(
                f"{label:8s} {method.value.decode():10s} {answers:8,.0f} answers a CPU second, {size:4.0f} bytes each"
            )
    for method in Method:
        print(f"to an unproved address, {method.value.decode():18s} {growth(method, PRIVATE):.2f} x", end="  ")
        print(f"public {growth(method, Settings(is_public=True, rates=UNLIMITED)):.2f} x")
    memory()


if __name__ == "__main__":
    main()
