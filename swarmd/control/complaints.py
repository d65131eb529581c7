"""What is wrong with the parameters of a call, in words: which one, and what it must be.

The decoder's own message speaks of JSON paths, types of Python and regular expressions; this looks again, slowly,
at what it has refused. Invariant: every parameter of the schema has a description, and no message repeats any of
what was given, for it may be a ticket.
It decides nothing: what is refused is refused by the schema's types.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from swarmd.control.schema import Params

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_MAX_NAME = 64
"""Letters of a parameter's name that are repeated."""


def complaint(kind: type[Params], raw: bytes | msgspec.Raw) -> str:
    """Why `raw`, which did not decode as `kind`, did not."""
    try:
        given = msgspec.json.decode(raw)
    except _UNREADABLE:
        return "the parameters are not JSON"
    if not isinstance(given, dict):
        return "the parameters must be an object, with a name for each"
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in given:
        if name not in fields:
            known = f"there are: {', '.join(fields)}" if fields else "there are none"
            return f"there is no parameter {name[:_MAX_NAME]!r}; {known}"
    for name, field in fields.items():
        if name not in given and field.required:
            return f"{name} is missing: it must be {description(field.type)}"
        if name in given and not _fits(given[name], field.type):
            return f"{name} must be {description(field.type)}"
    return "the parameters are not as the schema has them"


def description(wanted: Any) -> str:
    """What a value of a field's type must be."""
    origin = get_origin(wanted)
    if origin is Annotated:
        return str(next(meta.description for meta in wanted.__metadata__ if meta.description))
    if origin in (Union, UnionType):
        kinds = [each for each in get_args(wanted) if each is not NoneType]
        return f"{' or '.join(map(description, kinds))} (or null)"
    if origin is Literal:
        return "one of " + ", ".join(get_args(wanted))
    if wanted is bool:
        return "true or false"
    raise TypeError(f"no words for {wanted}")


def _fits(value: Any, wanted: Any) -> bool:
    try:
        msgspec.convert(value, wanted)
    except msgspec.ValidationError:
        return False
    return True
