"""Group values: what one member writes under a key, and all members of the group read; the last writer wins.

A value lies in the slot of its key (`slots`). The body says and proves who wrote it:

    u8 kind | u64 time (ms) | 129 bytes author's certificate | blob content
    | 64 bytes signature of group ID | blob key | u64 time | blob content, in the domain of the kind

    kind 1, value   content: the value, up to SMALL_BYTES_LIMIT
    kind 2, large   content: where the value lies and what opens it (`largevalues`)
    kind 3, gone    no content: the value was removed

Of two values the one with the higher (time, author) holds, so one that is gone is gone until somebody writes again. The
item's `seq` says the same order, so that nodes of the DHT, who cannot read, keep the right one: time * 2^20 + the first
20 bits of the author's peer ID.

Invariant: a `Value` out of `open_value` was written by its author, for this group and key, at most AHEAD_LIMIT ahead of
our clock. That it is the newest nobody can promise: nodes may withhold, or hand out an older one. `Values` remembers
what was the newest, and takes none that is older.

What it does not stop: a member who dates a value years ahead blocks that key for those who refuse it, until nobody
keeps that item alive (a day after he goes). Lost in a crash: what was the newest; the DHT still has it.
"""

from __future__ import annotations

import unicodedata
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import IntEnum

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import Conflict, InvalidArgument, RemoteError
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.dht.items import Item
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.largevalues import Large
from swarmd.groups.rendezvous.slots import BODY_LIMIT, Slot
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate
from swarmd.identity.identity import Identity

PURPOSE = b"values"
KEY_BYTES_LIMIT = 255
"""Of UTF-8. A key is a name, as a group's is."""
SMALL_BYTES_LIMIT = BODY_LIMIT - 1 - 8 - CERTIFICATE_BYTES - 2 - SIGNATURE_BYTES
"""762: one item of the DHT with its seal, author and signature."""
AHEAD_LIMIT = 600.0
"""Seconds that an author's clock may be ahead of ours."""
TIME_LIMIT = 2**43 - 1
"""Milliseconds: the year 2248. So `seq` has 63 bits, which is what BEP 44 has."""
MAX_REMEMBERED = 1024
"""Keys whose newest value is remembered, of all groups: 2 MB."""
_AUTHOR_BITS = 20


class Kind(IntEnum):
    """What the content is. Each is signed in a domain of its own."""

    VALUE = 1
    LARGE = 2
    GONE = 3

    @property
    def domain(self) -> bytes:
        return _DOMAINS[self]


_DOMAINS = {Kind.VALUE: b"group value", Kind.LARGE: b"group value in pieces", Kind.GONE: b"group value removed"}


@dataclass(frozen=True, slots=True)
class Value:
    """time: milliseconds of the author's wall time. `content`: see above. `item`: as it lies in the DHT."""

    group_id: GroupId
    key: str
    time: int
    author: PeerId
    kind: Kind
    content: bytes = field(repr=False)
    item: Item = field(repr=False, compare=False)

    @property
    def is_gone(self) -> bool:
        return self.kind is Kind.GONE

    @property
    def size(self) -> int:
        """Of the value, in bytes."""
        return Large.decode(self.content).size if self.kind is Kind.LARGE else len(self.content)

    def supersedes(self, other: Value | None) -> bool:
        """Whether this one holds, of two of the same key."""
        return other is None or (self.time, self.author) > (other.time, other.author)


def checked_key(key: str) -> str:
    """As it is used: composed, so that what looks alike is the same key. InvalidArgument when it cannot be one."""
    try:
        composed = unicodedata.normalize("NFC", key)
        length = len(composed.encode())
    except UnicodeEncodeError:
        raise InvalidArgument("a key must be text that has an UTF-8 form") from None
    if not 0 < length <= KEY_BYTES_LIMIT:
        raise InvalidArgument(f"a key has 1 to {KEY_BYTES_LIMIT} bytes, not {length}")
    return composed


def slot_of(spec: GroupSpec, key: str) -> Slot:
    """Where the value of that (checked) key lies."""
    return Slot.of(spec, PURPOSE, key.encode())


