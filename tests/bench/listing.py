"""A daemon in a group with 100,000 shares, as its user meets it: a start, `swarm ls`, and what others wait meanwhile.

usage: python -m tests.bench.listing [SHARES]        the aims: a first answer within 1 s of the start, all shares listed
                                                     within 3 s, and nobody who asks for `status` waits over 50 ms

A real daemon and the real command; a client asks for `status` every 5 ms all the while. Signing the records takes 10 s.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from swarmd.control import schema
from swarmd.control.client import Client
from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError
from swarmd.core.ids import GroupId
from swarmd.groups.catalogue import MAX_SHARES, MAX_SHARES_PER_PUBLISHER
from swarmd.store.store import Store
from swarmd.store.tables.groups import RecordRow
from tests.e2e.nodes import START_TIMEOUT, Node
from tests.groups.builders import record

_PAUSE = 0.005


def main(count: int = MAX_SHARES) -> None:
    with tempfile.TemporaryDirectory() as name, Node(Path(name)) as node:
        node.start()
        group = GroupId.parse(node.json("group", "create", "large")["group_id"])
        node.stop()
        fill(node, group, count)
        _bench_start(node, count)
        for words in (["ls", "--json"], ["ls"], ["ls", "00012"], ["ls", "--by", "you"], ["metrics"]):
            _bench_command(node, words)
        node.stop()


def fill(node: Node, group: GroupId, count: int) -> None:
    store = Store.open(node.state_dir, SystemClock())
    for start in range(0, count, 1000):
        numbers = range(start, min(count, start + 1000))
        made = [
            record(
                1 + number // MAX_SHARES_PER_PUBLISHER,
                name=f"The name of a share {number:06}.mkv",
                number=number,
                group_id=group,
            )
            for number in numbers
        ]
        store.records.put(group, [RecordRow(each.publisher, each.share.name, each.encode()) for each in made])
    store.close()


def _bench_start(node: Node, count: int) -> None:
    node.socket.unlink(missing_ok=True)
    began = time.monotonic()
    node.begin()
    client = _connect(node)
    client.call(schema.STATUS, schema.NoParams())
    print(f"first answer after {time.monotonic() - began:.2f} s, {cpu(node):.2f} s of CPU")
    with client:
        waits = _ask(client, lambda: n_shares(client) < count)
    print(f"all there after {time.monotonic() - began:.2f} s, {cpu(node):.2f} s of CPU; {waits_of(waits)}")
    node.wait_for_ready()


def _connect(node: Node) -> Client:
    ends_at = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return Client(str(node.socket))
        except LocalError:
            if not node.is_running or time.monotonic() > ends_at:
                raise
            time.sleep(_PAUSE)


def n_shares(client: Client) -> int:
    return sum(group.shares for group in client.call(schema.GROUP_LIST, schema.GroupListParams()).groups)


def _bench_command(node: Node, words: list[str]) -> None:
    began, used = time.monotonic(), cpu(node)
    with Client(str(node.socket)) as client, tempfile.TemporaryFile() as out:
        with subprocess.Popen(node.swarm_command(*words), stdout=out) as command:
            waits = _ask(client, lambda: command.poll() is None)
        took, used = time.monotonic() - began, cpu(node) - used
        print(
            f"swarm {' '.join(words)}: {took:.2f} s, {used:.2f} s of CPU of the daemon, {_size(out.fileno())}; ", end=""
        )
        print(waits_of(waits))


def _size(descriptor: int) -> str:
    return f"{Path(f'/proc/self/fd/{descriptor}').stat().st_size / 1e6:.1f} MB"


def _ask(client: Client, is_wanted: Callable[[], bool]) -> list[float]:
    """Milliseconds of each call."""
    waits = []
    while True:
        start = time.monotonic()
        client.call(schema.STATUS, schema.NoParams())
        waits.append(1000 * (time.monotonic() - start))
        if not is_wanted():
            return sorted(waits)
        time.sleep(_PAUSE)


def waits_of(waits: list[float]) -> str:
    p50, p99 = (waits[len(waits) * percent // 100] for percent in (50, 99))
    return f"status meanwhile: p50 {p50:.1f} ms, p99 {p99:.1f}, worst {waits[-1]:.1f} of {len(waits)}"


def cpu(node: Node) -> float:
    """Seconds that the daemon has used."""
    fields = Path(f"/proc/{node.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else MAX_SHARES)
