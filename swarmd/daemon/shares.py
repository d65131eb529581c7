"""Publishing: from a path to a ticket, and back.

A share is a signed record in a group's catalogue (`groups.catalogue`) plus an object that is served in that group
(`serving`). Without a group a new unlisted one is made for the one share, and goes with it; sharing the same thing
again gives the same one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.errors import AlreadyExists, Conflict, InvalidArgument, LocalError, NotAllowed, NotFound, RemoteError
from swarmd.core.ids import ContentId, GroupId
from swarmd.core.names import check_component
from swarmd.core.ranges import RangeSet
from swarmd.daemon.memberships import Memberships
from swarmd.daemon.serving import Serving, serve_quietly
from swarmd.daemon.workers import Workers
from swarmd.groups.records import Entry, Record, Share, ShareKind
from swarmd.groups.recordtable import entry_of
from swarmd.groups.tickets import MemberObjectTicket, NamedObject, ObjectTicket
from swarmd.store.entries import EntryKind
from swarmd.store.hashing import Progress
from swarmd.store.share import SharedObject
from swarmd.store.source import ObjectSource, SourceChanged
from swarmd.store.store import Store

log = logging.getLogger(__name__)

_LOAD_TIMEOUT = 3.0
"""Seconds for which `look` waits for what earlier runs have shared: opening takes longer than that only on a disk that
hangs, or for thousands of shares."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What `share` made."""

    shared: SharedObject
    record: Record
    ticket: str


