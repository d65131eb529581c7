"""One group of many daemons on this machine: how long it takes to form, how soon a post is everywhere, what each costs.

usage: python -m tests.bench.group [MEMBERS]
"""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from swarmd.core.clock import SystemClock
from tests.bench._places import place_for
from tests.e2e.farm import Farm
from tests.e2e.nodes import Node

MEMBERS = 30
POSTS = 10
NAME = "bench"
SPACE = 256 << 20


def main(members: int = MEMBERS) -> None:
    with tempfile.TemporaryDirectory(dir=place_for(SPACE)) as folder:
        farm = Farm(Path(folder))
        try:
            bench(farm, members)
        finally:
            farm.kill()


def bench(farm: Farm, members: int) -> None:
    clock = SystemClock()
    began = clock.monotonic()
    nodes = farm.start(members)
    print(f"{members} daemons started in {clock.monotonic() - began:.1f} s")
    began = clock.monotonic()
    ticket = nodes[0].call("group.create", name=NAME, posting=True)["ticket"]
    for node in nodes[1:]:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        node.wait_until(partial(is_complete, node, members), "members")
    print(f"all know all {clock.monotonic() - began:.1f} s after the first joined (one after the other)")
    times = sorted(post(nodes, number, clock) for number in range(POSTS))
    print(
        f"a post is everywhere after {statistics.median(times):.3f} s (median), {times[-1]:.3f} s at most, of {POSTS}"
    )
    links = [node.call("group.show", group=NAME)["connected"] for node in nodes]
    print(f"links: {min(links)} to {max(links)}")
    sizes = sorted(resident_mib(node) for node in nodes)
    print(f"memory: {statistics.median(sizes):.0f} MiB each (median), {sizes[-1]:.0f} MiB at most")


def is_complete(node: Node, members: int) -> bool:
    """Whether it knows of all others."""
    shown = node.call("group.show", group=NAME)
    return int(shown["members"]) == members - 1 and int(shown["estimated_members"]) == members


def post(nodes: list[Node], number: int, clock: SystemClock) -> float:
    """Seconds from the command until the last one has told its listener of it."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(node.control()) for node in nodes]
        for listener in listeners:
            listener.subscribe("posts")
        text = f"post {number}"
        began = clock.monotonic()
        nodes[number % len(nodes)].call("post", group=NAME, text=text)
        for listener in listeners:
            while listener.wait_for("posts", "posted")["text"] != text:
                pass
        return clock.monotonic() - began


def resident_mib(node: Node) -> float:
    """Of its memory what lies in RAM now, what is shared with other processes included."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{node.pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
