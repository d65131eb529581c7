"""How long `swarm` takes to start, as a multiple of `python3 -c pass`. The aim: `--help` within 5.

usage: python -m tests.bench.startup
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from swarmd.core.clock import SystemClock

ROUNDS = 31
_SWARM = [sys.executable, "-m", "cli"]
_ENVIRONMENT = {**os.environ, "SWARMD_SOCKET": "/nonexistent"}


def main() -> None:
    bare = _median([sys.executable, "-c", "pass"])
    print(f"{'python3 -c pass':24} {bare * 1000:8.1f} ms")
    for arguments in (["--help"], ["get", "--help"], ["id"], ["share", "x"]):
        took = _median([*_SWARM, *arguments])
        print(f"{'swarm ' + ' '.join(arguments):24} {took * 1000:8.1f} ms  {took / bare:5.2f} x")


def _median(command: list[str]) -> float:
    clock = SystemClock()
    times = []
    for _ in range(ROUNDS):
        start = clock.monotonic()
        subprocess.run(command, capture_output=True, check=False, env=_ENVIRONMENT)
        times.append(clock.monotonic() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
