"""Errors on the wire and at the shell: code words to exceptions, exceptions to exit codes.

Invariant: every class of `swarmd.core.errors` that carries a code survives the way through the socket, and
has an exit code. What it does not do: word the messages; who raises an error does.
"""

from __future__ import annotations

from swarmd.core.errors import (
    AlreadyExists,
    Conflict,
    DiskFull,
    Incomplete,
    IntegrityError,
    InvalidArgument,
    LocalError,
    NoPeers,
    NotAllowed,
    NotFound,
    SwarmError,
    TimedOut,
    Unreachable,
)

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_DAEMON = 3

_CLASSES: dict[str, type[LocalError]] = {
    error.code: error
    for error in (
        *(LocalError, InvalidArgument, NotFound, NotAllowed, NoPeers, Incomplete, TimedOut),
        *(DiskFull, IntegrityError, AlreadyExists, Conflict, Unreachable),
    )
}

_EXIT_CODES = {
    "error": EXIT_ERROR,
    "invalid": EXIT_USAGE,
    "not_found": 4,
    "not_allowed": 5,
    "no_peers": 6,
    "unreachable": 6,  # a peer, that is; the daemon itself is DaemonUnreachable
    "incomplete": 7,
    "timed_out": 8,
    "disk_full": 9,
    "integrity": 10,
    "exists": EXIT_ERROR,
    "conflict": EXIT_ERROR,
}


class DaemonUnreachable(Unreachable):
    """Nobody answers on the control socket, or the daemon went away before it had answered."""


def failure_code(error: SwarmError) -> str:
    """The word for an error on the wire; a peer's fault that reaches a caller is plainly an error."""
    return error.code if isinstance(error, LocalError) else LocalError.code


def error_of(code: str, message: str) -> LocalError:
    """The exception for a code from the wire; a code we do not know becomes a plain LocalError."""
    return _CLASSES.get(code, LocalError)(message)


def exit_code(error: SwarmError) -> int:
    """What the shell gets to see."""
    if isinstance(error, DaemonUnreachable):
        return EXIT_DAEMON
    return _EXIT_CODES[failure_code(error)]
