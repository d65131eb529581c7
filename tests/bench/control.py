"""The control socket between two processes: calls a second, their latency, and MB/s of `transfer.read`.

usage: python -m tests.bench.control
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
from multiprocessing.synchronize import Event
from pathlib import Path

from swarmd.control import schema
from swarmd.control.client import Client
from swarmd.control.dispatch import Caller, bind
from swarmd.control.records import Data, NodeId
from swarmd.core.clock import SystemClock
from tests.control.serving import serving

CALLS = 3000
READS = 300


async def _id(params: schema.NoParams, caller: Caller) -> NodeId:
    return NodeId(peer_id="p" * 52)


async def _read(params: schema.ReadParams, caller: Caller) -> Data:
    return Data(data=bytes(params.length), size=1 << 40)


def _serve(folder: str, ready: Event, done: Event) -> None:
    async def serve() -> None:
        async with serving(Path(folder), dict([bind(schema.ID, _id), bind(schema.READ, _read)])):
            ready.set()
            await asyncio.to_thread(done.wait)

    asyncio.run(serve())


def main() -> None:
    spawning = multiprocessing.get_context("spawn")
    ready, done = spawning.Event(), spawning.Event()
    with tempfile.TemporaryDirectory() as folder:
        server = spawning.Process(target=_serve, args=(folder, ready, done))
        server.start()
        ready.wait()
        with Client(f"{folder}/control.sock") as client:
            _measure(client)
        done.set()
        server.join()


def _measure(client: Client) -> None:
    clock = SystemClock()
    times = []
    for _ in range(CALLS):
        start = clock.monotonic()
        client.call(schema.ID, schema.NoParams())
        times.append(clock.monotonic() - start)
    times.sort()
    median, slow = times[CALLS // 2] * 1e6, times[CALLS * 99 // 100] * 1e6
    print(f"{CALLS / sum(times):8.0f} calls/s, p50 {median:.0f} us, p99 {slow:.0f} us")
    start = clock.monotonic()
    for _ in range(READS):
        client.call(schema.READ, schema.ReadParams(id="x", offset=0))
    rate = READS * schema.MAX_READ_BYTES / (clock.monotonic() - start)
    print(f"{rate / 1e6:8.0f} MB/s of transfer.read, 1 MiB each")


if __name__ == "__main__":
    main()
