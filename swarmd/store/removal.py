"""Deleting a whole copy of an object from the disk, at the user's word.

Invariant: what is deleted is what was downloaded or shared, and nothing else. A folder with anything added, removed,
written to or renamed since is left alone, as a whole.
"""

from __future__ import annotations

import os

from swarmd.core.errors import NotAllowed, NotFound
from swarmd.core.terminal import escape
from swarmd.store.library import Library
from swarmd.store.scan import scan_tree
from swarmd.store.stamps import StampTable
from swarmd.store.tables.objects import CopyRow
from swarmd.store.tree import Tree


def delete_copy(library: Library, copy: CopyRow) -> None:
    """Delete its files, then forget it. NotAllowed when they are not what they were; gone already is no error."""
    try:
        scan = scan_tree(copy.path)
    except NotFound:
        scan = None
    if scan is not None:
        source = library.open_copy(copy)
        if scan.entries != source.entries or scan.stamps != StampTable.decode(copy.stamps):
            raise NotAllowed(
                f"{escape(copy.path)} is not as it was downloaded or shared, and is left alone: delete it yourself"
            )
        folder, name = os.path.split(copy.path)
        with Tree.open(folder) as target:
            target.remove_tree((name,))
            target.sync()
    with library.database.transaction():
        library.copies.delete(copy.path)
        library.collect()
