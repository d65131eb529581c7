r"""Which names a file may have in a shared tree, and when two names would collide.

A name from a peer becomes a file on this machine, and a tree travels between systems; so what any of them
cannot hold or would take for something else is refused everywhere: separators (`/`, `\`, `:`), `.` and
`..`, control characters, what is not UTF-8, Windows' device names, a trailing dot or space (Windows drops
them).

Invariant: a name that passes names one entry directly inside its folder, on any system.

This is the first of two barriers: `store.tree`, which opens folders component by component, is the second.
"""

from __future__ import annotations

import re
import unicodedata

from swarmd.core.errors import RemoteError

NAME_BYTES_LIMIT = 255
"""Of UTF-8: the limit of Linux' file systems (NAME_MAX)."""

_FORBIDDEN = re.compile(r"[/\\:\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?", re.IGNORECASE)


def check_component(name: str) -> None:
    """RemoteError, which says why, unless `name` can be one component of a path on every system."""
    if name in ("", ".", ".."):
        raise RemoteError(f"{name!r} cannot be the name of a file", penalty=10)
    if match := _FORBIDDEN.search(name):
        raise RemoteError(f"the name {name!r} contains {match[0]!r}, which not every system allows", penalty=10)
    if len(name.encode()) > NAME_BYTES_LIMIT:
        raise RemoteError(f"the name {name[:20]!r}... is longer than {NAME_BYTES_LIMIT} bytes")
    if name[-1] in ". ":
        raise RemoteError(f"the name {name!r} ends with a dot or a space, which Windows drops")
    if _DEVICE.fullmatch(name):
        raise RemoteError(f"the name {name!r} is a device on Windows")


def collision_key(name: str) -> str:
    """Equal for two names that some file system takes for the same one.

    Canonical caseless matching (Unicode 3.13, D145): macOS folds normal forms and case, Windows case.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())
