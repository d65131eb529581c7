"""The commands of the control socket about the DHT (`control.dht`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmd.control import dht as schema
from swarmd.control.dispatch import Caller, Handler, bind
from swarmd.control.method import NoParams
from swarmd.core.errors import InvalidArgument, NotAllowed
from swarmd.daemon.dht_own import Kept
from swarmd.daemon.dht_reports import dht_status
from swarmd.daemon.dht_values import DhtValues, Key

if TYPE_CHECKING:
    from swarmd.daemon.node import Node


class DhtHandlers:
    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> list[tuple[str, Handler]]:
        return [
            bind(schema.PUT, self.put),
            bind(schema.GET, self.get),
            bind(schema.LIST, self.list),
            bind(schema.FORGET, self.forget),
            bind(schema.STATUS, self.status),
        ]

    @property
    def _values(self) -> DhtValues:
        """NotAllowed where there is no DHT, whatever else is wrong."""
        if not self._node.dht.is_on:
            raise NotAllowed(self._node.dht.why_off)
        return DhtValues(self._node.dht, self._node.identity, self._node.clock)

    async def put(self, params: schema.PutParams, caller: Caller) -> schema.ValuePut:
        values, data = self._values, _given(params)
        if params.salt is not None and params.name is None:
            raise InvalidArgument("a salt is of a value with a name: name it too")
        if params.name is not None:
            put = await values.put_named(data, params.name, params.salt, keep=params.keep)
        else:
            put = await values.put(data, keep=params.keep)
        return schema.ValuePut(
            key=str(put.key),
            target=put.key.target.hex(),
            name=params.name,
            size=put.size,
            seq=put.seq if params.name is not None else None,
            items=put.n_items,
            copies=put.n_copies,
            kept=params.keep,
        )

    async def get(self, params: schema.GetParams, caller: Caller) -> schema.ValueGot:
        got = await self._values.get(Key.parse(params.key, params.salt))
        text = _text(got.data)
        return schema.ValueGot(
            key=str(got.key),
            target=got.key.target.hex(),
            mutable=got.is_mutable,
            seq=got.seq if got.is_mutable else None,
            size=len(got.data),
            bencoded=got.is_bencoded,
            text=text,
            data=got.data if text is None else None,
        )

    async def list(self, params: NoParams, caller: Caller) -> schema.KeptValues:
        return schema.KeptValues(values=[_kept(kept) for kept in self._node.dht.own.all()])

    async def forget(self, params: schema.ForgetParams, caller: Caller) -> schema.Forgotten:
        key = Key.parse(params.key, params.salt)
        await self._values.forget(key)
        return schema.Forgotten(key=str(key))

    async def status(self, params: NoParams, caller: Caller) -> schema.DhtStatus:
        return dht_status(self._node.dht)


def _given(params: schema.PutParams) -> bytes:
    if (params.text is None) == (params.data is None):
        raise InvalidArgument("give the value as text or as data (base64), and not both")
    return params.text.encode(errors="surrogatepass") if params.text is not None else params.data or b""


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _kept(kept: Kept) -> schema.KeptValue:
    return schema.KeptValue(
        key=str(Key.of(kept.item)),
        target=kept.root.hex(),
        name=kept.label or None,
        mutable=kept.item.is_mutable,
        seq=kept.item.seq if kept.item.is_mutable else None,
        size=kept.size,
        items=len(kept.targets),
        put_at=int(kept.kept_at * 1000),
    )
