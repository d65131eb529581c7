"""The heartbeat: pings from the loop, as often as the watchdog wants; a late loop is measured and logged once."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from swarmd.core.clock import ManualClock
from swarmd.daemon.health import QUIET_PERIOD, TICK_PERIOD, Heartbeat
from swarmd.daemon.systemd import Notifier


class Ticks:
    """A loop whose sleeps are late by the given spans, and which then stops."""

    def __init__(self, lags: list[float]) -> None:
        self.clock = ManualClock()
        self.periods: list[float] = []
        self._lags = lags

    async def sleep(self, period: float) -> None:
        if not self._lags:
            raise EOFError
        self.periods.append(period)
        self.clock.advance(period + self._lags.pop(0))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        yield manager


async def beat(lags: list[float], period: float | None, notifier: Notifier) -> tuple[Heartbeat, Ticks]:
    ticks = Ticks(lags)
    heartbeat = Heartbeat(notifier, ticks.clock, period, ticks.sleep)
    with suppress(EOFError):
        await heartbeat.run()
    return heartbeat, ticks


def pings(manager: socket.socket) -> int:
    count = 0
    with suppress(BlockingIOError):
        while manager.recv(100) == b"WATCHDOG=1":
            count += 1
    return count


@pytest.mark.parametrize(("period", "tick"), [(None, TICK_PERIOD), (30.0, TICK_PERIOD), (1.5, 0.5), (0.03, 0.01)])
async def test_three_pings_fit_the_period(manager: socket.socket, period: float | None, tick: float) -> None:
    notifier = Notifier(manager.getsockname())
    _, ticks = await beat([0.0] * 4, period, notifier)
    notifier.close()
    assert ticks.periods == pytest.approx([tick] * 4)
    assert pings(manager) == (0 if period is None else 5)


async def test_a_late_loop_is_measured_and_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    lags = [0.0, 0.1, 0.5, 0.8, 0.0, *([0.0] * int(QUIET_PERIOD)), 0.3]
    heartbeat, _ = await beat(lags, None, Notifier(None))
    assert heartbeat.worst_lag == pytest.approx(0.8)
    assert heartbeat.lag == pytest.approx(0.3)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "the event loop was late by 0.50 s; the worst so far is 0.50 s",
        "the event loop was late by 0.30 s; the worst so far is 0.80 s",
    ]


BLOCKED = """
import asyncio, os, sys, threading
from swarmd.core.clock import SystemClock
from swarmd.daemon.health import Heartbeat
from swarmd.daemon.systemd import Notifier
async def main():
    beating = asyncio.create_task(Heartbeat(Notifier(sys.argv[1]), SystemClock(), 0.03).run())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print("blocked", flush=True)
    sys.stdin.readline()  # on the loop: what must not happen
    print("free", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
asyncio.run(main())
"""


async def test_a_blocked_loop_goes_silent(manager: socket.socket) -> None:
    """A real process, whose loop stands still while a thread of it could go on."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BLOCKED, manager.getsockname()), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    loop = asyncio.get_running_loop()
    for _ in range(5):
        assert await loop.sock_recv(manager, 100) == b"WATCHDOG=1"
    process.stdin.write(b"\n")
    assert await process.stdout.readline() == b"blocked\n"
    pings(manager)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.sock_recv(manager, 100), 0.2)
    process.stdin.write(b"\n")
    assert await process.stdout.readline() == b"free\n"
    assert await loop.sock_recv(manager, 100) == b"WATCHDOG=1"
    process.stdin.write(b"\n")
    assert await process.wait() == 0
