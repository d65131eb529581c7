"""Objects of programs between real daemons: what one program has, another gets, piece by piece."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from swarmd.control import objects as records
from swarmd.control.client import NetGroup
from swarmd.control.objects import MAX_OBJECTS, MAX_PIECE_BYTES, MAX_PIECES, WINDOW, ObjectEvent
from swarmd.control.objects_client import Objects
from swarmd.core.errors import Conflict, InvalidArgument, LocalError, NotAllowed, NotFound
from swarmd.core.rng import SeededRng
from tests.e2e.control import CallError
from tests.e2e.farm import KIB, Farm
from tests.e2e.nodes import Node, clean_environ

ROOT = Path(__file__).parents[2]
NAME = "films"
OBJECT = "stills"
PATIENCE = 40.0
"""Seconds; more than the daemon grants a program for an answer."""

Pieces = dict[int, bytes]


def samples(count: int, largest: int = MAX_PIECE_BYTES) -> Pieces:
    rng = SeededRng(count)
    return {index: rng.bytes(1 + rng.randrange(largest)) for index in range(count)}


@asynccontextmanager
async def program(node: Node, name: str = OBJECT) -> AsyncIterator[Objects]:
    """A program of its own: it ends with the connection, without a word. One before it may be ending still."""
    async with await NetGroup.join(NAME, str(node.socket)) as group, asyncio.timeout(PATIENCE):
        held = None
        while held is None:
            with suppress(Conflict):
                held = await group.objects(name)
        yield held


async def serve(held: Objects, pieces: Pieces) -> None:
    """Answer until the end of the object."""
    async for event in held:
        if event.name == "request":
            await held.write(event, pieces[event.index])


@asynccontextmanager
async def serving(node: Node, pieces: Pieces) -> AsyncIterator[Objects]:
    async with program(node) as held:
        for start, stop in spans(pieces):
            await held.add_have(start, stop)
        server = asyncio.create_task(serve(held, pieces))
        yield held
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


def spans(pieces: Pieces) -> list[tuple[int, int]]:
    starts = [index for index in pieces if index - 1 not in pieces]
    return [(start, next(i for i in range(start, MAX_PIECES + 1) if i not in pieces)) for start in starts]


async def heard(wanted: Objects, name: str, count: int = 1) -> list[ObjectEvent]:
    """The next so many of that name; others are passed by."""
    found: list[ObjectEvent] = []
    while len(found) < count:
        event = await anext(wanted)
        found += [event] * (event.name == name)
    return found


def pieces_of(events: list[ObjectEvent]) -> Pieces:
    return {event.index: event.data or b"" for event in events}


async def test_pieces_of_any_size_come_whole_and_once(farm: Farm) -> None:
    one, two = farm.group()
    pieces = {**samples(200), 300: b"x", MAX_PIECES - 1: bytes(MAX_PIECE_BYTES)}
    async with serving(one, pieces), program(two) as wanted:
        await wanted.set_strategy("lowest")
        await wanted.add_want(0, MAX_PIECES)
        events = await heard(wanted, "result", len(pieces))
        assert [event.index for event in events] == sorted(pieces), "in order, as they fit one after the other"
        assert pieces_of(events) == pieces
        await wanted.add_want(300)
        assert (await heard(wanted, "result"))[0].data == b"x", "and nothing else came in between"


async def test_what_comes_is_passed_on_when_its_program_says_so(farm: Farm) -> None:
    one, two, three = farm.group(3)
    pieces = samples(40, 10_000)
    async with program(three) as last:
        await last.add_want(0, 40)
        async with serving(one, pieces), program(two) as middle:
            await middle.add_want(0, 40)
            got = pieces_of(await heard(middle, "result", 40))
            passing = asyncio.create_task(serve(middle, got))
            await middle.add_have(0, 40)
            assert pieces_of(await heard(last, "result", 40)) == pieces
            passing.cancel()
            await asyncio.gather(passing, return_exceptions=True)


async def test_a_program_that_never_answers(farm: Farm) -> None:
    """It stops neither files nor other programs. (That it is taken to deny in the end needs no real 20 s.)"""
    one, two = farm.group()
    path = farm.file("film.mkv", 5 << 20)
    async with program(one) as mute, program(two) as wanted:
        await mute.add_have(0, 1000)
        await wanted.add_want(0, 1000)
        await heard(mute, "request", 4)
        await asyncio.to_thread(one.swarm, "share", path, "--group", NAME)
        ticket = await asyncio.to_thread(one.call, "ls", group=NAME)
        await asyncio.to_thread(two.swarm, "get", ticket["shares"][0]["content_id"], "-o", two.downloads)
        assert (two.downloads / "film.mkv").read_bytes() == path.read_bytes()


async def test_a_program_that_dies_takes_its_haves_along(farm: Farm) -> None:
    one, two = farm.group()
    async with program(two) as wanted:
        await wanted.add_want(0, 2)
        async with program(one) as held:
            await held.add_have(0, 2)
            await heard(held, "request", 2)
        await heard(wanted, "failed", 2)
        async with serving(one, {1: b"one"}):
            assert (await heard(wanted, "result"))[0].index == 1
    async with program(two) as other, serving(one, {0: b"zero"}):
        await other.add_want(5)
        await other.add_want(0)
        assert (await heard(other, "result"))[0].data == b"zero", "who wanted is gone, and its object free"


async def test_a_program_killed_in_the_middle(farm: Farm) -> None:
    """Nobody waits for its death, no member is blamed for it, and the next one takes its place."""
    one, two = farm.group()
    path = farm.file("picture.raw", 40 * 60_000)
    async with program(two, path.name) as wanted:
        with example(one, "give", path) as giver:
            await wanted.add_want(0, 41)
            got = await heard(wanted, "result", 5)
            giver.send_signal(signal.SIGKILL)
            giver.wait(PATIENCE)
        with example(one, "give", path) as giver:
            got += await heard(wanted, "result", 36)
            giver.terminate()
    assert sorted(event.index for event in got) == list(range(41)), "each once"
    pieces = pieces_of(got)
    assert b"".join(pieces[index] for index in range(1, 41)) == path.read_bytes()
    (peer,) = (await asyncio.to_thread(two.call, "peer.list"))["peers"]
    assert (peer["state"], peer["error"]) == ("connected", None)


async def test_answers_that_are_none(farm: Farm) -> None:
    """Twice, to what another was asked, to what nobody asked; and denials of everything. All of it is the program's own
    matter: the members stay linked, and a good answer is still good."""
    one, two = farm.group()
    async with program(one) as held, program(one, "another") as other, program(two) as wanted:
        await held.add_have(0, 1000)
        await wanted.set_strategy("lowest")
        await wanted.add_want(0, 1000)
        requests = await heard(held, "request", 4)
        assert not await other.write(requests[0], b"not mine"), "what another program was asked"
        assert await held.write(requests[0], b"good")
        assert not await held.write(requests[0], b"twice")
        assert not await held.deny(requests[0])
        results = await heard(wanted, "result")
        answers = await asyncio.gather(*(held.write(unasked(number), b"unasked") for number in range(2000)))
        assert not any(answers)
        assert await held.deny(requests[1])
        assert not await held.write(requests[1], b"too late")
        assert (await heard(wanted, "failed"))[0].index == requests[1].index
        n_denied = 1
        while n_denied < 100:
            n_denied += await held.deny((await heard(held, "request"))[0])
        await held.remove_have(0, 1000)
        await held.add_have(2000)
        await wanted.add_want(2000)
        while (request := (await heard(held, "request"))[0]).index != 2000:
            pass
        assert await held.write(request, b"last")
        results += await heard(wanted, "result")
        assert [(event.index, event.data) for event in results] == [(0, b"good"), (2000, b"last")]
        for node in (one, two):
            (peer,) = (await asyncio.to_thread(node.call, "peer.list"))["peers"]
            assert (peer["state"], peer["error"]) == ("connected", None)


def unasked(number: int) -> ObjectEvent:
    return ObjectEvent(name="request", object_id=0, request_id=10**6 + number)


async def test_a_want_taken_back(farm: Farm) -> None:
    one, two = farm.group()
    async with program(one) as held, program(two) as wanted:
        await held.add_have(0, 4)
        await wanted.add_want(0, 4)
        requests = await heard(held, "request", 4)
        await wanted.remove_want(0, 3)
        for request in requests:  # until the cancel is here these are in time, and nobody wants them
            if not await held.write(request, b"a piece") and request.index != 3:
                break
        await asyncio.gather(*(held.write(request, b"a piece") for request in requests if request.index == 3))
        while (await heard(wanted, "result"))[0].index != 3:
            pass
        await held.add_have(20)
        await wanted.add_want(20)
        (request,) = await heard(held, "request")
        assert request.index == 20, "none of the others is asked for again"


async def test_who_does_not_take_results_gets_no_more_and_loses_none(farm: Farm) -> None:
    one, two = farm.group()
    pieces = samples(WINDOW * 3, 2000)
    async with serving(one, pieces), await NetGroup.join(NAME, str(two.socket)) as group:
        wanted = await group.objects(OBJECT)
        await wanted.add_want(0, len(pieces))
        events = [event for event in await waiting(wanted, WINDOW) if event.name == "result"]
        assert len(events) == WINDOW
        other = await group.objects("another")
        async with program(one, "another") as held:
            await held.add_have(0)
            await other.add_want(0)
            await held.write((await heard(held, "request"))[0], b"not in the way")
            assert (await heard(other, "result"))[0].data == b"not in the way"
        assert len(wanted._results) == WINDOW
        got: list[ObjectEvent] = []
        while len(got) < len(pieces):  # by somebody who is cancelled again and again
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    async for event in wanted:
                        got += [event] * (event.name == "result")
        assert pieces_of(got) == pieces


async def waiting(wanted: Objects, count: int) -> list[ObjectEvent]:
    """What has come, and the program has not looked at, once it is so much."""
    while len(wanted._results) < count:
        wanted._arrived.clear()
        await wanted._arrived.wait()
    return list(wanted._results)


async def test_a_group_left_while_it_runs(farm: Farm) -> None:
    one, two = farm.group()
    async with program(one) as held, program(two) as wanted:
        await held.add_have(0, 1000)
        await wanted.add_want(0, 1000)
        for _ in range(20):
            (request,) = await heard(held, "request")
            await held.write(request, bytes(1000))
        await heard(wanted, "result", 10)
        await asyncio.to_thread(two.call, "group.leave", group=NAME)
        with pytest.raises(NotFound, match="has left the group"):
            while True:
                await anext(wanted)
        with pytest.raises(NotFound, match="not open"):
            await wanted.add_want(0)
    ticket = (await asyncio.to_thread(one.call, "group.invite", group=NAME))["ticket"]
    await asyncio.to_thread(two.call, "group.join", ticket=ticket)
    async with serving(one, {0: b"again"}), program(two) as wanted:
        await wanted.add_want(0)
        assert (await heard(wanted, "result"))[0].data == b"again"


async def test_what_may_not_be(farm: Farm) -> None:
    (node,) = farm.start()
    for name, options in ((NAME, {}), ("talk", {"replication": False, "posting": True})):
        await asyncio.to_thread(node.call, "group.create", name=name, **options)
    async with await NetGroup.join("talk", str(node.socket)) as group:
        with pytest.raises(NotAllowed, match="not for replication"):
            await group.objects(OBJECT)
    async with await NetGroup.join(NAME, str(node.socket)) as group, program(node, "taken") as other:
        wanted = await group.objects(OBJECT)
        wrong: list[tuple[type[LocalError], str, Callable[[], object]]] = [
            (Conflict, f"process {os.getpid()} has taken of this group open", lambda: group.objects("taken")),
            (InvalidArgument, "there is nothing from 5 to before 5", lambda: wanted.add_want(5, 5)),
            (InvalidArgument, "a number from 1 to 262,144", lambda: wanted.add_have(0, MAX_PIECES + 1)),
            (InvalidArgument, "a number from 0 to 262,143", lambda: wanted.remove_have(-1, 4)),
            (InvalidArgument, "1 to 65,536 bytes", lambda: wanted.write(request, bytes(MAX_PIECE_BYTES + 1))),
            (InvalidArgument, "1 to 65,536 bytes", lambda: wanted.write(request, b"")),
            (InvalidArgument, "0 results wait", lambda: taken(group, wanted, 1)),
            (NotFound, "not open on this connection", lambda: taken(group, other, 1)),
        ]
        request = ObjectEvent(name="request", object_id=0, request_id=0)
        for kind, words, call in wrong:
            with pytest.raises(kind, match=words):
                await call()  # type: ignore[misc]
        assert not await wanted.deny(request), "nobody waits for it"
        for number in range(MAX_OBJECTS - 1):
            await group.objects(f"{number}")
        with pytest.raises(Conflict, match=f"{MAX_OBJECTS} objects are open"):
            await group.objects("one more")
        await wanted.close()
        await group.objects("one more")


async def taken(group: NetGroup, of: Objects, count: int) -> None:
    params = records.TakenParams(object_id=of._object_id, count=count)
    await group._client.call(records.TAKEN, params)


def test_by_hand(farm: Farm) -> None:
    """Any language: a line each."""
    one, two = farm.group()
    with one.control() as held, two.control() as wanted:
        mine = held.call("objects.open", group=NAME, name=OBJECT)["object_id"]
        its = wanted.call("objects.open", group=NAME, name=OBJECT, order="lowest")["object_id"]
        held.call("objects.add_have", object_id=mine, start=0, stop=9)
        wanted.call("objects.add_want", object_id=its, start=0, stop=1)
        while (message := held.receive()).get("method") != "object":
            pass
        asked = message["params"]
        assert (asked["name"], asked["object_id"], asked["index"]) == ("request", mine, 0)
        with pytest.raises(CallError, match="base64") as refused:
            held.call("objects.write", request_id=asked["request_id"], data="*")
        assert refused.value.code == "invalid"
        assert held.call("objects.write", request_id=asked["request_id"], data="/wA=") == {"in_time": True}
        while (message := wanted.receive())["params"]["name"] != "result":
            assert message["params"]["name"] == "fetching"
        assert message["params"]["data"] == "/wA="
        assert wanted.call("objects.taken", object_id=its, count=1) == {}
        assert wanted.call("objects.close", object_id=its) == {}


def test_the_example(farm: Farm) -> None:
    code = (ROOT / "examples" / "objects.py").read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 30
    one, two = farm.group()
    path = farm.file("picture.raw", 300 * KIB + 1)
    target = two.downloads / "picture.raw"
    with example(one, "give", path) as giver:
        getter = example(two, "get", target)
        assert getter.wait(PATIENCE) == 0
        assert target.read_bytes() == path.read_bytes()
        giver.terminate()


def example(node: Node, *words: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, ROOT / "examples" / "objects.py", NAME, *words],
        env={**clean_environ(), "SWARMD_SOCKET": str(node.socket), "PYTHONPATH": str(ROOT)},
    )
