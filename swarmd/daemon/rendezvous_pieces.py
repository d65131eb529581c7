"""Group values in pieces (`groups.rendezvous.largevalues`) at the DHT: put, got, and put again.

The pieces of what was put or got of late are remembered, so that they can be put again where some are lost: at most
MAX_BYTES, those used last. A crash loses them; then they are fetched before they are put again.
"""

from __future__ import annotations

from collections import OrderedDict

from swarmd.core.errors import NoPeers, NotFound, RemoteError
from swarmd.core.rng import Rng
from swarmd.daemon.rendezvous_work import Dht
from swarmd.groups.rendezvous.largevalues import Large, seal_large

MAX_BYTES = 4 << 20
"""64 of the largest."""


class Pieces:
    def __init__(self, dht: Dht, secrets: Rng) -> None:
        self._dht, self._secrets = dht, secrets
        self._sealed: OrderedDict[bytes, bytes] = OrderedDict()

    async def put(self, data: bytes) -> Large:
        """Under a new key. InvalidArgument (too long), NoPeers, Conflict."""
        large, sealed = seal_large(data, self._secrets)
        await self._put(sealed)
        self._remember(large, sealed)
        return large

    async def get(self, large: Large) -> bytes:
        """The value. NotFound when pieces are gone, or are not what was signed."""
        try:
            return large.opened(await self._fetched(large))
        except RemoteError as error:
            raise NotFound(f"there is a value, but {error}") from None

    async def put_again(self, large: Large) -> None:
        """NotFound when pieces are gone that are not remembered here."""
        await self._put(await self._fetched(large))

    async def _put(self, sealed: bytes) -> None:
        if not (await self._dht.put_value(sealed)).is_whole:
            raise NoPeers("no node of the DHT has taken all pieces of the value; try again later")

    async def _fetched(self, large: Large) -> bytes:
        if (sealed := self._sealed.get(large.place)) is None:
            sealed = (await self._dht.get_value(large.place)).data
        if sealed is None:
            raise NotFound("there is a value, but pieces of it are gone: nobody has kept them alive")
        self._remember(large, sealed)
        return sealed

    def _remember(self, large: Large, sealed: bytes) -> None:
        self._sealed[large.place] = sealed
        self._sealed.move_to_end(large.place)
        while sum(map(len, self._sealed.values())) > MAX_BYTES:
            self._sealed.popitem(last=False)
