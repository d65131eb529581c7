"""From a name to whoever answers there: the system's resolver, and one address after the other.

In: HOST:PORT as a user writes it. Out: numeric addresses, the resolver's first choice first, IPv6 and IPv4 as they
come; then the first of them that answers. Addresses are tried a little apart, so that a dead one costs a second and
not its time-out.

The resolver is asked on a thread of the loop (it may block for as long as its servers are silent); who waits is told
after RESOLVE_TIMEOUT. Nothing is remembered here: a name means what it means now.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NotFound, Unreachable
from swarmd.daemon.values import HostPort

T = TypeVar("T")

RESOLVE_TIMEOUT = 10.0
STAGGER_PERIOD = 1.0
MAX_ADDRESSES = 8
"""Of one name: enough for a machine with several networks; a name with more is a service's, and no peer's."""
_UNKNOWN = {socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY}


async def addresses_of(place: HostPort) -> list[Address]:
    """Where that is: at least one address that can be dialled, at most MAX_ADDRESSES.

    InvalidArgument, NotFound (there is no such name), Unreachable (the resolver cannot say).
    """
    numeric = _numeric(place)
    found = [numeric] if numeric is not None else await _resolved(place)
    dialable = [address for address in dict.fromkeys(found) if address.is_dialable]
    if not dialable:
        raise InvalidArgument(f"{place} is not an address that can be dialled")
    return dialable[:MAX_ADDRESSES]


async def first_to_answer(addresses: Sequence[Address], dial: Callable[[Address], Awaitable[T]]) -> T:
    """What `dial` gives for the first address where it succeeds; Unreachable with the reasons when none does.

    The next one is tried when one has failed, or has been silent for STAGGER_PERIOD. What is still under way in the
    end is cancelled.
    """
    waiting, failures = list(addresses), []
    pending: set[asyncio.Future[T]] = set()
    try:
        while waiting or pending:
            if waiting:
                pending.add(asyncio.ensure_future(dial(waiting.pop(0))))
            done, pending = await asyncio.wait(
                pending, timeout=STAGGER_PERIOD if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                try:
                    return attempt.result()
                except Unreachable as error:
                    failures.append(str(error))
        raise Unreachable("; ".join(failures))
    finally:
        for attempt in pending:
            attempt.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


def lookup_error(host: str, error: socket.gaierror) -> NotFound | Unreachable:
    """What the resolver said, for the user."""
    if error.errno in _UNKNOWN:
        return NotFound(f"the name {host!r} is not known: is it spelled right? A numeric address will do as well")
    return Unreachable(
        f"the name {host!r} could not be looked up ({error.strerror}): try again, or give a numeric address"
    )


def _numeric(place: HostPort) -> Address | None:
    """None for a name. A last label of digits is no name's; the resolver would take `10.1` for 10.0.0.1."""
    if ":" in place.host or place.host.rpartition(".")[2].isdigit():
        return Address(place.host, place.port)
    return None


async def _resolved(place: HostPort) -> list[Address]:
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise lookup_error(place.host, error) from None
    except UnicodeError:
        raise InvalidArgument(f"{place.host!r} cannot be the name of a machine") from None
    except TimeoutError:
        raise Unreachable(
            f"nobody has said in {RESOLVE_TIMEOUT:.0f} s what the name {place.host!r} stands for"
        ) from None
    inet = (socket.AF_INET, socket.AF_INET6)
    return [Address.of_socket(entry[4]) for entry in found if entry[0] in inet]  # type: ignore[arg-type]
