"""The server against a client that speaks raw lines: protocol, faults, bounds."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import socket
import tracemalloc
import weakref
from pathlib import Path
from typing import Any

import pytest

from swarmd.control import schema
from swarmd.control.connection import Bounds
from swarmd.control.dispatch import Caller, bind
from swarmd.control.events import EventHub
from swarmd.control.records import Data, NodeId, Notice, Share, ShareProgress, Transfer
from swarmd.control.server import Server
from swarmd.core.errors import DiskFull, NotFound, RemoteError
from tests.control.records import transfer
from tests.control.serving import serving, several_turns


async def _id(params: schema.NoParams, caller: Caller) -> NodeId:
    return NodeId(peer_id=f"uid {caller.credentials.uid} pid {caller.credentials.pid}")


async def _read(params: schema.ReadParams, caller: Caller) -> Data:
    return Data(data=bytes(params.length), size=1 << 40)


ID = bind(schema.ID, _id)
READ = bind(schema.READ, _read)


class Waiting:
    """A handler for `transfer.wait` that runs until it is told, and says how it ended."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.progress: list[Transfer] = []

    async def __call__(self, params: schema.WaitParams, caller: Caller) -> Transfer:
        caller.when_closed(self.closed.set)
        for each in self.progress:
            caller.progress(each)
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        caller.progress(transfer(id="late"))
        return transfer(id=params.id, state="done")


async def test_a_call(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([ID])) as served, served.raw() as client:
        client.send("id", request_id="abc")
        answer = await client.receive()
    me = f"uid {os.getuid()} pid {os.getpid()}"
    assert answer == {"jsonrpc": "2.0", "id": "abc", "result": {"peer_id": me}}


@pytest.mark.parametrize(
    ("line", "code", "word", "request_id"),
    [
        (b"hello", -32700, "invalid", None),
        (b"\x00\xff\xfe", -32700, "invalid", None),
        (b"[]", -32600, "invalid", None),
        (b'{"jsonrpc":"2.0","id":4}', -32600, "invalid", 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"nonsense"}', -32601, "invalid", 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"group.show","params":{"group":"x"}}', -32601, "invalid", 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"id","params":{"x":1}}', -32602, "invalid", 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"id","params":[]}', -32602, "invalid", 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"subscribe","params":{"topics":["x"]}}', -32602, "invalid", 4),
    ],
)
async def test_bad_lines_are_answered_and_harm_nothing(
    tmp_path: Path, line: bytes, code: int, word: str, request_id: int | None
) -> None:
    async with serving(tmp_path, dict([ID])) as served, served.raw() as client:
        answer = await client.ask(line)
        assert answer["id"] == request_id
        assert answer["error"]["code"] == code
        assert answer["error"]["data"] == {"code": word}
        assert answer["error"]["message"]
        client.send("id", request_id=5)
        assert (await client.receive())["id"] == 5


async def test_blank_lines_are_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([ID])) as served, served.raw() as client:
        client.writer.write(b"\n  \r\n\n")
        client.send("id")
        assert (await client.receive())["id"] == 1


async def test_a_notification_is_run_and_not_answered(tmp_path: Path) -> None:
    ran = asyncio.Event()

    async def pause(params: schema.TransferParams, caller: Caller) -> Transfer:
        ran.set()
        raise NotFound("nobody hears this")

    async with serving(tmp_path, dict([ID, bind(schema.PAUSE, pause)])) as served, served.raw() as client:
        client.writer.write(b'{"jsonrpc":"2.0","method":"pause","params":{"id":"x"}}\n')
        await ran.wait()
        client.send("id")
        assert (await client.receive())["id"] == 1


