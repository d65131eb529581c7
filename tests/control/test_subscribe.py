"""`subscribe` turns a connection into a feed that cannot grow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from swarmd.control import schema
from swarmd.control.backlog import MAX_BYTES, MAX_ITEMS
from swarmd.control.connection import Bounds
from swarmd.control.dispatch import Caller, bind
from swarmd.control.events import EventHub
from swarmd.control.records import NodeId, Notice
from tests.control.records import peer, transfer
from tests.control.serving import RawClient, Served, serving


async def _id(params: schema.NoParams, caller: Caller) -> NodeId:
    return NodeId(peer_id="me")


async def _subscribe(client: RawClient, *topics: str) -> None:
    client.send("subscribe", topics=list(topics))
    assert (await client.receive())["result"] == {"topics": list(topics)}


async def test_events_of_the_topics_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as served, served.raw() as client:
        served.hub.publish("transfers", "added", transfer(id="before"))
        await _subscribe(client, "transfers", "daemon")
        served.hub.publish("transfers", "changed", transfer(id="t7"))
        served.hub.publish("peers", "connected", peer(1))
        served.hub.publish("daemon", "warning", Notice(text="no mDNS"))
        first, second = await client.receive(), await client.receive()
    assert (first["method"], first["params"]["topic"], first["params"]["name"]) == ("event", "transfers", "changed")
    assert first["params"]["data"]["id"] == "t7"
    assert second["params"] == {"topic": "daemon", "name": "warning", "data": {"text": "no mDNS"}}


async def test_subscribing_again_replaces_the_topics(tmp_path: Path) -> None:
    async with serving(tmp_path, {}) as served, served.raw() as client:
        await _subscribe(client, "transfers")
        await _subscribe(client, "peers")
        assert not served.hub.is_heard("transfers")
        served.hub.publish("transfers", "added", transfer())
        served.hub.publish("peers", "connected", peer(1))
        assert (await client.receive())["params"]["topic"] == "peers"


async def test_calls_still_work_and_overtake_events(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([bind(schema.ID, _id)])) as served, served.raw() as client:
        await _subscribe(client, "peers")
        for i in range(10):
            served.hub.publish("peers", "connected", peer(i))
        client.send("id", request_id="x")
        received = [await client.receive() for _ in range(11)]
    assert [message.get("id") for message in received].count("x") == 1
    assert [each["params"]["data"]["address"] for each in received if "params" in each] == [
        f"10.0.0.1:{i}" for i in range(10)
    ]


async def test_a_subscription_ends_with_its_connection(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([bind(schema.ID, _id)])) as served:
        async with served.raw() as client:
            await _subscribe(client, "peers")
            assert served.hub.is_heard("peers")
        await served.server.close()
        assert not served.hub.is_heard("peers")


async def test_a_reader_that_is_late_is_told_how_much_it_lost(tmp_path: Path) -> None:
    count = MAX_ITEMS * 3
    async with serving(tmp_path, {}) as served, served.raw() as client:
        await _subscribe(client, "peers")
        for i in range(count):  # without a turn of the loop: nothing can be sent meanwhile
            served.hub.publish("peers", "connected", peer(i))
        lost = await client.receive()
        assert lost["method"] == "lost"
        kept = count - lost["params"]["count"]
        assert 0 < kept <= MAX_ITEMS
        received = [await client.receive() for _ in range(kept)]
    addresses = [each["params"]["data"]["address"] for each in received]
    assert addresses == [f"10.0.0.1:{i}" for i in range(count - kept, count)]


async def test_a_subscriber_that_never_reads_is_not_fed_and_not_dropped(tmp_path: Path) -> None:
    bounds = Bounds(send_timeout_s=0.05)
    async with serving(tmp_path, {}, bounds=bounds) as served, served.raw() as deaf, served.raw() as good:
        await _subscribe(deaf, "transfers")
        await _subscribe(good, "transfers")
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
        tracemalloc.start()
        try:
            await _flood(served, good, 5000)
            assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BYTES
        finally:
            tracemalloc.stop()
        deaf.reader._transport.resume_reading()  # type: ignore[attr-defined]
        lost, seen = 0, 0
        while lost + seen < 5000:
            message = await deaf.receive()
            if message["method"] == "lost":
                lost += message["params"]["count"]
            else:
                seen += 1
        assert lost > 0
        assert seen > 0


async def _flood(served: Served, good: RawClient, count: int) -> None:
    """Each event is 10 kB long; `good` reads them all while the other reads none."""
    for i in range(count):
        served.hub.publish("transfers", "changed", transfer(id=str(i), name="n" * 10_000))
        assert (await good.receive())["params"]["data"]["id"] == str(i)


def test_publishing_the_wrong_record_is_our_own_fault() -> None:
    with pytest.raises(AssertionError, match="transfers events carry Transfer"):
        EventHub().publish("transfers", "added", peer(1))
