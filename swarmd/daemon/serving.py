"""What this node gives to whom: objects, each in the groups that it is served in.

It joins the exchange (where chunks are read from) with the replicator (who may ask for them). A complete object is
opened once, however many groups it is served in; while it is being fetched its transfer serves it, and this module
only remembers the groups.

When a served file has changed, its chunks are withdrawn and a note says so until the path is shared again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from swarmd.core.errors import LocalError
from swarmd.core.ids import ContentId, GroupId
from swarmd.daemon.exchange import Exchange
from swarmd.daemon.workers import Workers
from swarmd.replication.shape import Shape
from swarmd.store.manifest import PageKind
from swarmd.store.source import ObjectSource, SourceChanged
from swarmd.store.store import Store

log = logging.getLogger(__name__)

MAX_NOTES = 64  # of changed files; `status` shows them, and more say nothing new


class Serving:
    def __init__(self, store: Store, exchange: Exchange, slow: Workers) -> None:
        self._store, self._exchange, self._slow = store, exchange, slow
        self._groups: defaultdict[ContentId, set[GroupId]] = defaultdict(set)
        self._opened: dict[ContentId, ObjectSource] = {}
        self._at: dict[str, ContentId] = {}  # by path: what was opened there last
        self._opening: dict[ContentId, asyncio.Lock] = {}
        self._notes: dict[str, str] = {}
        self.n_changes = 0
        """It grows with each change of what `objects` gives."""

    @property
    def notes(self) -> list[str]:
        """One sentence for each file that is not served any more."""
        return list(self._notes.values())

    def source(self, content_id: ContentId) -> ObjectSource | None:
        return self._opened.get(content_id)

    def path(self, content_id: ContentId) -> str | None:
        """Where it lies whole; None where it was changed, or another object has been read since."""
        source = self._opened.get(content_id)
        if source is None or source.lost or self._at.get(source.path) != content_id:
            return None
        return source.path

    def groups(self, content_id: ContentId) -> set[GroupId]:
        return set(self._groups.get(content_id, ()))

    def objects(self, group: GroupId) -> set[ContentId]:
        """What is given there, complete."""
        return {each for each, groups in self._groups.items() if group in groups and each in self._opened}

    async def serve(self, group: GroupId, content_id: ContentId) -> None:
        """Serve the complete copy that the store has, from now on. LocalError when there is none or it cannot be
        read.
        """
        self._groups[content_id].add(group)
        async with self._opening.setdefault(content_id, asyncio.Lock()):
            if content_id not in self._opened:
                source = await self._slow.run(lambda: self._store.open_object(content_id))
                if content_id not in self._groups:
                    return  # left meanwhile
                self._take(source)
        self._offer(group, self._opened[content_id])

    def reopen(self, source: ObjectSource) -> None:
        """The object has been read again, or fetched to the end: serve it from there in all its groups."""
        self._take(source)
        for group in self._groups.get(source.content_id, ()):
            self._offer(group, source)

    def remember(self, group: GroupId, source: ObjectSource) -> None:
        """Serve this source in one more group."""
        self._groups[source.content_id].add(group)
        self.reopen(source)

    def restore(self, content_id: ContentId) -> None:
        """A transfer of this object has ended without it: what there was before is served again."""
        source = self._opened.get(content_id)
        if source is not None:
            self.reopen(source)

    def withdraw(self, group: GroupId, content_id: ContentId) -> None:
        """Serve it no longer in that group, and not at all when it was the last."""
        groups = self._groups.get(content_id)
        if groups is None or group not in groups:
            return
        groups.discard(group)
        self.n_changes += 1
        self._exchange.replicator.unserve(group, content_id, self._exchange.now)
        self._exchange.schedule()
        if not groups:
            del self._groups[content_id]
            self._opening.pop(content_id, None)
            source = self._opened.pop(content_id, None)
            if source is not None:
                self._exchange.release(content_id)
                self._close(source)

    def leave_group(self, group: GroupId) -> None:
        for content_id in [content_id for content_id, groups in self._groups.items() if group in groups]:
            self.withdraw(group, content_id)

    def source_changed(self, content_id: ContentId, error: SourceChanged) -> None:
        """Chunks of this object are lost; what is left goes on being served."""
        log.warning("%s", error)
        if len(self._notes) < MAX_NOTES:
            self._notes[error.path] = str(error)
        self._exchange.replicator.withdraw(content_id, error.lost, self._exchange.now)
        self._exchange.schedule()

    def close(self) -> None:
        for source in self._opened.values():
            source.close()

    def _take(self, source: ObjectSource) -> None:
        old = self._opened.get(source.content_id)
        if old is not None and old is not source:
            self._close(old)
        self._opened[source.content_id] = source
        self._at[source.path] = source.content_id
        self._exchange.hold(source)
        for path in [path for path in self._notes if path == source.path or path.startswith(source.path + "/")]:
            del self._notes[path]

    def _close(self, source: ObjectSource) -> None:
        source.close()
        if self._at.get(source.path) == source.content_id:
            del self._at[source.path]

    def _offer(self, group: GroupId, source: ObjectSource) -> None:
        self.n_changes += 1
        self._exchange.replicator.serve(group, source.content_id, shape_of(source), source.have, self._exchange.now)
        self._exchange.schedule()


def shape_of(source: ObjectSource) -> Shape:
    root = source.root
    return Shape(
        root.n_chunks, root.chunk_size, root.total_size, root.n_pages(PageKind.ENTRIES), source.layout.chunk_length
    )


async def serve_quietly(serving: Serving, group: GroupId, content_id: ContentId, name: str) -> None:
    """At the start: what cannot be served is said in the log, and does not keep the others waiting."""
    try:
        await serving.serve(group, content_id)
    except LocalError as error:
        log.warning("%s is not served: %s", name, error)
