"""The part of the control protocol that is about the DHT: values that anybody may read who has their key, and how the
node stands in it. What members of a group keep for each other is in `values`.

As `schema`, which joins these methods to the table: frozen structs, JSON keys are the field names. A value is any
bytes, given and shown in one of two ways: `text` when it is UTF-8, else `data` (base64).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from swarmd.control.method import Method, NoParams, Params, Text
from swarmd.control.records import Result

MAX_VALUE_BYTES = 1 << 20
LARGEST_CHARS = MAX_VALUE_BYTES * 4 // 3 + 4
"""In base64."""

ValueText = Annotated[str, msgspec.Meta(max_length=LARGEST_CHARS, description="a text of at most 1 MiB")]
ValueData = Annotated[bytes, msgspec.Meta(max_length=MAX_VALUE_BYTES, description="at most 1 MiB in base64")]
KeyText = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=512, description="a key of the DHT: 40 hexadecimal digits, or 64 and /NAME"),
]
Salt = Annotated[bytes, msgspec.Meta(max_length=64, description="at most 64 bytes in base64")]


class PutParams(Params, frozen=True, kw_only=True):
    """`dht.put`: put a value, readable for whoever gets its key.

    Without a name: up to 1 MiB, under its hash, for good. With one: up to 996 bytes, under this node's key and the
    name, and the next one of that name takes its place. salt: the salt of BEP 44 in place of the name, which then is
    only what the value is called here. keep: this node puts it again every hour, also after a restart; otherwise it is
    gone some hours after the node is (a day, on a private network). Errors: not_allowed (there is no DHT here);
    no_peers (nobody is known, or nobody has taken it); invalid (too long); conflict (too much is kept alive, or is
    being put); timed_out.
    """

    text: ValueText | None = None
    data: ValueData | None = None
    name: Text | None = None
    salt: Salt | None = None
    keep: bool = True


class GetParams(Params, frozen=True, kw_only=True):
    """`dht.get`: what a key stands for, of a name the newest. salt: as in `dht.put`, in place of a name in the key.

    Errors: not_found; not_allowed (there is no DHT here); no_peers; invalid; conflict; timed_out.
    """

    key: KeyText
    salt: Salt | None = None


class ForgetParams(Params, frozen=True, kw_only=True):
    """`dht.rm`: keep a value alive no longer; others have it for some hours still. Errors: not_found, not_allowed."""

    key: KeyText
    salt: Salt | None = None


class ValuePut(Result, frozen=True, kw_only=True):
    """`dht.put`. target: the key as 40 digits. seq: counts the values of a name. items: how many make up the value;
    copies: how many nodes have taken each, at the least.
    """

    key: str
    target: str
    name: str | None
    size: int
    seq: int | None
    items: int
    copies: int
    kept: bool


class ValueGot(Result, frozen=True, kw_only=True):
    """`dht.get`. mutable: it is under a name; seq then counts its values. bencoded: another program has put something
    else than bytes, and this is how it lies there.
    """

    key: str
    target: str
    mutable: bool
    seq: int | None
    size: int
    bencoded: bool
    text: str | None
    data: bytes | None


class KeptValue(Result, frozen=True, kw_only=True):
    """`dht.list`: what this node puts again. name: what it was called when it was put."""

    key: str
    target: str
    name: str | None
    mutable: bool
    seq: int | None
    size: int
    items: int
    put_at: int


class KeptValues(Result, frozen=True, kw_only=True):
    """`dht.list`, the oldest first."""

    values: list[KeptValue]


class Forgotten(Result, frozen=True, kw_only=True):
    """`dht.rm`."""

    key: str


class DhtStatus(Result, frozen=True, kw_only=True):
    """`dht.status`.

    on: whether this node takes part; `why` says why not, what it lacks, or that clocks differ. network: the same at
    nodes of one network. nodes: that it knows. items, item_bytes, announced: what it keeps for others. kept: how many
    items are put again from here. seen_as: where others see its UDP port. reached: in words, whether nodes of the
    public internet can reach it there; read_only: it is believed that they cannot, so it asks only and answers nobody
    (BEP 43). queries: by what became of them. searching: searches under way.
    """

    mode: Literal["private", "public", "off"]
    on: bool
    why: str | None
    network: str | None
    node_id: str | None
    nodes: int
    bootstrap: list[str]
    seen_as: str | None
    read_only: bool
    reached: str | None
    items: int
    item_bytes: int
    announced: int
    kept: int
    searching: int
    queries: dict[str, int]


PUT = Method("dht.put", PutParams, ValuePut)
GET = Method("dht.get", GetParams, ValueGot)
LIST = Method("dht.list", NoParams, KeptValues)
FORGET = Method("dht.rm", ForgetParams, Forgotten)
STATUS = Method("dht.status", NoParams, DhtStatus)
METHODS = (PUT, GET, LIST, FORGET, STATUS)
