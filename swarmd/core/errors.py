"""Every error swarmd raises on purpose, split by culprit.

`LocalError` is our own side's: a wrong argument, a full disk, nobody to fetch from. It reaches the user, so
its message names the cause and the next step, and its `code` is the stable word programs look at (the
control API sends it, the CLI turns it into an exit code). `RemoteError` is a peer's: expected, never shown
as a fault of ours, counted against the peer by its `penalty`.

Invariant: a decoder of peer bytes raises `RemoteError` and nothing else.
"""

from __future__ import annotations

from typing import ClassVar


class SwarmError(Exception):
    """The base of both kinds; nothing raises it directly."""


class LocalError(SwarmError):
    """Something on our own side; `code` is stable, the message is for people."""

    code: ClassVar[str] = "error"


class InvalidArgument(LocalError):
    """The caller gave something that cannot be meant."""

    code = "invalid"


class NotFound(LocalError):
    """There is no such thing here."""

    code = "not_found"


class NotAllowed(LocalError):
    """The caller, or this node in this group, may not do that."""

    code = "not_allowed"


class NoPeers(LocalError):
    """Nobody is connected who could help."""

    code = "no_peers"


class Incomplete(LocalError):
    """A transfer ended early and can be resumed."""

    code = "incomplete"


class TimedOut(LocalError):
    """It took longer than the caller or the protocol allows."""

    code = "timed_out"


class DiskFull(LocalError):
    """No room, or no quota, left on the target's file system."""

    code = "disk_full"


class IntegrityError(LocalError):
    """Bytes of ours do not match the hash that names them."""

    code = "integrity"


class AlreadyExists(LocalError):
    """Doing it would overwrite something."""

    code = "exists"


class Conflict(LocalError):
    """Somebody else is doing it, or the state it needs has passed."""

    code = "conflict"


class Unreachable(LocalError):
    """No connection could be made to what was named."""

    code = "unreachable"


class RemoteError(SwarmError):
    """What a peer did wrong. `penalty` counts against it: 1 may be an accident, 10 cannot be one."""

    def __init__(self, message: str, *, penalty: int = 1) -> None:
        super().__init__(message)
        self.penalty = penalty
