"""A download as it is remembered: where to, for whom, in which state, and its manifest as far as it is here."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import Any, cast

from swarmd.core.ids import GroupId
from swarmd.store.library import Library
from swarmd.store.metadata import Metadata
from swarmd.store.tables.downloads import DownloadRow


class DownloadRecord(Metadata):
    """Thread-safe. A change is in the database when the call returns."""

    def __init__(self, library: Library, row: DownloadRow) -> None:
        super().__init__(library, row.content_id)
        self._row = row
        self._row_lock = threading.Lock()

    @property
    def row(self) -> DownloadRow:
        """What is remembered of it: names, state, group, order, whether it is paused, the last error."""
        return self._row

    @property
    def id(self) -> str:
        return self._row.id

    @property
    def path(self) -> str:
        """Where the object will be, or is."""
        return os.path.join(self._row.target, self._row.name)

    def set_paused(self, is_paused: bool) -> None:
        self._update(paused=is_paused)

    def set_background(self, is_background: bool) -> None:
        self._update(background=is_background)

    def set_group(self, group_id: GroupId) -> None:
        """Where it is fetched after the next start."""
        self._update(group_id=group_id)

    def set_error(self, message: str) -> None:
        """What the list of transfers says of it; empty when all is well."""
        self._update(error=message)

    def _update(self, **columns: str | bytes | int) -> None:
        self._library.downloads.update(self.id, **columns)
        with self._row_lock:
            self._row = replace(self._row, **cast(dict[str, Any], columns))
