"""Network namespaces that a killed test run has left: its own clean-up never ran.

Every one of ours ends in the process ID of the run that made it. Only such a one is removed, and only when that process
is gone and no other is in it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

_OURS = re.compile(r"swarmd-(?:(?:udp|e2e)-)?(?:ann|bob|router)-(\d+)")


def remove_namespaces() -> None:
    """Before the first one of this run is made. Where that cannot be, nothing is done."""
    listed = _ip("netns", "list").splitlines()
    for name in [line.split()[0] for line in listed if line.strip()]:
        if is_left(name) and not _ip("netns", "pids", name).strip():
            _ip("netns", "delete", name)


def is_left(name: str) -> bool:
    """Whether it is called like one of ours, and the run that made it is gone."""
    match = _OURS.fullmatch(name)
    return match is not None and not Path("/proc", match[1]).exists()


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=False).stdout
