"""What only root can set up for a test: another user, a small disk. Elsewhere such tests are skipped, with the
reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
AS_NOBODY = (
    "setpriv",
    f"--reuid={NOBODY}",
    f"--regid={NOBODY}",
    "--clear-groups",
    "--inh-caps=-all,+dac_read_search",  # Python and the project may lie where only root may look
    "--ambient-caps=-all,+dac_read_search",
)


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where not root, or where one of these is not installed."""
    missing = [program for program in programs if not shutil.which(program)]
    reason = "needs root" if os.geteuid() else f"{', '.join(missing)} is not installed"
    return pytest.mark.skipif(bool(os.geteuid() or missing), reason=reason)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes at `folder`; skips the test where none can be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size: int) -> None:
    """Of a small disk."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)
