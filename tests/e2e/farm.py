"""Several daemons side by side, each in a folder of its own, and files for them to share.

`close` ends them as the system would (SIGTERM) and holds each to it: it is gone within 5 s with status 0, and its log
has neither a trace nor an error.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from tests.e2e.control import WAIT_TIMEOUT
from tests.e2e.nodes import Node, start_all

KIB, MIB = 1 << 10, 1 << 20
STOP_PERIOD = 5.0
Content = dict[str, tuple[str, object]]


class Farm:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []
        self._seed = 0

    def node(self, name: str = "", **options: Any) -> Node:
        """Not started yet."""
        node = Node(self.folder / (name or f"n{len(self.nodes)}"), **options)
        self.nodes.append(node)
        return node

    def start(self, count: int = 1, **options: Any) -> list[Node]:
        nodes = [self.node(**options) for _ in range(count)]
        start_all(*nodes)
        return nodes

    def pair(self) -> tuple[Node, Node]:
        """The one that shares, and the one that gets."""
        seeder, leecher = self.start(2)
        return seeder, leecher

    def group(self, count: int = 2, name: str = "films", **options: Any) -> list[Node]:
        """Members of one new group, each connected to all others. The first one has made it."""
        nodes = self.start(count, **options)
        join(name, *nodes)
        return nodes

    def file(self, name: str, size: int) -> Path:
        """A new file of random bytes, different each time."""
        self._seed += 1
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SeededRng(self._seed).bytes(size))
        return path

    def close(self) -> None:
        running = [node for node in self.nodes if node.is_running]
        clock = SystemClock()
        begun_at = clock.monotonic()
        try:
            for node in running:
                node.signal(signal.SIGTERM)
            statuses = [node.wait() for node in running]
            took = clock.monotonic() - begun_at
        finally:
            self.kill()
        assert statuses == [0] * len(running), "SIGTERM is a clean end"
        assert took < STOP_PERIOD, f"stopping took {took:.1f} s"
        for node in self.nodes:
            faults = [line for line in node.log_text().splitlines() if "Traceback" in line or " ERROR " in line]
            assert not faults, f"{node.folder.name} logged\n{node.log_text()}"

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()


def join(name: str, *nodes: Node) -> None:
    """The first node makes the group, the others join it; until all are connected in it."""
    ticket = nodes[0].call("group.create", name=name)["ticket"]
    for node in nodes[1:]:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        wait_for_members(node, name, len(nodes) - 1)


def wait_for_members(node: Node, group: str, count: int) -> None:
    """Until so many others are connected in that group."""
    node.wait_until(lambda: node.call("group.show", group=group)["connected"] == count, "members")


def wait_for_share(node: Node, name: str, *, is_there: bool = True) -> None:
    node.wait_until(
        lambda: any(share["name"] == name for share in node.call("ls")["shares"]) == is_there,
        "shares",
    )


def wait_for_bytes(node: Node, amount: int) -> int:
    """Until the node's transfer (one; it may not have begun yet) has more than that, or is done; what it has."""
    progress = wait_for_progress(node, lambda value: value["have_bytes"] > amount or value["state"] == "done")
    return int(progress["have_bytes"])


def wait_for_progress(
    node: Node, check: Callable[[dict[str, Any]], object], transfer: str | None = None
) -> dict[str, Any]:
    """Until a transfer (the node's only one, as soon as there is one) is as `check` wants it; the report of then."""
    if transfer is None:
        transfer = node.wait_until(lambda: node.call("transfers")["transfers"], "transfers")[0]["id"]
    clock = SystemClock()
    end = clock.monotonic() + WAIT_TIMEOUT
    with node.control() as control:
        control.ask("transfer.wait", id=transfer)
        while True:
            message = control.receive()
            value: dict[str, Any] = message["params"]["value"] if "params" in message else message.get("result", {})
            if value and check(value):
                return value
            assert "params" in message, f"the transfer has ended: {message}"
            assert clock.monotonic() < end, f"still {value}"


def contents(path: Path) -> Content:
    """What a tree holds: by relative path its kind, and mode and bytes, or the target of a link."""
    if not path.is_dir():
        return {"": _content(path)}
    found = {"": _content(path)}
    for folder, folders, files in os.walk(path):
        for name in folders + files:
            place = Path(folder, name)
            found[place.relative_to(path).as_posix()] = _content(place)
    return found


def _content(path: Path) -> tuple[str, object]:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link", os.readlink(path)
    if stat.S_ISDIR(mode):
        return "folder", stat.S_IMODE(mode)
    return "file", (stat.S_IMODE(mode), path.read_bytes())
