"""What the operating system refused, as an error that says which path, and as which user.

Invariant: an OSError about a user's files leaves the store only in this form. "Permission denied" alone is
what people complain about most: with a daemon, the user who was refused is not the one who reads the
message.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat

from swarmd.core.errors import (
    AlreadyExists,
    DiskFull,
    InvalidArgument,
    LocalError,
    NotAllowed,
    NotFound,
)
from swarmd.core.terminal import escape

_DENIED = frozenset({errno.EACCES, errno.EPERM})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY})
_NO_FOLDER = frozenset({errno.ELOOP, errno.ENOTDIR})


def local_error(error: OSError, path: str, ability: str = "writable") -> LocalError:
    """The LocalError for `error`, which happened at `path`; `ability` is what was missing if it was
    refused."""
    shown = escape(path)
    number = error.errno
    if number in _DENIED:
        return NotAllowed(f"{shown} is not {ability} for {current_user()}{_owner(path)}")
    if number in _FULL:
        full = "the disk quota is used up" if number == errno.EDQUOT else "no room is left"
        return DiskFull(f"{full} on the file system of {shown}")
    if number == errno.EROFS:
        return NotAllowed(f"{shown} is on a file system that is mounted read-only")
    if number == errno.ENOENT:
        return NotFound(f"{shown} does not exist")
    if number in _TAKEN:
        return AlreadyExists(f"{shown} is there already")
    if number in _NO_FOLDER:
        return NotAllowed(f"{shown} is a link or a file where a folder is expected, and is not followed")
    if number == errno.ENAMETOOLONG:
        return InvalidArgument(f"{shown} is too long a name for its file system")
    return LocalError(f"{shown}: {os.strerror(number) if number else error}")


def current_user() -> str:
    """Whose permissions count: "uid 998 (swarmd)"."""
    uid = os.geteuid()
    try:
        return f"uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"uid {uid}"


def first_obstacle(path: str, error: OSError) -> LocalError:
    """For an absolute path that gave `error`, links in it followed: which of its components is in the way."""
    place = "/"
    for component in path.split("/"):
        if not component:
            continue
        parent, place = place, os.path.join(place, component)
        try:
            os.stat(place)
        except PermissionError as refusal:
            return local_error(refusal, parent, "accessible")
        except NotADirectoryError:
            return InvalidArgument(f"{escape(parent)} is not a folder")
        except FileNotFoundError as missing:
            if os.path.islink(place):
                return NotFound(f"{escape(place)} is a link to {escape(os.readlink(place))}, which does not exist")
            return local_error(missing, place)
        except OSError as other:
            return LocalError(f"{escape(place)}: {other.strerror}")
    if error.errno == errno.ENOTDIR:
        return InvalidArgument(f"{escape(path)} is not a folder")
    return local_error(error, path, "readable")


def _owner(path: str) -> str:
    """Whom to ask: the owner and mode of what refused, where that can be seen."""
    try:
        info = os.stat(path, follow_symlinks=False)
    except (OSError, ValueError):
        return ""
    return f": it belongs to uid {info.st_uid}, gid {info.st_gid}, mode {stat.S_IMODE(info.st_mode):04o}"
