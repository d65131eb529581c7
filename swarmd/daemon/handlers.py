"""The commands of the control socket about the node, shares, groups and peers; `handlers_transfers` has the rest.

Each handler takes the checked parameters of `control.schema`, calls one part of the node, and words the answer. What
can go wrong is raised as the LocalError that the schema names.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial, reduce
from operator import or_
from typing import TYPE_CHECKING

import msgspec

from swarmd import __version__
from swarmd.control import dispatch, records, schema
from swarmd.control.dispatch import Caller, bind
from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, NoPeers, NotAllowed, NotFound, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.handlers_dht import DhtHandlers
from swarmd.daemon.handlers_meeting import MeetingHandlers
from swarmd.daemon.handlers_messaging import MessagingHandlers
from swarmd.daemon.handlers_objects import ObjectHandlers
from swarmd.daemon.handlers_transfers import TransferHandlers
from swarmd.daemon.handlers_values import ValuesHandlers
from swarmd.daemon.listings import Wanted, list_shares
from swarmd.daemon.metrics import metrics_text
from swarmd.daemon.reading import Pace
from swarmd.daemon.resolution import addresses_of, first_to_answer
from swarmd.daemon.values import HostPort
from swarmd.groups.authorisation import Right
from swarmd.groups.groupspec import Capability
from swarmd.groups.tickets import GroupTicket, ObjectTicket, parse_ticket
from swarmd.store.hashing import Hashed
from swarmd.store.tables.addresses import AddressRow

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

_JOIN_TIMEOUT = 12.0  # a little more than a peer has for its proof


class Handlers:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._transfers = TransferHandlers(node)
        self._meeting = MeetingHandlers(node)
        self._messaging = MessagingHandlers(node)
        self._objects = ObjectHandlers(node)
        self._values = ValuesHandlers(node)
        self._dht = DhtHandlers(node)

    def table(self) -> dispatch.Handlers:
        """Every method of the schema."""
        return dict(
            [
                bind(schema.STATUS, self.status),
                bind(schema.ID, self.id),
                bind(schema.VERSION, self.version),
                bind(schema.METRICS, self.metrics),
                bind(schema.SHARE, self.share),
                bind(schema.UNSHARE, self.unshare),
                bind(schema.LS, self.ls),
                bind(schema.GROUP_CREATE, self.group_create),
                bind(schema.GROUP_JOIN, self.group_join),
                bind(schema.GROUP_LIST, self.group_list),
                bind(schema.GROUP_SHOW, self.group_show),
                bind(schema.GROUP_MEMBERS, self.group_members),
                bind(schema.GROUP_INVITE, self.group_invite),
                bind(schema.GROUP_LEAVE, self.group_leave),
                bind(schema.PEER_ADD, self.peer_add),
                bind(schema.PEER_RM, self.peer_rm),
                bind(schema.PEER_LIST, self.peer_list),
                *self._transfers.table(),
                *self._meeting.table(),
                *self._messaging.table(),
                *self._objects.table(),
                *self._values.table(),
                *self._dht.table(),
            ]
        )

    # The node ---------------------------------------------------------------------------------------------------

    async def status(self, params: schema.NoParams, caller: Caller) -> records.Status:
        return self._node.reports.status()

    async def id(self, params: schema.NoParams, caller: Caller) -> records.NodeId:
        return records.NodeId(peer_id=str(self._node.peer_id))

    async def version(self, params: schema.NoParams, caller: Caller) -> records.Version:
        return records.Version(version=__version__)

    async def metrics(self, params: schema.NoParams, caller: Caller) -> records.Metrics:
        return records.Metrics(text=metrics_text(self._node))

    # Shares -----------------------------------------------------------------------------------------------------

    async def share(self, params: schema.ShareParams, caller: Caller) -> records.Share:
        node = self._node
        group = node.memberships.find(params.group) if params.group is not None else None
        progress = _Progress(node, caller)
        made = await node.shares.share(params.path, group, params.name, progress)
        node.wake()  # members are told who has it
        record, shared = made.record, made.shared
        return records.Share(
            ticket=made.ticket,
            content_id=str(record.share.content_id),
            name=record.share.name,
            size=record.share.size,
            kind="folder" if shared.is_folder else "file",
            files=shared.n_files,
            path=shared.path,
            group_id=str(record.group_id),
            group_name=node.memberships.name(record.group_id),
        )

    async def unshare(self, params: schema.UnshareParams, caller: Caller) -> records.Unshared:
        group = self._group(params.group)
        record = await self._node.shares.unshare(params.name, group)
        return records.Unshared(
            name=record.share.name, content_id=str(record.share.content_id), group_id=str(record.group_id)
        )

    async def ls(self, params: schema.LsParams, caller: Caller) -> records.Listings:
        wanted = Wanted.of(params, self._node.peer_id)
        return await list_shares(self._node, self._group(params.group), params.after, wanted)

    # Groups -----------------------------------------------------------------------------------------------------

    async def group_create(self, params: schema.GroupCreateParams, caller: Caller) -> records.GroupCreated:
        node = self._node
        group = await node.memberships.create(params.name, _capabilities(params), _restricted(params))
        made = node.reports.group(group)
        ticket = node.memberships.invitation(group, {}, None).text()
        return records.GroupCreated(**msgspec.structs.asdict(made), ticket=ticket)

    async def group_join(self, params: schema.GroupJoinParams, caller: Caller) -> records.GroupJoined:
        node = self._node
        ticket = parse_ticket(params.ticket)
        if not isinstance(ticket, GroupTicket | ObjectTicket):
            raise NotAllowed("this ticket names a share for members of its group: only `swarm group invite` lets in")
        authorisation = ticket.authorisation if isinstance(ticket, GroupTicket) else None
        group, warning = await node.memberships.join(ticket.spec, ticket.contacts, authorisation)
        if warning:
            node.notice("warning", warning)
        node.wake()
        return records.GroupJoined(**msgspec.structs.asdict(node.reports.group(group)), warning=warning)

    async def group_list(self, params: schema.GroupListParams, caller: Caller) -> records.Groups:
        memberships = self._node.memberships
        return records.Groups(
            groups=[
                self._node.reports.group(group)
                for group in memberships.all()
                if params.unlisted or memberships.spec(group).is_listed
            ]
        )

    async def group_show(self, params: schema.GroupParams, caller: Caller) -> records.GroupInfo:
        return self._node.group_info.show(self._node.memberships.find(params.group))

    async def group_members(self, params: schema.GroupParams, caller: Caller) -> records.Members:
        return self._node.reports.members(self._node.memberships.find(params.group))

    async def group_invite(self, params: schema.GroupInviteParams, caller: Caller) -> records.Invitation:
        memberships = self._node.memberships
        group = memberships.find(params.group)
        ticket = memberships.invitation(group, _authorised(params), params.valid_s)
        return records.Invitation(ticket=ticket.text(), group_id=str(group), name=memberships.name(group))

    async def group_leave(self, params: schema.GroupLeaveParams, caller: Caller) -> records.GroupLeft:
        node = self._node
        group = node.memberships.find(params.group)
        name, report = node.memberships.name(group), node.reports.group(group)
        left = await node.transfers.leave_group(group, delete_data=params.delete_data)
        node.serving.leave_group(group)
        await node.memberships.leave(group)
        node.reports.group_left(report)
        return records.GroupLeft(group_id=str(group), name=name, left=left)

    # Peers ------------------------------------------------------------------------------------------------------

    async def peer_add(self, params: schema.PeerAddParams, caller: Caller) -> records.Peer:
        """The first attempt is awaited until a group is joined with whoever answers, or none is."""
        node = self._node
        place = HostPort.parse(params.address)
        addresses = await addresses_of(place)
        try:
            peer = await first_to_answer(addresses, self._dial)
        except Unreachable as error:
            raise Unreachable(
                f"{error}; it is remembered, and called again: `swarm peer rm {place}` ends that"
            ) from None
        connection = node.peers.connection(peer)
        if connection is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_JOIN_TIMEOUT):
                    await connection.settled.wait()
        if connection is None or not connection.groups:
            raise NoPeers(
                f"{place} is peer {peer.short}, but no group is shared with it: join one with a ticket of its"
            )
        return node.reports.peer(connection)

    async def _dial(self, address: Address) -> PeerId:
        """Remember it, and call it now."""
        node = self._node
        await node.ledger.run(lambda: node.store.addresses.put(AddressRow(str(address), None, 0.0)))
        node.dialer.name(address)
        return await node.dialer.dial_named(address)

    async def peer_rm(self, params: schema.PeerRmParams, caller: Caller) -> records.PeerRemoved:
        node = self._node
        place = HostPort.parse(params.address)
        if place in node.config.discovery.bootstrap:
            raise NotAllowed(f"{place} is a bootstrap peer: remove it from the configuration (`swarmd --bootstrap`)")
        removed = []
        for address in await addresses_of(place):
            if await node.ledger.run(partial(node.store.addresses.delete, str(address))):
                node.dialer.unname(address)
                removed.append(str(address))
        if not removed:
            raise NotFound(f"{place} is not remembered: `swarm peer list` shows what is called")
        return records.PeerRemoved(addresses=removed)

    async def peer_list(self, params: schema.NoParams, caller: Caller) -> records.Peers:
        return self._node.reports.peers()

    def _group(self, reference: str | None) -> GroupId | None:
        return self._node.memberships.find(reference) if reference is not None else None


def _capabilities(params: schema.GroupCreateParams) -> Capability:
    chosen = (
        (params.replication, Capability.REPLICATION),
        (params.posting, Capability.POSTING),
        (params.routing, Capability.ROUTING),
        (not params.lan, Capability.NO_LAN),
        (not params.peers, Capability.NO_PEERS),
    )
    return reduce(or_, (capability for is_on, capability in chosen if is_on), Capability.NONE)


def _restricted(params: schema.GroupCreateParams) -> Right:
    publish = Right.PUBLISH if params.restrict_publish else Right.NONE
    return publish | (Right.POST if params.restrict_post else Right.NONE)


def _authorised(params: schema.GroupInviteParams) -> dict[PeerId, Right]:
    """Who is to be authorised, and to what. A ticket authorises one node."""
    named = ((params.publisher, Right.PUBLISH), (params.poster, Right.POST))
    rights: dict[PeerId, Right] = {}
    for text, right in named:
        if text is not None:
            peer = PeerId.parse(text)
            rights[peer] = rights.get(peer, Right.NONE) | right
    if len(rights) > 1:
        raise InvalidArgument("a ticket authorises one node: invite the publisher and the poster each by its own")
    return rights


class _Progress:
    """Progress of hashing, told from a worker thread, passed on from the loop."""

    def __init__(self, node: Node, caller: Caller) -> None:
        self._node, self._caller = node, caller
        self._pace = Pace()

    def __call__(self, hashed: Hashed) -> None:
        report = records.ShareProgress(
            files=hashed.n_files,
            total_files=hashed.total_files,
            bytes=hashed.n_bytes,
            total_bytes=hashed.total_bytes,
            eta_s=self._pace.left_s(hashed, self._node.now),
        )
        self._node.loop.call_soon_threadsafe(self._caller.progress, report)
