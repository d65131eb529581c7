"""Who may use the control socket: the daemon's own user, root, and members of the configured group.

The file mode of the socket keeps others out already; this check does not depend on it (a socket in a folder
of a careless mode, an inherited socket, a descriptor passed on).
Invariant: credentials are the kernel's (SO_PEERCRED, SO_PEERGROUPS), never the caller's word.
"""

from __future__ import annotations

import array
import os
import socket
import struct

from swarmd.control.dispatch import Credentials

_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59
"""asm-generic/socket.h, Linux 4.13; Python's socket module has no name for it."""
_GROUPS_BYTES = 1024
"""256 groups, the most that Python's getsockopt can take."""


def credentials_of(connection: socket.socket) -> Credentials:
    """Of the process that connected."""
    return Credentials(*_UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


def is_allowed(connection: socket.socket, credentials: Credentials, gid: int | None) -> bool:
    """gid: the group whose members may use the socket too, None for nobody else."""
    if credentials.uid in (0, os.geteuid()):
        return True
    return gid is not None and (credentials.gid == gid or gid in _groups_of(connection))


def _groups_of(connection: socket.socket) -> array.array[int]:
    groups = array.array("I")
    try:
        groups.frombytes(connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES))
    except OSError:  # more groups than that, or an old kernel: the primary group alone counts
        return groups
    return groups
