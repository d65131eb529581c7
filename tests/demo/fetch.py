"""One `swarm --json get` under way: a process, what it says, and how it ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from swarmd.control.records import Transfer
from swarmd.core.clock import SystemClock
from tests.e2e.nodes import Node

_STOP_TIMEOUT = 10.0


class Fetch:
    """Begins when it is made. `peers` gives the names of the daemons by their peer IDs.

    A thread of its own reads what the process says, so that its clock stops when it ends and not when somebody looks.
    """

    def __init__(self, name: str, node: Node, ticket: str, peers: Mapping[str, str]) -> None:
        self.name = name
        self.progress: Transfer | None = None
        self.result: Transfer | None = None
        self.status: int | None = None
        self.complaint = ""
        self.took = 0.0
        self._peers = peers
        self._clock = SystemClock()
        self._started_at = self._clock.monotonic()
        self._process = node.popen("--json", "get", ticket, "-o", node.downloads)
        self._reader = threading.Thread(target=self._read, name=f"demo {name}")
        self._reader.start()

    @property
    def has_ended(self) -> bool:
        return self.status is not None

    @property
    def target(self) -> Path:
        """Where the copy lies."""
        assert self.result is not None and self.result.target is not None
        return Path(self.result.target)

    @property
    def size(self) -> int:
        """Of what was fetched."""
        return self.result.size or 0 if self.result else 0

    @property
    def received_bytes(self) -> int:
        """From all sources."""
        return sum(source.received_bytes for source in self.result.sources) if self.result else 0

    def received_from(self, name: str) -> int:
        """As the receiving daemon has counted it."""
        sources = self.result.sources if self.result else []
        return sum(source.received_bytes for source in sources if self._peers.get(source.peer_id) == name)

    def wait(self, timeout: float) -> None:
        """Until it has ended, but no longer than so many seconds."""
        self._reader.join(timeout)

    def stop(self) -> None:
        """Nothing of it runs any more."""
        if self._process.poll() is None:
            self._process.terminate()
        self._reader.join(_STOP_TIMEOUT)
        if self._reader.is_alive():
            self._process.kill()
            self._reader.join()

    def _read(self) -> None:
        with self._process as process:
            assert process.stdout is not None and process.stderr is not None
            self._read_output(process.stdout)
            self.complaint = process.stderr.read().strip()
        self.took = self._clock.monotonic() - self._started_at
        self.status = process.returncode

    def _read_output(self, lines: Iterable[str]) -> None:
        for line in lines:
            said = json.loads(line)
            if "progress" in said:
                self.progress = msgspec.convert(said["progress"], Transfer)
            elif "id" in said:
                self.result = self.progress = msgspec.convert(said, Transfer)
