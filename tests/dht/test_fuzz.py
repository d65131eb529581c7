"""The fuzzer's harness does what it is for: it runs through its seeds and what is near them, and notices a fault."""

from __future__ import annotations

import importlib
import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.dht import krpc, operations, responder
from swarmd.dht.items import Item, Signer, immutable
from swarmd.dht.krpc import Method, Query
from swarmd.dht.limits import GROWTH
from swarmd.dht.node import Node
from tests.bench.dht import KEY, PRIVATE, filled_node, sent_back
from tests.fuzz import dht
from tests.fuzz.dht import NEIGHBOUR_ID, Kind, Victim, script


@pytest.mark.parametrize("seed", dht.SEEDS, ids=range(len(dht.SEEDS)))
def test_seeds(seed: bytes) -> None:
    for size in (1, len(seed) // 3, len(seed) // 2, len(seed) - 1, len(seed)):
        dht.target(seed[:size])


PARTS = st.sampled_from([part for seed in dht.SEEDS for _, part in dht._steps(seed)]) | st.binary(max_size=60)


@given(
    st.lists(st.tuples(st.sampled_from(Kind), PARTS), max_size=10),
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=5),
)
@settings(max_examples=100)
def test_any_script(steps: list[tuple[Kind, bytes]], changes: list[tuple[int, int]]) -> None:
    data = bytearray(script(*steps))
    for place, value in changes:
        if data:
            data[place % len(data)] = value
    dht.target(bytes(data))


_QUERIES = st.builds(
    Query,
    st.sampled_from(Method),
    st.binary(min_size=20, max_size=20),
    want=st.none() | st.sampled_from([(False,), (True,), (False, True)]),
    token=st.binary(max_size=20),
    port=st.integers(0, 9),
    item=st.sampled_from([immutable(b""), Signer(b"s" * 32).item(5, 3)]),
    seq=st.none() | st.integers(0, 9),
    is_read_only=st.booleans(),
    transaction=st.binary(max_size=32),
    n_padding=st.just(0) | st.integers(0, 500),
)
_CHANGES = st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=9)), max_size=2)
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def filled() -> dict[bool, tuple[Node, list[bytes]]]:
    return {
        key is not None: filled_node(replace(PRIVATE, network_key=key, is_public=key is None)) for key in (KEY, None)
    }


@given(st.booleans(), _QUERIES, st.integers(0, 99), st.booleans(), _CHANGES)
@settings(max_examples=200)
def test_nobody_is_sent_more_than_three_times_what_came_from_it(
    filled: dict[bool, tuple[Node, list[bytes]]],
    is_private: bool,
    query: Query,
    which: int,
    ipv6: bool,
    changes: list[tuple[int, bytes]],
) -> None:
    """Any question, whole or damaged, to a node with a full table and all there is to ask for."""
    node, targets = filled[is_private]
    query = replace(
        query, target=targets[which % len(targets)], item=query.item if query.method is Method.PUT else None
    )
    data = krpc.encode(query)
    for place, other in changes:
        at = place % len(data)
        data = data[:at] + other + data[at + len(other) :]
    data = krpc.tagged(data, KEY) if is_private else data
    growth = sent_back(node, data, next(_NUMBERS) % 300, ipv6=ipv6)
    target(growth)
    assert growth <= GROWTH


def test_the_seeds_get_where_they_should() -> None:
    victim = Victim()
    for kind, part in dht._steps(dht.SEEDS[2]):
        victim.step(kind, part)
    assert victim.node.status().n_items == 1, "a put with a good token"
    victim = Victim()
    n_asked = len(victim.asked)
    victim.step(Kind.ANSWER, b"2:id20:" + NEIGHBOUR_ID + dht._NODES)
    assert len(victim.asked) > n_asked - 1, "an answer leads on to those it names"


def test_an_answer_that_is_too_large_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "GROWTH", 30)
    with pytest.raises(AssertionError, match="more than it may be"):
        dht.target(dht.SEEDS[-2])


def test_an_item_that_is_believed_unseen_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def believed(item: Item, target: bytes) -> Item:
        return item

    monkeypatch.setattr(operations, "verified", believed)
    with pytest.raises(RemoteError):
        dht.target(_false_answer())


def _false_answer() -> bytes:
    return script(*[(Kind.ANSWER, b"2:id20:" + NEIGHBOUR_ID + b"1:v5:false")] * 3)


def test_a_decoder_that_raises_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes, key: bytes | None = None) -> krpc.Message:
        raise IndexError(Address("192.0.2.1", 1))

    monkeypatch.setattr(krpc, "decode", broken)
    with pytest.raises(IndexError):
        dht.target(b"")


def test_without_atheris_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SystemExit, match="atheris"):
        dht.main()
