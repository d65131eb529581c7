"""What one connection is told alone: by whom, in which order, and what becomes of one that does not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swarmd.control import objects
from swarmd.control.async_client import AsyncClient
from swarmd.control.connection import Bounds
from swarmd.control.dispatch import Caller, bind
from swarmd.control.events import FEED_LINES, Feed
from swarmd.control.failures import DaemonUnreachable
from swarmd.control.objects import ObjectEvent
from swarmd.control.objects_client import TAKEN_AT_ONCE, Objects
from tests.control.serving import Served, serving


class Daemon:
    """The other end: it opens whatever it is asked to, and says what the test says."""

    def __init__(self) -> None:
        self.feeds: list[Feed] = []
        self.taken: list[int] = []
        self.ended = asyncio.Event()

    async def open(self, params: objects.OpenParams, caller: Caller) -> objects.Opened:
        self.feeds.append(caller.feed)
        caller.when_closed(self.ended.set)
        return objects.Opened(object_id=len(self.feeds), group_id="g")

    async def take(self, params: objects.TakenParams, caller: Caller) -> objects.Changed:
        self.taken.append(params.count)
        return objects.Changed()

    async def close(self, params: objects.CloseObjectParams, caller: Caller) -> objects.Changed:
        return objects.Changed()

    def tell(self, number: int, event: ObjectEvent) -> None:
        self.feeds[number - 1].push(event)

    @asynccontextmanager
    async def serving(self, folder: Path, bounds: Bounds | None = None) -> AsyncIterator[Served]:
        handlers = [bind(objects.OPEN, self.open), bind(objects.TAKEN, self.take), bind(objects.CLOSE, self.close)]
        async with serving(folder, dict(handlers), bounds=bounds) as served:
            yield served


def result(number: int, index: int, data: bytes = b"x") -> ObjectEvent:
    return ObjectEvent(name="result", object_id=number, index=index, data=data)


async def test_each_connection_hears_of_its_own(tmp_path: Path) -> None:
    daemon = Daemon()
    async with daemon.serving(tmp_path) as served, served.raw() as one, served.raw() as other:
        for client in (one, other):
            client.send("objects.open", group="g", name="n")
            assert (await client.receive())["result"]["object_id"] == len(daemon.feeds)
        daemon.tell(1, result(1, 7))
        daemon.tell(2, result(2, 8))
        told = [await client.receive() for client in (one, other)]
    assert [(each["method"], each["params"]["object_id"], each["params"]["index"]) for each in told] == [
        ("object", 1, 7),
        ("object", 2, 8),
    ]
    assert daemon.feeds[0] is not daemon.feeds[1]


async def test_who_opens_objects_and_does_not_read_is_dropped(tmp_path: Path) -> None:
    daemon = Daemon()
    async with daemon.serving(tmp_path, Bounds(send_timeout_s=0.05)) as served, served.raw() as deaf:
        deaf.send("subscribe", topics=["peers"])
        await deaf.receive()
        deaf.send("objects.open", group="g", name="n")
        await deaf.receive()
        deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
        for index in range(64):
            daemon.tell(1, result(1, index, bytes(64 << 10)))
        await asyncio.wait_for(daemon.ended.wait(), 20)


async def test_what_may_be_left_out_is_while_nobody_reads() -> None:
    feed = Feed(lambda: None)
    for index in range(FEED_LINES):
        assert not feed.is_slow
        feed.push(result(1, index))
    assert feed.is_slow
    assert feed.next_line() is not None
    assert not feed.is_slow


@asynccontextmanager
async def opened(daemon: Daemon, served: Served) -> AsyncIterator[tuple[AsyncClient, Objects]]:
    async with await AsyncClient.connect(served.path) as client:
        yield client, await Objects.open(client, "g", "n", "rarest")


async def test_results_are_taken_when_the_program_comes_back(tmp_path: Path) -> None:
    daemon = Daemon()
    async with daemon.serving(tmp_path) as served, opened(daemon, served) as (_, held):
        for index in range(2 * TAKEN_AT_ONCE):
            daemon.tell(1, result(1, index))
        assert (await anext(held)).index == 0
        assert daemon.taken == [], "it may still be busy with it"
        for index in range(1, 2 * TAKEN_AT_ONCE):
            assert (await anext(held)).index == index
        daemon.tell(1, ObjectEvent(name="failed", object_id=1, index=3))
        assert (await anext(held)).name == "failed"
        assert sum(daemon.taken) == 2 * TAKEN_AT_ONCE
        assert len(daemon.taken) < 2 * TAKEN_AT_ONCE, "several at once"


async def test_a_flood_of_requests_keeps_no_result_waiting(tmp_path: Path) -> None:
    daemon = Daemon()
    async with daemon.serving(tmp_path) as served, opened(daemon, served) as (_, held):
        for index in range(100):
            daemon.tell(1, ObjectEvent(name="request", object_id=1, index=index, request_id=index))
        for index in range(3):
            daemon.tell(1, result(1, index))
        names: list[str] = []
        while names.count("result") < 3:
            names.append((await anext(held)).name)
    assert len(names) < 100


@pytest.mark.parametrize("how", ["daemon", "object"])
async def test_an_iteration_ends(tmp_path: Path, how: str) -> None:
    daemon = Daemon()
    async with daemon.serving(tmp_path) as served, opened(daemon, served) as (_, held):
        waiting = asyncio.create_task(anext(held))
        await asyncio.sleep(0)
        if how == "daemon":
            await served.server.close()
            with pytest.raises(DaemonUnreachable):
                await waiting
        else:
            await held.close()
            with pytest.raises(StopAsyncIteration):
                await waiting
            assert [event async for event in held] == []
