"""What a method of the control protocol is: its name, and the types of what goes in and comes out.

Invariant: whatever decodes as a `Params` is within its bounds; an unknown parameter is refused. Not here: the methods
(`schema`, `messaging`).
"""

from __future__ import annotations

from typing import Annotated, Generic, NamedTuple, TypeVar

import msgspec

from swarmd.control.records import Result

# A description is what a caller is told who gives something else: "PARAMETER must be DESCRIPTION" (`complaints`).
Text = Annotated[
    str, msgspec.Meta(min_length=1, max_length=1024, description="a text of 1 to 1,024 characters, not an empty one")
]
TicketText = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=128 << 10, description="a text of 1 to 131,072 characters, not an empty one"),
]
AbsolutePath = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^/[^\x00]*\Z",
        max_length=4096,
        description="an absolute path (it begins with /) of at most 4,096 characters, none of them NUL",
    ),
]
Seconds = Annotated[
    float, msgspec.Meta(ge=0, le=10 * 365 * 86400, description="a number of seconds from 0 to ten years")
]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every method's parameters."""


class NoParams(Params, frozen=True, kw_only=True):
    """Of a method that takes nothing."""


P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)


class Method(NamedTuple, Generic[P, R]):
    """One row: name on the wire, types of parameters and result, type of its progress notifications."""

    name: str
    params: type[P]
    result: type[R]
    progress: type[Result] | None = None
