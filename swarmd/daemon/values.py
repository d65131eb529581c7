"""Parsers of single configuration values: from what TOML or the command line gives to what is meant.

Invariant: each is strict (no text is taken for a number, no number for a truth value) and raises nothing but
`InvalidArgument`, whose message says what would be right. None of them knows which key it reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from swarmd.core.addresses import PORT_LIMIT, Address
from swarmd.core.errors import InvalidArgument
from swarmd.daemon.rates import format_rate, parse_rate

T = TypeVar("T")
NAME_LIMIT = 255
"""Bytes of a host name (RFC 1035 §2.3.4), and more than any name of a group or a system group has."""

SECRET_MIN_BYTES = 8
"""A shorter one is guessed at once; and nothing shorter can be kept out of the log."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes a second; None is unlimited."""

    value: int | None

    def __str__(self) -> str:
        return format_rate(self.value)


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that is printed nowhere."""

    text: str = field(repr=False)

    def __str__(self) -> str:
        return "(not shown)"


@dataclass(frozen=True, slots=True, order=True)
class HostPort:
    """Somewhere to dial: a name or a numeric address, not resolved yet."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> HostPort:
        """`host:port`, `1.2.3.4:port` or `[::1]:port`; InvalidArgument otherwise."""
        host, _, port = text.rpartition(":")
        is_port = port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= PORT_LIMIT
        if host.startswith("[") and host.endswith("]") and is_port:
            return cls(Address(host[1:-1], 0).host, int(port))
        is_name = host.isprintable() and 0 < len(host.encode()) <= NAME_LIMIT and not set(host) & set(" :[]/")
        if not is_port or not is_name:
            raise InvalidArgument(f"{text!r} is not HOST:PORT (an IPv6 address goes in brackets: [::1]:7927)")
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def guess(word: str, known: Sequence[str]) -> str:
    """What to say after "there is no such word"."""
    near = difflib.get_close_matches(word, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"


def text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode("utf-8", "surrogatepass")) <= NAME_LIMIT:
        raise InvalidArgument(f"{value!r} is not a text of 1 to {NAME_LIMIT} bytes")
    return value


def secret(value: object) -> Secret:
    """What is wrong is said without the value."""
    if not isinstance(value, str) or not SECRET_MIN_BYTES <= len(value.encode("utf-8", "surrogatepass")) <= NAME_LIMIT:
        raise InvalidArgument(f"is not a text of {SECRET_MIN_BYTES} to {NAME_LIMIT} bytes")
    return Secret(value)


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidArgument(f"{value!r} is neither true nor false")
    return value


def rate(value: object) -> Rate:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidArgument(f'{value!r} is not a rate: write "10 MiB/s"')
    return Rate(parse_rate(value))


def listen_address(value: object) -> Address:
    if not isinstance(value, str):
        raise InvalidArgument(f'{value!r} is not an address: write "0.0.0.0:7927"')
    return Address.parse(value)


def host_port(value: object) -> HostPort:
    if not isinstance(value, str):
        raise InvalidArgument(f'{value!r} is not an address: write "host:7927"')
    return HostPort.parse(value)


def path(value: object) -> Path:
    """Absolute, or below the home folder (`~/...`, left as it is)."""
    if not isinstance(value, str) or not value.startswith(("/", "~/")) or "\0" in value:
        raise InvalidArgument(f"{value!r} is not an absolute path (it may start with ~/)")
    return Path(value)


def integer(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidArgument(f"{value!r} is not a whole number from {low} to {high}")
        return value

    return parse


def one_of(*words: str) -> Callable[[object], str]:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise InvalidArgument(f"{value!r} is not possible; {guess(str(value), words)}")
        return value

    return parse


def list_of(parse_item: Callable[[object], T], low: int, high: int) -> Callable[[object], tuple[T, ...]]:
    def parse(value: object) -> tuple[T, ...]:
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise InvalidArgument(f"{value!r} is not a list of {low} to {high} items in [ ]")
        return tuple(map(parse_item, value))

    return parse


def table_of(parse_item: Callable[[object], T], high: int) -> Callable[[object], Mapping[str, T]]:
    def parse(value: object) -> Mapping[str, T]:
        if not isinstance(value, dict) or len(value) > high:
            raise InvalidArgument(f"must be a table with at most {high} entries")
        return {name: _named(name, parse_item, item) for name, item in value.items()}

    return parse


def _named(name: str, parse: Callable[[object], T], value: object) -> T:
    try:
        return parse(value)
    except InvalidArgument as error:
        raise InvalidArgument(f'"{name}": {error}') from None
