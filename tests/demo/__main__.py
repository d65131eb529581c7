"""`python -m tests.demo [FILE]`: shares FILE (or a file of 256 MiB, made now) from one daemon to two others.

Nothing is staged: the daemons and `swarm` are real processes that know each other by the ticket alone and talk over
encrypted TCP on loopback. The progress is what `swarm --json get` says, the table is what the receiving daemons have
counted, and the copies are read again here and compared with the original, by another hash than swarmd's.

All of it lies in one temporary folder (TMPDIR says where), which is gone at the end, as the daemons are: also after
Ctrl-C, SIGTERM or an error. Exit status: 0 when all was as it should be, 1 when not, 130 when interrupted.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from cli.wording import count, rate, size
from swarmd.control.records import Share
from swarmd.core.clock import SystemClock
from tests.demo.display import Display, display_for
from tests.demo.fetch import Fetch
from tests.demo.files import digest, make, size_of
from tests.demo.interrupts import Interrupts
from tests.e2e.nodes import Node, outcome

_SEEDER, *_GETTERS = _NAMES = ("A", "B", "C")
_MADE_BYTES = 256 << 20
_SPARE_BYTES = 64 << 20  # databases and logs
_LOOK_PERIOD = 0.1
_SHARE_TIMEOUT = 24 * 3600.0
_LOG_LINES = 15

Nodes = Mapping[str, Node]


class Unexpected(Exception):
    """Something was not as it should be; the message says what."""


def main(arguments: Sequence[str]) -> int:
    if len(arguments) > 1:
        print("usage: python -m tests.demo [FILE]", file=sys.stderr)
        return 2
    interrupts = Interrupts()
    try:
        with ExitStack() as stack:
            with interrupts.held():
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="swarmd-demo-"))
            given = Path(arguments[0]) if arguments else None
            _demonstrate(Path(folder), given, interrupts, display_for(sys.stdout))
    except KeyboardInterrupt:
        print("\ninterrupted: the daemons are stopped, the temporary folder is gone", file=sys.stderr)
        return 128 + signal.SIGINT
    except (Unexpected, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _demonstrate(folder: Path, given: Path | None, interrupts: Interrupts, display: Display) -> None:
    """From beginning to end; Unexpected when something is not as it should be. No process stays behind."""
    path = _original(folder, given, display)
    nodes = {name: Node(folder / name) for name in _NAMES}
    with ExitStack() as stack:
        stack.callback(_stop, nodes)
        stack.callback(interrupts.ignore)
        try:
            _start(nodes, interrupts, display)
            share = _share(nodes[_SEEDER], path, interrupts, display)
            fetches = _fetch(nodes, share, interrupts, display)
            _judge(path, share, fetches, display)
        except Unexpected:
            _show_logs(nodes)
            raise


# Before -------------------------------------------------------------------------------------------------------------


def _original(folder: Path, given: Path | None, display: Display) -> Path:
    """What is shared: the file or folder given, or one made now."""
    if given is None:
        _check_room(folder, (1 + len(_GETTERS)) * _MADE_BYTES)
        display.say(f"making a file of {size(_MADE_BYTES)} of random bytes")
        make(folder / "demo.bin", _MADE_BYTES)
        return folder / "demo.bin"
    if not given.exists():
        raise Unexpected(f"{given} does not exist")
    _check_room(folder, len(_GETTERS) * size_of(given))
    return given.resolve()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise Unexpected(
            f"{folder.parent} has {size(free)} free, the demo needs {size(needed + _SPARE_BYTES)}:"
            " name another place with TMPDIR=/some/folder make demo"
        )


def _start(nodes: Nodes, interrupts: Interrupts, display: Display) -> None:
    for name, node in nodes.items():
        try:
            with interrupts.held():
                node.begin()
            node.wait_for_ready()
        except (OSError, AssertionError) as error:
            raise Unexpected(f"daemon {name} did not start: {error}") from error
        display.say(f"daemon {name} runs: pid {node.pid}, listening on {node.address()}")


def _share(node: Node, path: Path, interrupts: Interrupts, display: Display) -> Share:
    clock = SystemClock()
    started_at = clock.monotonic()
    with interrupts.held():
        command = node.popen("--json", "share", path)
    status, output, complaint = outcome(command, timeout=_SHARE_TIMEOUT)
    took = clock.monotonic() - started_at
    if status:
        raise Unexpected(f"swarm share ended with status {status}: {complaint.strip()}")
    share = msgspec.json.decode(output, type=Share)
    display.say(f"{_SEEDER} shares {share.name}: {count(share.files, 'file')}, {size(share.size)}, in {took:.2f} s")
    return share


# The downloads ------------------------------------------------------------------------------------------------------


def _fetch(nodes: Nodes, share: Share, interrupts: Interrupts, display: Display) -> list[Fetch]:
    """All at once, to their ends."""
    display.say(f"{' and '.join(_GETTERS)} get it with the ticket, at the same time")
    peers = {node.call("status")["peer_id"]: name for name, node in nodes.items()}
    fetches: list[Fetch] = []
    try:
        for name in _GETTERS:
            with interrupts.held():
                fetches.append(Fetch(name, nodes[name], share.ticket, peers))
        _watch(fetches, display)
    finally:
        for fetch in fetches:
            fetch.stop()
    for fetch in fetches:
        if fetch.status or fetch.result is None:
            raise Unexpected(f"swarm get at {fetch.name} ended with status {fetch.status}: {fetch.complaint}")
    return fetches


def _watch(fetches: Sequence[Fetch], display: Display) -> None:
    with display.progress(fetches):
        while waiting := [fetch for fetch in fetches if not fetch.has_ended]:
            display.update(fetches)
            waiting[0].wait(_LOOK_PERIOD)
        display.update(fetches)


# After --------------------------------------------------------------------------------------------------------------


def _judge(path: Path, share: Share, fetches: Sequence[Fetch], display: Display) -> None:
    """Compare what has come with what was shared, and tell all of it."""
    display.say("reading the original and the copies again, for their SHA-256")
    original = digest(path)
    verdicts = {fetch.name: digest(fetch.target) == original for fetch in fetches}
    display.table("who sent how much to whom", ("", *(f"to {each.name}" for each in fetches)), _rows(fetches, verdicts))
    _sum_up(share, fetches, display)
    problems = [f"the copy of {name} is not what was shared" for name, is_equal in verdicts.items() if not is_equal]
    for fetch in fetches:
        if fetch.received_bytes < share.size:
            problems.append(f"{fetch.name} has counted {fetch.received_bytes} bytes of {share.size} only")
    if problems:
        raise Unexpected("; ".join(problems))


def _rows(fetches: Sequence[Fetch], verdicts: Mapping[str, bool]) -> list[tuple[str, ...]]:
    sent = [(f"from {name}", *(_cell(name, fetch) for fetch in fetches)) for name in _NAMES]
    return [
        *sent,
        ("received", *(size(fetch.received_bytes) for fetch in fetches)),
        ("time", *(f"{fetch.took:.2f} s" for fetch in fetches)),
        ("rate", *(rate(fetch.size / fetch.took) for fetch in fetches)),
        ("verified", *("equal to A's" if verdicts[fetch.name] else "DIFFERENT" for fetch in fetches)),
    ]


def _cell(sender: str, fetch: Fetch) -> str:
    return "" if sender == fetch.name else size(fetch.received_from(sender))


def _sum_up(share: Share, fetches: Sequence[Fetch], display: Display) -> None:
    took = max(fetch.took for fetch in fetches)
    display.say(
        f"{len(fetches)} copies in {took:.2f} s: {rate(len(fetches) * share.size / took)} together, encrypted and"
        f" verified, on this machine's {count(os.cpu_count() or 1, 'core')}"
    )
    if share.size:
        copies = sum(fetch.received_from(_SEEDER) for fetch in fetches) / share.size
        display.say(f"{_SEEDER} itself sent {copies:.2f} copies; the rest {' and '.join(_GETTERS)} gave each other")


def _stop(nodes: Nodes) -> None:
    """All of them, and the commands that talk to them."""
    running = [node for node in nodes.values() if node.is_running]
    for node in running:
        node.signal(signal.SIGTERM)
    for node in running:
        try:
            node.stop()
        except subprocess.TimeoutExpired:
            pass  # killed below
    for node in nodes.values():
        node.kill()


def _show_logs(nodes: Nodes) -> None:
    for name, node in nodes.items():
        lines = node.log_text().splitlines() if node.log.exists() else []
        if lines:
            print(f"the last lines of daemon {name}:", file=sys.stderr)
            print("\n".join(f"  {line}" for line in lines[-_LOG_LINES:]), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
