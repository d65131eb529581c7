"""What one connection still has to send: answers first, then progress, then events.

In: `put` (answers), `put_progress`, `feed`, `subscription`. Out: bytes on the writer, by `pump`.
Invariant: bounded without anybody's goodwill. Answers are bounded by the caller waiting for `room` before
it reads on; of each call only the latest progress is kept; events drop their oldest (`Backlog`). A client
that does not take its answers within `send_timeout_s` ends the pump with TimedOut; one that has subscribed
is only not fed any more, since an idle reader of events (a stopped pager) has done nothing wrong. But who has objects
open has promised something, and has to read.
"""

from __future__ import annotations

import asyncio
from collections import deque

from swarmd.control import wire
from swarmd.control.events import Feed, Subscription
from swarmd.control.records import Result
from swarmd.core.errors import TimedOut

ROOM_BYTES = 1 << 20
"""Unsent answers beyond which no further request is read: one `transfer.read` may wait, not ten."""


class Output:
    """The sending half of one connection."""

    def __init__(self, writer: asyncio.StreamWriter, send_timeout_s: float) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # `drain` then means: the kernel has it all
        self._writer = writer
        self._send_timeout_s = send_timeout_s
        self._answers: deque[bytes] = deque()
        self._answer_bytes = 0
        self._progress: dict[object, tuple[wire.RequestId, Result]] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self.subscription: Subscription | None = None
        self.feed = Feed(self.wake)

    def put(self, answer: bytes) -> None:
        """Queue an answer."""
        self._answers.append(answer)
        self._answer_bytes += len(answer)
        if self._answer_bytes > ROOM_BYTES:
            self._room.clear()
        self.wake()

    def put_progress(self, call: object, request_id: wire.RequestId, value: Result) -> None:
        """Queue progress of a call; replaces what has not been sent yet."""
        self._progress[call] = (request_id, value)
        self.wake()

    def forget_progress(self, call: object) -> None:
        """The call is over: its answer must not be followed by progress."""
        self._progress.pop(call, None)

    def wake(self) -> None:
        self._idle.clear()
        self._wake.set()

    async def room(self) -> None:
        """Until another answer may be caused."""
        await self._room.wait()

    async def flushed(self) -> None:
        """Until nothing waits here."""
        await self._idle.wait()

    async def pump(self) -> None:
        """Send until cancelled; ConnectionError when the client is gone, TimedOut when it does not read."""
        try:
            while True:
                if (line := self._next_line()) is not None:
                    await self._send(line)
                else:
                    self._wake.clear()
                    self._idle.set()
                    await self._wake.wait()
        finally:
            self._idle.set()  # nothing will be sent any more, so nobody need wait for it

    def close(self) -> None:
        """The pump has ended: let go of what waits, and of what would wake it."""
        self._answers.clear()
        self._progress.clear()
        self.subscription = None
        self.feed = Feed(_nobody)

    async def _send(self, line: bytes) -> None:
        patience = self._send_timeout_s if self.subscription is None or self.feed.is_used else None
        self._writer.write(line)
        try:
            async with asyncio.timeout(patience):
                await self._writer.drain()
        except TimeoutError as error:
            raise TimedOut(f"the client has read nothing for {patience:g} s") from error

    def _next_line(self) -> bytes | None:
        if self._answers:
            answer = self._answers.popleft()
            self._answer_bytes -= len(answer)
            if self._answer_bytes <= ROOM_BYTES:
                self._room.set()
            return answer
        if self._progress:
            request_id, value = self._progress.pop(next(iter(self._progress)))
            return wire.encode_progress(request_id, value)
        if (line := self.feed.next_line()) is not None:
            return line
        return self.subscription.next_line() if self.subscription else None


def _nobody() -> None:
    """There is nothing to wake any more."""
