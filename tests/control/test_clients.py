"""Both clients against the real server; one set of tests where they promise the same."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from swarmd.control import schema, wire
from swarmd.control.async_client import MAX_CALLS, AsyncClient
from swarmd.control.client import Client, DaemonUnreachable, default_socket_path
from swarmd.control.dispatch import Caller, Handlers, bind
from swarmd.control.records import Data, Event, Lost, NodeId, Result, Transfer
from swarmd.core.errors import IntegrityError, InvalidArgument, LocalError, NotAllowed, NotFound
from swarmd.daemon.paths import find_paths
from tests.control.records import peer, transfer
from tests.control.serving import serving

P = TypeVar("P", bound=schema.Params)
R = TypeVar("R", bound=Result)


async def _id(params: schema.NoParams, caller: Caller) -> NodeId:
    return NodeId(peer_id="me")


async def _read(params: schema.ReadParams, caller: Caller) -> Data:
    return Data(data=bytes(range(256)) * (params.length // 256), size=1 << 40)


async def _wait(params: schema.WaitParams, caller: Caller) -> Transfer:
    for have in range(5):
        caller.progress(transfer(have_bytes=have))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    if params.id == "damaged":
        raise IntegrityError("disk.iso is damaged")
    return transfer(id=params.id, state="done")


HANDLERS: Handlers = dict([bind(schema.ID, _id), bind(schema.READ, _read), bind(schema.WAIT, _wait)])


class Sync:
    """The blocking client, on a thread."""

    async def call(
        self, path: str, method: schema.Method[P, R], params: P, progress: Callable[[Any], None] | None = None
    ) -> R:
        def work() -> R:
            with Client(path) as client:
                return client.call(method, params, progress)

        return await asyncio.to_thread(work)


class Async:
    """The asyncio client."""

    async def call(
        self, path: str, method: schema.Method[P, R], params: P, progress: Callable[[Any], None] | None = None
    ) -> R:
        async with await AsyncClient.connect(path) as client:
            return await client.call(method, params, progress)


both = pytest.mark.parametrize("client", [Sync(), Async()], ids=["sync", "async"])


@both
async def test_result_and_progress(tmp_path: Path, client: Sync | Async) -> None:
    seen: list[Transfer] = []
    async with serving(tmp_path, HANDLERS) as served:
        result = await client.call(served.path, schema.WAIT, schema.WaitParams(id="t9"), seen.append)
    assert (result.id, result.state) == ("t9", "done")
    assert seen
    assert [each.have_bytes for each in seen] == sorted({each.have_bytes for each in seen})


@both
async def test_a_large_result(tmp_path: Path, client: Sync | Async) -> None:
    async with serving(tmp_path, HANDLERS) as served:
        result = await client.call(served.path, schema.READ, schema.ReadParams(id="t", offset=0))
    assert result.data == bytes(range(256)) * 4096


@both
async def test_errors_are_what_they_were(tmp_path: Path, client: Sync | Async) -> None:
    async with serving(tmp_path, HANDLERS) as served:
        with pytest.raises(IntegrityError, match=r"disk\.iso is damaged"):
            await client.call(served.path, schema.WAIT, schema.WaitParams(id="damaged"))
        with pytest.raises(InvalidArgument, match=r"no method 'pause'"):
            await client.call(served.path, schema.PAUSE, schema.TransferParams(id="x"))
        with pytest.raises(InvalidArgument, match=r"transfer\.read: id must be a text of 1 to 1,024"):
            await client.call(served.path, schema.READ, schema.ReadParams(id="", offset=0))


@both
async def test_what_cannot_be_said_is_refused_before_it_is_sent(tmp_path: Path, client: Sync | Async) -> None:
    async with serving(tmp_path, HANDLERS) as served:
        with pytest.raises(InvalidArgument, match=r"^/srv/\\udcff.* is not UTF-8"):
            await client.call(served.path, schema.SHARE, schema.ShareParams(path="/srv/\udcff"))
        with pytest.raises(InvalidArgument, match="longer than 1536 KiB"):
            await client.call(served.path, schema.SHARE, schema.ShareParams(path="/" + "x" * schema.MAX_REQUEST_BYTES))


@both
async def test_nobody_there(tmp_path: Path, client: Sync | Async) -> None:
    path = tmp_path / "control.sock"
    with pytest.raises(DaemonUnreachable, match=rf"answers on {path} \(No such file.*Start one with `swarmd`"):
        await client.call(str(path), schema.ID, schema.NoParams())
    async with serving(tmp_path, HANDLERS):
        path.rename(tmp_path / "stale")
    with pytest.raises(DaemonUnreachable, match="Connection refused"):
        await client.call(str(tmp_path / "stale"), schema.ID, schema.NoParams())
    with pytest.raises(DaemonUnreachable, match="path too long"):
        await client.call("/" + "x" * 200, schema.ID, schema.NoParams())


@both
async def test_the_daemon_stops_in_the_middle(tmp_path: Path, client: Sync | Async) -> None:
    started = asyncio.Event()

    async def forever(params: schema.WaitParams, caller: Caller) -> Transfer:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(tmp_path, dict([bind(schema.WAIT, forever)])) as served:
        call = asyncio.create_task(client.call(served.path, schema.WAIT, schema.WaitParams(id="x")))
        await started.wait()
        await served.server.close()
        with pytest.raises(DaemonUnreachable, match="swarmd is stopping"):
            await call


@both
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LocalError),
        (b'{"jsonrpc":"2.0","id":1}\n', LocalError),
        (b'{"jsonrpc":"2.0","id":1,"result":{"peer_id":5}}\n', LocalError),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x","data":{"code":"not_found"}}}\n', NotFound),
        (
            b'{"jsonrpc":"2.0","id":null,"error":{"code":-1,"message":"x","data":{"code":"not_allowed"}}}\n',
            NotAllowed,
        ),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x"}}\n', LocalError),
        (b'{"jsonrpc":"2.0","method":"progress","params":{"id":1,"value":{}}}\n', DaemonUnreachable),
        (b'{"jsonrpc":"2.0","id":1,"resu', DaemonUnreachable),
        (b"", DaemonUnreachable),
    ],
)
async def test_a_server_that_is_none(
    tmp_path: Path, client: Sync | Async, answer: bytes, error: type[LocalError]
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    path = str(tmp_path / "other.sock")
    server = await asyncio.start_unix_server(serve, path)
    try:
        with pytest.raises(error) as caught:
            await client.call(path, schema.ID, schema.NoParams(), lambda value: None)
        assert type(caught.value) is error
    finally:
        server.close()
        await server.wait_closed()


def test_who_is_turned_away_before_it_has_asked_still_learns_why(tmp_path: Path) -> None:
    path = str(tmp_path / "other.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        with Client(path) as client:
            accepted, _ = listening.accept()
            with accepted:
                accepted.send(wire.encode_error(None, wire.APPLICATION_ERROR, "not you", "not_allowed"))
            with pytest.raises(NotAllowed, match="not you"):
                client.call(schema.ID, schema.NoParams())


@both
async def test_a_line_without_end_is_not_swallowed_for_ever(
    tmp_path: Path, client: Sync | Async, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarmd.control.client.MAX_RESPONSE_BYTES", 1 << 20)
    monkeypatch.setattr("swarmd.control.async_client.MAX_RESPONSE_BYTES", 1 << 20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                writer.write(b"a" * (1 << 16))
                await writer.drain()
        except ConnectionError:
            writer.transport.abort()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    path = str(tmp_path / "other.sock")
    server = await asyncio.start_unix_server(serve, path)
    try:
        with pytest.raises(LocalError, match="no end of line"):
            await client.call(path, schema.ID, schema.NoParams())
    finally:
        server.close()
        await server.wait_closed()


async def test_sync_events(tmp_path: Path) -> None:
    subscribed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def follow(path: str) -> list[Event | Lost]:
        with Client(path) as client:
            events = client.events(["peers", "transfers"])
            loop.call_soon_threadsafe(subscribed.set)
            return [next(events), next(events)]

    async with serving(tmp_path, HANDLERS) as served:
        following = asyncio.create_task(asyncio.to_thread(follow, served.path))
        await subscribed.wait()
        served.hub.publish("peers", "connected", peer(1))
        served.hub.publish("transfers", "done", transfer(state="done"))
        assert await following == [
            Event(topic="peers", name="connected", data=peer(1)),
            Event(topic="transfers", name="done", data=transfer(state="done")),
        ]


async def test_async_calls_and_events_side_by_side(tmp_path: Path) -> None:
    async with serving(tmp_path, HANDLERS) as served, await AsyncClient.connect(served.path) as client:
        events = await client.events(["peers"])
        served.hub.publish("peers", "connected", peer(1))
        results = await asyncio.gather(
            client.call(schema.ID, schema.NoParams()),
            client.call(schema.WAIT, schema.WaitParams(id="a")),
            client.call(schema.WAIT, schema.WaitParams(id="b")),
        )
        assert [type(each) for each in results] == [NodeId, Transfer, Transfer]
        assert await anext(events) == Event(topic="peers", name="connected", data=peer(1))


async def test_async_events_not_taken_never_hold_up_an_answer(tmp_path: Path) -> None:
    count = 5000
    async with serving(tmp_path, HANDLERS) as served, await AsyncClient.connect(served.path) as client:
        events = await client.events(["peers"])
        for i in range(count):
            served.hub.publish("peers", "connected", peer(i))
            if i % 500 == 0:
                assert await client.call(schema.ID, schema.NoParams()) == NodeId(peer_id="me")
        lost = seen = 0
        async for event in events:
            if isinstance(event, Lost):
                lost += event.count
            else:
                assert event.data == peer(lost + seen)
                seen += 1
            if lost + seen == count:
                break
        assert lost > 0


async def test_async_events_end_with_the_daemon(tmp_path: Path) -> None:
    async with serving(tmp_path, HANDLERS) as served, await AsyncClient.connect(served.path) as client:
        events = await client.events(["peers"])
        await served.server.close()
        with pytest.raises(DaemonUnreachable):
            await anext(events)
        with pytest.raises(DaemonUnreachable):
            await client.call(schema.ID, schema.NoParams())


async def test_a_cancelled_async_call_leaves_the_connection_usable(tmp_path: Path) -> None:
    async with serving(tmp_path, HANDLERS) as served, await AsyncClient.connect(served.path) as client:
        call = asyncio.create_task(client.call(schema.WAIT, schema.WaitParams(id="a")))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        assert await client.call(schema.ID, schema.NoParams()) == NodeId(peer_id="me")


async def test_async_calls_beyond_what_one_connection_may_have_take_turns(tmp_path: Path) -> None:
    """Also after calls that nobody waits for any more, and run in the daemon still."""
    async with serving(tmp_path, HANDLERS) as served, await AsyncClient.connect(served.path) as client:
        calls = [asyncio.create_task(client.call(schema.WAIT, schema.WaitParams(id=f"{n}"))) for n in range(100)]
        await asyncio.sleep(0)
        for call in calls[:MAX_CALLS]:
            call.cancel()
        done = await asyncio.gather(*calls[MAX_CALLS:])
        assert [each.id for each in done] == [f"{n}" for n in range(MAX_CALLS, 100)]
        waiting = [asyncio.create_task(client.call(schema.WAIT, schema.WaitParams(id="a"))) for _ in range(100)]
        await asyncio.sleep(0)
        for call in waiting[:MAX_CALLS]:
            call.cancel()
        await served.server.close()
        ended = await asyncio.gather(*waiting[MAX_CALLS:], return_exceptions=True)
        assert all(isinstance(each, DaemonUnreachable | Transfer) for each in ended), "none waits for ever"


@pytest.mark.parametrize("uid", [0, 33, 1000])
@pytest.mark.parametrize(
    "environ",
    [
        {"XDG_RUNTIME_DIR": "/run/user/1000"},
        {"XDG_RUNTIME_DIR": "relative"},
        {"XDG_STATE_HOME": "/srv/state"},
        {"XDG_STATE_HOME": "relative"},
        {},
    ],
)
def test_the_client_looks_where_the_daemon_listens(
    monkeypatch: pytest.MonkeyPatch, uid: int, environ: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert default_socket_path(environ) == str(find_paths(environ, uid, Path.home()).socket)


def test_the_system_daemon_serves_a_user_who_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("swarmd.control.client._SYSTEM_SOCKET", str(tmp_path / "system"))
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    own = tmp_path / "swarmd.sock"
    assert default_socket_path(environ) == str(own)
    (tmp_path / "system").touch()
    assert default_socket_path(environ) == str(tmp_path / "system")
    own.touch()
    assert default_socket_path(environ) == str(own)
    assert default_socket_path({**environ, "SWARMD_SOCKET": "/x"}) == "/x"
