"""The commands of the control socket about objects of programs (`control.objects`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmd.control import objects as schema
from swarmd.control.dispatch import Caller, Handler, bind
from swarmd.core.errors import InvalidArgument
from swarmd.core.ranges import RangeSet
from swarmd.replication.pickers import Order

if TYPE_CHECKING:
    from swarmd.daemon.node import Node


class ObjectHandlers:
    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> list[tuple[str, Handler]]:
        return [
            bind(schema.OPEN, self.open),
            bind(schema.ADD_HAVE, self.add_have),
            bind(schema.REMOVE_HAVE, self.remove_have),
            bind(schema.ADD_WANT, self.add_want),
            bind(schema.REMOVE_WANT, self.remove_want),
            bind(schema.WRITE, self.write),
            bind(schema.DENY, self.deny),
            bind(schema.TAKEN, self.taken),
            bind(schema.STRATEGY, self.strategy),
            bind(schema.CLOSE, self.close),
        ]

    async def open(self, params: schema.OpenParams, caller: Caller) -> schema.Opened:
        group = self._node.memberships.find(params.group)
        number = self._node.programs.open(group, params.name, Order(params.order), caller)
        return schema.Opened(object_id=number, group_id=str(group))

    async def add_have(self, params: schema.RangeParams, caller: Caller) -> schema.Changed:
        self._node.programs.add_have(caller.feed, params.object_id, range_of(params))
        return schema.Changed()

    async def remove_have(self, params: schema.RangeParams, caller: Caller) -> schema.Changed:
        self._node.programs.remove_have(caller.feed, params.object_id, range_of(params))
        return schema.Changed()

    async def add_want(self, params: schema.RangeParams, caller: Caller) -> schema.Changed:
        self._node.programs.add_want(caller.feed, params.object_id, range_of(params))
        return schema.Changed()

    async def remove_want(self, params: schema.RangeParams, caller: Caller) -> schema.Changed:
        self._node.programs.remove_want(caller.feed, params.object_id, range_of(params))
        return schema.Changed()

    async def write(self, params: schema.WriteParams, caller: Caller) -> schema.Answered:
        return schema.Answered(in_time=self._node.programs.answer(caller.feed, params.request_id, params.data))

    async def deny(self, params: schema.DenyParams, caller: Caller) -> schema.Answered:
        return schema.Answered(in_time=self._node.programs.answer(caller.feed, params.request_id, None))

    async def taken(self, params: schema.TakenParams, caller: Caller) -> schema.Changed:
        self._node.programs.taken(caller.feed, params.object_id, params.count)
        return schema.Changed()

    async def strategy(self, params: schema.StrategyParams, caller: Caller) -> schema.Changed:
        self._node.programs.set_order(caller.feed, params.object_id, Order(params.order))
        return schema.Changed()

    async def close(self, params: schema.CloseObjectParams, caller: Caller) -> schema.Changed:
        self._node.programs.close(caller.feed, params.object_id)
        return schema.Changed()


def range_of(params: schema.RangeParams) -> RangeSet:
    """InvalidArgument when it is empty."""
    if params.start >= params.stop:
        raise InvalidArgument(f"there is nothing from {params.start} to before {params.stop}")
    return RangeSet.single(params.start, params.stop)
