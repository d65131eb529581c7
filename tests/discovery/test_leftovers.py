"""What a killed test run leaves is removed at the start of the next one, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.leftovers import is_left, remove_namespaces


@pytest.fixture
def gone() -> int:
    """The ID of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


def names() -> set[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in listed.splitlines() if line}


@pytest.fixture
def made(namespaces_are_possible: None, gone: int) -> Iterator[tuple[str, str, str]]:
    """Left by a run that is gone; of this run; of somebody else."""
    left, ours, others = f"swarmd-udp-bob-{gone}", f"swarmd-e2e-bob-{os.getpid()}", f"lab-swarmd-bob-{gone}"
    for name in (left, ours, others):
        subprocess.run(["ip", "netns", "add", name], check=True)
    yield left, ours, others
    for name in (left, ours, others):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def test_only_what_a_run_that_is_gone_has_left(made: tuple[str, str, str]) -> None:
    left, ours, others = made
    remove_namespaces()
    assert left not in names()
    assert {ours, others} <= names()


def test_whose_a_name_is(gone: int) -> None:
    assert is_left(f"swarmd-ann-{gone}")
    assert is_left(f"swarmd-udp-router-{gone}")
    for other in (f"swarmd-ann-{os.getpid()}", f"swarmd-{gone}", f"xswarmd-ann-{gone}", "swarmd-ann-", f"swb{gone}"):
        assert not is_left(other), other
