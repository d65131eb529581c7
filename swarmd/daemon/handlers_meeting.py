"""The command of the control socket by which a program names a member (`group.meet`): NetGroup's addNeighbor and
addMemberHint.

A peer is not believed to be a member because a program says so: it proves it as everybody does, and is let go again
like everybody when neither end needs the link.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from swarmd.control import records, schema
from swarmd.control.dispatch import Caller, Handler, bind
from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NoPeers, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.groups.contacts import Contact
from swarmd.groups.dialer import Source

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

_PROOF_TIMEOUT = 12.0  # a little more than a peer has for its proof


class MeetingHandlers:
    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> list[tuple[str, Handler]]:
        return [bind(schema.GROUP_MEET, self.meet)]

    async def meet(self, params: schema.GroupMeetParams, caller: Caller) -> records.Met:
        node = self._node
        group, peer = node.memberships.find(params.group), PeerId.parse(params.peer_id)
        if peer == node.peer_id:
            raise InvalidArgument("that is this node itself")
        named = tuple(map(Address.parse, params.addresses))
        node.memberships.add_contact(group, Contact(peer, named), Source.ADDED)
        if params.connect and not self._is_linked(group, peer):
            await self._connect(group, peer, named)
        node.wake()
        return records.Met(connected=self._is_linked(group, peer))

    def _is_linked(self, group: GroupId, peer: PeerId) -> bool:
        memberships = self._node.memberships
        return group in memberships and peer in memberships.get(group).group.neighbours

    async def _connect(self, group: GroupId, peer: PeerId, named: tuple[Address, ...]) -> None:
        node = self._node
        if node.peers.connection(peer) is None:
            addresses = dict.fromkeys([*named, *node.memberships.get(group).group.addresses(peer)])
            if not addresses:
                raise Unreachable(f"no address of peer {peer.short} is known yet: it is called when one is found")
            await node.peers.reach(addresses, peer)
        connection = node.peers.connection(peer)
        try:
            async with asyncio.timeout(_PROOF_TIMEOUT):
                if connection is not None:
                    await connection.settled.wait()
        except TimeoutError:
            pass  # what follows says so
        if connection is None or group not in connection.groups:
            raise NoPeers(f"peer {peer.short} has answered, and has not proved that it is in this group")
