"""The fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.main import run
from tests.cli.daemon import Daemon, running


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a shell would see."""

    code: int
    out: str
    err: str


Swarm = Callable[..., Outcome]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as daemon:
        yield daemon


@pytest.fixture
def swarm(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> Swarm:
    """Run a command line in this process against the daemon."""

    def swarm(*arguments: str) -> Outcome:
        code = run(["--socket", daemon.path, *arguments])
        return Outcome(code, *capsys.readouterr())

    return swarm
