"""Two machines on one link, made of network namespaces and a pair of virtual Ethernet devices. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.leftovers import remove_namespaces

ANN, BOB = f"swarmd-ann-{os.getpid()}", f"swarmd-bob-{os.getpid()}"


def inside(namespace: str) -> list[str]:
    """What to put before a command that is to run there."""
    return ["ip", "netns", "exec", namespace]


def reason_not_to() -> str | None:
    if os.geteuid() != 0:
        return "making network namespaces needs root"
    if not shutil.which("ip"):
        return "ip (iproute2) is not installed"
    remove_namespaces()
    made = subprocess.run(["ip", "netns", "add", ANN], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces here: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", ANN], check=True)
    return None


@pytest.fixture(scope="session")
def namespaces_are_possible() -> None:
    if reason := reason_not_to():
        pytest.skip(reason)


def ip(namespace: str, command: str) -> None:
    subprocess.run(["ip", "-netns", namespace, *command.split()], check=True)


def wait_for_carrier(namespace: str) -> None:
    """The kernel tells of a carrier a moment after the link was set up."""
    state = ""
    while "state UP" not in state:
        state = subprocess.run(
            ["ip", "-netns", namespace, "link", "show", "lan0"], check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def namespaces(namespaces_are_possible: None) -> Iterator[None]:
    """Two namespaces with loopback up and nothing else."""
    try:
        for name in (ANN, BOB):
            subprocess.run(["ip", "netns", "add", name], check=True)
            ip(name, "link set lo up")
        yield
    finally:
        for name in (ANN, BOB):
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture
def link(namespaces: None) -> None:
    """lan0 in each, joined, without addresses."""
    ip(ANN, f"link add lan0 type veth peer name lan0 netns {BOB}")
    for name in (ANN, BOB):
        ip(name, "link set lan0 up")
    for name in (ANN, BOB):
        wait_for_carrier(name)
