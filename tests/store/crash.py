"""A process that shares and downloads, made to be killed: `python -m tests.store.crash`.

It reads a JSON line {"scenario", "folder", "seed", "die_at"} from stdin, does that in a forked process, tells on stdout
what that process does (its pid first, then a line for each step), that it ended, and, after another line of input, how.
`die_at` n kills it with SIGKILL just before the n-th call that changes a disk; negative: somebody else will.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from swarmd.core.rng import SeededRng
from swarmd.store import part, tree
from swarmd.store.database import Database
from swarmd.store.download import Download
from swarmd.store.store import DownloadRequest, Store
from tests.store.transfers import give_chunks, give_metadata

CHUNKS_FOR_EACH_COMMIT = 5
# Every call with which the store changes a disk.
_CHANGES: list[tuple[Any, str]] = [
    *((os, name) for name in ("mkdir", "open", "pwritev", "fsync", "fchmod", "chmod", "symlink", "unlink", "rmdir")),
    (os, "copy_file_range"),
    (tree, "_renameat2"),
    (part, "sync_file_system"),
    (Database, "execute"),
    (Database, "transaction"),
]


def tell(*words: object) -> None:
    print(*words, flush=True)


def download(folder: Path, seed: int) -> None:
    """Go on with the download, or begin it, to its end; in random order, with a commit now and then."""
    seeder, leecher = Store.open(folder / "seeder"), Store.open(folder / "leecher")
    source = seeder.open_object(seeder.objects()[0].content_id)
    transfer = begun(leecher, DownloadRequest(source.content_id, str(folder / "target"), "got"))
    tell("preparing")
    if transfer.root is None or transfer.missing_entry_pages():
        give_metadata(source, transfer)
    transfer.prepare()
    missing = [*(transfer.have.missing(source.root.n_chunks))]
    SeededRng(seed).shuffle(missing)
    for number, index in enumerate(missing):
        give_chunks(source, transfer, [index])
        tell("wrote", index)
        if number % CHUNKS_FOR_EACH_COMMIT == 0:
            written = sorted(transfer.have)
            transfer.commit()
            tell("committed", *written)
    transfer.finish()
    tell("finished")


def begin(folder: Path, seed: int) -> None:
    """A download with one chunk."""
    seeder, leecher = Store.open(folder / "seeder"), Store.open(folder / "leecher")
    source = seeder.open_object(seeder.objects()[0].content_id)
    transfer = begun(leecher, DownloadRequest(source.content_id, str(folder / "target"), "got"))
    give_metadata(source, transfer)
    transfer.prepare()
    give_chunks(source, transfer, [seed])
    transfer.commit()


def begun(store: Store, request: DownloadRequest) -> Download:
    found = [transfer for transfer in store.downloads() if transfer.content_id == request.content_id]
    return found[0] if found else store.create_download(request)


def discard(folder: Path, seed: int) -> None:
    """Give the first download up, with its data."""
    leecher = Store.open(folder / "leecher")
    leecher.discard_download(leecher.downloads()[0].id, delete_data=True)
    tell("discarded", seed)


def share(folder: Path, seed: int) -> None:
    """Share `data`, whether it is known already or not."""
    seeder = Store.open(folder / "seeder")
    tell("sharing")
    seeder.share(str(folder / "data"))
    tell("shared", seed)


SCENARIOS: dict[str, Callable[[Path, int], None]] = {
    "begin": begin,
    "download": download,
    "discard": discard,
    "share": share,
}


def die_at(number: int) -> None:
    left = number

    def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return call(*arguments, **options)

        return wrapper

    for owner, name in _CHANGES:
        setattr(owner, name, guarded(getattr(owner, name)))


def main() -> None:
    while line := sys.stdin.readline():
        order = json.loads(line)
        child = os.fork()
        if not child:
            tell("pid", os.getpid())
            if order["die_at"] >= 0:
                die_at(order["die_at"])
            SCENARIOS[order["scenario"]](Path(order["folder"]), order["seed"])
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # its pid stays taken until nobody wants to kill it
        tell("ended")
        sys.stdin.readline()
        tell("gone", os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
