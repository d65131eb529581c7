"""The commands of the control socket about downloads: get, wait, read, list, pause, resume, rm."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from swarmd.control import records, schema
from swarmd.control.dispatch import Caller, Handler, bind
from swarmd.core.errors import (
    Conflict,
    DiskFull,
    Incomplete,
    InvalidArgument,
    LocalError,
    NoPeers,
    NotAllowed,
    NotFound,
    TimedOut,
)
from swarmd.core.ids import TEXT_LETTERS, ContentId, GroupId
from swarmd.daemon.transfer import Transfer, TransferState
from swarmd.groups.records import Record
from swarmd.groups.tickets import GroupTicket, ObjectTicket, is_ticket, parse_ticket
from swarmd.store.entries import EntryKind

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

_PROGRESS_PERIOD = 0.5
_MAX_SHOWN, _SHOWN = 64, 16  # characters of what may be a ticket; a content ID has 52
_MAX_LISTED = 8  # shares of one name, in a message


class TransferHandlers:
    def __init__(self, node: Node) -> None:
        self._node = node

    def table(self) -> list[tuple[str, Handler]]:
        return [
            bind(schema.GET, self.get),
            bind(schema.WAIT, self.wait),
            bind(schema.READ, self.read),
            bind(schema.TRANSFERS, self.transfers),
            bind(schema.PAUSE, self.pause),
            bind(schema.RESUME, self.resume),
            bind(schema.RM, self.rm),
        ]

    async def get(self, params: schema.GetParams, caller: Caller) -> records.Transfer:
        node = self._node
        async with AsyncExitStack() as visits:  # a group that is joined for this is left when nothing comes of it
            groups, content_id, name = await self._find(params, visits)
            transfer = await node.transfers.create(
                groups[0], content_id, name, params.target_dir, params.order, params.overwrite, params.background
            )
        for group in groups[1:]:
            await node.transfers.add_group(transfer, group)
        if transfer.is_temporary:
            caller.when_closed(partial(self._drop, transfer))
        node.wake()
        return node.reports.transfer(transfer)

    async def wait(self, params: schema.WaitParams, caller: Caller) -> records.Transfer:
        transfer = self._node.transfers.get(params.id)
        idle = _Idle(params.idle_timeout_s, self._node.now)
        while not transfer.finished.is_set():
            self._check(transfer, idle)
            caller.progress(self._node.reports.transfer(transfer))
            await _first_of(transfer.finished.wait(), _PROGRESS_PERIOD)
        self._check(transfer, None)
        return self._node.reports.transfer(transfer, with_sources=True)

    async def read(self, params: schema.ReadParams, caller: Caller) -> records.Data:
        """Bytes as soon as the chunk that holds `offset` is here."""
        transfer = self._node.transfers.get(params.id)
        idle = _Idle(params.idle_timeout_s, self._node.now)
        while not self._has_byte(transfer, params.offset):
            self._check(transfer, idle)
            caller.progress(self._node.reports.transfer(transfer))
            await _first_of(transfer.wait_for_chunks(), _PROGRESS_PERIOD)
        root = transfer.download.root
        assert root is not None
        length = min(params.length, root.chunk_size - params.offset % root.chunk_size)
        data = await self._node.disk.run(partial(transfer.download.read_range, params.offset, length))
        return records.Data(data=data, size=root.total_size)

    async def transfers(self, params: schema.TransfersParams, caller: Caller) -> records.Transfers:
        node = self._node
        if params.id is not None:
            listed = [node.transfers.get(params.id)]
        else:
            group = node.memberships.find(params.group) if params.group is not None else None
            listed = [transfer for transfer in node.transfers.all() if group is None or group in transfer.groups]
        return records.Transfers(transfers=[node.reports.transfer(each, with_sources=True) for each in listed])

    async def pause(self, params: schema.TransferParams, caller: Caller) -> records.Transfer:
        transfer = self._node.transfers.get(params.id)
        await transfer.pause()
        return self._node.reports.transfer(transfer)

    async def resume(self, params: schema.TransferParams, caller: Caller) -> records.Transfer:
        transfer = self._node.transfers.get(params.id)
        await transfer.resume()
        return self._node.reports.transfer(transfer)

    async def rm(self, params: schema.RmParams, caller: Caller) -> records.Removed:
        transfer = self._node.transfers.get(params.id)
        name = transfer.download.row.name
        left = await self._remove(transfer, params.delete_data)
        return records.Removed(id=transfer.id, name=name, left=left)

    # What to fetch ----------------------------------------------------------------------------------------------

    async def _find(self, params: schema.GetParams, visits: AsyncExitStack) -> tuple[list[GroupId], ContentId, str]:
        """The groups that it is shared in, at least one; the object and its name."""
        if is_ticket(params.source):
            group, content_id, name = await self._find_ticket(params.source, visits)
            return [group], content_id, name
        where = self._node.memberships.find(params.group) if params.group is not None else None
        await self._node.memberships.restoring.done()
        return self._find_share(params.source.strip(), where)

    async def _find_ticket(self, text: str, visits: AsyncExitStack) -> tuple[GroupId, ContentId, str]:
        ticket = parse_ticket(text)
        if isinstance(ticket, GroupTicket):
            raise InvalidArgument(
                "this is a group's ticket: join it with `swarm group join`, then get a share by its name"
            )
        memberships = self._node.memberships
        if isinstance(ticket, ObjectTicket):
            group = await visits.enter_async_context(
                memberships.visit(ticket.spec, ticket.contacts, self._node.transfers.is_fetched_in)
            )
        elif ticket.group_id in memberships:
            group = ticket.group_id
        else:
            raise NotAllowed(
                f"this ticket works for members of group {ticket.group_id.short} only:"
                " ask one of them for a ticket of `swarm group invite`"
            )
        return group, ticket.object.content_id, ticket.object.name

    def _find_share(self, reference: str, group: GroupId | None) -> tuple[list[GroupId], ContentId, str]:
        memberships = self._node.memberships
        content_id = _content_id(reference)
        found = memberships.find_shares(group, name=reference)
        if not found and content_id is not None:
            found = memberships.find_shares(group, content_id=content_id)
        if not found:
            where = "this group" if group is not None else "any group of this node"
            raise NotFound(f"nothing named {_shown(reference)} is shared in {where}: `swarm ls` shows what is")
        if len({record.share.content_id for record in found}) > 1:
            raise _ambiguous(reference, [(record, memberships.name(record.group_id)) for record in found])
        share = found[0].share
        return list(dict.fromkeys(record.group_id for record in found)), share.content_id, share.name

    # How it stands ----------------------------------------------------------------------------------------------

    def _check(self, transfer: Transfer, idle: _Idle | None) -> None:
        """Raise what a waiting caller is to be told, if anything."""
        if transfer.error is not None:
            raise transfer.error
        if transfer.state is TransferState.DONE:
            return
        if transfer.is_left:
            raise NotFound(f"transfer {transfer.id} was removed: this node has left its group")
        if not self._node.transfers.has(transfer):
            raise Incomplete(f"transfer {transfer.id} was removed")
        if transfer.standing is not None:
            raise _with_hint(transfer.standing.error, _hint_for_room(transfer, transfer.standing.error))
        if transfer.is_paused:
            raise Incomplete(f"transfer {transfer.id} is paused: swarm resume {transfer.id}")
        if idle is not None and idle.is_over(transfer, self._node.now):
            report = self._node.reports.transfer(transfer)
            kind = TimedOut if report.peers else NoPeers
            why = f": {report.waiting.text}" if report.waiting is not None else ""
            raise kind(f"nothing has arrived for {idle.timeout:g} s{why}")

    def _has_byte(self, transfer: Transfer, offset: int) -> bool:
        """Whether a read at `offset` gives something, the end of the file included."""
        root = transfer.download.root
        if root is None:
            return False
        if root.kind is not EntryKind.FILE:
            raise InvalidArgument("only a single file can be read as a stream, and this is a folder")
        if transfer.state is TransferState.DONE or offset >= root.total_size:
            return transfer.state is not TransferState.METADATA or offset < root.total_size
        return offset // root.chunk_size in transfer.download.have

    def _drop(self, transfer: Transfer) -> None:
        """The connection that a temporary transfer belongs to is gone."""
        if self._node.transfers.has(transfer):
            self._node.in_background(f"drop {transfer.id}", partial(self._remove, transfer, True))

    async def _remove(self, transfer: Transfer, delete_data: bool) -> str | None:
        """The path that stays on the disk, if any does."""
        left = await self._node.transfers.remove(transfer, delete_data)
        await self._node.shares.restore(transfer.content_id)
        return left


@dataclass(frozen=True, slots=True)
class _Idle:
    """How long a caller waits while nothing arrives."""

    timeout: float | None
    since: float

    def is_over(self, transfer: Transfer, now: float) -> bool:
        return self.timeout is not None and now - max(self.since, transfer.moved_at) >= self.timeout


def _content_id(reference: str) -> ContentId | None:
    try:
        return ContentId.parse(reference) if len(reference) == TEXT_LETTERS else None
    except InvalidArgument:
        return None


def _shown(reference: str) -> str:
    """Not whole where it may be a ticket without its beginning, which is a secret: long, only letters and digits, in
    whatever pieces."""
    if len(reference) <= _MAX_SHOWN or not "".join(reference.replace("-", "").split()).isalnum():
        return repr(reference)
    return f"{reference[:_SHOWN]!r}... ({len(reference)} characters; a ticket begins with 'swarm:')"


def _ambiguous(reference: str, found: list[tuple[Record, str | None]]) -> Conflict:
    """Several objects have that name: where each is, and how to say which."""
    listed = ", ".join(
        f"{record.share.content_id} by {record.publisher.short} in group {name or record.group_id.short}"
        for record, name in found[:_MAX_LISTED]
    )
    more = f" and {len(found) - _MAX_LISTED} more" if len(found) > _MAX_LISTED else ""
    has_groups = len({record.group_id for record, _ in found}) > 1
    how = "its group (--group G) or its content ID" if has_groups else "its content ID"
    return Conflict(f"{reference!r} is shared {len(found)} times; say which by {how}: {listed}{more}")


def _hint_for_room(transfer: Transfer, error: LocalError) -> str:
    hint = "the transfer goes on by itself when there is room"
    if type(error) is not DiskFull or transfer.is_temporary:
        return hint  # a kind of its own: it is not the target folder that is full
    again = f"`swarm rm {transfer.id} --delete-data`, then the same `swarm get` with -o"
    return f"{hint}; to have it in another folder, {again}"


def _with_hint(error: LocalError, hint: str) -> LocalError:
    return type(error)(f"{error}; {hint}")


async def _first_of(coroutine: Any, timeout: float) -> None:
    """Wait for it, but no longer than that."""
    try:
        async with asyncio.timeout(timeout):
            await coroutine
    except TimeoutError:
        return
