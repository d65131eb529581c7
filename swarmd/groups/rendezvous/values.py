"""Group values: what one member writes under a key, and all members of the group read; the last writer wins.

A value lies in the slot of its key (`slots`). The body says and proves who wrote it:

    u8 version (1) | u64 time (ms) | 129 bytes author's certificate | blob value
    | 64 bytes signature of group ID | blob key | u64 time | blob value, in the domain `group value`

Of two values the one with the higher (time, author) holds. The item's `seq` says the same order, so that nodes of the
DHT, who cannot read, keep the right one: time * 2^20 + the first 20 bits of the author's peer ID.

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

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import Conflict, InvalidArgument, RemoteError
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.dht.items import Item
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.slots import BODY_LIMIT, Slot
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate
from swarmd.identity.identity import Identity

VERSION = 1
DOMAIN = b"group value"
PURPOSE = b"values"
KEY_BYTES_LIMIT = 255
"""Of UTF-8. A key is a name, as a group's is."""
VALUE_BYTES_LIMIT = BODY_LIMIT - 1 - 8 - CERTIFICATE_BYTES - 2 - SIGNATURE_BYTES
"""762: one item of the DHT with its seal, author and signature. What is larger is shared as a file."""
AHEAD_LIMIT = 600.0
"""Seconds that an author's clock may be ahead of ours."""
TIME_LIMIT = 2**43 - 1
"""Milliseconds: the year 2248. So `seq` has 63 bits, which is what BEP 44 has."""
MAX_REMEMBERED = 1024
"""Keys whose newest value is remembered, of all groups: 2 MB."""
_AUTHOR_BITS = 20


@dataclass(frozen=True, slots=True)
class Value:
    """time: milliseconds of the author's wall time. `item`: as it lies in the DHT."""

    group_id: GroupId
    key: str
    time: int
    author: PeerId
    data: bytes
    item: Item = field(repr=False, compare=False)

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


def seal_value(spec: GroupSpec, identity: Identity, key: str, data: bytes, time: int, rng: Rng) -> Value:
    """This node's value for a (checked) key; `rng` must be the system's. InvalidArgument when it is too long."""
    if len(data) > VALUE_BYTES_LIMIT:
        raise InvalidArgument(
            f"a group's value has at most {VALUE_BYTES_LIMIT} bytes, not {len(data)}: share it as a file (swarm share)"
        )
    signature = identity.sign(_statement(spec.group_id, key, time, data), DOMAIN)
    writer = Writer().u8(VERSION).u64(time).raw(identity.certificate.encode()).blob(data).raw(signature)
    item = slot_of(spec, key).item(writer.bytes(), _seq(time, identity.peer_id), rng)
    return Value(spec.group_id, key, time, identity.peer_id, data, item)


def open_value(spec: GroupSpec, key: str, item: Item, wall: float) -> Value:
    """The value of a (checked) key in an item from the DHT (0.4 ms); RemoteError when it is none that holds."""
    reader = Reader(slot_of(spec, key).body_of(item))
    if (version := reader.u8()) != VERSION:
        raise RemoteError(f"a group's value of version {version}; this swarmd knows version {VERSION}")
    time, certificate = reader.u64(), Certificate.decode(reader.raw(CERTIFICATE_BYTES))
    data, signature = reader.blob(VALUE_BYTES_LIMIT), reader.raw(SIGNATURE_BYTES)
    reader.end()
    certificate.verify(signature, _statement(spec.group_id, key, time, data), DOMAIN)
    if time > TIME_LIMIT or item.seq != _seq(time, certificate.peer_id):
        raise RemoteError("a group's value is not in the order that its time says", penalty=10)
    if time > (wall + AHEAD_LIMIT) * 1000:
        raise RemoteError("a group's value is dated in the future")
    return Value(spec.group_id, key, time, certificate.peer_id, data, item)


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


def _seq(time: int, author: PeerId) -> int:
    return time << _AUTHOR_BITS | int.from_bytes(author[:4], "big") >> (32 - _AUTHOR_BITS)


def _statement(group: GroupId, key: str, time: int, data: bytes) -> bytes:
    return Writer().raw(group).text(key).u64(time).blob(data).bytes()
