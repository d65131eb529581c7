"""`swarmd --check-config`: the configuration in force as TOML, or everything that is wrong with it.

Invariant: what `describe` gives, read as a configuration file, means the same configuration, but for secrets (the
network of `[dht]`): of those it says only that they are set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from swarmd.core.addresses import Address
from swarmd.daemon.config import ConfigError, Loaded, Surroundings, load
from swarmd.daemon.options import Options
from swarmd.daemon.settings import SECTIONS, GroupLimits, keys_of
from swarmd.daemon.values import HostPort, Rate, Secret

USAGE_STATUS = 2


def check_config(options: Options, around: Surroundings, out: TextIO, err: TextIO) -> int:
    """Print and give the exit status: 0 when valid, 2 otherwise."""
    try:
        loaded = load(options, around)
    except ConfigError as error:
        for problem in error.problems:
            print(f"swarmd: {problem}", file=err)
        return USAGE_STATUS
    print(describe(loaded), file=out)
    return 0


def describe(loaded: Loaded) -> str:
    """The configuration as a file, with the origin of each value beside it."""
    presence = "" if loaded.is_file_present else " (not there: defaults)"
    lines = [f"# The configuration in force. File: {_printable(str(loaded.file))}{presence}"]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        table = getattr(loaded.config, section)
        for key in keys_of(SECTIONS[section]):
            value, origin = getattr(table, key), loaded.origins[f"{section}.{key}"]
            if value is None:
                lines.append(f"# {key} is not set")
            elif isinstance(value, Secret):
                lines.append(f"# {key} is set, and not shown  # {_printable(origin)}")
            elif not isinstance(value, Mapping):
                lines.append(f"{key} = {_toml(value)}  # {_printable(origin)}")
    for group, limits in loaded.config.limits.groups.items():
        lines += ["", *_group_lines(group, limits)]
    return "\n".join(lines)


def _group_lines(group: str, limits: GroupLimits) -> list[str]:
    keys = keys_of(GroupLimits)
    return [f"[limits.groups.{_quoted(group)}]", *(f"{key} = {_toml(getattr(limits, key))}" for key in keys)]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str | Path | Rate | Address | HostPort):
        return _quoted(str(value))
    raise TypeError(f"no TOML for {type(value).__name__}")


def _quoted(text: str) -> str:
    """A basic string (TOML 1.0)."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
