"""What a flow between two nodes is for, as its metadata says: one byte of kind, then the group's ID for all but JOIN.

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
