"""After a start: the catalogues of our groups are read while the control socket answers already.

100,000 records take three seconds of CPU. Meanwhile the groups are there, but closed: nobody is let in or called, for
a neighbour that was quick could else give back a record of ours that has not been read yet; and what changes a group,
or looks into a catalogue, waits (`done`).

It ends early when the node stops: then groups are left closed, and nothing can be published in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from swarmd.daemon.chronicle import Chronicle
from swarmd.daemon.membership import Membership
from swarmd.store.tables.groups import MemberRow


class Restoring:
    """`enter`: let members in. `is_ours`: whether we are in it still."""

    def __init__(
        self,
        chronicle: Chronicle,
        enter: Callable[[Membership], None],
        is_ours: Callable[[Membership], bool],
    ) -> None:
        self._chronicle, self._enter, self._is_ours = chronicle, enter, is_ours
        self._waiting: list[tuple[Membership, list[MemberRow]]] = []
        self._is_stopped = False
        self._is_done = asyncio.Event()
        self._is_done.set()

    def add(self, membership: Membership, members: list[MemberRow]) -> None:
        """One of the groups of the store, and of whom it had heard."""
        self._waiting.append((membership, members))
        self._is_done.clear()

    async def run(self) -> None:
        """One after the other."""
        for membership, members in self._waiting:
            await self._chronicle.restore(membership.group, members, lambda: self._is_stopped)
            if self._is_stopped:
                return
            if self._is_ours(membership):
                self._enter(membership)
        self._waiting.clear()
        self._is_done.set()

    async def done(self) -> None:
        """When all catalogues are there."""
        await self._is_done.wait()

    def stop(self) -> None:
        """As soon as what is being read has been taken in."""
        self._is_stopped = True
