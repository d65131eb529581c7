"""Identities, groups and records for the tests: the same from the same seed."""

from __future__ import annotations

from functools import cache

from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.authorisation import Authorisation, Authority, Right
from swarmd.groups.catalogue import Catalogue, Change
from swarmd.groups.events import OwnRecordReturned
from swarmd.groups.group import Group
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.records import Record, RecordKind, Share, ShareKind
from swarmd.identity.identity import Identity

WALL = 1_700_000_000.0
"""The tests' wall time, in seconds: November 2023."""
DAY = 86_400.0


@cache
def identity(seed: int) -> Identity:
    return Identity.generate(SeededRng(seed))


def peer_id(seed: int) -> PeerId:
    """The ID of nobody in particular: no keys behind it."""
    return PeerId(SeededRng(seed).bytes(32))


@cache
def spec(name: str = "family", capabilities: Capability = Capability.REPLICATION) -> GroupSpec:
    return GroupSpec.create(name, SeededRng(1), capabilities=capabilities).spec


def authority() -> Authority:
    return Authority(bytes(range(32)))


@cache
def restricted_spec() -> GroupSpec:
    new = GroupSpec.create(
        "press",
        SeededRng(2),
        capabilities=Capability.REPLICATION,
        restricted=Right.PUBLISH,
        authority=authority(),
    )
    return new.spec


def content_id(number: int) -> ContentId:
    return ContentId(number.to_bytes(32, "big"))


def share(name: str = "disk.iso", number: int = 1, size: int = 1000) -> Share:
    return Share(name, content_id(number), size, ShareKind.FILE)


def record(
    publisher: int = 1,
    *,
    name: str = "disk.iso",
    number: int = 1,
    seq: int = 1,
    kind: RecordKind = RecordKind.SHARE,
    group_id: GroupId | None = None,
    wall: float = WALL,
) -> Record:
    """A signed record with any seq and time, as a publisher with a strange clock might make it."""
    unsigned = Record(
        group_id=group_id or spec().group_id,
        certificate=identity(publisher).certificate,
        seq=seq,
        kind=kind,
        share=share(name, number),
        created_at=int(wall * 1000),
        authorisation=None,
        signature=b"",
    )
    return unsigned.signed_by(identity(publisher))


def tombstone(publisher: int = 1, *, name: str = "disk.iso", seq: int = 2, wall: float = WALL) -> Record:
    return record(publisher, name=name, seq=seq, kind=RecordKind.TOMBSTONE, wall=wall)


def catalogue(*records: Record) -> Catalogue:
    """One of the group `spec()` that holds these."""
    held = Catalogue(spec())
    for each in records:
        held.put(each, WALL)
    return held


def publish_in(
    held: Catalogue, publisher: Identity, what: Share, authorisation: Authorisation | None, wall: float
) -> tuple[Record, Change]:
    """What a member does that need not write anything down: signed and taken in."""
    made = held.sign_share(publisher, what, authorisation, wall)
    return made, held.adopt(made, wall)


def unpublish_in(
    held: Catalogue, publisher: Identity, name: str, authorisation: Authorisation | None, wall: float
) -> tuple[Record, Change]:
    made = held.sign_tombstone(publisher, name, authorisation, wall)
    return made, held.adopt(made, wall)


def publish(made: Group, what: Share, now: float, wall: float) -> Record:
    signed = made.sign_share(what, wall)
    assert made.adopt(signed, now, wall)
    return signed


def unpublish(made: Group, name: str, now: float, wall: float) -> Record:
    signed = made.sign_tombstone(name, wall)
    assert made.adopt(signed, now, wall)
    return signed


def correct(made: Group, returned: OwnRecordReturned, now: float, wall: float) -> Record | None:
    signed = made.sign_correction(returned, wall)
    assert signed is None or made.adopt(signed, now, wall)
    return signed
