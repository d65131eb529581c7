"""What the parts of a replicator share: the queue of commands, chance, the time of the last input, our uplink."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from swarmd.core.rng import Rng
from swarmd.replication.commands import Command
from swarmd.replication.limits import Limits
from swarmd.replication.link import Link
from swarmd.replication.pacing import Downlink, Uplink


class Planner(Protocol):
    """Something that decides later, once, about everything that has come in meanwhile."""

    def plan(self) -> None: ...


class Context:
    """`now` only rises. `speaking` links have something to say at once, `muttering` ones something that can wait.

    `planning`: who has something to decide before the next command is given out.
    `open_bytes`: asked for or received, not stored yet, of all downloads.
    """

    __slots__ = (
        "commands",
        "downlink",
        "limits",
        "muttering",
        "next_read",
        "now",
        "open_bytes",
        "planning",
        "rng",
        "speaking",
        "uplink",
    )

    def __init__(self, rng: Rng, now: float) -> None:
        self.rng = rng
        self.now = now
        self.commands: deque[Command] = deque()
        self.speaking: dict[Link, None] = {}
        self.muttering: dict[Link, None] = {}
        self.planning: dict[Planner, None] = {}
        self.next_read = 1
        self.uplink = Uplink(now)
        self.downlink = Downlink(now)
        self.limits = Limits()
        self.open_bytes = 0

    def read_id(self) -> int:
        number = self.next_read
        self.next_read += 1
        return number
