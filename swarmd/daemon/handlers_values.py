"""The commands of the control socket about group values in the DHT (`control.values`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmd.control import values as schema
from swarmd.control.dispatch import Caller, Handler, bind
from swarmd.core.errors import InvalidArgument
from swarmd.groups.rendezvous.values import Kind, Value

if TYPE_CHECKING:
    from swarmd.daemon.node import Node


class ValuesHandlers:
    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> list[tuple[str, Handler]]:
        return [
            bind(schema.PUT_VALUE, self.put),
            bind(schema.GET_VALUE, self.get),
            bind(schema.REMOVE_VALUE, self.remove),
            bind(schema.LIST_VALUES, self.list),
        ]

    async def put(self, params: schema.PutValueParams, caller: Caller) -> schema.ValuePut:
        group = self._node.memberships.find(params.group)
        if (params.text is None) == (params.data is None):
            raise InvalidArgument("give the value as text or as data (base64), and not both")
        data = params.text.encode(errors="surrogatepass") if params.text is not None else params.data or b""
        written = await self._node.group_values.put(group, params.key, data)
        return schema.ValuePut(
            group_id=str(group),
            group_name=self._node.memberships.name(group),
            key=written.value.key,
            written_at=written.value.time,
            copies=written.n_copies,
        )

    async def get(self, params: schema.GetValueParams, caller: Caller) -> schema.GroupValue:
        read = await self._node.group_values.get(self._node.memberships.find(params.group), params.key)
        return self._record(read.value, read.data)

    async def remove(self, params: schema.RemoveValueParams, caller: Caller) -> schema.ValueRemoved:
        group = self._node.memberships.find(params.group)
        written = await self._node.group_values.remove(group, params.key)
        return schema.ValueRemoved(
            group_id=str(group),
            group_name=self._node.memberships.name(group),
            key=written.value.key,
            copies=written.n_copies,
        )

    async def list(self, params: schema.ListValuesParams, caller: Caller) -> schema.GroupValues:
        group = self._node.memberships.find(params.group) if params.group is not None else None
        kept = [kept.value for kept in self._node.group_values.kept(group) if not kept.value.is_gone]
        return schema.GroupValues(values=[self._record(value, _listed(value)) for value in kept])

    def _record(self, value: Value, content: bytes | None) -> schema.GroupValue:
        """content: None when it is not shown."""
        try:
            text, data = None if content is None else content.decode(), None
        except UnicodeDecodeError:
            text, data = None, content
        return schema.GroupValue(
            group_id=str(value.group_id),
            group_name=self._node.memberships.name(value.group_id),
            key=value.key,
            author=str(value.author),
            own=value.author == self._node.peer_id,
            written_at=value.time,
            size=value.size,
            text=text,
            data=data,
        )


def _listed(value: Value) -> bytes | None:
    """A large one would have to be fetched."""
    return value.content if value.kind is Kind.VALUE else None
