"""What a group tells its driver. Frozen, and in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.groups.records import Record


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """A member was heard of that was not there before: linked to us, or named by a neighbour."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """It said so, cannot be reached, nobody has heard of it for 300 s, or there is no room for it."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class LinkReleased:
    """Neither end needs the link with this neighbour: its session may be closed, once what was said on it is sent,
    unless another group or a transfer uses it."""

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class AddressObserved:
    """A neighbour sees this node at `address` (the port is that of the connection, not of the listener)."""

    peer_id: PeerId
    address: Address


@dataclass(frozen=True, slots=True)
class ShareAdded:
    """Something is shared now; `previous`: what the publisher shared under the same name until now."""

    record: Record
    previous: Record | None


@dataclass(frozen=True, slots=True)
class ShareRemoved:
    """It is no longer shared."""

    record: Record


@dataclass(frozen=True, slots=True)
class OwnRecordReturned:
    """A record of our own came from others that this node did not know: it lost its memory, or runs twice.

    It is in force now, in the place of `previous`, until the driver has called `Group.correct`. Comes beside ShareAdded
    or -Removed.
    """

    record: Record
    previous: Record | None


@dataclass(frozen=True, slots=True)
class RecordStored:
    """A record, tombstones included, is held now in the place of any with the same key: to be kept on disk."""

    record: Record


@dataclass(frozen=True, slots=True)
class RecordDropped:
    """A record is no longer held, and none with its key: to be deleted on disk."""

    record: Record


@dataclass(frozen=True, slots=True)
class OthersForgotten:
    """Nobody was heard of for so long that no record of others is held any more: none is to be kept on disk. Those that
    are still true come again."""


@dataclass(frozen=True, slots=True)
class PeerFaulted:
    """A neighbour does not do what it said (`points` as in RemoteError); found by a timer, so nothing raised."""

    peer_id: PeerId
    points: int
    reason: str


Event = (
    MemberJoined
    | MemberLeft
    | LinkReleased
    | AddressObserved
    | ShareAdded
    | ShareRemoved
    | OwnRecordReturned
    | RecordStored
    | RecordDropped
    | OthersForgotten
    | PeerFaulted
)
