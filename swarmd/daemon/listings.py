"""`ls`: the catalogues of our groups, in answers that the control socket can carry.

A group may share 100,000 things: 33 MB of JSON. So one answer holds at most `LS_SHARES` and says where to go on; and
the loop has its turn after every SLICE records. What is shared or removed between two pages may be in them or not; what
is there all the time is in exactly one. Right after a start it is waited for that the catalogues have been read.

All that fits one answer comes oldest first, group by group; pages have no order.

Of a record only what is shown is read (`records.read_entry`), and IDs that many shares have in common are put into
letters once: 9 us a share, where whole records took 30 (`python -m tests.bench.listing`).
"""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarmd.control import records
from swarmd.control.schema import LS_SHARES, LsParams
from swarmd.core.errors import InvalidArgument, NotFound
from swarmd.core.ids import SHORT_LETTERS, TEXT_LETTERS, GroupId, PeerId
from swarmd.groups.records import DIGEST_BYTES, Entry
from swarmd.groups.recordtable import Held, entry_of

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

SLICE = 200
"""Records in one turn of the loop: 2 ms."""
_START = bytes(DIGEST_BYTES)


_Found = tuple[PeerId, Entry]
"""Who shares it, and what."""


class _Letters(dict[PeerId, str]):
    """The text form of who publishes, each made once."""

    def __missing__(self, peer: PeerId) -> str:
        return self.setdefault(peer, str(peer))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which shares are asked for."""

    name: re.Pattern[str] | None = None
    publisher: str | None = None
    """Text of a peer ID, or the beginning of one."""

    @classmethod
    def of(cls, params: LsParams, own: PeerId) -> Wanted:
        """InvalidArgument for what can be nobody's ID."""
        name = None
        if params.name is not None:
            name = re.compile(fnmatch.translate(params.name.casefold().replace("[", "[[]")))
        publisher = params.publisher
        if publisher is None or publisher == "you":
            return cls(name, None if publisher is None else str(own))
        if not SHORT_LETTERS <= len(publisher) <= TEXT_LETTERS:
            raise InvalidArgument(f"`publisher` is `you`, a peer ID, or its first {SHORT_LETTERS} letters or more")
        return cls(name, publisher.lower())

    def matches(self, entry: Entry, publisher: str) -> bool:
        if self.publisher is not None and not publisher.startswith(self.publisher):
            return False
        return self.name is None or self.name.match(entry.name.casefold()) is not None


_EVERYTHING = Wanted()


async def list_shares(
    node: Node, group: GroupId | None, after: str | None, wanted: Wanted | None = None
) -> records.Listings:
    """One answer: what follows `after`, the `next` of another answer. InvalidArgument, NotFound."""
    await node.memberships.restoring.done()
    groups = [group] if group is not None else list(node.memberships.all())
    first, digest = (groups[0] if groups else None, _START) if after is None else _parse(after)
    if first is not None and first not in groups:
        raise NotFound("the group in which this list was to go on has been left meanwhile: begin again")
    listed: list[records.Listing] = []
    place: str | None = None
    for each in groups[groups.index(first) :] if first is not None else []:
        found, reached = await _shares(node, each, digest, LS_SHARES - len(listed), wanted or _EVERYTHING)
        if reached is None and after is None:
            found.sort(key=lambda share: (share[1].created_at, share[1].name))
        listed += await _listings(node, each, found)
        digest = _START
        if reached is not None:
            place = f"{each}:{reached.hex()}"
            break
    return records.Listings(shares=listed, next=place)


async def _shares(
    node: Node, group: GroupId, digest: bytes, room: int, wanted: Wanted
) -> tuple[list[_Found], bytes | None]:
    """Shares of one group beyond this digest, at most `room`, and the digest at which there was no room for more."""
    shares: list[_Found] = []
    letters = _Letters()
    while group in node.memberships:
        if len(shares) >= room:
            return shares, digest
        catalogue = node.memberships.get(group).group.catalogue
        held, reached = catalogue.following(digest, min(SLICE, room - len(shares)))
        shares += _pick(held, wanted, letters)
        if reached is None:
            break
        digest = reached
        await asyncio.sleep(0)
    return shares, None


def _pick(held: Sequence[Held], wanted: Wanted, letters: _Letters) -> list[_Found]:
    found = [(each[0].certificate.peer_id, entry_of(each)) for each in held]
    shares = [share for share in found if not share[1].is_tombstone]
    if wanted == _EVERYTHING:
        return shares
    return [(publisher, entry) for publisher, entry in shares if wanted.matches(entry, letters[publisher])]


async def _listings(node: Node, group: GroupId, found: Sequence[_Found]) -> list[records.Listing]:
    """As they are shown."""
    await node.shares.look((entry.content_id for _, entry in found), node.disk)
    group_id, group_name, letters = str(group), node.memberships.name(group), _Letters()
    listed: list[records.Listing] = []
    for start in range(0, len(found), SLICE):
        for publisher, entry in found[start : start + SLICE]:
            listed.append(
                records.Listing(
                    name=entry.name,
                    content_id=str(entry.content_id),
                    size=entry.size,
                    kind="folder" if entry.is_folder else "file",
                    group_id=group_id,
                    group_name=group_name,
                    publisher=letters[publisher],
                    own=publisher == node.peer_id,
                    created_at=entry.created_at,
                    path=node.serving.path(entry.content_id),
                )
            )
        await asyncio.sleep(0)
    return listed


def _parse(place: str) -> tuple[GroupId, bytes]:
    group, _, digest = place.partition(":")
    try:
        if len(digest) == 2 * DIGEST_BYTES:
            return GroupId.parse(group), bytes.fromhex(digest)
    except (InvalidArgument, ValueError):
        pass
    raise InvalidArgument("`after` is what another answer gave as `next`")