def seal_value(
    spec: GroupSpec, identity: Identity, key: str, content: bytes, time: int, rng: Rng, kind: Kind = Kind.VALUE
) -> Value:
    """This node's value for a (checked) key; `rng` must be the system's. InvalidArgument when it is too long."""
    if len(content) > SMALL_BYTES_LIMIT:
        raise InvalidArgument(f"one item has room for {SMALL_BYTES_LIMIT} bytes of a group's value, not {len(content)}")
    signature = identity.sign(_statement(spec.group_id, key, time, content), kind.domain)
    writer = Writer().u8(kind).u64(time).raw(identity.certificate.encode()).blob(content).raw(signature)
    item = slot_of(spec, key).item(writer.bytes(), _seq(time, identity.peer_id), rng)
    return Value(spec.group_id, key, time, identity.peer_id, kind, content, item)


def open_value(spec: GroupSpec, key: str, item: Item, wall: float) -> Value:
    """The value of a (checked) key in an item from the DHT (0.4 ms); RemoteError when it is none that holds."""
    reader = Reader(slot_of(spec, key).body_of(item))
    kind = _kind(reader.u8())
    time, certificate = reader.u64(), Certificate.decode(reader.raw(CERTIFICATE_BYTES))
    content, signature = reader.blob(SMALL_BYTES_LIMIT), reader.raw(SIGNATURE_BYTES)
    reader.end()
    certificate.verify(signature, _statement(spec.group_id, key, time, content), kind.domain)
    if time > TIME_LIMIT or item.seq != _seq(time, certificate.peer_id):
        raise RemoteError("a group's value is not in the order that its time says", penalty=10)
    if time > (wall + AHEAD_LIMIT) * 1000:
        minutes = (time / 1000 - wall) / 60
        raise RemoteError(
            f"a group's value is dated {minutes:,.0f} min in the future: its author's clock is wrong, or ours"
        )
    _check_content(kind, content)
    return Value(spec.group_id, key, time, certificate.peer_id, kind, content, item)


class Values:
    """The newest value of each key that this node has read or written, as far as it remembers."""

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[GroupId, str], Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._newest)

    def newest(self, group: GroupId, key: str) -> Value | None:
        return self._newest.get((group, key))

    def take(self, value: Value) -> Value:
        """The value that holds: this one, or the newer one that we know."""
        place = value.group_id, value.key
        known = self._newest.pop(place, None)
        if known is not None and not value.supersedes(known):
            value = known
        self._newest[place] = value
        if len(self._newest) > MAX_REMEMBERED:
            self._newest.popitem(last=False)
        return value

    def forget_group(self, group: GroupId) -> None:
        for place in [place for place in self._newest if place[0] == group]:
            del self._newest[place]

    def next_time(self, group: GroupId, key: str, wall: float) -> int:
        """The time to write now, so that it holds: later than what is known, though another clock is a little ahead.
        Conflict when ours is so far behind that others would not see it as new."""
        known = self.newest(group, key)
        time = max(int(wall * 1000), known.time + 1 if known is not None else 0)
        if time > (wall + AHEAD_LIMIT) * 1000 or time > TIME_LIMIT:
            raise Conflict("the value that is there is dated in the future: is this machine's clock right?")
        return time


def _kind(number: int) -> Kind:
    try:
        return Kind(number)
    except ValueError:
        raise RemoteError(f"a group's value of kind {number}, which this swarmd does not know") from None


def _check_content(kind: Kind, content: bytes) -> None:
    if kind is Kind.LARGE:
        Large.decode(content)
    elif kind is Kind.GONE and content:
        raise RemoteError("a group's value that was removed has a content")


def _seq(time: int, author: PeerId) -> int:
    return time << _AUTHOR_BITS | int.from_bytes(author[:4], "big") >> (32 - _AUTHOR_BITS)


def _statement(group: GroupId, key: str, time: int, content: bytes) -> bytes:
    return Writer().raw(group).text(key).u64(time).blob(content).bytes()
