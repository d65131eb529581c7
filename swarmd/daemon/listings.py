"""`ls`: the catalogues of our groups, in answers that the control socket can carry.

A group may share 100,000 things: 40 MB of JSON, and seconds to make. So one answer holds at most `LS_SHARES` and says
where to go on; and the loop has its turn after every SLICE records. What is shared or removed between two pages may be
in them or not; what is there all the time is in exactly one.

All that fits one answer comes oldest first, group by group; pages have no order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from swarmd.control import records
from swarmd.control.schema import LS_SHARES
from swarmd.core.errors import InvalidArgument, NotFound
from swarmd.core.ids import GroupId
from swarmd.groups.catalogue import oldest_first
from swarmd.groups.records import DIGEST_BYTES, Record
from swarmd.groups.recordtable import decode_held

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

SLICE = 200
"""Records in one turn of the loop: 6 ms."""
_START = bytes(DIGEST_BYTES)


async def list_shares(node: Node, group: GroupId | None, after: str | None) -> records.Listings:
    """One answer: what follows `after`, the `next` of another answer. InvalidArgument, NotFound."""
    groups = [group] if group is not None else list(node.memberships.all())
    first, digest = (groups[0] if groups else None, _START) if after is None else _parse(after)
    if first is not None and first not in groups:
        raise NotFound("the group in which this list was to go on has been left meanwhile: begin again")
    found: list[list[Record]] = []
    place: str | None = None
    for each in groups[groups.index(first) :] if first is not None else []:
        room = LS_SHARES - sum(map(len, found))
        shares, reached = await _shares(node, each, digest, room)
        found.append(shares)
        digest = _START
        if reached is not None:
            place = f"{each}:{reached.hex()}"
            break
    if place is None and after is None:
        found = [oldest_first(shares) for shares in found]
    return await _listings(node, [record for shares in found for record in shares], place)


async def _shares(node: Node, group: GroupId, digest: bytes, room: int) -> tuple[list[Record], bytes | None]:
    """Shares of one group beyond this digest, at most `room`, and the digest at which there was no room for more."""
    shares: list[Record] = []
    while group in node.memberships:
        if len(shares) >= room:
            return shares, digest
        catalogue = node.memberships.get(group).group.catalogue
        held, reached = catalogue.following(digest, min(SLICE, room - len(shares)))
        shares += [record for record in map(decode_held, held) if not record.is_tombstone]
        if reached is None:
            break
        digest = reached
        await asyncio.sleep(0)
    return shares, None


async def _listings(node: Node, found: Sequence[Record], place: str | None) -> records.Listings:
    await node.shares.look((record.share.content_id for record in found), node.disk)
    listed: list[records.Listing] = []
    for start in range(0, len(found), SLICE):
        listed += map(node.reports.listing, found[start : start + SLICE])
        await asyncio.sleep(0)
    return records.Listings(shares=listed, next=place)


def _parse(place: str) -> tuple[GroupId, bytes]:
    group, _, digest = place.partition(":")
    try:
        if len(digest) == 2 * DIGEST_BYTES:
            return GroupId.parse(group), bytes.fromhex(digest)
    except (InvalidArgument, ValueError):
        pass
    raise InvalidArgument("`after` is what another answer gave as `next`")
