"""What lies on the disk: made, measured, and compared without any help of swarmd's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from swarmd.core.rng import SystemRng

_PIECE_BYTES = 4 << 20


def make(path: Path, n_bytes: int) -> None:
    """A file of random bytes."""
    rng = SystemRng()
    with path.open("wb") as file:
        for _ in range(n_bytes // _PIECE_BYTES):
            file.write(rng.bytes(_PIECE_BYTES))


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(each.lstat().st_size for each in everything(path) if each.is_file() and not each.is_symlink())


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, over all that is in it: places, kinds, modes, contents, targets of links."""
    if path.is_file():
        return _file_digest(path)
    total = hashlib.sha256()
    for each in everything(path):
        total.update(f"{each.relative_to(path)}\0{_description(each)}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def everything(path: Path) -> Iterator[Path]:
    """The path itself, and in order what is below it; links are not followed."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for name in sorted(os.listdir(path)):
            yield from everything(path / name)


def _description(path: Path) -> str:
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    mode = path.stat().st_mode & 0o777
    return f"folder {mode:o}" if path.is_dir() else f"file {mode:o} {_file_digest(path)}"


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
