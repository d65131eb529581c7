"""From defaults, a file, the environment and the command line to one valid `Config`.

Later ones win: default, configuration file, `SWARMD_STATE_DIR` and `SWARMD_SOCKET`, options. The options
`--bootstrap` add to the file's list, since they mean "dial these too"; every other value replaces.

Invariant: `load` returns a valid configuration with the origin of every key, or raises one `ConfigError`
that names every mistake at once, each with its file or option, its key, and what was probably meant.
It never writes. A configuration file that nobody named may be missing; one that was named may not.
"""

from __future__ import annotations

import grp
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmd.core.errors import InvalidArgument
from swarmd.daemon.options import Options
from swarmd.daemon.paths import Paths, find_paths
from swarmd.daemon.settings import DEFAULT_LISTEN, PARSERS, SECTIONS, Config, keys_of
from swarmd.daemon.values import guess

FILE_LIMIT = 1 << 20
"""A configuration is a page of text; with limits for a thousand groups it is 100 KiB."""
DEFAULT = "default"
SOCKET_PATH_LIMIT = 107
"""sun_path has 108 bytes with the final NUL (unix(7))."""
_Raw = dict[str, tuple[Any, str]]  # dotted key -> value as written, origin


class ConfigError(InvalidArgument):
    """All mistakes of a configuration; one line each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What of the process decides about its configuration."""

    environ: Mapping[str, str]
    uid: int
    home: Path
    folder: Path

    @classmethod
    def of_process(cls) -> Surroundings:
        home = os.path.expanduser("~")
        # A user without an entry in passwd, and without HOME, has none: a container's, for example.
        return cls(os.environ, os.geteuid(), Path(home if home.startswith("/") else "/"), Path.cwd())


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from. `origins`: dotted key -> `default`, a file, a variable or an option."""

    config: Config
    file: Path
    is_file_present: bool
    origins: Mapping[str, str]

    @property
    def is_listen_named(self) -> bool:
        """Somebody named the addresses to listen on; otherwise another port will do when the usual is taken."""
        return self.origins["node.listen"] != DEFAULT


def load(options: Options, around: Surroundings) -> Loaded:
    """The configuration in force; ConfigError with everything that is wrong. Reads the file anew each time."""
    paths = find_paths(around.environ, around.uid, around.home)
    file, is_named = _config_file(options, around, paths)
    problems: list[str] = []
    problems += _empty_options(options)
    table = _read(file, is_named, problems)
    raw = _from_table(table or {}, str(file), problems)
    raw.update(_from_environment(around))
    raw.update(_from_options(options, around, raw))
    values = _with_defaults(_parsed(raw, around.home, problems), paths)
    if not problems:
        problems += _contradictions(values, raw)
    if problems:
        raise ConfigError(problems)
    origins = {key: raw[key][1] if key in raw else DEFAULT for key in PARSERS}
    return Loaded(_built(values), file, table is not None, origins)


# --- where values come from ---


def _empty_options(options: Options) -> list[str]:
    """An option that is given empty (`--state-dir "$UNSET"`) must not mean the current folder, nor the default."""
    given = {"--config": options.config, "--state-dir": options.state_dir, "--socket": options.socket}
    return [
        f"{name}: it is empty (a shell variable that is not set?); leave it out or name a path"
        for name, value in given.items()
        if value == ""
    ]


def _config_file(options: Options, around: Surroundings, paths: Paths) -> tuple[Path, bool]:
    named = options.config or around.environ.get("SWARMD_CONFIG")
    return (around.folder / named, True) if named else (paths.config_file, False)


def _read(file: Path, is_named: bool, problems: list[str]) -> dict[str, Any] | None:
    try:
        with file.open("rb") as stream:
            text = stream.read(FILE_LIMIT + 1)
        if len(text) > FILE_LIMIT:
            problems.append(f"{file}: longer than {FILE_LIMIT} bytes; that is no configuration")
            return None
        return tomllib.loads(text.decode())
    except FileNotFoundError:
        if is_named:
            problems.append(f"{file}: there is no such file")
    except OSError as error:
        problems.append(f"{file}: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{file}: is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{file}: {error}")
    return None


def _from_table(table: Mapping[str, Any], file: str, problems: list[str]) -> _Raw:
    raw: _Raw = {}
    for section, content in table.items():
        if section not in SECTIONS:
            problems.append(f"{file}: unknown section [{section}]; {guess(section, list(SECTIONS))}")
        elif not isinstance(content, dict):
            problems.append(f"{file}: {section} must be a section: [{section}]")
        else:
            for key, value in content.items():
                if key in keys_of(SECTIONS[section]):
                    raw[f"{section}.{key}"] = value, file
                else:
                    problems.append(f"{file}: unknown key {section}.{key}; {_guess_key(section, key)}")
    return raw


def _from_environment(around: Surroundings) -> _Raw:
    pairs = (("SWARMD_STATE_DIR", "node.state_dir"), ("SWARMD_SOCKET", "control.socket"))
    return {key: (str(around.folder / around.environ[name]), name) for name, key in pairs if around.environ.get(name)}


def _from_options(options: Options, around: Surroundings, below: _Raw) -> _Raw:
    raw: _Raw = {}
    if options.state_dir:
        raw["node.state_dir"] = str(around.folder / options.state_dir), "--state-dir"
    if options.socket:
        raw["control.socket"] = str(around.folder / options.socket), "--socket"
    if options.listen:
        raw["node.listen"] = list(options.listen), "--listen"
    if options.no_tcp:
        raw["transport.tcp"] = False, "--no-tcp"
    if options.no_udp:
        raw["transport.udp"] = False, "--no-udp"
    if options.no_mdns:
        raw["discovery.mdns"] = False, "--no-mdns"
    if options.no_dht:
        raw["dht.mode"] = "off", "--no-dht"
    if options.bootstrap:
        earlier, _ = below.get("discovery.bootstrap", ([], ""))
        raw["discovery.bootstrap"] = (
            [*(earlier if isinstance(earlier, list) else ()), *options.bootstrap],
            "--bootstrap",
        )
    if options.log_level is not None:
        raw["log.level"] = options.log_level, "--log-level"
    if options.log_format is not None:
        raw["log.format"] = options.log_format, "--log-format"
    return raw


# --- from what is written to what is meant ---


def _parsed(raw: _Raw, home: Path, problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, (value, origin) in raw.items():
        try:
            parsed = PARSERS[key](value)
        except InvalidArgument as error:
            problems.append(f"{origin}: {key}: {error}")
        else:
            values[key] = _expanded(parsed, home) if isinstance(parsed, Path) else parsed
    return values


def _expanded(path: Path, home: Path) -> Path:
    return home.joinpath(*path.parts[1:]) if path.parts[0] == "~" else path


def _with_defaults(values: dict[str, Any], paths: Paths) -> dict[str, Any]:
    state = values.get("node.state_dir", paths.state_dir)
    return {
        "node.listen": DEFAULT_LISTEN,
        "node.state_dir": state,
        "control.socket": _moved(paths.socket, paths.state_dir, state),
        **values,
    }


def _moved(path: Path, old: Path, new: Path) -> Path:
    """A default that lies in the state folder follows it."""
    return new / path.relative_to(old) if path.is_relative_to(old) else path


def _contradictions(values: Mapping[str, Any], raw: _Raw) -> list[str]:
    """What is wrong although every value alone is right."""
    problems = []
    socket, group, listen = values["control.socket"], values.get("control.group"), values["node.listen"]
    if len(os.fsencode(socket)) > SOCKET_PATH_LIMIT:
        origin = raw.get("control.socket", ("", DEFAULT))[1]
        problems.append(
            f"{origin}: control.socket: {socket} is longer than the {SOCKET_PATH_LIMIT} bytes that a Unix socket"
            " may have; name a shorter one with --socket or SWARMD_SOCKET"
        )
    if group is not None and not _is_group(group):
        problems.append(f"{raw['control.group'][1]}: control.group: there is no group {group!r} on this system")
    if not (values.get("transport.tcp", True) or values.get("transport.udp", True)):
        origins = " and ".join(dict.fromkeys(raw[key][1] for key in ("transport.tcp", "transport.udp")))
        problems.append(f"{origins}: neither TCP nor UDP may be used: nobody could be reached; leave one of them on")
    if values.get("dht.mode") == "public":
        problems += _public_problems(values, raw)
    repeated = {address for address in listen if address.port and listen.count(address) > 1}
    problems += [f"{raw['node.listen'][1]}: node.listen: {address} is there twice" for address in sorted(repeated)]
    obstacle = _no_folder(values["node.state_dir"])
    if obstacle is not None:
        origin = raw.get("node.state_dir", ("", DEFAULT))[1]
        problems.append(f"{origin}: node.state_dir: {obstacle} is not a folder; name another one")
    return problems


def _public_problems(values: Mapping[str, Any], raw: _Raw) -> list[str]:
    problems = []
    if "dht.network" in raw:
        problems.append(
            f'{raw["dht.network"][1]}: dht.network: the public DHT has no name; leave it out, or write mode = "private"'
        )
    if not (values.get("dht.bootstrap") or values.get("discovery.bootstrap")):
        problems.append(
            f"{raw['dht.mode'][1]}: dht.mode: the public DHT is entered by nodes that are named: write"
            ' bootstrap = ["router.bittorrent.com:6881"] or others below [dht]'
        )
    return problems


def _no_folder(path: Path) -> Path | None:
    """What is there in place of this folder, or of one above it, if anything is."""
    there = next((each for each in (path, *path.parents) if os.path.lexists(each)), None)
    return there if there is not None and os.path.exists(there) and not os.path.isdir(there) else None


def _is_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _built(values: Mapping[str, Any]) -> Config:
    sections = {
        name: section(**{key: values[f"{name}.{key}"] for key in keys_of(section) if f"{name}.{key}" in values})
        for name, section in SECTIONS.items()
    }
    return Config(**sections)  # type: ignore[arg-type]


# --- what was probably meant ---


def _guess_key(section: str, key: str) -> str:
    elsewhere = [name for name, other in SECTIONS.items() if key in keys_of(other)]
    return f"it belongs in [{elsewhere[0]}]" if elsewhere else guess(key, keys_of(SECTIONS[section]))
