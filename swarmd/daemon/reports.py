"""What the daemon says of itself: records of the control protocol made from its parts, and events for subscribers.

It is the observer of transfers and memberships, and changes nothing but the rates it measures.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Container
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from swarmd import __version__
from swarmd.control import records
from swarmd.core.addresses import Address
from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.daemon.connection import Connection
from swarmd.daemon.dht_reports import dht_glance
from swarmd.daemon.dialer import STRANGER
from swarmd.daemon.rates import format_rate
from swarmd.daemon.standing import waiting_of
from swarmd.daemon.transfer import Transfer, TransferState
from swarmd.groups.authorisation import Right
from swarmd.groups.groupspec import CAPABILITY_NAMES
from swarmd.groups.providers.events import Found
from swarmd.groups.records import Record, ShareKind
from swarmd.replication.progress import Progress
from swarmd.store.entries import EntryKind
from swarmd.store.source import SourceChanged

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

log = logging.getLogger(__name__)

_RATE_PERIOD = 2.0
_MAX_MISSED = 64  # addresses in the list of peers that lead to nobody: it is for people


class Reports:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._measured_at = node.started_at
        self._measured = (0, 0)
        self._rates = (0.0, 0.0)
        self._resting: set[str] = set()
        self._resumed_at: dict[str, float] = {}
        """When transfers that rested (paused, a full disk) went on: until then their silence was none. Both are of
        transfers that are under way."""

    # The node ---------------------------------------------------------------------------------------------------

    def status(self) -> records.Status:
        node = self._node
        received, sent = node.peers.traffic
        down, up = self._measure()
        transfers = node.transfers.all()
        lan = node.lan.note
        limits = node.limits
        return records.Status(
            peer_id=str(node.peer_id),
            version=__version__,
            pid=os.getpid(),
            uptime_s=round(node.now - node.started_at, 3),
            state_dir=str(node.config.node.state_dir),
            socket=str(node.config.control.socket),
            listen=[str(address) for address in node.peers.listening],
            mdns=node.lan.is_on,
            sessions=len(node.peers.connections()),
            groups=len(node.memberships),
            shares=node.memberships.n_own_shares,
            transfers=len(transfers),
            download_rate=down,
            upload_rate=up,
            received_bytes=received,
            sent_bytes=sent,
            download_limit=limits.download.value,
            upload_limit=limits.upload.value,
            active=[self.transfer(transfer) for transfer in transfers if transfer.state is not TransferState.DONE],
            notes=[*node.notes, *([lan] if lan else []), *node.serving.notes, *node.messaging.notes()],
            background=sorted(map(str, node.background_groups)),
            yielding=sum(connection.link.session.is_background for connection in node.peers.connections()),
            dht=dht_glance(node.dht),
        )

    def rates_text(self) -> str:
        down, up = self._measure()
        return f"{format_rate(int(down))} down, {format_rate(int(up))} up"

    def _measure(self) -> tuple[float, float]:
        """Bytes a second over the last seconds, anew at most every _RATE_PERIOD."""
        now = self._node.now
        span = now - self._measured_at
        if span >= _RATE_PERIOD:
            traffic = self._node.peers.traffic
            self._rates = (traffic[0] - self._measured[0]) / span, (traffic[1] - self._measured[1]) / span
            self._measured_at, self._measured = now, traffic
        return self._rates

    # Transfers --------------------------------------------------------------------------------------------------

    def transfer(self, transfer: Transfer, *, with_sources: bool = False) -> records.Transfer:
        node, row, root = self._node, transfer.download.row, transfer.download.root
        progress = node.exchange.progress(transfer.content_id) if transfer.is_active else None
        size = root.total_size if root is not None else None
        have = self._have_bytes(transfer, progress)
        waiting = self._waiting(transfer, progress)
        rate = progress.rate if progress is not None and waiting is None else 0.0
        is_done = transfer.state is TransferState.DONE
        error = transfer.error
        return records.Transfer(
            id=transfer.id,
            content_id=str(transfer.content_id),
            name=row.name,
            kind=None if root is None else "file" if root.kind is EntryKind.FILE else "folder",
            group_id=str(transfer.group),
            group_name=node.memberships.name(transfer.group),
            target=None if transfer.is_temporary else transfer.download.path,
            state=self._state(transfer),
            order="lowest" if row.order == "lowest" else "rarest",
            size=size,
            have_bytes=have,
            reused_bytes=transfer.reused_bytes,
            received_bytes=progress.received_bytes if progress is not None else transfer.received_bytes,
            sent_bytes=progress.sent_bytes if progress is not None else 0,
            rate=rate,
            eta_s=(size - have) / rate if size is not None and rate > 1 and not is_done else None,
            peers=progress.peers if progress is not None else 0,
            members=progress.members if progress is not None else 0,
            created_at=row.created_at,
            background=row.background or transfer.groups <= node.background_groups,
            waiting=waiting,
            error=records.Failure(code=error.code, message=str(error)) if error is not None else None,
            sources=self._sources(transfer, progress) if with_sources else [],
        )

    def _waiting(self, transfer: Transfer, progress: Progress | None) -> records.Waiting | None:
        node = self._node
        name = node.memberships.name(transfer.group)
        ended = partial(node.memberships.ended, transfer.groups)
        waiting = waiting_of(transfer, progress, node.now, name, ended)
        if waiting is None or transfer.id not in self._resumed_at:
            return waiting
        since_s = min(waiting.since_s, max(0.0, node.now - self._resumed_at[transfer.id]))
        return msgspec.structs.replace(waiting, since_s=since_s)

    def _state(self, transfer: Transfer) -> records.TransferState:
        if transfer.is_active and (transfer.is_paused or transfer.standing is not None):
            return "paused"
        return transfer.state.value

    def _have_bytes(self, transfer: Transfer, progress: Progress | None) -> int:
        root = transfer.download.root
        if root is None:
            return 0
        if transfer.state in (TransferState.DONE, TransferState.FINISHING):
            return root.total_size
        if progress is not None and progress.n_chunks is not None:
            return progress.have_bytes
        return min(root.total_size, len(transfer.download.have) * root.chunk_size)

    def _sources(self, transfer: Transfer, progress: Progress | None) -> list[records.Source]:
        given = {source.peer: source.received_bytes for source in progress.sources} if progress else transfer.sources
        return [
            records.Source(peer_id=str(peer), address=self._address(peer), received_bytes=count)
            for peer, count in sorted(given.items(), key=lambda item: -item[1])
            if count
        ]

    def _address(self, peer: PeerId) -> str | None:
        connection = self._node.peers.connection(peer)
        return str(connection.link.remote) if connection is not None else None

    # Groups, shares, peers --------------------------------------------------------------------------------------

    def group(self, group: GroupId) -> records.Group:
        membership = self._node.memberships.get(group)
        return records.Group(**self.group_fields(group), joined_at=int(membership.joined_at * 1000))

    def group_fields(self, group: GroupId) -> dict[str, Any]:
        membership = self._node.memberships.get(group)
        spec, machine = membership.spec, membership.group
        return {
            "group_id": str(group),
            "name": spec.name or None,
            "unlisted": not spec.is_listed,
            "capabilities": [name for capability, name in CAPABILITY_NAMES if capability in spec.capabilities],
            "restrict_publish": Right.PUBLISH in spec.restricted,
            "authority": membership.authority is not None,
            "may_publish": machine.may_publish(self._node.wall),
            "members": machine.n_members,
            "connected": len(machine.neighbours),
            "shares": machine.catalogue.n_shares,
            "background": group in self._node.background_groups,
        }

    def listing(self, record: Record) -> records.Listing:
        return records.Listing(
            name=record.share.name,
            content_id=str(record.share.content_id),
            size=record.share.size,
            kind="folder" if record.share.kind is ShareKind.FOLDER else "file",
            group_id=str(record.group_id),
            group_name=self._node.memberships.name(record.group_id),
            publisher=str(record.publisher),
            own=record.publisher == self._node.peer_id,
            created_at=record.created_at,
            path=self._node.serving.path(record.share.content_id),
        )

    def members(self, group: GroupId) -> records.Members:
        node = self._node
        own = records.Member(
            peer_id=str(node.peer_id),
            own=True,
            connected=True,
            addresses=[str(address) for contact in node.memberships.own_contacts() for address in contact.addresses],
            heard_s=None,
        )
        others = [
            records.Member(
                peer_id=str(member.peer_id),
                own=False,
                connected=member.is_linked,
                addresses=[str(address) for address in member.addresses],
                heard_s=member.age,
            )
            for member in node.memberships.get(group).group.members(node.now)
        ]
        return records.Members(members=[own, *others])

    def peer(self, connection: Connection) -> records.Peer:
        link = connection.link
        memberships = self._node.memberships
        return records.Peer(
            peer_id=str(connection.peer),
            address=str(link.remote),
            state="connected",
            transport=link.kind.value,
            inbound=not link.session.is_initiator,
            groups=sorted(memberships.name(group) or group.short for group in connection.groups),
            connected_s=round(self._node.now - (connection.opened_at or self._node.now), 3),
            received_bytes=link.received_bytes,
            sent_bytes=link.sent_bytes,
            rtt_s=link.rtt,
            error=STRANGER if connection.is_strange(self._node.now) else None,
        )

    def peers(self) -> records.Peers:
        """Connected ones, then the named addresses that lead to nobody now, then those of groups without anybody."""
        node = self._node
        listed = [self.peer(connection) for connection in node.peers.connections()]
        for named in node.dialer.named():
            if named.peer is None or node.peers.connection(named.peer) is None:
                dialing = node.dialer.is_dialing(named.address)
                listed.append(
                    records.Peer(
                        peer_id=str(named.peer) if named.peer is not None else None,
                        address=str(named.address),
                        state="dialing" if dialing else "waiting",
                        redial_s=None if dialing else max(0.0, round(named.due_at - node.now, 3)),
                        error=named.error,
                    )
                )
        return records.Peers(peers=listed + self._missed({peer.address for peer in listed}))

    def _missed(self, listed: Container[str]) -> list[records.Peer]:
        """Where the members of groups should be in which nobody is connected."""
        memberships = self._node.memberships
        missed: dict[str, records.Peer] = {}
        for group, membership in memberships.all().items():
            if membership.group.neighbours:
                continue
            name = memberships.name(group) or group.short
            for each in membership.group.ended(self._node.now):
                address = str(each.address)
                error = f"reached, but it is not in group {name}" if each.stranger is not None else each.reason
                peer = str(each.stranger) if each.stranger is not None else None
                if address not in listed and len(missed) < _MAX_MISSED:
                    missed[address] = records.Peer(peer_id=peer, address=address, state="waiting", error=error)
        return list(missed.values())

    # Events -----------------------------------------------------------------------------------------------------

    def transfer_changed(self, transfer: Transfer, what: str) -> None:
        self._follow_rest(transfer, what)
        if what == "added":
            self._node.wake()  # its providers are looked for
        if self._node.hub.is_heard("transfers"):
            self._node.hub.publish("transfers", what, self.transfer(transfer))

    def _follow_rest(self, transfer: Transfer, what: str) -> None:
        if not transfer.is_active or what == "removed":
            self._resting.discard(transfer.id)
            self._resumed_at.pop(transfer.id, None)
        elif self._state(transfer) == "paused":
            self._resting.add(transfer.id)
        elif transfer.id in self._resting:
            self._resting.discard(transfer.id)
            self._resumed_at[transfer.id] = self._node.now

    def source_changed(self, content_id: ContentId, error: SourceChanged) -> None:
        self._node.serving.source_changed(content_id, error)
        self._node.notice("warning", str(error))

    def work_due(self) -> None:
        self._node.wake()

    def group_changed(self, group: GroupId, joined: bool) -> None:
        self._node.groups_changed()
        if not joined:
            self._node.messaging.group_left(group)
            self._node.programs.group_left(group)
            self._node.exchange.forget(group)
        if joined and self._node.hub.is_heard("groups"):
            self._node.hub.publish("groups", "joined", self.group(group))

    def group_left(self, group: records.Group) -> None:
        self._node.hub.publish("groups", "left", group)

    def member_changed(self, group: GroupId, peer: PeerId, address: Address | None, joined: bool) -> None:
        place = str(address) if address is not None else None
        change = records.MemberChange(group_id=str(group), peer_id=str(peer), address=place)
        self._node.hub.publish("members", "joined" if joined else "left", change)

    def share_changed(self, record: Record, added: bool) -> None:
        if self._node.hub.is_heard("shares"):
            self._node.hub.publish("shares", "added" if added else "removed", self.listing(record))

    def service_event(self, group: GroupId, event: object) -> None:
        if isinstance(event, Found):
            self._node.providing.hear(group, event)
            self._node.wake()
        else:
            self._node.messaging.service_event(group, event)

    def peer_changed(self, connection: Connection, connected: bool) -> None:
        if connected:
            log.info("peer %s at %s is connected", connection.peer.short, connection.link.remote)
        else:
            ended = connection.closed
            why = f": {ended.detail}" if ended is not None and ended.detail else ""
            log.info("peer %s at %s is gone%s", connection.peer.short, connection.link.remote, why)
            self._node.wake()
        if self._node.hub.is_heard("peers"):
            self._node.hub.publish("peers", "connected" if connected else "disconnected", self.peer(connection))
