"""Objects of programs between two daemons: how many pieces a second go from one program to another.

usage: python -m tests.bench.programs [PIECES]

Real daemons on loopback, and two programs in one process beside them; sizes of 1 KiB and of 64 KiB.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from swarmd.control import objects as records
from swarmd.control.client import NetGroup
from swarmd.control.objects_client import Objects
from tests.e2e.farm import join
from tests.e2e.nodes import Node, start_all

_NAME = "bench"


def main(count: int = 5000) -> None:
    with tempfile.TemporaryDirectory() as name:
        giver, getter = Node(Path(name, "giver")), Node(Path(name, "getter"))
        with giver, getter:
            start_all(giver, getter)
            join(_NAME, giver, getter)
            for size in (1 << 10, 64 << 10):
                asyncio.run(_measure(giver, getter, min(count, records.MAX_PIECES), size))
            for node in (giver, getter):
                node.stop()


async def _measure(giver: Node, getter: Node, count: int, size: int) -> None:
    async with AsyncExitStack() as stack:
        groups = [await stack.enter_async_context(await NetGroup.join(_NAME, str(n.socket))) for n in (giver, getter)]
        held, wanted = [await stack.enter_async_context(await group.objects(f"of {size}")) for group in groups]
        await held.add_have(0, count)
        answering = asyncio.create_task(_answer(held, bytes(size)))
        began_at = time.monotonic()
        await wanted.add_want(0, count)
        n_left = count
        async for event in wanted:
            n_left -= event.name == "result"
            if not n_left:
                break
        took = time.monotonic() - began_at
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
    print(f"{count} pieces of {size >> 10} KiB: {count / took:,.0f} pieces/s, {count * size / took / 1e6:.1f} MB/s")


async def _answer(held: Objects, data: bytes) -> None:
    async for event in held:
        if event.name == "request":
            await held.write(event, data)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
