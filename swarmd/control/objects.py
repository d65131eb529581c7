"""The part of the control protocol that is about objects of programs: what a program has and wants, piece by piece.

As `schema`, which joins these methods to the table. An object is named by a group and a name; its pieces have an index,
0 to 262,143, and are any 1 to 65,536 bytes. Ranges are half open, as Python's: `start` is in it, `stop` is not.

The connection that opens an object is the one that has it. What concerns it is told to that connection alone, by
notifications `object` whose params are an `ObjectEvent`; and when it ends the object is closed, with everything the
program had and wanted.

Results wait for `objects.taken`: while WINDOW of them are not taken, nothing more is asked for. So none is lost, and a
program that is slow costs nobody memory.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from swarmd.control.method import Method, Params, Text
from swarmd.control.records import Order, Result

MAX_PIECES = 1 << 18
MAX_PIECE_BYTES = 64 << 10
WINDOW = 32
"""Pieces of an object under way, or told of and not taken."""
MAX_OBJECTS = 32
"""Open on one connection."""

ObjectId = Annotated[int, msgspec.Meta(ge=0, description="a number that the daemon gave")]
Start = Annotated[int, msgspec.Meta(ge=0, lt=MAX_PIECES, description="a number from 0 to 262,143")]
Stop = Annotated[int, msgspec.Meta(ge=1, le=MAX_PIECES, description="a number from 1 to 262,144")]
Piece = Annotated[
    bytes,
    msgspec.Meta(min_length=1, max_length=MAX_PIECE_BYTES, description="1 to 65,536 bytes in base64"),
]

Mention = Literal["fetching", "failed"]


class ObjectParams(Params, frozen=True, kw_only=True):
    """Base: an object that this connection has open. Errors of all: not_found."""

    object_id: ObjectId


class OpenParams(Params, frozen=True, kw_only=True):
    """`objects.open`: the object of that name in a group. Nothing of it is had or wanted yet.

    order: which piece to ask for next, the lowest or the one that the fewest neighbours have. Errors: not_found (the
    group); not_allowed (the group is not for replication); conflict (a program of this daemon has it open, or this
    connection has MAX_OBJECTS).
    """

    group: Text
    name: Text
    order: Order = "rarest"


class RangeParams(ObjectParams, frozen=True, kw_only=True):
    """`objects.add_have`, `.remove_have`: what members may ask for. Each asks by an event `request`.

    `objects.add_want`, `.remove_want`: what to get. Each piece comes once, as an event `result`, and is not wanted any
    more: whether it is good is for the program to see. What has come before `remove_want` is told nevertheless. Errors:
    invalid (start is not below stop).
    """

    start: Start
    stop: Stop


class WriteParams(Params, frozen=True, kw_only=True):
    """`objects.write`: the piece that a `request` asks for."""

    request_id: ObjectId
    data: Piece


class DenyParams(Params, frozen=True, kw_only=True):
    """`objects.deny`: not now. Whoever asked asks again after some seconds, unless the piece is not had any more."""

    request_id: ObjectId


class TakenParams(ObjectParams, frozen=True, kw_only=True):
    """`objects.taken`: so many more events `result` have been dealt with. Errors: invalid (there were not so many)."""

    count: Annotated[int, msgspec.Meta(ge=1, le=WINDOW, description="a number from 1 to 32")]


class StrategyParams(ObjectParams, frozen=True, kw_only=True):
    """`objects.strategy`: ask in that order from now on."""

    order: Order


class CloseObjectParams(ObjectParams, frozen=True, kw_only=True):
    """`objects.close`."""


class Opened(Result, frozen=True, kw_only=True):
    """`objects.open`. object_id: names it in the other calls, and in events."""

    object_id: int
    group_id: str


class Changed(Result, frozen=True, kw_only=True):
    """Done; there is nothing to say about it."""


class Answered(Result, frozen=True, kw_only=True):
    """`objects.write`, `objects.deny`. in_time: False when nobody waits any more: it took more than 20 s, or the piece
    came from somebody else, or whoever asked has gone.
    """

    in_time: bool


class ObjectEvent(Result, frozen=True, kw_only=True):
    """Notification `object`.

    request    a member asks for piece `index`: answer with `objects.write` or `objects.deny` and the `request_id`
    result     piece `index` is here: `data`. Say `objects.taken` when it is dealt with
    fetching   a member has been asked for piece `index`
    failed     it does not give it now, or has gone; somebody is asked again as long as the piece is wanted
    closed     the object is closed: the daemon has left the group

    `fetching` and `failed` are left out when events are not read as fast as they come.
    """

    name: Literal["request", "result", "fetching", "failed", "closed"]
    object_id: int
    index: int = 0
    request_id: int | None = None
    data: bytes | None = None


OPEN = Method("objects.open", OpenParams, Opened)
ADD_HAVE = Method("objects.add_have", RangeParams, Changed)
REMOVE_HAVE = Method("objects.remove_have", RangeParams, Changed)
ADD_WANT = Method("objects.add_want", RangeParams, Changed)
REMOVE_WANT = Method("objects.remove_want", RangeParams, Changed)
WRITE = Method("objects.write", WriteParams, Answered)
DENY = Method("objects.deny", DenyParams, Answered)
TAKEN = Method("objects.taken", TakenParams, Changed)
STRATEGY = Method("objects.strategy", StrategyParams, Changed)
CLOSE = Method("objects.close", CloseObjectParams, Changed)
METHODS = (OPEN, ADD_HAVE, REMOVE_HAVE, ADD_WANT, REMOVE_WANT, WRITE, DENY, TAKEN, STRATEGY, CLOSE)
