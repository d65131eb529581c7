"""How long others wait while a newcomer fetches 100,000 shares, and while 1,000 a second appear.

usage: python -m tests.bench.newcomer [SHARES] [LOAD]       the aim: nobody who asks for `status` waits over 50 ms (p99)

Two real daemons on loopback, each asked for `status` every 5 ms over its socket. LOAD: so many processes beside them
count in circles, at the same priority, as on a machine that has other things to do. The first member's catalogue is
written before it starts (10 s of signing); a member in this process brings the flood.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from swarmd.control import schema
from swarmd.control.client import Client
from swarmd.core.ids import GroupId
from swarmd.daemon.flows import FlowKind
from swarmd.groups.catalogue import MAX_SHARES
from swarmd.groups.messages import Records
from swarmd.groups.tickets import GroupTicket, parse_ticket
from tests.bench.listing import cpu, fill, n_shares, waits_of
from tests.e2e.hostile import lying
from tests.e2e.nodes import Node, start_all
from tests.groups.builders import record

_PAUSE = 0.005
_FLOOD_SECONDS = 10
_FLOOD_RATE = 1_000
_FLOOD_PARTS = 50
"""Messages a second: 20 records each."""


def main(count: int = MAX_SHARES - _FLOOD_SECONDS * _FLOOD_RATE, load: int = 0) -> None:
    with tempfile.TemporaryDirectory() as name:
        member, newcomer = Node(Path(name, "member")), Node(Path(name, "newcomer"))
        with member, newcomer:
            member.start()
            group = GroupId.parse(member.json("group", "create", "large")["group_id"])
            member.stop()
            fill(member, group, count)
            start_all(member, newcomer)
            with _busy(load):
                member.json("ls", "nothing")
                ticket = member.json("group", "invite", "large")["ticket"]
                print(f"{count} shares, {load} other processes")
                _meanwhile("idle", member, newcomer, _lasting(2.0))
                _bench_newcomer(member, newcomer, ticket, count)
                asyncio.run(_bench_flood(member, newcomer, ticket))
            print(f"memory at most: {_peak(member)}, the newcomer {_peak(newcomer)}")
            newcomer.stop(), member.stop()


def _bench_newcomer(member: Node, newcomer: Node, ticket: str, count: int) -> None:
    before = newcomer.json("status")["received_bytes"]
    with Client(str(newcomer.socket)) as client:
        _meanwhile("a newcomer", member, newcomer, lambda: n_shares(client) < count, lambda: _join(newcomer, ticket))
    print(f"  {(newcomer.json('status')['received_bytes'] - before) / 1e6:.1f} MB received")


async def _bench_flood(member: Node, newcomer: Node, ticket: str) -> None:
    """A third member brings them, in this process, signed before."""
    parsed = parse_ticket(ticket)
    assert isinstance(parsed, GroupTicket)
    made = [
        record(99, name=f"flood {number:06}", number=number, group_id=parsed.spec.group_id).encode()
        for number in range(_FLOOD_SECONDS * _FLOOD_RATE)
    ]
    async with lying(parsed.spec) as liar:
        await liar.dial(member.call("status")["listen"][0])
        await liar.linked.wait()
        liar.keep_nothing()
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        label, is_wanted = "1,000 new shares a second", _lasting(_FLOOD_SECONDS)
        arguments = (label, member, newcomer, is_wanted, lambda: loop.call_soon_threadsafe(begun.set))
        measuring = threading.Thread(target=_meanwhile, args=arguments)
        measuring.start()
        await begun.wait()
        size = _FLOOD_RATE // _FLOOD_PARTS
        began = time.monotonic()
        for part in range(0, len(made), size):
            liar.say(FlowKind.GROUP, Records(tuple(made[part : part + size])).encode())
            await asyncio.sleep(max(0.0, began + (part + size) / _FLOOD_RATE - time.monotonic()))
        await asyncio.to_thread(measuring.join)
    print(f"  {', '.join(str(node.call('group.show', group='large')['shares']) for node in (member, newcomer))} held")


def _join(newcomer: Node, ticket: str) -> None:
    newcomer.json("group", "join", ticket)


def _meanwhile(
    label: str,
    member: Node,
    newcomer: Node,
    is_wanted: Callable[[], bool],
    begin: Callable[[], object] = lambda: None,
) -> None:
    """Ask both for as long as it lasts."""
    nodes = {"member": member, "newcomer": newcomer}
    askers = [_Asker(node) for node in nodes.values()]
    began, used = time.monotonic(), [cpu(node) for node in nodes.values()]
    begin()
    while is_wanted():
        time.sleep(0.05)
    spent = " and ".join(f"{cpu(node) - before:.1f} s" for node, before in zip(nodes.values(), used, strict=True))
    print(f"{label}: {time.monotonic() - began:.1f} s; CPU {spent}; load average {os.getloadavg()[0]:.1f}")
    for name, asker in zip(nodes, askers, strict=True):
        print(f"  {name}: {waits_of(asker.end())}")


class _Asker:
    """Asks in a process of its own, so that nothing here holds it up."""

    def __init__(self, node: Node) -> None:
        command = [sys.executable, "-m", "tests.bench.newcomer", "ask", str(node.socket)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it has begun

    def end(self) -> list[float]:
        """Milliseconds of each call, sorted."""
        return sorted(json.loads(self._process.communicate()[0]))


def _ask(path: str) -> None:
    """Until nobody is at the other end of the pipe."""
    waits = []
    with Client(path) as client:
        client.call(schema.STATUS, schema.NoParams())
        print("begun", flush=True)
        while not select.select([sys.stdin], [], [], _PAUSE)[0]:
            start = time.monotonic()
            client.call(schema.STATUS, schema.NoParams())
            waits.append(1000 * (time.monotonic() - start))
    print(json.dumps(waits))


def _lasting(period: float) -> Callable[[], bool]:
    """From the first call on."""
    ends_at = cache(lambda: time.monotonic() + period)
    return lambda: time.monotonic() < ends_at()


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Other work."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


def _peak(node: Node) -> str:
    (line,) = (each for each in Path(f"/proc/{node.pid}/status").read_text().splitlines() if each.startswith("VmHWM"))
    return f"{int(line.split()[1]) / 1024:.0f} MiB"


if __name__ == "__main__":
    if sys.argv[1:2] == ["ask"]:
        _ask(sys.argv[2])
    else:
        main(*map(int, sys.argv[1:]))
