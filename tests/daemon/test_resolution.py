"""Names become addresses, and one that answers is found among them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NotFound, SwarmError, Unreachable
from swarmd.daemon import resolution
from swarmd.daemon.resolution import addresses_of, first_to_answer, lookup_error
from swarmd.daemon.values import HostPort

A, B, C = (Address("192.0.2.1", port) for port in (1, 2, 3))


@pytest.mark.parametrize("text", ["192.0.2.1:7000", "[2001:db8::1]:7000"])
async def test_what_is_numeric_is_itself(text: str) -> None:
    assert await addresses_of(HostPort.parse(text)) == [Address.parse(text)]


async def test_a_name_gives_its_addresses() -> None:
    found = await addresses_of(HostPort("localhost", 7000))
    assert Address("127.0.0.1", 7000) in found or Address("::1", 7000) in found
    assert all(address.is_loopback and address.port == 7000 for address in found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "224.0.0.1", "10.1", "1.2.3.400", "01.2.3.4", "a..b", "x" * 64])
async def test_what_nobody_can_be_called_at(host: str) -> None:
    with pytest.raises(InvalidArgument):
        await addresses_of(HostPort(host, 7000))


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (socket.EAI_NONAME, NotFound, "the name 'наз' is not known"),
        (socket.EAI_NODATA, NotFound, "the name 'наз' is not known"),
        (socket.EAI_AGAIN, Unreachable, r"could not be looked up \(no answer\)"),
        (socket.EAI_FAIL, Unreachable, r"could not be looked up \(no answer\)"),
    ],
)
def test_what_the_resolver_says(number: int, kind: type[SwarmError], said: str) -> None:
    error = lookup_error("наз", socket.gaierror(number, "no answer"))
    assert type(error) is kind
    with pytest.raises(kind, match=said):
        raise error


async def test_the_first_that_answers_ends_the_search() -> None:
    tried: list[Address] = []

    async def dial(address: Address) -> str:
        tried.append(address)
        if address == A:
            raise Unreachable(f"{address}: refused")
        return "peer"

    assert await first_to_answer([A, B, C], dial) == "peer"
    assert tried == [A, B], "one after the other, and no more than needed"


async def test_a_silent_one_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolution, "STAGGER_PERIOD", 0.0)
    cancelled: list[Address] = []

    async def dial(address: Address) -> Address:
        if address == A:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(address)
                raise
        return address

    assert await first_to_answer([A, B], dial) == B
    assert cancelled == [A]


async def test_when_none_answers_every_reason_is_told() -> None:
    async def dial(address: Address) -> str:
        raise Unreachable(f"{address}: refused")

    with pytest.raises(Unreachable, match=r"192\.0\.2\.1:1: refused; 192\.0\.2\.1:2: refused"):
        await first_to_answer([A, B], dial)
