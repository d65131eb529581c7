"""A group for programs: NetGroup's calls over the control socket of the daemon, for asyncio.

    async with await NetGroup.join("chat") as group:
        await group.post("hello")
        async for event in group.events():
            print(event.name, event.data)

The daemon is the member; the program speaks through it, and any number of programs may. What one posts the others hear,
on this machine too. Errors are those of `client`. For one event loop; several calls may run side by side.

Not here: creating and joining groups (`swarm group`), sharing files.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from swarmd.control import messaging, schema
from swarmd.control.async_client import AsyncClient
from swarmd.control.client import default_socket_path, exit_code
from swarmd.control.messaging import Message, Post, ReceiveMode, Routed
from swarmd.control.objects_client import Objects
from swarmd.control.records import Event, GroupInfo, Lost, Member, Order, Topic
from swarmd.core.errors import LocalError
from swarmd.core.ids import PeerId

Content = str | bytes
TOPICS: list[Topic] = ["posts", "messages", "members", "groups", "coverage"]


class NetGroup:
    """One group that this daemon is in; make it with `join`."""

    def __init__(self, client: AsyncClient, group: GroupInfo) -> None:
        self._client = client
        self.group_id = group.group_id
        self.name = group.name

    @classmethod
    async def join(cls, group: str, socket: str | None = None) -> Self:
        """Speak in a group of the daemon's, by name or ID. NotFound when it is in none of that name (`swarm group
        join` makes it a member); DaemonUnreachable or NotAllowed when there is no way in.
        """
        client = await AsyncClient.connect(socket or default_socket_path(os.environ))
        try:
            return cls(client, await client.call(schema.GROUP_SHOW, schema.GroupParams(group=group)))
        except BaseException:
            await client.close()
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """The daemon stays in the group."""
        await self._client.close()

    # The group ----------------------------------------------------------------------------------------------------

    async def info(self) -> GroupInfo:
        """How the group stands: members, neighbours, what this node is responsible for, traffic."""
        return await self._client.call(schema.GROUP_SHOW, schema.GroupParams(group=self.group_id))

    async def own_id(self) -> str:
        """The peer ID by which others know this node."""
        return (await self._client.call(schema.ID, schema.NoParams())).peer_id

    async def members(self) -> list[Member]:
        return (await self._client.call(schema.GROUP_MEMBERS, schema.GroupParams(group=self.group_id))).members

    async def add_neighbor(self, peer_id: str, *addresses: str) -> None:
        """Connect to that member now, at these addresses (HOST:PORT) or where the group knows; it may be let go later,
        if neither needs the other. Unreachable; NoPeers when who answers is not in the group."""
        await self._meet(peer_id, addresses, connect=True)

    async def add_member_hint(self, peer_id: str, *addresses: str) -> None:
        """That peer is a member: it is called when the group wants it."""
        await self._meet(peer_id, addresses, connect=False)

    async def _meet(self, peer_id: str, addresses: tuple[str, ...], *, connect: bool) -> None:
        params = schema.GroupMeetParams(
            group=self.group_id, peer_id=peer_id, addresses=list(addresses), connect=connect
        )
        await self._client.call(schema.GROUP_MEET, params)

    @staticmethod
    def address_of(peer_id: str) -> str:
        """Where on the group's ring that peer is: 64 hexadecimal digits. InvalidArgument."""
        return hashlib.sha256(b"\x21\x0f" + PeerId.parse(peer_id)).hexdigest()  # as `groups.ring` has it

    async def events(self) -> AsyncIterator[Event]:
        """What happens in the group from now on: topics `posts`, `messages`, `members` (neighbours, who come and go),
        `coverage` and `groups`. Where events came faster than they were taken, one named `lost` of the topic `daemon`
        stands for them (its data: `Lost`). One iteration at a time; DaemonUnreachable when the daemon ends."""
        async for event in await self._client.events(TOPICS):
            if isinstance(event, Lost):
                yield Event(topic="daemon", name="lost", data=event)
            elif event.data.group_id == self.group_id:
                yield event

    # Posting ------------------------------------------------------------------------------------------------------

    async def post(self, message: Content) -> Post:
        """To every member, those who are away for a few minutes included; at most 64 KiB."""
        text, data = _split(message)
        return await self._client.call(messaging.POST, messaging.PostParams(group=self.group_id, text=text, data=data))

    async def recent_posts(self) -> list[Post]:
        """Of the last minutes, oldest first."""
        return (await self._client.call(messaging.POSTS, messaging.PostsParams(group=self.group_id))).posts

    # Object replication -------------------------------------------------------------------------------------------

    async def objects(self, name: str, *, order: Order = "rarest") -> Objects:
        """The object of that name in the group: what this program has and wants of it (`objects_client`). One program
        at a time, and NetGroups of others on this machine count. Conflict, NotAllowed."""
        return await Objects.open(self._client, self.group_id, name, order)

    # Directed routing ---------------------------------------------------------------------------------------------

    async def send_to_nearest(self, message: Content, address: str) -> str:
        """One hop towards an address: to the neighbour nearest to it, or to this node if none is nearer. `sent`,
        `no route`, or `error`: it has more than 32 KiB. So say the next two."""
        return await self._send(message, "nearest", address)

    async def send_to_neighbor(self, message: Content, *, increasing: bool) -> str:
        """To the next member on the ring, up or down."""
        return await self._send(message, "increasing" if increasing else "decreasing")

    async def send_to_all_neighbors(self, message: Content) -> str:
        """`sent` if there is one."""
        return await self._send(message, "all")

    async def route(self, message: Content, address: str, *, reply: bool = False, timeout_s: float = 10.0) -> Routed:
        """From end to end: to the member nearest to an address, or to a peer ID. Returns with its receipt, or with the
        answer of a program there when `reply`. NoPeers when there is no way, TimedOut."""
        text, data = _split(message)
        params = messaging.RouteParams(
            group=self.group_id, address=address, text=text, data=data, reply=reply, timeout_s=timeout_s
        )
        return await self._client.call(messaging.ROUTE, params)

    async def reply(self, message: Message, answer: Content) -> None:
        """Answer a message that has a `reply_id`, once."""
        text, data = _split(answer)
        params = messaging.ReplyParams(group=self.group_id, reply_id=message.reply_id or "", text=text, data=data)
        await self._client.call(messaging.REPLY, params)

    async def set_receive_mode(self, mode: ReceiveMode) -> None:
        """What of `send_to_nearest` is taken here: for this very address (`exact`), or for all that are nearest to it
        (`nearest`)."""
        await self._client.call(messaging.RECEIVE, messaging.ReceiveParams(group=self.group_id, mode=mode))

    async def _send(self, message: Content, to: messaging.Towards, address: str | None = None) -> str:
        text, data = _split(message)
        params = messaging.SendParams(group=self.group_id, to=to, address=address, text=text, data=data)
        return (await self._client.call(messaging.SEND, params)).result


def run(program: Coroutine[Any, Any, object]) -> NoReturn:
    """Run a program to its end, and end the process as `swarm` does: an error of the daemon's, or the system's, is a
    line on standard error and an exit code, Ctrl-C is 130. At once, whatever threads still wait for (a line of input,
    say); nothing registered with `atexit` is run.
    """
    status = 0
    try:
        asyncio.new_event_loop().run_until_complete(program)
    except (LocalError, OSError) as error:
        print(f"{Path(sys.argv[0]).stem}: {error}", file=sys.stderr)
        status = exit_code(error) if isinstance(error, LocalError) else 1
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def content_of(message: Post | Message | Routed) -> bytes:
    """What was sent, as bytes."""
    return message.text.encode() if message.text is not None else message.data or b""


def _split(message: Content) -> tuple[str | None, bytes | None]:
    return (message, None) if isinstance(message, str) else (None, message)
