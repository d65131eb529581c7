"""An object of a program, for asyncio: what it has and wants, and what comes of it.

    async with await group.objects("photos") as photos:
        await photos.add_want(0, 100)
        async for event in photos:
            if event.name == "result":
                ...

Pieces have an index, 0 to 262,143, and are 1 to 65,536 bytes. To have a piece is a promise to give it: `write` or
`deny` answers each `request`, within 20 s. A piece that has come is not had: whoever has looked at it, and kept it,
says `add_have`. If it is bad, `add_want` gets it again.

Invariant: a result is given to the program once. Coming back for the next event says that it is dealt with; as long as
WINDOW of them are not, the daemon asks for no more. Requests that a program does not look at are forgotten, the oldest
first: their time is over by then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from types import TracebackType
from typing import Self

from swarmd.control import objects
from swarmd.control.async_client import AsyncClient
from swarmd.control.backlog import Backlog
from swarmd.control.objects import ObjectEvent
from swarmd.control.records import Order
from swarmd.core.errors import LocalError, NotFound

TAKEN_AT_ONCE = 8
"""Results are said to be taken together, so many, or as many as there are."""


class Objects:
    """The pieces of one object; made by `NetGroup.objects`. One iteration at a time."""

    def __init__(self, client: AsyncClient, object_id: int) -> None:
        self._client = client
        self._object_id = object_id
        self._results: deque[ObjectEvent] = deque()  # at most WINDOW
        self._others: Backlog[ObjectEvent] = Backlog()
        self._untaken = 0
        self._was_result = False  # the last one that was given to the program
        self._arrived = asyncio.Event()
        self._end: LocalError | None = None
        self._is_closed = False
        client.listen(object_id, self)

    @classmethod
    async def open(cls, client: AsyncClient, group: str, name: str, order: Order) -> Self:
        """NotAllowed: the group is not for replication. Conflict: a program of this daemon has it open."""
        opened = await client.call(objects.OPEN, objects.OpenParams(group=group, name=name, order=order))
        return cls(client, opened.object_id)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Nothing of it is had or wanted any more. Iterations end."""
        if self._is_closed:
            return
        self._is_closed = True
        self._arrived.set()
        self._client.unlisten(self._object_id)
        if self._end is None:
            await self._client.call(objects.CLOSE, objects.CloseObjectParams(object_id=self._object_id))

    # What it has ------------------------------------------------------------------------------------------------

    async def add_have(self, start: int, stop: int | None = None) -> None:
        """Promise these, start to before stop; one piece when there is no stop."""
        await self._client.call(objects.ADD_HAVE, self._range(start, stop))

    async def remove_have(self, start: int, stop: int | None = None) -> None:
        await self._client.call(objects.REMOVE_HAVE, self._range(start, stop))

    async def write(self, request: ObjectEvent, data: bytes) -> bool:
        """Give what an event `request` asks for. False when nobody waits for it any more."""
        params = objects.WriteParams(request_id=request.request_id or 0, data=data)
        return (await self._client.call(objects.WRITE, params)).in_time

    async def deny(self, request: ObjectEvent) -> bool:
        """Not now; it may be asked for again."""
        params = objects.DenyParams(request_id=request.request_id or 0)
        return (await self._client.call(objects.DENY, params)).in_time

    # What it wants ----------------------------------------------------------------------------------------------

    async def add_want(self, start: int, stop: int | None = None) -> None:
        """Each of these comes once, as an event `result`."""
        await self._client.call(objects.ADD_WANT, self._range(start, stop))

    async def remove_want(self, start: int, stop: int | None = None) -> None:
        """What has come already comes nevertheless."""
        await self._client.call(objects.REMOVE_WANT, self._range(start, stop))

    async def set_strategy(self, order: Order) -> None:
        """Which to ask for next: the `lowest`, or the `rarest` among the neighbours."""
        await self._client.call(objects.STRATEGY, objects.StrategyParams(object_id=self._object_id, order=order))

    # What comes of it -------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectEvent:
        """The next `request`, `result`, `fetching` or `failed`. NotFound when the daemon has left the group,
        DaemonUnreachable when it has ended."""
        if self._untaken >= TAKEN_AT_ONCE or (self._untaken and not self._results):
            await self._take()
        while not self._results and not self._others:
            if self._is_closed:
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            self._arrived.clear()
            await self._arrived.wait()
        return self._next()

    def _next(self) -> ObjectEvent:
        """Results and others in turn, so that none of them waits for the end of a flood."""
        self._others.take_lost()
        self._was_result = bool(self._results) and not (self._was_result and self._others)
        if not self._was_result:
            return self._others.pop()
        self._untaken += 1
        return self._results.popleft()

    async def _take(self) -> None:
        count, self._untaken = self._untaken, 0
        if self._end is not None or self._is_closed:
            return
        params = objects.TakenParams(object_id=self._object_id, count=count)
        saying = asyncio.create_task(self._client.call(objects.TAKEN, params))
        with suppress(NotFound):  # the group has been left, as an event says that is on its way
            await asyncio.shield(saying)  # whoever is cancelled here has taken them nevertheless

    def heard(self, event: ObjectEvent) -> None:
        """The client's reader says what has come."""
        if event.name == "result":
            self._results.append(event)
        elif event.name == "closed":
            self._end = NotFound("the daemon has left the group of this object")
        else:
            self._others.push(event)
        self._arrived.set()

    def ended(self, reason: LocalError) -> None:
        self._end = self._end or reason
        self._arrived.set()

    def _range(self, start: int, stop: int | None) -> objects.RangeParams:
        return objects.RangeParams(object_id=self._object_id, start=start, stop=start + 1 if stop is None else stop)
