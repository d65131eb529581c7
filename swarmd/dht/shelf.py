"""Values of up to 1 MiB put to and got from a node's network, by as many of its operations as they take.

In: commands, and the node's own `GetDone` and `PutDone` (`receive_event`, False when it is none of ours). Out:
`BlobDone`. At most PARALLEL operations are under way; a part that was not found or not kept is tried TRIES times.

It keeps nothing alive: whoever wants a value to last puts it again every hour, whole (`get` and `put` do no harm).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from swarmd.core.errors import RemoteError
from swarmd.dht.blob import Assembly, items_of
from swarmd.dht.events import Event, GetDone, PutDone
from swarmd.dht.items import Item
from swarmd.dht.node import Node

PARALLEL = 16
TRIES = 3


@dataclass(frozen=True, slots=True)
class BlobDone:
    """`data` of a get that succeeded; of a put, `n_copies` is what the part with the fewest has."""

    number: int
    key: bytes
    is_whole: bool
    data: bytes | None = None
    n_copies: int = 0


@dataclass(slots=True)
class Job:
    number: int
    key: bytes
    assembly: Assembly | None
    parts: deque[tuple[bytes, int]] = field(default_factory=deque)
    """Targets, and how often each has been tried."""
    items: dict[bytes, Item] = field(default_factory=dict)
    n_running: int = 0
    n_copies: int = 1 << 30


class Shelf:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._jobs: dict[int, Job] = {}
        self._running: dict[int, tuple[Job, bytes, int]] = {}
        self._count = 0
        self._done: deque[BlobDone] = deque()

    def put(self, data: bytes, now: float) -> tuple[int, bytes]:
        """The number of its `BlobDone`, and the key. InvalidArgument when it is too large."""
        items = items_of(data)
        job = self._job(items[-1].target, None)
        job.items = {item.target: item for item in items}
        job.parts.extend((target, 0) for target in job.items)
        self._go_on(now)
        return job.number, job.key

    def get(self, key: bytes, now: float) -> int:
        job = self._job(key, Assembly(key))
        job.parts.append((key, 0))
        self._go_on(now)
        return job.number

    def receive_event(self, event: Event, now: float) -> bool:
        if not isinstance(event, GetDone | PutDone) or event.operation not in self._running:
            return False
        job, target, tries = self._running.pop(event.operation)
        job.n_running -= 1
        if job.number in self._jobs:
            self._take(job, target, tries, event)
        self._go_on(now)
        return True

    def next_event(self) -> BlobDone | None:
        return self._done.popleft() if self._done else None

    def _job(self, key: bytes, assembly: Assembly | None) -> Job:
        self._count += 1
        job = self._jobs[self._count] = Job(self._count, key, assembly)
        return job

    def _take(self, job: Job, target: bytes, tries: int, event: GetDone | PutDone) -> None:
        if isinstance(event, PutDone) and event.n_copies:
            job.n_copies = min(job.n_copies, event.n_copies)
        elif isinstance(event, GetDone) and event.item is not None and job.assembly is not None:
            try:
                job.assembly.receive(event.item)
            except RemoteError:
                self._end(job, False)
                return
            job.parts.extend((wanted, 0) for wanted in job.assembly.wanted)
        elif tries + 1 < TRIES:
            job.parts.append((target, tries + 1))
        else:
            self._end(job, False)
            return
        if not job.parts and not job.n_running:
            self._end(job, job.assembly is None or job.assembly.result is not None)

    def _end(self, job: Job, is_whole: bool) -> None:
        del self._jobs[job.number]
        data = job.assembly.result if job.assembly is not None and is_whole else None
        self._done.append(BlobDone(job.number, job.key, is_whole, data, job.n_copies if is_whole else 0))

    def _go_on(self, now: float) -> None:
        for job in list(self._jobs.values()):
            while job.parts and len(self._running) < PARALLEL:
                target, tries = job.parts.popleft()
                item = job.items.get(target)
                number = self._node.get(target, now) if item is None else self._node.put(item, now)
                self._running[number] = job, target, tries
                job.n_running += 1
