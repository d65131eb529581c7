"""Pumps links once for each turn of the loop, however much their sessions were given in it.

So what is sent in one turn leaves in one record, and features need not think of it.
"""

from __future__ import annotations

import asyncio

from swarmd.net.link import Link


class Pump:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._marked: dict[int, Link] = {}  # by id

    def mark(self, link: Link) -> None:
        """Pump this link at the end of the loop's turn."""
        if not self._marked:
            self._loop.call_soon(self._run)
        self._marked[id(link)] = link

    def _run(self) -> None:
        links = list(self._marked.values())
        self._marked.clear()
        for link in links:
            link.pump()
