"""The standard streams as a shell may hand them over: closed, on a full disk, or a pipe that nobody reads any more.

Invariant: after `settle` no buffer holds anything, so the interpreter has nothing to complain of when it ends.
"""

from __future__ import annotations

import os
import sys


def open_missing() -> None:
    """Output that the shell has closed (`>&-`) goes nowhere. Closed input stays closed: who wants it has to hear so."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def settle() -> bool:
    """Empty the buffers; whether all of it could be written. The rest is thrown away."""
    is_written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            is_written = False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    return is_written


def stdout_descriptor() -> int | None:
    """Its number; None where it has none, being no file."""
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError):
        return None
