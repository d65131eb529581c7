"""The part of the control protocol that is about group values: what members of a group keep for each other in the DHT.

As `schema`, which joins these methods to the table: frozen structs, JSON keys are the field names. A value is any
bytes, given and shown in one of two ways: `text` when it is UTF-8, else `data` (base64).
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from swarmd.control.method import Method, Params, Text
from swarmd.control.records import Result

MAX_VALUE_BYTES = 64 << 10
"""Seventy items of the DHT, with what seals them."""
MAX_KEY_BYTES = 255

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_KEY_BYTES, description="a text of 1 to 255 characters")]
ValueText = Annotated[str, msgspec.Meta(max_length=MAX_VALUE_BYTES, description="a text of at most 64 KiB")]
ValueData = Annotated[bytes, msgspec.Meta(max_length=MAX_VALUE_BYTES, description="at most 64 KiB in base64")]


class PutValueParams(Params, frozen=True, kw_only=True):
    """`dht.group_put`: write a value for all members of the group, in the place of what is under that key.

    Sealed: nodes of the DHT learn neither group, key nor value. The last writer wins. It is kept alive by those who
    use it, for a week after they last have. Errors: not_found (no such group); not_allowed (the DHT is off); invalid
    (too long); conflict (others write it at the same time, or one is in the way that is dated in the future);
    no_peers (no node has taken it).
    """

    group: Text
    key: Key
    text: ValueText | None = None
    data: ValueData | None = None


class GetValueParams(Params, frozen=True, kw_only=True):
    """`dht.group_get`: the newest value under a key. Errors: not_found (no such group, nothing there); not_allowed
    (the DHT is off); no_peers.
    """

    group: Text
    key: Key


class RemoveValueParams(Params, frozen=True, kw_only=True):
    """`dht.group_rm`: nothing is under the key any more, for all members. Until somebody writes it again, or until a
    week has passed in which nobody did: then the key is as good as new. Errors: not_found (no such group, nothing
    there); else as `dht.group_put`.
    """

    group: Text
    key: Key


class ListValuesParams(Params, frozen=True, kw_only=True):
    """`dht.group_list`: the values that this node keeps alive, in one group or in all; of those with more than 762
    bytes only the size. Errors: not_found.
    """

    group: Text | None = None


class ValuePut(Result, frozen=True, kw_only=True):
    """`dht.group_put`. copies: how many nodes have taken it. written_at: the time that it is dated."""

    group_id: str
    group_name: str | None
    key: str
    written_at: int
    copies: int


class ValueRemoved(Result, frozen=True, kw_only=True):
    """`dht.group_rm`. copies: how many nodes have been told."""

    group_id: str
    group_name: str | None
    key: str
    copies: int


class GroupValue(Result, frozen=True, kw_only=True):
    """`dht.group_get`, `dht.group_list`. author: a peer ID. written_at: by the author's clock. size: in bytes; of a
    large one in a list, all that is told: neither text nor data.
    """

    group_id: str
    group_name: str | None
    key: str
    author: str
    own: bool
    written_at: int
    size: int
    text: str | None
    data: bytes | None


class GroupValues(Result, frozen=True, kw_only=True):
    """`dht.group_list`, by group and key."""

    values: list[GroupValue]


PUT_VALUE = Method("dht.group_put", PutValueParams, ValuePut)
GET_VALUE = Method("dht.group_get", GetValueParams, GroupValue)
REMOVE_VALUE = Method("dht.group_rm", RemoveValueParams, ValueRemoved)
LIST_VALUES = Method("dht.group_list", ListValuesParams, GroupValues)
METHODS = (PUT_VALUE, GET_VALUE, REMOVE_VALUE, LIST_VALUES)
