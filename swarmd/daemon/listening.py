"""Opening the listening sockets, and what to do when the usual port is taken.

Whoever names an address gets exactly that one or an error. Whoever names none wants swarmd to run: when the
default port is taken (often by another swarmd on the machine), any free port serves, the same one for IPv4
and IPv6, and the outcome says so. A machine without IPv6 listens on IPv4 alone. Several kinds of transport
listen on one port number (`open_together`), so that who knows an address knows it for all of them.

Invariant: either every socket that was returned is open, or none is. What opens a socket is the caller's
(`open_one`): this decides only which.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.net.link import Listener

_NO_FAMILY = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
_TRIES = 8
"""A port that is free for one family or transport and not for the other is rare; eight in a row mean something else
is wrong."""


L = TypeVar("L", bound=Listener)


@dataclass(frozen=True, slots=True)
class Listening(Generic[L]):
    """`note`: one sentence for the log and `swarm status`, when it is not what is usual."""

    listeners: tuple[L, ...]
    note: str | None = None


def open_listeners(wanted: Sequence[Address], is_named: bool, open_one: Callable[[Address], L]) -> Listening[L]:
    """Open all of `wanted`; unless they were named, fall back as said above.

    `open_one` raises LocalError with the OSError as its cause. LocalError when it cannot be done.
    """
    if is_named:
        return Listening(_open_all(wanted, open_one))
    try:
        return Listening(_open_present(wanted, open_one))
    except LocalError as error:
        if _errno(error) != errno.EADDRINUSE:
            raise
    listeners = _open_elsewhere(wanted, open_one)
    return Listening(
        listeners,
        f"port {wanted[0].port} is taken (by another swarmd?), so this one listens on port"
        f" {listeners[0].address.port} until it is started again; --listen or [node] listen name a fixed one",
    )


@dataclass(frozen=True, slots=True)
class Port:
    """One address on which several kinds of transport listen; a `Listener`."""

    address: Address
    listeners: tuple[Listener, ...]

    def close(self) -> None:
        _close(self.listeners)


def open_together(address: Address, openers: Sequence[Callable[[Address], Listener]]) -> Port:
    """Listen there by each of them; port 0 is the same free port for all. LocalError as from the one that cannot."""
    for _ in range(_TRIES - 1):
        try:
            return _open_port(address, openers)
        except LocalError as error:
            if address.port or _errno(error) != errno.EADDRINUSE:
                raise
    return _open_port(address, openers)


def _open_port(address: Address, openers: Sequence[Callable[[Address], Listener]]) -> Port:
    opened: list[Listener] = []
    try:
        for opener in openers:
            opened.append(opener(opened[0].address if opened else address))
    except LocalError:
        _close(opened)
        raise
    return Port(opened[0].address, tuple(opened))


def _open_all(wanted: Sequence[Address], open_one: Callable[[Address], L]) -> tuple[L, ...]:
    opened: list[L] = []
    try:
        for address in wanted:
            opened.append(open_one(address))
    except LocalError:
        _close(opened)
        raise
    return tuple(opened)


def _open_present(wanted: Sequence[Address], open_one: Callable[[Address], L]) -> tuple[L, ...]:
    """Those of families that exist here, at least one; port 0 is the same free port for all."""
    opened: list[L] = []
    missing: LocalError | None = None
    for address in wanted:
        port = address.port or (opened[0].address.port if opened else 0)
        try:
            opened.append(open_one(replace(address, port=port)))
        except LocalError as error:
            if _errno(error) not in _NO_FAMILY:
                _close(opened)
                raise
            missing = error
    if missing is not None and not opened:
        raise missing
    return tuple(opened)


def _open_elsewhere(wanted: Sequence[Address], open_one: Callable[[Address], L]) -> tuple[L, ...]:
    anywhere = [replace(address, port=0) for address in wanted]
    for _ in range(_TRIES - 1):
        try:
            return _open_present(anywhere, open_one)
        except LocalError as error:
            if _errno(error) != errno.EADDRINUSE:
                raise
    return _open_present(anywhere, open_one)


def _close(listeners: Sequence[Listener]) -> None:
    for each in listeners:
        each.close()


def _errno(error: LocalError) -> int | None:
    return error.__cause__.errno if isinstance(error.__cause__, OSError) else None