async def test_errors_carry_their_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raised: list[BaseException] = [
        NotFound("no disk.iso here"),
        DiskFull("full"),
        RemoteError("liar"),
        RuntimeError("secret"),
    ]

    async def pause(params: schema.TransferParams, caller: Caller) -> Transfer:
        raise raised[int(params.id)]

    answers = []
    async with serving(tmp_path, dict([bind(schema.PAUSE, pause)])) as served, served.raw() as client:
        for i in range(len(raised)):
            client.send("pause", id=str(i))
            answers.append((await client.receive())["error"])
    assert answers[0] == {"code": -32000, "message": "no disk.iso here", "data": {"code": "not_found"}}
    assert [each["data"]["code"] for each in answers] == ["not_found", "disk_full", "error", "error"]
    assert answers[3]["code"] == -32603
    assert "secret" not in answers[3]["message"]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "secret" in caplog.text


async def test_a_handler_that_gives_something_else_is_a_bug_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def wrong(params: schema.NoParams, caller: Caller) -> Any:
        return Notice(text="not an ID")

    async with serving(tmp_path, dict([bind(schema.ID, wrong)])) as served, served.raw() as client:
        client.send("id")
        assert (await client.receive())["error"]["code"] == -32603
    assert "id gave <class 'swarmd.control.records.Notice'>" in caplog.text


async def test_calls_run_side_by_side(tmp_path: Path) -> None:
    waiting = Waiting()
    async with serving(tmp_path, dict([ID, bind(schema.WAIT, waiting)])) as served, served.raw() as client:
        client.send("transfer.wait", request_id=1, id="x")
        client.send("id", request_id=2)
        assert (await client.receive())["id"] == 2
        waiting.go.set()
        answer = await client.receive()
        assert (answer["id"], answer["result"]["state"]) == (1, "done")


async def test_progress_is_the_latest_and_never_follows_the_answer(tmp_path: Path) -> None:
    waiting = Waiting()
    waiting.progress = [transfer(have_bytes=count) for count in range(1000)]
    async with serving(tmp_path, dict([ID, bind(schema.WAIT, waiting)])) as served, served.raw() as client:
        client.send("transfer.wait", request_id="w", id="x")
        notice = await client.receive()
        assert notice["method"] == "progress"
        assert notice["params"]["id"] == "w"
        assert notice["params"]["value"]["have_bytes"] == 999
        waiting.go.set()
        assert "result" in await client.receive()
        client.send("id")
        assert (await client.receive())["id"] == 1


async def test_progress_told_too_late_is_not_sent(tmp_path: Path) -> None:
    callers: list[Caller] = []

    async def remember(params: schema.WaitParams, caller: Caller) -> Transfer:
        callers.append(caller)
        return transfer(state="done")

    async with serving(tmp_path, dict([ID, bind(schema.WAIT, remember)])) as served, served.raw() as client:
        client.send("transfer.wait", id="x")
        assert "result" in await client.receive()
        callers[0].progress(transfer())
        client.send("id")
        assert "result" in await client.receive()


async def test_a_caller_that_goes_away_ends_its_calls(tmp_path: Path) -> None:
    waiting = Waiting()
    async with serving(tmp_path, dict([bind(schema.WAIT, waiting)])) as served:
        async with served.raw() as client:
            client.send("transfer.wait", id="x")
            await waiting.started.wait()
        await waiting.cancelled.wait()
        await waiting.closed.wait()


async def test_a_caller_that_only_stops_sending_gets_its_answers(tmp_path: Path) -> None:
    waiting = Waiting()
    async with serving(tmp_path, dict([ID, bind(schema.WAIT, waiting)])) as served, served.raw() as client:
        client.send("transfer.wait", request_id=1, id="x")
        client.writer.write(b'{"jsonrpc":"2.0","id":2,"method":"id"}')  # no line break either
        client.writer.write_eof()
        assert (await client.receive())["id"] == 2
        waiting.go.set()
        assert (await client.receive())["id"] == 1
        assert await client.receive() is None


async def test_a_caller_that_stops_sending_and_then_goes_away_ends_its_calls(tmp_path: Path) -> None:
    waiting = Waiting()
    async with serving(tmp_path, dict([bind(schema.WAIT, waiting)])) as served:
        async with served.raw() as client:
            client.send("transfer.wait", request_id=1, id="x")
            client.writer.write_eof()
            await waiting.started.wait()
        await waiting.cancelled.wait()


