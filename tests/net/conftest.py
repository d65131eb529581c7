"""Fixtures of the socket tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from swarmd.core.addresses import Address
from tests.net.namespaces import cable
from tests.net.sides import IPV4, Make, Side


@pytest.fixture
async def side() -> AsyncIterator[Make]:
    """Makes sides, and closes them."""
    made: list[Side] = []

    def make(address: Address = IPV4) -> Side:
        made.append(Side(address))
        return made[-1]

    yield make
    for each in made:
        each.socket.close()


@pytest.fixture
def wired() -> Iterator[None]:
    with cable():
        yield
