"""`ls` of a catalogue that does not fit one answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from swarmd.control.records import Listings
from swarmd.control.schema import LsParams
from swarmd.core.clock import ManualClock
from swarmd.core.errors import InvalidArgument, NotFound
from swarmd.core.ids import ContentId, GroupId
from swarmd.daemon import listings as module
from swarmd.daemon.listings import Wanted, list_shares
from swarmd.daemon.reports import Reports
from swarmd.daemon.workers import Workers
from swarmd.groups.records import Record, Share, ShareKind
from tests.daemon.test_memberships import Member
from tests.groups.builders import content_id, identity

if TYPE_CHECKING:
    from swarmd.daemon.node import Node


class Place:
    """As much of a node as lists shares: real groups, and nothing that is served."""

    def __init__(self, member: Member) -> None:
        self.memberships, self.peer_id = member.memberships, member.identity.peer_id
        self.started_at, self.disk = 0.0, member.ledger
        self.serving = SimpleNamespace(path=lambda content_id: None)
        self.shares = self
        self.reports = Reports(self.node)

    @property
    def node(self) -> Node:
        return cast("Node", self)

    async def look(self, objects: Iterable[ContentId], disk: Workers) -> None:
        assert all(isinstance(each, ContentId) for each in objects)


@pytest.fixture
async def member(tmp_path: Path) -> AsyncIterator[Member]:
    made = Member(tmp_path / "state", ManualClock(1000.0, 1.7e9))
    yield made
    await made.close()


async def publish(member: Member, group: GroupId, *names: str) -> list[Record]:
    made = []
    for number, name in enumerate(names):
        member.clock.advance(1.0)
        share = Share(name, content_id(number), 7, ShareKind.FILE)
        made.append(await member.memberships.publish(group, share))
    return made


async def pages(place: Place, group: GroupId | None, wanted: Wanted | None = None) -> list[Listings]:
    found = [await list_shares(place.node, group, None, wanted)]
    while found[-1].next is not None:
        found.append(await list_shares(place.node, group, found[-1].next, wanted))
    return found


async def test_what_fits_comes_whole_and_oldest_first(member: Member) -> None:
    place = Place(member)
    assert (await list_shares(place.node, None, None)).shares == []
    films, songs = [await member.memberships.create(name) for name in ("films", "songs")]
    await publish(member, films, "c", "a", "b")
    await publish(member, songs, "d")
    await member.memberships.unpublish(films, "a")
    (only,) = await pages(place, None)
    assert [(each.name, each.group_name) for each in only.shares] == [("c", "films"), ("b", "films"), ("d", "songs")]
    assert all(each.own and each.path is None for each in only.shares)
    (one,) = await pages(place, songs)
    assert [each.name for each in one.shares] == ["d"]


@pytest.mark.parametrize(("room", "slice_size"), [(1, 1), (2, 1), (3, 2), (7, 200)])
async def test_what_does_not_comes_in_parts(
    member: Member, monkeypatch: pytest.MonkeyPatch, room: int, slice_size: int
) -> None:
    monkeypatch.setattr(module, "LS_SHARES", room)
    monkeypatch.setattr(module, "SLICE", slice_size)
    films, songs = [await member.memberships.create(name) for name in ("films", "songs")]
    await publish(member, films, *"abcdefgh")
    await publish(member, songs, *"ijkl")
    await member.memberships.unpublish(films, "h")
    found = await pages(Place(member), None)
    assert sorted(each.name for part in found for each in part.shares) == list("abcdefgijkl")
    assert all(len(part.shares) <= room for part in found)
    assert len(found) >= 11 // room


async def test_what_is_looked_for(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(member)
    films = await member.memberships.create("films")
    await publish(member, films, "Été.mkv", "winter.MKV", "film [1].mkv", "songs")
    other = identity(1)
    share = Share("another's.mkv", content_id(9), 7, ShareKind.FILE)
    catalogue = member.memberships.get(films).group.catalogue
    catalogue.put(catalogue.sign_share(other, share, None, 1.7e9), 1.7e9)

    async def names(**params: str) -> list[str]:
        wanted = Wanted.of(LsParams(**params), place.peer_id)
        return [each.name for part in await pages(place, None, wanted) for each in part.shares]

    assert await names(name="*.mkv") == ["another's.mkv", "Été.mkv", "winter.MKV", "film [1].mkv"]
    assert await names(name="é*") == ["Été.mkv"]
    assert await names(name="film [?]*") == ["film [1].mkv"]
    assert await names(name="film") == []
    assert await names(publisher="you", name="*S") == ["songs"]
    assert await names(publisher=str(other.peer_id)[:8].upper()) == ["another's.mkv"]
    assert await names(publisher="a" * 8) == []
    for wrong in ("me", "a" * 7, "a" * 53):
        with pytest.raises(InvalidArgument, match="publisher"):
            await names(publisher=wrong)
    monkeypatch.setattr(module, "LS_SHARES", 1)
    assert sorted(await names(name="*M*K*")) == ["another's.mkv", "film [1].mkv", "winter.MKV", "Été.mkv"]


async def test_a_list_that_cannot_go_on(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LS_SHARES", 1)
    place = Place(member)
    films = await member.memberships.create("films")
    await publish(member, films, "a", "b")
    following = (await list_shares(place.node, None, None)).next
    await member.memberships.create("songs")
    await member.memberships.leave(films)
    with pytest.raises(NotFound, match="begin again"):
        await list_shares(place.node, None, following)
    for wrong in ("x", f"{films}", f"{films}:xyz", ":" + "00" * 16):
        with pytest.raises(InvalidArgument):
            await list_shares(place.node, None, wrong)
