"""What can be configured: the sections and keys of the configuration file, their parsers and defaults.

Invariant: every key here changes something today, and `PARSERS` has exactly the keys of the sections. A
`Config` is plain data; `config` makes one from files and options, and nobody else needs to.

The default port, 7927, is SWAR on a telephone's keypad. It is not in IANA's registry, lies below the
ephemeral ranges (Linux's begins at 32768), so no outgoing connection occupies it by chance, and above 1023,
so it needs no privilege. (7447, the first idea, is what every Zenoh router listens on.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument
from swarmd.daemon import values
from swarmd.daemon.values import HostPort, Rate, Secret

DEFAULT_PORT = 7927
DEFAULT_LISTEN = (Address("0.0.0.0", DEFAULT_PORT), Address("::", DEFAULT_PORT))

MAX_LISTEN = 16
"""More are a list of machines, not of interfaces."""
MAX_BOOTSTRAP = 256
"""Each is dialled at start and again with back-off; tickets and members know all others."""
MAX_DHT_BOOTSTRAP = 32
"""One that answers is enough; each is asked whenever nobody else is known."""
MAX_GROUP_LIMITS = 1024
MAX_SESSIONS = 65536
"""Of descriptors that Linux gives a process at the most by default (fs.nr_open), 1 in 16."""
DEFAULT_SESSIONS = 512
LEVELS = ("debug", "info", "warning", "error")
DHT_MODES = ("private", "public", "off")
LOG_FORMATS = ("auto", "terminal", "journal", "json")

UNLIMITED = Rate(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`[node]`."""

    listen: tuple[Address, ...]
    state_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport:
    """`[transport]`: what may carry sessions; one of them at the least."""

    tcp: bool = True
    udp: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """`[limits.groups."NAME or ID"]`: of one group, within the limits of the whole node.

    `background`: what is sent in it gives way to all other traffic of the path.
    """

    upload: Rate = UNLIMITED
    download: Rate = UNLIMITED
    background: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`[limits]`."""

    upload: Rate = UNLIMITED
    download: Rate = UNLIMITED
    max_sessions: int = DEFAULT_SESSIONS
    groups: Mapping[str, GroupLimits] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """`[discovery]`. `bootstrap`: addresses dialled from the start, whatever groups there are."""

    mdns: bool = True
    bootstrap: tuple[HostPort, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dht:
    """`[dht]`. `bootstrap`: nodes asked first, besides those of `[discovery]`. `network`: the name of a private one,
    the same at all who take part, or at none of them. To keep others out, make it a secret that is hard to guess.
    """

    mode: str = "private"
    bootstrap: tuple[HostPort, ...] = ()
    network: Secret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`[control]`. `group`: the system group that may use the socket too (0660); without it the owner alone (0600)."""

    socket: Path
    group: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """`[log]`. Format `auto` is `journal` when stderr is the journal, else `terminal`."""

    level: str = "info"
    format: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything in force."""

    node: Node
    transport: Transport
    limits: Limits
    discovery: Discovery
    dht: Dht
    control: Control
    log: Log


SECTIONS: Mapping[str, type[Node | Transport | Limits | Discovery | Dht | Control | Log]] = {
    "node": Node,
    "transport": Transport,
    "limits": Limits,
    "discovery": Discovery,
    "dht": Dht,
    "control": Control,
    "log": Log,
}
LIVE_KEYS = frozenset({"limits.upload", "limits.download", "limits.groups", "log.level"})
"""What a reload (SIGHUP) applies; the rest needs a restart."""


def keys_of(section: type) -> tuple[str, ...]:
    """The keys of a section, in the order of the file."""
    return tuple(each.name for each in fields(section))


def flatten(config: Config) -> dict[str, object]:
    """Every key by its dotted name; `limits.groups` stays one value."""
    return {
        f"{name}.{key}": getattr(getattr(config, name), key)
        for name, section in SECTIONS.items()
        for key in keys_of(section)
    }


def changed_keys(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """What differs: the keys that a reload applies, and those that wait for a restart."""
    before, after = flatten(old), flatten(new)
    changed = [key for key, value in after.items() if value != before[key]]
    return [key for key in changed if key in LIVE_KEYS], [key for key in changed if key not in LIVE_KEYS]


def _group_limits(value: object) -> GroupLimits:
    known = keys_of(GroupLimits)
    if not isinstance(value, dict):
        raise InvalidArgument(f'{value!r} is not a table: write upload = "1 MiB/s" below [limits.groups.NAME]')
    for key in value:
        if key not in known:
            raise InvalidArgument(f"unknown key {key}; {values.guess(key, known)}")
    return GroupLimits(**{key: _GROUP_PARSERS[key](item) for key, item in value.items()})


_GROUP_PARSERS: Mapping[str, Callable[[object], Any]] = {
    "upload": values.rate,
    "download": values.rate,
    "background": values.truth,
}


PARSERS: Mapping[str, Callable[[object], object]] = {
    "node.listen": values.list_of(values.listen_address, 1, MAX_LISTEN),
    "node.state_dir": values.path,
    "transport.tcp": values.truth,
    "transport.udp": values.truth,
    "limits.upload": values.rate,
    "limits.download": values.rate,
    "limits.max_sessions": values.integer(1, MAX_SESSIONS),
    "limits.groups": values.table_of(_group_limits, MAX_GROUP_LIMITS),
    "discovery.mdns": values.truth,
    "discovery.bootstrap": values.list_of(values.host_port, 0, MAX_BOOTSTRAP),
    "dht.mode": values.one_of(*DHT_MODES),
    "dht.bootstrap": values.list_of(values.host_port, 0, MAX_DHT_BOOTSTRAP),
    "dht.network": values.secret,
    "control.socket": values.path,
    "control.group": values.text,
    "log.level": values.one_of(*LEVELS),
    "log.format": values.one_of(*LOG_FORMATS),
}
