"""What the node's place in a DHT takes over a restart or a crash: read at the start, written while it runs.

Two ways, in turns. All of it (whom it knows, announcements, when items expire), every SAVE_PERIOD. And the items that
others have put here and that are new or other than before, DELAY seconds after they came: in batches of at most BATCH,
no more than ITEMS_RATE a second in the long run, so that a flood of puts makes no more work than that for the disk.

A crash loses of the items what came in the last seconds (in a flood, what waits still), of the rest what came after the
last save; who has put or announced does it again. Not here: what was put from here (`dht_own`), which is on disk before
the put is done.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError
from swarmd.daemon.dht_state import cache_of, row_of, state_of
from swarmd.daemon.workers import Workers
from swarmd.dht.node import Node
from swarmd.dht.state import State
from swarmd.store.tables.dht import DhtTable

log = logging.getLogger(__name__)

FIRST_SAVE_PERIOD = 20.0
SAVE_PERIOD = 300.0
DELAY = 1.0
"""Seconds. Items come in bunches: a value of 1 MiB is a thousand within a few seconds, and some waits for the disk."""
BATCH = 1_000
"""Items of one write: 1.5 MB and 20 ms of the thread at most."""
ITEMS_RATE = 200.0
"""A second: 0.3 MB/s at most."""


class Saving:
    """Of one network's machine."""

    def __init__(self, table: DhtTable, ledger: Workers, clock: Clock, network: bytes) -> None:
        self._table, self._ledger, self._clock, self._network = table, ledger, clock, network
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        """So that no older state of an item is written over a newer one."""

    async def load(self) -> State | None:
        """None when there is nothing of this network."""
        cache = await self._ledger.run(lambda: self._table.cache(self._network))
        return None if cache is None else state_of(cache, self._clock.wall())

    async def save(self, machine: Node) -> None:
        """All of it. What cannot be written, others have too."""
        async with self._turn:
            cache = cache_of(machine.state(self._clock.monotonic()), self._network, self._clock.wall())
            try:
                await self._ledger.run(lambda: self._table.save(cache))
            except LocalError as error:
                log.warning("what this node knows of the DHT is not saved: %s", error)

    async def run_saving(self, machine: Node, is_known: asyncio.Event) -> None:
        """All of it, for as long as this runs; at first as soon as it knows somebody: whoever is killed then finds its
        way back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SAVE_PERIOD):
                await is_known.wait()
        await self.save(machine)
        await asyncio.sleep(FIRST_SAVE_PERIOD)
        while True:
            await self.save(machine)
            await asyncio.sleep(SAVE_PERIOD)

    def follow(self, machine: Node) -> None:
        """Something has come, an item perhaps."""
        if machine.has_new_items:
            self._news.set()

    async def run_writing(self, machine: Node) -> None:
        """New items, for as long as this runs."""
        while True:
            await self._news.wait()
            self._news.clear()
            await asyncio.sleep(DELAY)
            n_written = await self._write(machine)
            self.follow(machine)
            await asyncio.sleep(n_written / ITEMS_RATE)

    async def _write(self, machine: Node) -> int:
        """One batch. What cannot be written is tried again when all is saved."""
        async with self._turn:
            items, wall = machine.take_new_items(BATCH, self._clock.monotonic()), self._clock.wall()
            rows = [row_of(item, wall) for item in items]
            try:
                await self._ledger.run(lambda: self._table.add(self._network, rows))
            except LocalError as error:
                log.warning("items of the DHT that came just now are not saved yet: %s", error)
        return len(rows)
