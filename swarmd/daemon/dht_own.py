"""What was put into the DHT from here and is put again every hour, over restarts, until it is let go of.

A value is one item or a tree of them; its root's target is its key. Bounded by the store (MAX_OWN items). A crash loses
nothing that `keep` has returned for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict
from swarmd.daemon.dht_state import fields_of, item_of
from swarmd.daemon.workers import Workers
from swarmd.dht.items import Item
from swarmd.dht.node import Node
from swarmd.dht.upkeep import PUBLISH_PERIOD
from swarmd.store.tables.dht import MAX_OWN, DhtTable, OwnRow


@dataclass(frozen=True, slots=True)
class Kept:
    """One value. `item` is its root."""

    root: bytes
    label: str
    size: int
    kept_at: float
    item: Item
    targets: frozenset[bytes]


class Own:
    def __init__(self, table: DhtTable, ledger: Workers, clock: Clock) -> None:
        self._table, self._ledger, self._clock = table, ledger, clock
        self._kept: dict[bytes, Kept] = {}

    def all(self) -> list[Kept]:
        """The oldest first."""
        return list(self._kept.values())

    def get(self, root: bytes) -> Kept | None:
        return self._kept.get(root)

    async def load(self, machine: Node, now: float) -> None:
        """All are put again soon: nobody knows for how long this node was away."""
        roots: dict[bytes, list[OwnRow]] = {}
        for row in await self._ledger.run(self._table.own):
            roots.setdefault(row.root, []).append(row)
        for rows in roots.values():
            self._remember(rows)
            for row in rows:
                machine.keep(item_of(row.item), now, put_at=now - PUBLISH_PERIOD)

    def check_room(self, root: bytes, items: Sequence[Item]) -> None:
        """Conflict when there is none."""
        others = {target for kept in self._kept.values() if kept.root != root for target in kept.targets}
        count = len(others | {item.target for item in items})
        if count > MAX_OWN:
            raise Conflict(
                f"with this one the DHT would have {count:,} items of this node to be kept alive, and {MAX_OWN:,} is"
                " the most: let go of others first (swarm dht list, swarm dht rm), or put it with --once"
            )

    async def keep(self, machine: Node, root: bytes, items: Sequence[Item], size: int, label: str) -> None:
        """Conflict as above."""
        self.check_room(root, items)
        wall, now = self._clock.wall(), self._clock.monotonic()
        rows = [OwnRow(root, label, size, wall, fields_of(item)) for item in items]
        await self._ledger.run(lambda: self._table.keep(rows))
        self._remember(rows)
        for item in items:
            machine.keep(item, now, put_at=now)

    async def forget(self, machine: Node, root: bytes) -> bool:
        """Whether it was kept. What cannot be written down has not happened."""
        if root not in self._kept:
            return False
        was_kept = await self._ledger.run(lambda: self._table.forget(root))
        if (kept := self._kept.pop(root, None)) is None:
            return was_kept  # somebody else has let go of it meanwhile
        others = {target for each in self._kept.values() for target in each.targets}
        for target in kept.targets - others:
            machine.unpublish(target)
        return True

    def _remember(self, rows: Sequence[OwnRow]) -> None:
        first = rows[0]
        item = next(item_of(row.item) for row in rows if row.item.target == row.root)
        targets = frozenset(row.item.target for row in rows)
        self._kept.pop(first.root, None)
        self._kept[first.root] = Kept(first.root, first.label, first.size, first.kept_at, item, targets)
