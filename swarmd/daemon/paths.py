"""Where swarmd keeps its things: the one answer to "which file" for a user, for root and under systemd.

| what           | a user                              | system (root or a system service) |
|----------------|-------------------------------------|-----------------------------------|
| configuration  | $XDG_CONFIG_HOME/swarmd/config.toml | /etc/swarmd/config.toml           |
| state          | $XDG_STATE_HOME/swarmd              | /var/lib/swarmd                   |
| control socket | $XDG_RUNTIME_DIR/swarmd.sock        | /run/swarmd/control.sock          |

`CONFIGURATION_DIRECTORY`, `STATE_DIRECTORY` and `RUNTIME_DIRECTORY`, which systemd sets for a unit that asks
for such folders, come before both columns. What the configuration, the environment (`SWARMD_*`) or the
command line names comes before everything; `config` sees to that.

Invariant: every path is absolute. It reads, creates and checks nothing.
Not here: the client's search for a socket (`control.client`), which knows no daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM_UID_LIMIT = 1000
"""Below are root and the system's users (Debian, Fedora, Arch alike); a service that runs as one is not "a user"."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The places used when nobody names others."""

    config_file: Path
    state_dir: Path
    socket: Path


def find_paths(environ: Mapping[str, str], uid: int, home: Path) -> Paths:
    """The defaults for a process of `uid` with this environment and this home folder."""
    defaults = _system_paths(environ) if _is_system(environ, uid) else _user_paths(environ, home)
    configuration = _given_directory(environ, "CONFIGURATION_DIRECTORY")
    state = _given_directory(environ, "STATE_DIRECTORY")
    runtime = _given_directory(environ, "RUNTIME_DIRECTORY")
    return Paths(
        config_file=configuration / "config.toml" if configuration else defaults.config_file,
        state_dir=state or defaults.state_dir,
        socket=runtime / "control.sock" if runtime else defaults.socket,
    )


def _is_system(environ: Mapping[str, str], uid: int) -> bool:
    state = _given_directory(environ, "STATE_DIRECTORY")
    # DynamicUser= takes its user from far above the limit, and has no home folder.
    return uid < SYSTEM_UID_LIMIT or (state is not None and state.is_relative_to("/var/lib"))


def _system_paths(environ: Mapping[str, str]) -> Paths:
    state = _given_directory(environ, "STATE_DIRECTORY") or Path("/var/lib/swarmd")
    return Paths(
        config_file=Path("/etc/swarmd/config.toml"),
        state_dir=state,
        socket=Path("/run/swarmd/control.sock"),
    )


def _user_paths(environ: Mapping[str, str], home: Path) -> Paths:
    config_home = _xdg(environ, "XDG_CONFIG_HOME") or home / ".config"
    state = (_xdg(environ, "XDG_STATE_HOME") or home / ".local/state") / "swarmd"
    runtime = _xdg(environ, "XDG_RUNTIME_DIR")
    return Paths(
        config_file=config_home / "swarmd/config.toml",
        state_dir=state,
        socket=runtime / "swarmd.sock" if runtime else state / "control.sock",
    )


def _xdg(environ: Mapping[str, str], name: str) -> Path | None:
    """The specification says that a relative path is invalid and to be ignored."""
    value = environ.get(name, "")
    return Path(value) if value.startswith("/") else None


def _given_directory(environ: Mapping[str, str], name: str) -> Path | None:
    """systemd.exec(5): several folders are separated by colons; the first is the one we asked for."""
    value = environ.get(name, "").partition(":")[0]
    return Path(value) if value.startswith("/") else None
