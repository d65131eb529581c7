"""One connection to another node: its link, the groups proved on it, and which flow is for what.

It decides nothing; `daemon.peers` does. Invariant: `groups` are those that both ends have proved and neither has left;
an outgoing flow exists for each of its kinds in each of them, opened when first used; one of blocks is as pressing as
`flows.BulkFlow` says. What comes on a flow of before
a group was left is dropped, also when the group was joined again since.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.flows import PRIORITIES, BulkFlow, FlowKind, decode_metadata, encode_metadata
from swarmd.groups.dialer import PROOF_PERIOD
from swarmd.groups.join import JoinExchange
from swarmd.net.link import Link
from swarmd.transport.api import Buffer, Closed, CloseReason, FlowOpened, Priority
from swarmd.transport.paths import Path

Purpose = tuple[FlowKind, GroupId | None]

_REASONS = {
    CloseReason.DENIED: "there is no group that both nodes are members of",
    CloseReason.SELF: "this address leads to this node itself",
    CloseReason.DUPLICATE: "there is a session with this peer already",
    CloseReason.OVERLOADED: "the peer has too many sessions",
    CloseReason.SHUTDOWN: "the peer is stopping",
    CloseReason.LOST: (
        "it hung up before it said who it is: another node than the one asked for, no swarmd, or one that has too many"
        " connections"
    ),
}


class Connection:
    def __init__(self, link: Link, now: float, background: Container[GroupId] = ()) -> None:
        """`background`: the groups whose blocks give way to everything else."""
        self.link = link
        self._background = background
        self.started_at = now
        self.opened_at: float | None = None
        self.dialled: Address | None = None
        self.opened: asyncio.Future[PeerId] | None = None
        self.closed: Closed | None = None
        self.settled = asyncio.Event()  # a group is joined, or the connection has ended
        self.is_cut = False  # by us: whatever else has come is not looked at any more
        self.groups: set[GroupId] = set()
        self.former_groups: set[GroupId] = set()  # left: messages under way are dropped, not faults
        self._join: JoinExchange | None = None
        self._left: set[GroupId] = set()  # once at least on this session
        self._incoming: dict[int, Purpose | None] = {}  # None: of before the group was left
        self._taken: dict[Purpose, int] = {}
        self._outgoing: dict[Purpose, int] = {}
        self._bulk: dict[int, BulkFlow] = {}

    @property
    def is_admitted(self) -> bool:
        return self._join is not None

    @property
    def peer(self) -> PeerId:
        return self.link.session.peer_id

    @property
    def path(self) -> Path:
        """How the peer is reached now."""
        return Path(self.link.kind, self.link.remote)

    @property
    def name(self) -> str:
        """For a log."""
        return self.peer.short if self.is_admitted else "(unknown)"

    @property
    def join(self) -> JoinExchange:
        if self._join is None:
            raise RemoteError("a message before the session was admitted")
        return self._join

    def is_strange(self, now: float) -> bool:
        """Whether no group is proved on it, although there was time for that."""
        return not self.groups and self.opened_at is not None and now >= self.opened_at + PROOF_PERIOD

    def admitted(self, exchange: JoinExchange, now: float) -> None:
        self._join, self.opened_at = exchange, now
        if self.opened is not None and not self.opened.done():
            self.opened.set_result(self.peer)

    def refuse(self, reason: CloseReason, detail: str) -> None:
        """Keyed, but not wanted."""
        self.fail_dial(Closed(reason, detail))
        self.cut(reason, detail)

    def cut(self, reason: CloseReason, detail: str) -> None:
        """End the session and hear nothing more of it."""
        self.is_cut = True
        self.link.session.close(reason, detail)

    def fail_dial(self, event: Closed) -> None:
        """Tell whoever waits for `opened` why it will not come."""
        if self.opened is not None and not self.opened.done():
            text = _REASONS.get(event.reason) or event.detail or event.reason.name.lower()
            message = f"{self.link.remote}: {text}"
            if event.reason is CloseReason.UNREACHABLE:
                self.opened.set_exception(Unreachable(message))
                return
            peer = self.peer if event.reason is CloseReason.DUPLICATE else None
            self.opened.set_exception(DialFailed(message, event.reason, peer, self.dialled))

    # Flows ------------------------------------------------------------------------------------------------------

    def flow_opened(self, event: FlowOpened) -> None:
        """RemoteError when there is one of its kind and group already.

        Unless the group was left on this session: then the peer may have opened the first one before it heard of that,
        and closes it behind what it had queued there. Whether the group is joined is asked of each message.
        """
        purpose = decode_metadata(event.metadata)
        older = self._taken.get(purpose)
        if older is not None:
            if purpose[1] not in self._left:
                raise RemoteError("a second flow for the same purpose")
            self._incoming[older] = None
        self._taken[purpose] = event.flow
        self._incoming[event.flow] = purpose

    def flow_closed(self, flow: int) -> None:
        purpose = self._incoming.pop(flow)
        if purpose is not None:
            del self._taken[purpose]

    def purpose(self, flow: int) -> Purpose | None:
        """What a flow of the peer's is for; None when it is of before its group was left."""
        return self._incoming[flow]

    def bulk_left(self, flow: int, size: int) -> GroupId | None:
        """A block has left by this flow: the group that it is of; None when that has been left."""
        bulk = self._bulk.get(flow)
        if bulk is None:
            return None
        bulk.left(size)
        self._settle_priority(bulk)
        return bulk.group

    def send(
        self, kind: FlowKind, group: GroupId | None, parts: Sequence[Buffer], *, is_background: bool = False
    ) -> None:
        flow = self._outgoing.get((kind, group))
        if flow is None:
            flow = self._open(kind, group, is_background=is_background)
        if (bulk := self._bulk.get(flow)) is not None:
            bulk.handed(sum(map(len, parts)), is_background=is_background)
            self._settle_priority(bulk)
        self.link.session.send(flow, parts)

    def _open(self, kind: FlowKind, group: GroupId | None, *, is_background: bool) -> int:
        has_blocks = kind is FlowKind.BULK and group is not None
        is_group_background = group is not None and group in self._background
        gives_way = has_blocks and (is_background or is_group_background)
        priority = Priority.BACKGROUND if gives_way else PRIORITIES[kind]
        flow = self.link.session.open_flow(encode_metadata(kind, group), priority, report_sent=has_blocks)
        self._outgoing[kind, group] = flow
        if has_blocks and group is not None:
            self._bulk[flow] = BulkFlow(flow, group, priority, is_group_background=is_group_background)
        return flow

    def background_changed(self) -> None:
        """Other groups are in the background now."""
        for bulk in self._bulk.values():
            was, bulk.is_group_background = bulk.is_group_background, bulk.group in self._background
            if was and not bulk.is_group_background:
                bulk.handed(0, is_background=False)  # what is on its way is waited for, as far as is known
            self._settle_priority(bulk)

    def _settle_priority(self, bulk: BulkFlow) -> None:
        priority = bulk.wanted_priority()
        if priority is not bulk.priority:
            bulk.priority = priority
            self.link.session.set_priority(bulk.number, priority)

    # Groups -----------------------------------------------------------------------------------------------------

    def group_joined(self, group: GroupId) -> None:
        self.groups.add(group)
        self.settled.set()
        self.former_groups.discard(group)

    def group_left(self, group: GroupId) -> None:
        self.groups.discard(group)
        self.former_groups.add(group)
        self._left.add(group)
        for kind in FlowKind:
            stale = self._taken.pop((kind, group), None)
            if stale is not None:
                self._incoming[stale] = None
            flow = self._outgoing.pop((kind, group), None)
            if flow is not None:
                self._bulk.pop(flow, None)
                self.link.session.close_flow(flow)


class DialFailed(Unreachable):
    """Somebody answered, and no session came of it."""

    def __init__(
        self, message: str, reason: CloseReason, peer: PeerId | None = None, address: Address | None = None
    ) -> None:
        """`peer`: who answered, when it is one that we are connected with already (DUPLICATE). `address`: where."""
        super().__init__(message)
        self.reason = reason
        self.peer = peer
        self.address = address
