"""What a flow between two nodes is for, as its metadata says: one byte of kind, then the group's ID for all but JOIN.

`BulkFlow` is the sending end of the flow that carries a group's blocks, and decides how pressing that is.

The metadata is sent inside the session, and only to a peer that has proved membership of the group it names.
"""

from __future__ import annotations

from enum import IntEnum

from swarmd.core.errors import RemoteError
from swarmd.core.ids import ID_BYTES, GroupId
from swarmd.transport.api import Priority


class FlowKind(IntEnum):
    JOIN = 0  # groups.join: which groups do we share
    GROUP = 1  # groups.group: members and catalogue
    OBJECT = 2  # replication: have, request, cancel
    BULK = 3  # replication: blocks


PRIORITIES = {
    FlowKind.JOIN: Priority.FLASH,  # before everything: the other flows are refused until it has been read
    FlowKind.GROUP: Priority.DATA,
    FlowKind.OBJECT: Priority.ROUTINE,  # small, and every transfer waits for it
    FlowKind.BULK: Priority.BULK,
}


class BulkFlow:
    """Blocks of a group on their way to one peer: in the background when the group is, or all of them are that have
    not left. Blocks of one flow leave in their order, so a single one that is waited for makes all before it pressing.
    """

    __slots__ = ("_handed", "_left", "_pressing_until", "group", "is_group_background", "number", "priority")

    def __init__(self, number: int, group: GroupId, priority: Priority, *, is_group_background: bool) -> None:
        self.number, self.group, self.priority = number, group, priority
        self.is_group_background = is_group_background
        self._handed = self._left = 0  # bytes
        self._pressing_until = 0  # of those handed to the session

    def handed(self, size: int, *, is_background: bool) -> None:
        self._handed += size
        if not is_background:
            self._pressing_until = self._handed

    def left(self, size: int) -> None:
        self._left += size

    def wanted_priority(self) -> Priority:
        if self.is_group_background:
            return Priority.BACKGROUND
        if self._left < self._handed:
            return Priority.BULK if self._left < self._pressing_until else Priority.BACKGROUND
        return self.priority  # nothing is on its way: as it was


def encode_metadata(kind: FlowKind, group: GroupId | None) -> bytes:
    return bytes([kind]) + (group or b"")


def decode_metadata(metadata: bytes) -> tuple[FlowKind, GroupId | None]:
    """RemoteError when it is not one of ours."""
    if not metadata or metadata[0] > max(FlowKind):
        raise RemoteError("a flow of an unknown kind")
    kind, rest = FlowKind(metadata[0]), metadata[1:]
    if len(rest) != (0 if kind is FlowKind.JOIN else ID_BYTES):
        raise RemoteError("a flow without its group")
    return kind, GroupId(rest) if rest else None
