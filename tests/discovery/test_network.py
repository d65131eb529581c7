"""mDNS over a real link: two network namespaces joined by a pair of virtual Ethernet devices.

Both ends are processes of their own (`tests.discovery.node`). Needs root.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.discovery.conftest import ANN, BOB, inside, ip, wait_for_carrier

WILDCARD = ["0.0.0.0:7927", "[::]:7927"]
pytestmark = pytest.mark.root


class Node:
    """One process of `tests.discovery.node`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.instance: str = self.next("instance")["instance"]

    def next(self, event: str, instance: str | None = None) -> dict[str, Any]:
        """The next line of that kind (about that instance)."""
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            entry = json.loads(line)
            if entry["event"] == event and instance in (None, entry.get("instance")):
                assert isinstance(entry, dict)
                return entry
        raise AssertionError("the node ended")

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def note(self) -> str | None:
        """After it has looked at its interfaces again."""
        for _ in range(2):
            self.say("groups films")
            note: str | None = self.next("note")["note"]
        return note


@contextmanager
def started(namespace: str, *keys: str, listen: list[str] = WILDCARD) -> Iterator[Node]:
    command = [*inside(namespace), sys.executable, "-m", "tests.discovery.node", *listen, "--", *keys]
    # `timeout` ends whatever hangs, so that reading a line needs no time-out of its own
    with subprocess.Popen(
        ["timeout", "60", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Node(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(20) == 0


def test_two_nodes_of_a_group_find_each_other_and_their_new_addresses(link: None) -> None:
    ip(ANN, "addr add 10.77.0.1/24 dev lan0")
    ip(BOB, "addr add 10.77.0.2/24 dev lan0")
    with started(ANN, "films", "work") as ann:
        with started(BOB, "films") as bob:
            seen = ann.next("sighted", bob.instance)
            assert "10.77.0.2:7927" in seen["addresses"]
            assert seen["shared"] == ["films"]
            seen = bob.next("sighted", ann.instance)
            assert "10.77.0.1:7927" in seen["addresses"]
            assert not [each for each in seen["addresses"] if each.startswith(("127.", "[fe80"))]
            # Ann's machine gets another address (another lease, a suspended laptop).
            ip(ANN, "addr del 10.77.0.1/24 dev lan0")
            ip(ANN, "addr add 10.77.0.9/24 dev lan0")
            ann.say("groups films")  # it would look by itself within ten seconds
            while "10.77.0.9:7927" not in seen["addresses"]:
                seen = bob.next("sighted", ann.instance)
            assert "10.77.0.1:7927" not in seen["addresses"]
            ann.next("lost", bob.instance)  # her network has changed: she looks again
            ann.next("sighted", bob.instance)
        ann.next("lost", bob.instance)


def test_a_cable_that_is_plugged_in_later(link: None) -> None:
    ip(BOB, "addr add 10.77.0.2/24 dev lan0")
    ip(ANN, "link set lan0 down")
    with started(BOB, "films") as bob, started(ANN, "films") as ann:
        assert ann.note() is None, "loopback serves as long as there is nothing else"
        ip(ANN, "link set lan0 up")
        wait_for_carrier(ANN)
        ip(ANN, "addr add 10.77.0.1/24 dev lan0")
        wait_for_carrier(BOB)  # whose cable was as dead
        for node in (ann, bob):
            node.say("groups films")
        seen = bob.next("sighted", ann.instance)
        assert "10.77.0.1:7927" in seen["addresses"]
        assert "10.77.0.2:7927" in ann.next("sighted", bob.instance)["addresses"]


def test_a_cable_that_is_pulled_and_plugged_in_again(link: None) -> None:
    """The address stays, the carrier goes."""
    ip(ANN, "addr add 10.77.0.1/24 dev lan0")
    ip(BOB, "addr add 10.77.0.2/24 dev lan0")
    listen = ["0.0.0.0:7927"]
    with started(ANN, "films", listen=listen) as ann, started(BOB, "films", listen=listen) as bob:
        ann.next("sighted", bob.instance)
        ip(BOB, "link set lan0 down")
        assert ann.note() is bob.note() is None
        ip(BOB, "link set lan0 up")
        wait_for_carrier(BOB)
        bob.say("groups films")
        while "10.77.0.2:7927" not in ann.next("sighted", bob.instance)["addresses"]:
            pass


def test_ipv6_alone(link: None) -> None:
    ip(ANN, "addr add fd77::1/64 dev lan0 nodad")
    ip(BOB, "addr add fd77::2/64 dev lan0 nodad")
    for name in (ANN, BOB):  # link-local addresses without the second that checking for duplicates takes
        ip(name, f"addr add fe80::77:{1 if name == ANN else 2}/64 dev lan0 nodad")
    listen = ["[::]:7927"]
    with started(ANN, "films", listen=listen) as ann, started(BOB, "films", listen=listen) as bob:
        assert ann.next("sighted", bob.instance)["addresses"] == ["[fd77::2]:7927"]
        assert bob.next("sighted", ann.instance)["addresses"] == ["[fd77::1]:7927"]


def test_no_interface_at_all_is_said_and_no_crash(namespaces: None) -> None:
    ip(ANN, "link set lo down")
    with started(ANN, "films") as ann:
        note = ann.note()
        assert note is not None
        assert "mDNS is off: no network interface" in note
