"""How long `status` takes over the control socket while a file goes from one daemon to another at full speed.

usage: python -m tests.bench.control_latency [MIB]        the aim: a p99 of at most 50 ms at both ends

Real daemons on loopback, their folders in memory (/dev/shm) where there is room, so that the disk is not the limit. A
client with a connection to each daemon asks both in turn, every few milliseconds, from the moment `get` is given until
the file is complete; ROUNDS times, for a percentile needs some hundred calls. Before that it asks idle daemons.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmd.control import schema
from swarmd.control.client import Client
from tests.bench._places import place_for
from tests.demo.files import make
from tests.e2e.nodes import Node, start_all

_PAUSE = 0.005
_ROUNDS = 4
_IDLE_CALLS = 200

Times = dict[str, list[float]]


def main(mib: int = 1024) -> None:
    with tempfile.TemporaryDirectory(dir=place_for(2 * mib << 20)) as name:
        folder = Path(name)
        seeder, getter = Node(folder / "seeder"), Node(folder / "getter")
        with seeder, getter:
            start_all(seeder, getter)
            make(folder / "large.bin", mib << 20)
            ticket = seeder.json("share", folder / "large.bin")["ticket"]
            with _clients(seeder, getter) as clients:
                count = iter(range(_IDLE_CALLS))
                _report("idle", _ask(clients, lambda: next(count, None) is not None))
                _report("busy", _during_transfers(clients, getter, ticket, mib << 20))
            for node in (seeder, getter):
                node.stop()


@contextmanager
def _clients(seeder: Node, getter: Node) -> Iterator[dict[str, Client]]:
    with Client(str(seeder.socket)) as first, Client(str(getter.socket)) as second:
        yield {"sending": first, "receiving": second}


def _during_transfers(clients: dict[str, Client], getter: Node, ticket: str, n_bytes: int) -> Times:
    took: list[float] = []
    times: Times = {name: [] for name in clients}
    for _ in range(_ROUNDS):
        transfer = threading.Thread(target=_get, args=(getter, ticket, took))
        transfer.start()
        for name, taken in _ask(clients, transfer.is_alive).items():
            times[name] += taken
        transfer.join()
    rates = ", ".join(f"{n_bytes / seconds / 1e6:.0f}" for seconds in took)
    print(f"{n_bytes >> 20} MiB were fetched at {rates} MB/s")
    return times


def _get(node: Node, ticket: str, took: list[float]) -> None:
    """And away with it again."""
    with Client(str(node.socket)) as client:
        start = time.monotonic()
        transfer = client.call(schema.GET, schema.GetParams(source=ticket, target_dir=str(node.downloads)))
        client.call(schema.WAIT, schema.WaitParams(id=transfer.id))
        took.append(time.monotonic() - start)
        client.call(schema.RM, schema.RmParams(id=transfer.id, delete_data=True))


def _ask(clients: dict[str, Client], is_wanted: Callable[[], bool]) -> Times:
    """Seconds of each call, by daemon."""
    times: Times = {name: [] for name in clients}
    while is_wanted():
        for name, client in clients.items():
            start = time.monotonic()
            client.call(schema.STATUS, schema.NoParams())
            times[name].append(time.monotonic() - start)
        time.sleep(_PAUSE)
    return times


def _report(label: str, times: Times) -> None:
    for name, taken in times.items():
        taken.sort()
        p50, p99 = (1000 * taken[len(taken) * percent // 100] for percent in (50, 99))
        worst = 1000 * taken[-1]
        print(f"{label}, {name:9} {len(taken):5} calls: p50 {p50:6.1f} ms, p99 {p99:6.1f} ms, worst {worst:6.1f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
