"""What the parts of a replicator share: the queue of commands, chance, the time of the last input, our uplink."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from swarmd.core.ids import ContentId
from swarmd.core.rng import Rng
from swarmd.replication.commands import Command
from swarmd.replication.limits import Limits
from swarmd.replication.link import FLUSH_PERIOD, MAX_FLUSH_PERIOD, SMALL_CHUNK_BYTES, Link
from swarmd.replication.pacing import Downlink, Uplink


class Planner(Protocol):
    """Something that decides later, once, about everything that has come in meanwhile."""

    def plan(self) -> None: ...


class Context:
    """`now` only rises. `speaking` links have something to say at once, `muttering` ones something that can wait.

    `planning`: who has something to decide before the next command is given out.
    `open_bytes`: asked for or received, not stored yet, of all downloads. `coming_bytes`: what is left of chunks that
    have begun to arrive.
    """

    __slots__ = (
        "background",
        "coming_bytes",
        "commands",
        "downlink",
        "limits",
        "loose_open",
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
        self.background: frozenset[ContentId] = frozenset()  # objects whose blocks may give way to everything
        self.open_bytes = 0
        self.coming_bytes = 0
        self.loose_open = 0  # chunks of programs' objects asked for or received, and not taken yet

    @property
    def flush_period(self) -> float:
        """How long Have and Status may wait for company: about as long as our line is busy with a small chunk.

        On a slow line there are hundreds of small messages a second otherwise, each of which wakes a process; half of
        them go with a longer wait, and a swarm of 16 on 20 Mbit/s takes 1 % longer in the simulator.
        """
        busy = SMALL_CHUNK_BYTES / max(self.uplink.bytes_per_second, 1.0)
        return min(MAX_FLUSH_PERIOD, max(FLUSH_PERIOD, busy))

    def read_id(self) -> int:
        number = self.next_read
        self.next_read += 1
        return number