async def test_an_overlong_line_ends_the_connection_and_its_calls(tmp_path: Path) -> None:
    waiting = Waiting()
    async with serving(tmp_path, dict([ID, bind(schema.WAIT, waiting)])) as served, served.raw() as client:
        client.send("transfer.wait", id="x")
        client.writer.write(b'{"jsonrpc":"2.0","id":1,"method":"id","x":"' + b"a" * schema.MAX_REQUEST_BYTES)
        answer = await client.receive()
        assert answer["error"]["code"] == -32600
        assert f"{schema.MAX_REQUEST_BYTES} bytes" in answer["error"]["message"]
        assert await client.is_closed()
        await waiting.cancelled.wait()


async def test_a_line_just_within_the_bound_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([ID])) as served, served.raw() as client:
        line = b'{"jsonrpc":"2.0","id":1,"method":"id"}'
        answer = await client.ask(line[:-1] + b" " * (schema.MAX_REQUEST_BYTES - len(line)) + b"}")
        assert "result" in answer


async def test_an_endless_line_costs_no_memory(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([ID])) as served, served.raw() as client:
        answer = asyncio.create_task(client.receive())
        tracemalloc.start()
        try:
            while not answer.done():
                client.writer.write(b"a" * 65536)
                drained = asyncio.create_task(_drained(client.writer))
                await asyncio.wait({answer, drained}, return_when="FIRST_COMPLETED")
            assert tracemalloc.get_traced_memory()[1] < 16 * schema.MAX_REQUEST_BYTES
        finally:
            tracemalloc.stop()
        assert (await answer)["error"]["code"] == -32600


async def _drained(writer: asyncio.StreamWriter) -> None:
    try:
        await writer.drain()
    except ConnectionError:
        return


async def test_a_client_that_never_reads_is_dropped_without_growing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = Waiting()
    bounds = Bounds(send_timeout_s=0.3)
    async with serving(tmp_path, dict([READ, bind(schema.WAIT, waiting)]), bounds=bounds) as served:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.setblocking(False)
            deaf.connect(served.path)
            deaf.send(b'{"jsonrpc":"2.0","id":0,"method":"transfer.wait","params":{"id":"x"}}\n')
            line = b'{"jsonrpc":"2.0","id":1,"method":"transfer.read","params":{"id":"x","offset":0}}\n'
            tracemalloc.start()
            try:
                deaf.send(line * 1000)
                await waiting.closed.wait()
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert _reads_to_the_end(deaf) < 10 << 20
        assert peak < 100 << 20  # a thousand answers of 1.4 MB were asked for
    assert "has read nothing for 0.3 s" in caplog.text


def _reads_to_the_end(sock: socket.socket) -> int:
    """How many bytes were still in the socket; an error when it is not closed."""
    total = 0
    while data := sock.recv(1 << 20):
        total += len(data)
    return total


async def test_too_many_calls_at_once_are_refused(tmp_path: Path) -> None:
    waiting = Waiting()
    bounds = Bounds(calls=3)
    async with serving(tmp_path, dict([bind(schema.WAIT, waiting)]), bounds=bounds) as served, served.raw() as client:
        for i in range(4):
            client.send("transfer.wait", request_id=i, id="x")
        refused = await client.receive()
        assert (refused["id"], refused["error"]["data"]["code"]) == (3, "conflict")
        waiting.go.set()
        assert {(await client.receive())["id"] for _ in range(3)} == {0, 1, 2}


async def test_too_many_connections_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, dict([ID]), bounds=Bounds(connections=1)) as served, served.raw() as first:
        first.send("id")
        await first.receive()
        async with served.raw() as second:
            assert (await second.receive())["error"]["data"]["code"] == "conflict"
            assert await second.is_closed()
        first.send("id")
        assert "result" in await first.receive()


