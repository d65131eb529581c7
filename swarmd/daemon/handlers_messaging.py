"""The commands of the control socket about messages in groups (`control.messaging`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmd.control import messaging as schema
from swarmd.control.dispatch import Caller, Handler, bind
from swarmd.core.errors import InvalidArgument

if TYPE_CHECKING:
    from swarmd.daemon.node import Node


class MessagingHandlers:
    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> list[tuple[str, Handler]]:
        return [
            bind(schema.POST, self.post),
            bind(schema.POSTS, self.posts),
            bind(schema.SEND, self.send),
            bind(schema.ROUTE, self.route),
            bind(schema.REPLY, self.reply),
            bind(schema.RECEIVE, self.receive),
        ]

    async def post(self, params: schema.PostParams, caller: Caller) -> schema.PostMade:
        return self._node.messaging.post(self._node.memberships.find(params.group), message_of(params))

    async def posts(self, params: schema.PostsParams, caller: Caller) -> schema.Posts:
        return schema.Posts(posts=self._node.messaging.posts(self._node.memberships.find(params.group)))

    async def send(self, params: schema.SendParams, caller: Caller) -> schema.Sent:
        group = self._node.memberships.find(params.group)
        return self._node.messaging.send(group, message_of(params), params.to, params.address)

    async def route(self, params: schema.RouteParams, caller: Caller) -> schema.Routed:
        group = self._node.memberships.find(params.group)
        message = message_of(params)
        return await self._node.messaging.route(group, message, params.address, params.reply, params.timeout_s)

    async def reply(self, params: schema.ReplyParams, caller: Caller) -> schema.Sent:
        self._node.messaging.reply(self._node.memberships.find(params.group), params.reply_id, message_of(params))
        return schema.Sent(result="sent")

    async def receive(self, params: schema.ReceiveParams, caller: Caller) -> schema.Sent:
        self._node.messaging.receive(self._node.memberships.find(params.group), params.mode)
        return schema.Sent(result="sent")


def message_of(params: schema.MessageParams) -> bytes:
    """What is to be sent. InvalidArgument unless it was given in one of the two ways."""
    if (params.text is None) == (params.data is None):
        raise InvalidArgument("give the message as text or as data (base64), and not both")
    return params.text.encode(errors="surrogatepass") if params.text is not None else params.data or b""
