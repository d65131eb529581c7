"""Peer records: where a member says that it is, so that who knows its peer ID finds it again after both have moved.

A record lies in the slot of (peer ID, day) of each group that the member is in. The body:

    u8 version (1) | u64 time (ms) | 129 bytes certificate | varint n, n x blob address
    | 64 bytes signature of group ID | u64 time | addresses as above, in the domain `peer record`

The key of the slot is the group's, not the peer's own. Under its own the DHT's nodes would see a lasting name of this
node beside its address, and could follow it from one network to the next; so they see a number that is another one each
day and in each group. What that gives up: another *member* can put something else in its place. It cannot lie, since
the body is signed by the peer itself, but it can hide the record.

Invariant: a `PeerRecord` out of `open_record` is what that peer has said itself, for this group, not longer than
RECORD_PERIOD ago. Whether it is still there a session shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.dht.items import Item
from swarmd.groups.contacts import MAX_ADDRESSES, Contact, read_addresses, write_addresses
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.slots import Slot
from swarmd.groups.rendezvous.values import AHEAD_LIMIT, TIME_LIMIT
from swarmd.identity.certificate import CERTIFICATE_BYTES, SIGNATURE_BYTES, Certificate
from swarmd.identity.identity import Identity

VERSION = 1
DOMAIN = b"peer record"
PURPOSE = b"peer records"
RECORD_PERIOD = 86_400.0
"""Seconds for which a record is believed. It is put every hour; a private network keeps it for a day."""


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """time: milliseconds of the peer's wall time."""

    peer_id: PeerId
    time: int
    addresses: tuple[Address, ...]

    @property
    def contact(self) -> Contact:
        return Contact(self.peer_id, self.addresses)

    def age(self, wall: float) -> float:
        return max(0.0, wall - self.time / 1000)


def slot_of(spec: GroupSpec, peer: PeerId, day: int) -> Slot:
    """`day`: a number of `places.Calendar.days`."""
    return Slot.of(spec, PURPOSE, Writer().raw(peer).u64(day).bytes())


def seal_record(
    spec: GroupSpec, identity: Identity, addresses: Sequence[Address], day: int, wall: float, rng: Rng
) -> Item:
    """What this node puts; `rng` must be the system's."""
    time = int(wall * 1000)
    listed = _listed(addresses)
    signature = identity.sign(_statement(spec, time, listed), DOMAIN)
    writer = Writer().u8(VERSION).u64(time).raw(identity.certificate.encode()).raw(listed).raw(signature)
    return slot_of(spec, identity.peer_id, day).item(writer.bytes(), time, rng)


def open_record(spec: GroupSpec, peer: PeerId, day: int, item: Item, wall: float) -> PeerRecord:
    """What `peer` says in an item from the DHT (0.4 ms); RemoteError when it does not, or said so too long ago."""
    reader = Reader(slot_of(spec, peer, day).body_of(item))
    if (version := reader.u8()) != VERSION:
        raise RemoteError(f"a peer record of version {version}; this swarmd knows version {VERSION}")
    time, certificate = reader.u64(), Certificate.decode(reader.raw(CERTIFICATE_BYTES))
    addresses = read_addresses(reader)
    signature = reader.raw(SIGNATURE_BYTES)
    reader.end()
    if certificate.peer_id != peer:
        raise RemoteError("a peer record is another peer's", penalty=10)
    certificate.verify(signature, _statement(spec, time, _listed(addresses)), DOMAIN)
    if time > TIME_LIMIT or not -AHEAD_LIMIT <= wall - time / 1000 <= RECORD_PERIOD:
        raise RemoteError("a peer record is too old, or dated in the future")
    return PeerRecord(peer, time, addresses)


def _listed(addresses: Sequence[Address]) -> bytes:
    writer = Writer()
    write_addresses(writer, [address for address in addresses if address.is_dialable][:MAX_ADDRESSES])
    return writer.bytes()


def _statement(spec: GroupSpec, time: int, listed: bytes) -> bytes:
    return Writer().raw(spec.group_id).u64(time).raw(listed).bytes()