@pytest.mark.parametrize("is_reset", [False, True])
async def test_nothing_of_a_client_that_is_gone_waits_for_the_collector(tmp_path: Path, is_reset: bool) -> None:
    """What it had sent is as much as 3 MiB, and the collector comes seldom where little is made."""
    gc.disable()
    try:
        async with serving(tmp_path, dict([ID])) as served:
            async with served.raw() as client:
                client.send("subscribe", topics=["posts"])
                await client.receive()
                client.writer.write(b"x" * 100_000)
                client.send("id")
                if not is_reset:
                    client.writer.write_eof()
                    await client.receive()
                left = [weakref.ref(each._reader) for each in served.server._connections.values()]
            await asyncio.gather(*served.server._connections)
            await several_turns()
            assert [each() for each in left] == [None]
    finally:
        gc.enable()


async def test_an_answer_too_long_for_a_client_is_an_error(tmp_path: Path) -> None:
    async def huge(params: schema.NoParams, caller: Caller) -> NodeId:
        return NodeId(peer_id="x" * schema.MAX_RESPONSE_BYTES)

    async with serving(tmp_path, dict([bind(schema.ID, huge)])) as served, served.raw() as client:
        client.send("id")
        assert "longer than 16 MiB" in (await client.receive())["error"]["message"]


async def test_close_answers_what_runs_and_takes_the_file_away(tmp_path: Path) -> None:
    waiting = Waiting()
    async with serving(tmp_path, dict([bind(schema.WAIT, waiting)])) as served, served.raw() as client:
        client.send("transfer.wait", id="x")
        await waiting.started.wait()
        await served.server.close()
        answer = await client.receive()
        assert answer["error"] == {
            "code": -32001,
            "message": "swarmd is stopping",
            "data": {"code": "unreachable"},
        }
        assert await client.is_closed()
        assert not Path(served.path).exists()


async def test_close_does_not_wait_for_the_deaf(tmp_path: Path) -> None:
    bounds = Bounds(close_timeout_s=0.1)
    async with serving(tmp_path, dict([READ]), bounds=bounds) as served:
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.setblocking(False)
            deaf.connect(served.path)
            deaf.send(b'{"jsonrpc":"2.0","id":1,"method":"transfer.read","params":{"id":"x","offset":0}}\n' * 10)
            async with served.raw() as other:
                other.send("transfer.read", id="x", offset=0, length=1)
                await other.receive()
            async with asyncio.timeout(5):
                await served.server.close()
    assert served.server.clients == 0


async def test_progress_of_share(tmp_path: Path) -> None:
    async def share(params: schema.ShareParams, caller: Caller) -> Share:
        caller.progress(ShareProgress(files=1, total_files=2, bytes=3, total_bytes=None))
        await asyncio.sleep(0)
        return Share(
            ticket="swarm:x", content_id="c", name="n", size=1, kind="file", files=1, path=params.path,
            group_id="g", group_name=params.group,
        )  # fmt: skip

    async with serving(tmp_path, dict([bind(schema.SHARE, share)])) as served, served.raw() as client:
        client.send("share", path="/srv/n")
        value = (await client.receive())["params"]["value"]
        assert value == {"files": 1, "total_files": 2, "bytes": 3, "total_bytes": None, "eta_s": None}
        assert (await client.receive())["result"]["path"] == "/srv/n"


def test_a_table_with_unknown_methods_is_refused() -> None:
    with pytest.raises(ValueError, match=r"transfer\.fly"):
        Server({"transfer.fly": _id}, EventHub())
    with pytest.raises(ValueError, match="subscribe"):
        Server({"subscribe": _id}, EventHub())
    assert Server(dict([ID]), EventHub()).missing == schema.METHODS.keys() - {"id", "subscribe"}


async def test_requests_split_anywhere_are_the_same(tmp_path: Path) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "id"}).encode() + b"\n"
    async with serving(tmp_path, dict([ID])) as served, served.raw() as client:
        for cut in range(1, len(line)):
            client.writer.write(line[:cut])
            await client.writer.drain()
            await asyncio.sleep(0)
            client.writer.write(line[cut:])
            assert "result" in await client.receive()