class Shares:
    def __init__(self, store: Store, serving: Serving, memberships: Memberships, slow: Workers) -> None:
        self._store, self._serving, self._memberships, self._slow = store, serving, memberships, slow
        self._loaded = asyncio.Event()

    async def load(self) -> None:
        """Serve everything of ours that the catalogues name."""
        try:
            await self._memberships.restoring.done()
            for group, membership in list(self._memberships.all().items()):
                for held in membership.group.catalogue.held_of(self._memberships.peer_id):
                    await self._load(group, entry_of(held))
        finally:
            self._loaded.set()

    async def _load(self, group: GroupId, entry: Entry) -> None:
        """Unless the group has been left meanwhile, or something else is shared under that name."""
        record = self._memberships.own_share(group, entry.name) if group in self._memberships else None
        if record is not None and record.share.content_id == entry.content_id:
            await serve_quietly(self._serving, group, entry.content_id, entry.name)

    async def restore(self, content_id: ContentId) -> None:
        """Serve it wherever we share it, from the best copy there is: another copy of it has been given up."""
        for record in self._memberships.find_shares(None, content_id=content_id):
            if record.publisher == self._memberships.peer_id:
                await serve_quietly(self._serving, record.group_id, content_id, record.share.name)

    async def look(self, objects: Iterable[ContentId], disk: Workers) -> None:
        """Whether what is served of these is still there: what is not is noticed now, and not when a peer asks for it.

        Of a folder only that it is there is looked at; its files are when they are read. Right after a start it is
        waited for that they have been opened again, so that who asks first is told the same as who asks later.
        """
        with contextlib.suppress(TimeoutError):  # then what has been opened so far is looked at
            await asyncio.wait_for(self._loaded.wait(), _LOAD_TIMEOUT)
        opened = {content_id: self._serving.source(content_id) for content_id in objects}
        served = [source for source in opened.values() if source is not None]
        found = await disk.run(lambda: list(map(_newly_lost, served)))
        for source, lost in zip(served, found, strict=True):
            if lost:
                gone = SourceChanged(source.path, "was changed, or is gone", lost)
                self._serving.source_changed(source.content_id, gone)

    async def share(self, path: str, group: GroupId | None, name: str | None, progress: Progress) -> Shared:
        """Read what has to be read, publish, serve. Reading stops when the caller is cancelled."""
        name = name or os.path.basename(os.path.normpath(path))
        _check_name(name)
        await self._memberships.restoring.done()
        cancel = threading.Event()
        try:
            shared = await self._slow.run(lambda: self._store.share(path, progress, cancel))
        except asyncio.CancelledError:
            cancel.set()
            raise
        kind = ShareKind.FOLDER if shared.is_folder else ShareKind.FILE
        share = Share(name, shared.content_id, shared.size, kind)
        if group is None:
            group = self._unlisted_group(share)
        if group is None:
            group = await self._memberships.create_unlisted()
            old, record = None, await self._publish_first(group, share)
        else:
            old = self._record(group, share)
            record = old if old is not None and old.share == share else await self._memberships.publish(group, share)
        if old is not None and old.share.content_id != share.content_id:
            self._serving.withdraw(group, old.share.content_id)
        source = await self._slow.run(lambda: self._store.open_object(shared.content_id))
        self._serving.remember(group, source)
        return Shared(shared, record, self._ticket(group, share))

    async def unshare(self, name: str, group: GroupId | None) -> Record:
        """By name or content ID; NotFound, or Conflict when it is shared in several groups."""
        await self._memberships.restoring.done()
        found = self._find_own(name, group)
        if not found:
            raise self._not_ours(name, group)
        if len(found) > 1:
            raise Conflict(f"{name!r} is shared {len(found)} times: say which with --group, or by its content ID")
        record = found[0]
        await self._memberships.unpublish(record.group_id, record.share.name)
        self._serving.withdraw(record.group_id, record.share.content_id)
        if not self._memberships.spec(record.group_id).is_listed:
            await self._leave_empty(record.group_id)
        return record

    async def _publish_first(self, group: GroupId, share: Share) -> Record:
        """The one share of a new unlisted group, which is left again when it cannot be made."""
        try:
            return await self._memberships.publish(group, share)
        except LocalError:
            await self._leave_empty(group)
            raise

    async def _leave_empty(self, group: GroupId) -> None:
        try:
            await self._memberships.leave(group)
        except LocalError as error:  # it holds nothing; what was asked for is done
            log.warning("the empty group %s of a single share cannot be left: %s", group.short, error)

    def _find_own(self, name: str, group: GroupId | None) -> list[Record]:
        """What this node shares under that name, or with that content ID."""
        groups = self._memberships.all() if group is None else [group]
        named = [record for each in groups if (record := self._memberships.own_share(each, name)) is not None]
        found = [each for each in self._find(name, group) if each.publisher == self._memberships.peer_id]
        return list({record.digest: record for record in (*named, *found)}.values())

    def _find(self, name: str, group: GroupId | None) -> list[Record]:
        """The same, by anybody."""
        found = self._memberships.find_shares(group, name=name)
        try:
            return found + self._memberships.find_shares(group, content_id=ContentId.parse(name))
        except InvalidArgument:
            return found

    def _not_ours(self, name: str, group: GroupId | None) -> NotFound | NotAllowed:
        """Why nothing of that name can be unshared here."""
        if found := self._find(name, group):
            record = found[0]
            return NotAllowed(
                f"{record.share.name!r} is shared by peer {record.publisher.short}, not by this node:"
                " only that peer can unshare it"
            )
        return NotFound(f"this node shares nothing named {name!r}: `swarm ls` lists what is shared")

    def _unlisted_group(self, share: Share) -> GroupId | None:
        """The unlisted group in which we share exactly this already."""
        for record in self._memberships.find_shares(None, content_id=share.content_id):
            is_own = record.publisher == self._memberships.peer_id
            if is_own and record.share == share and not self._memberships.spec(record.group_id).is_listed:
                return record.group_id
        return None

    def _record(self, group: GroupId, share: Share) -> Record | None:
        """What we share under this name. AlreadyExists when that lies elsewhere: then it is no newer state of it."""
        record = self._memberships.own_share(group, share.name)
        if record is None:
            return None
        source = self._serving.source(record.share.content_id)
        if record.share == share or source is None or self._is_gone(source):
            return record
        raise AlreadyExists(
            f"this node shares another object named {share.name!r} in this group ({source.path}):"
            " give this one another name with --name, or unshare the other"
        )

    def _is_gone(self, source: ObjectSource) -> bool:
        """Its path holds another object by now: sharing a path again moves it."""
        shared = self._store.object_at(source.path)
        return shared is None or shared.content_id != source.content_id

    def _ticket(self, group: GroupId, share: Share) -> str:
        named = NamedObject(share.content_id, share.name, share.size)
        spec = self._memberships.spec(group)
        if spec.is_listed:
            return MemberObjectTicket(group, named).text()
        return ObjectTicket(spec, named, self._memberships.own_contacts()).text()


def _check_name(name: str) -> None:
    """Before anything is read: hashing for an hour, to be told that the name will not do, helps nobody."""
    try:
        check_component(name)
    except RemoteError as error:
        raise InvalidArgument(f"{error}: share it under another name with --name") from None


def _newly_lost(source: ObjectSource) -> RangeSet:
    if source.root.kind is EntryKind.FILE or not os.path.lexists(source.path):
        return source.check()
    return RangeSet()
