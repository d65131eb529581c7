"""Messages in groups for local programs: commands down to the groups' services, what they tell up to subscribers.

In: commands (from `handlers_messaging`), events of `groups.posting` and `groups.routing` (from memberships). Out:
answers, and events of the topics `posts`, `messages` and `coverage`.

A program that waits for the end of a route waits here. Reply IDs are the services' own with the group in front, so that
one is worth nothing in another group. Nothing is kept: a crash, or a program that does not listen, loses messages; what
was posted in the last minutes can be asked for (`posts`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

import msgspec

from swarmd.control import messaging as records
from swarmd.control.events import EventHub
from swarmd.control.records import Coverage, Notice
from swarmd.core.clock import Clock
from swarmd.core.errors import InvalidArgument, LocalError, NoPeers, NotAllowed, NotFound, TimedOut
from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.advice import wrong_clock
from swarmd.daemon.memberships import Memberships
from swarmd.groups.authorisation import Right
from swarmd.groups.group import Group
from swarmd.groups.posting.clocks import Misdated
from swarmd.groups.posting.post import Post, Posted
from swarmd.groups.posting.posting import Posting
from swarmd.groups.ring import GroupAddress, group_address
from swarmd.groups.routing.events import (
    Arrived,
    CoverageChanged,
    Delivered,
    Direction,
    ReceiveMode,
    Routed,
    RouteResult,
    SendResult,
)
from swarmd.groups.routing.service import Routing

log = logging.getLogger(__name__)

T = TypeVar("T")

_GRACE = 0.5  # seconds for the routing itself to say how it ended
_RESULTS = {SendResult.SENT: "sent", SendResult.NO_ROUTE: "no route", SendResult.ERROR: "error"}
_MODES = {"exact": ReceiveMode.EXACT, "nearest": ReceiveMode.NEAREST}


class Messaging:
    def __init__(self, memberships: Memberships, own: PeerId, hub: EventHub, clock: Clock) -> None:
        self._memberships, self._own, self._hub, self._clock = memberships, own, hub, clock
        self._waiting: dict[tuple[GroupId, int], asyncio.Future[Routed]] = {}

    # Commands ---------------------------------------------------------------------------------------------------

    def post(self, group: GroupId, message: bytes) -> records.PostMade:
        now, wall = self._clock.monotonic(), self._clock.wall()
        authorisation = self._memberships.get(group).authorisations.giving(Right.POST)
        post = self._with(group, lambda machine: _posting(machine).post(message, now, wall, authorisation))
        return records.PostMade(**msgspec.structs.asdict(self._post(group, post)), warning=self.clock_note(group))

    def may_post(self, group: GroupId) -> bool:
        """Whether this node may, how much aside."""
        membership = self._memberships.get(group)
        if membership.group.posting is None:
            return False
        try:
            membership.group.posting.check_may_post(membership.authorisations.giving(Right.POST), self._clock.wall())
        except NotAllowed:
            return False
        return True

    def clock_note(self, group: GroupId) -> str | None:
        """That posts are dropped since clocks differ, if it is so."""
        posting = self._memberships.get(group).group.posting
        misdated = None if posting is None else posting.misdated(self._clock.monotonic(), self._clock.wall())
        return None if misdated is None else wrong_clock(misdated, self._memberships.name(group) or group.short)

    def notes(self) -> list[str]:
        """What the user is to know of any group's messages."""
        return [note for group in self._memberships.all() if (note := self.clock_note(group)) is not None]

    def posts(self, group: GroupId) -> list[records.Post]:
        """Of the last minutes, oldest first."""
        posting = _posting(self._memberships.get(group).group)
        return [self._post(group, post) for post in posting.recent()]

    def send(self, group: GroupId, message: bytes, to: records.Towards, address: str | None) -> records.Sent:
        def send(machine: Group) -> SendResult:
            routing = _routing(machine)
            match to:
                case "nearest":
                    if address is None:
                        raise InvalidArgument("nearest to which address?")
                    return routing.send_to_nearest(message, address_of(address))
                case "all":
                    return routing.send_to_all_neighbors(message)
                case "increasing":
                    return routing.send_to_neighbor(message, Direction.INCREASING)
                case "decreasing":
                    return routing.send_to_neighbor(message, Direction.DECREASING)

        return records.Sent(result=_RESULTS[self._with(group, send)])  # type: ignore[arg-type]

    async def route(
        self, group: GroupId, message: bytes, address: str, wants_reply: bool, timeout: float
    ) -> records.Routed:
        """NoPeers when there is no way there, TimedOut when nothing came back in time."""
        target, exact = address_of(address), not _is_address(address)
        began_at = self._clock.monotonic()
        waiting: asyncio.Future[Routed] = asyncio.get_running_loop().create_future()

        def begin(machine: Group) -> int:
            routing = _routing(machine)
            number = routing.route(target, message, began_at, reply_wanted=wants_reply, is_exact=exact, timeout=timeout)
            self._waiting[group, number] = waiting
            return number

        number = self._with(group, begin)
        try:
            async with asyncio.timeout(timeout + _GRACE):
                routed = await waiting
        except TimeoutError:
            raise TimedOut(
                f"no answer came within {timeout:.0f} s; the message may have arrived all the same"
            ) from None
        finally:
            self._waiting.pop((group, number), None)
        if routed.peer_id is None or routed.result not in (RouteResult.DELIVERED, RouteResult.NO_REPLY):
            raise _failure(routed.result, address)
        if wants_reply and routed.reply is None:
            raise TimedOut(f"peer {routed.peer_id.short} has received it, and no program there has answered")
        text, data = split(routed.reply or b"")
        return records.Routed(
            peer_id=str(routed.peer_id),
            address=str(group_address(routed.peer_id)),
            hops=routed.n_hops or 0,
            rtt_s=round(self._clock.monotonic() - began_at, 4),
            replied=routed.reply is not None,
            text=text if routed.reply is not None else None,
            data=data,
        )

    def reply(self, group: GroupId, reply_id: str, message: bytes) -> None:
        """NotFound when it is too late, or has been answered."""
        try:
            number = int(reply_id)
        except ValueError:
            raise InvalidArgument("a reply_id is what came with the message") from None
        self._with(group, lambda machine: _routing(machine).reply(number, message))

    def receive(self, group: GroupId, mode: records.ReceiveMode) -> None:
        now = self._clock.monotonic()
        self._with(group, lambda machine: _routing(machine).set_receive_mode(_MODES[mode], now))

    def group_left(self, group: GroupId) -> None:
        """Whoever waits for something in it waits no longer."""
        for key in [key for key in self._waiting if key[0] == group]:
            waiting = self._waiting.pop(key)
            if not waiting.done():
                waiting.set_exception(NotFound(f"this node is not in group {group.short} any more"))

    # What services tell -----------------------------------------------------------------------------------------

    def service_event(self, group: GroupId, event: object) -> None:
        match event:
            case Posted(post):
                if self._hub.is_heard("posts"):
                    self._hub.publish("posts", "posted", self._post(group, post))
            case Misdated() if (note := self.clock_note(group)) is not None:
                log.warning("%s", note)
                self._hub.publish("daemon", "warning", Notice(text=note))
            case Delivered():
                self._publish(group, "sent", event.message, event.from_peer, event.destination, event.from_local, None)
            case Arrived():
                own = event.sender == self._own
                self._publish(group, "routed", event.message, event.sender, event.address, own, event.reply_id)
            case CoverageChanged(covered):
                start, end = str(covered.start), str(covered.end)
                self._hub.publish(
                    "coverage", "changed", Coverage(group_id=str(group), coverage_from=start, coverage_to=end)
                )
            case Routed():
                waiting = self._waiting.pop((group, event.id), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)

    def _publish(
        self,
        group: GroupId,
        name: str,
        message: bytes,
        sender: PeerId,
        address: GroupAddress | None,
        own: bool,
        reply_id: int | None,
    ) -> None:
        if not self._hub.is_heard("messages"):
            return
        text, data = split(message)
        told = records.Message(
            group_id=str(group),
            group_name=self._memberships.name(group),
            sender=str(sender),
            sender_address=str(group_address(sender)),
            address=str(address) if address is not None else None,
            own=own,
            reply_id=str(reply_id) if reply_id is not None else None,
            text=text,
            data=data,
        )
        self._hub.publish("messages", name, told)

    # Inside -----------------------------------------------------------------------------------------------------

    def _with(self, group: GroupId, act: Callable[[Group], T]) -> T:
        """Do something to a group's machine, and carry out what it wants then."""
        if group not in self._memberships:
            raise NotFound(f"this node is not in group {group.short} any more")
        return self._memberships.act(group, act)

    def _post(self, group: GroupId, post: Post) -> records.Post:
        text, data = split(post.message)
        return records.Post(
            group_id=str(group),
            group_name=self._memberships.name(group),
            message_id=post.id.hex(),
            author=str(post.author),
            own=post.author == self._own,
            posted_at=post.created_at,
            text=text,
            data=data,
        )


def split(message: bytes) -> tuple[str | None, bytes | None]:
    """As text where it is UTF-8, else as data."""
    try:
        return message.decode(), None
    except UnicodeDecodeError:
        return None, message


def address_of(text: str) -> GroupAddress:
    """An address on the ring, or that of a peer. InvalidArgument."""
    return GroupAddress.parse(text) if _is_address(text) else group_address(PeerId.parse(text))


def _is_address(text: str) -> bool:
    return len(text) == 64


def _posting(machine: Group) -> Posting:
    if machine.posting is None:
        raise NotAllowed("this group is not for posting: that is chosen when it is created (group create --posting)")
    return machine.posting


def _routing(machine: Group) -> Routing:
    if machine.routing is None:
        raise NotAllowed("this group is not for routing: that is chosen when it is created (group create --routing)")
    return machine.routing


def _failure(result: RouteResult, address: str) -> LocalError:
    match result:
        case RouteResult.NOT_FOUND:
            return NoPeers(f"no member with the address {address} is in the group now")
        case RouteResult.NO_ROUTE:
            return NoPeers("no member of the group is connected: `swarm peer list` shows what was tried")
        case _:
            return TimedOut("no receipt came back; the message may have arrived all the same")
