"""Hashing: against the bytes put together plainly, with files that change at the worst moment."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.clock import SystemClock
from swarmd.core.errors import Conflict, Incomplete, NotAllowed, NotFound
from swarmd.store.hashing import Hashed, HashedTree, hash_tree
from swarmd.store.layout import Layout
from swarmd.store.manifest import HASH_BYTES, build
from swarmd.store.stamps import SETTLE_PERIOD
from tests.store.samples import Spec, as_nobody, filler, make_folder

KIB = 1 << 10
CHUNK = 256 * KIB
SPEC: Spec = {
    "large": 3 * CHUNK + 1,
    "exactly a chunk": CHUNK,
    "one less": CHUNK - 1,
    "one more": CHUNK + 1,
    "folder": {"empty": 0, "tiny": 1, "middle": 150 * KIB, "link": "tiny", "deep": {"er": {"file": 5000}}},
    "many": {f"{number:03}": 900 for number in range(200)},
    "z": 77 * KIB,
}
CLOCK = SystemClock()


def plain_hashes(path: str, tree: HashedTree) -> bytes:
    layout = Layout(tree.entries, tree.chunk_size)
    hashes = b""
    for chunk in range(layout.n_chunks):
        data = b""
        for extent in layout.extents(chunk):
            whole = Path(path, *tree.entries.path(extent.entry)).read_bytes()
            data += whole[extent.offset : extent.offset + extent.length]
        hashes += blake3(data).digest()
    return hashes


class TimelyClock(SystemClock):
    """Does something when it is asked for the time: that is between the scan and the reading of a round."""

    def __init__(self, *actions: Callable[[], object]) -> None:
        self._actions = list(actions)

    def wall(self) -> float:
        if self._actions:
            self._actions.pop(0)()
        return super().wall()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "shared", SPEC)


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_a_folder(folder: Path, threads: int | None) -> None:
    tree = hash_tree(str(folder), clock=CLOCK, threads=threads)
    assert tree.chunk_size == CHUNK
    assert tree.hashes == plain_hashes(str(folder), tree)
    assert len(build(tree.entries, tree.chunk_size, tree.hashes).root.content_id) == HASH_BYTES


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * 1024 * KIB])
def test_a_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(data := filler("a", size))
    tree = hash_tree(str(tmp_path / "a"), clock=CLOCK)
    chunks = [data[at : at + CHUNK] for at in range(0, size, CHUNK)]
    assert tree.hashes == b"".join(blake3(chunk).digest() for chunk in chunks)


def test_chunks_larger_than_what_is_read_at_a_time(tmp_path: Path) -> None:
    """2 MiB, which takes more than 512 MiB: without the disk's part in it."""
    file = tmp_path / "sparse"
    with file.open("wb") as sparse:
        sparse.truncate(513 << 20)
    tree = hash_tree(str(file), clock=CLOCK)
    assert tree.chunk_size == 2 << 20
    assert tree.hashes == blake3(bytes(2 << 20)).digest() * 256 + blake3(bytes(1 << 20)).digest()


def test_equal_content_has_an_equal_id_wherever_it_lies(tmp_path: Path, folder: Path) -> None:
    other = make_folder(tmp_path / "elsewhere", SPEC)
    one, two = (hash_tree(str(path), clock=CLOCK) for path in (folder, other))
    assert (one.entries, one.hashes) == (two.entries, two.hashes)


def mark(tree: HashedTree) -> HashedTree:
    """With hashes that no bytes have: where they turn up again, nothing was read."""
    n_chunks = len(tree.hashes) // HASH_BYTES
    return replace(tree, hashes=b"".join(b"known %026d" % chunk for chunk in range(n_chunks)))


def read_chunks(tree: HashedTree) -> list[int]:
    """The chunks that are not from a marked tree."""
    hashes = [tree.hashes[at : at + HASH_BYTES] for at in range(0, len(tree.hashes), HASH_BYTES)]
    return [chunk for chunk, digest in enumerate(hashes) if not digest.startswith(b"known ")]


def test_nothing_is_read_where_nothing_changed(folder: Path) -> None:
    known = mark(hash_tree(str(folder), clock=CLOCK))
    assert hash_tree(str(folder), clock=CLOCK, known=[known]) == known


def test_only_what_changed_is_read(folder: Path) -> None:
    known = mark(hash_tree(str(folder), clock=CLOCK))
    (folder / "exactly a chunk").write_bytes(filler("new", CHUNK))
    tree = hash_tree(str(folder), clock=CLOCK, known=[known])
    [chunk] = read_chunks(tree)
    assert tree.hashes[chunk * HASH_BYTES :][:HASH_BYTES] == blake3(filler("new", CHUNK)).digest()


def test_a_small_file_costs_its_chunk(folder: Path) -> None:
    known = mark(hash_tree(str(folder), clock=CLOCK))
    (folder / "z").write_bytes(filler("new", 77 * KIB))
    tree = hash_tree(str(folder), clock=CLOCK, known=[known])
    entry = tree.entries.find(("z",))
    assert entry is not None
    assert read_chunks(tree) == list(Layout(tree.entries, CHUNK).chunks_of(entry))


def test_large_files_stay_known_when_others_come_and_go(folder: Path) -> None:
    known = mark(hash_tree(str(folder), clock=CLOCK))
    (folder / "a new one").write_bytes(filler("x", 2 * CHUNK))
    (folder / "exactly a chunk").unlink()
    tree = hash_tree(str(folder), clock=CLOCK, known=[known])
    layout = Layout(tree.entries, CHUNK)
    new = tree.entries.find(("a new one",))
    assert new is not None
    assert set(read_chunks(tree)) == set(layout.chunks_of(new))


def test_another_chunk_size_reads_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(filler("a", 3 * CHUNK))
    known = mark(hash_tree(str(tmp_path / "a"), clock=CLOCK))
    tree = hash_tree(
        str(tmp_path / "a"), clock=CLOCK, known=[replace(known, chunk_size=2 * CHUNK, hashes=known.hashes[:64])]
    )
    assert read_chunks(tree) == [0, 1, 2]


EDITS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from([None, 0, 1, 5000, 70 * KIB, CHUNK, CHUNK + 9])),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25)
@given(EDITS, EDITS)
def test_what_is_known_never_shows(first: list[tuple[str, int | None]], second: list[tuple[str, int | None]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        known: list[HashedTree] = []
        for generation, edits in enumerate((first, second)):
            for file, size in edits:
                if size is None:
                    Path(name, file).unlink(missing_ok=True)
                else:
                    Path(name, file).write_bytes(filler(f"{file}{generation}", size))
            tree = hash_tree(name, clock=CLOCK, known=known)
            assert tree == hash_tree(name, clock=CLOCK)
            known = [tree]


def overwrite(file: Path) -> None:
    file.write_bytes(filler("other", file.stat().st_size))


def exchange_for_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def exchange_for_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("z")


def replace_by_equal_bytes(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.rename(file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "other bytes": overwrite,
    "grown": lambda file: file.write_bytes(file.read_bytes() + b"x"),
    "shrunk": lambda file: os.truncate(file, file.stat().st_size - 1),
    "emptied": lambda file: os.truncate(file, 0),
    "vanished": lambda file: file.unlink(),
    "a folder now": exchange_for_folder,
    "a link now": exchange_for_link,
    "another file of the same bytes": replace_by_equal_bytes,
}


@pytest.mark.parametrize("name", ["large", "exactly a chunk", "folder/middle", "folder/tiny", "many/100"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_file_that_changes_once_is_read_again(folder: Path, name: str, change: Callable[[Path], object]) -> None:
    tree = hash_tree(str(folder), clock=TimelyClock(lambda: change(folder / name)))
    assert tree.hashes == plain_hashes(str(folder), tree)
    assert tree == hash_tree(str(folder), clock=CLOCK), "the stamps are those of what was read"


def test_a_folder_that_vanishes_takes_its_files_along(folder: Path) -> None:
    tree = hash_tree(str(folder), clock=TimelyClock(lambda: (folder / "many").rename(folder.parent / "gone")))
    assert tree == hash_tree(str(folder), clock=CLOCK)


def test_a_folder_that_is_swapped_and_swapped_back_leaves_no_trace(tmp_path: Path) -> None:
    """Renaming a folder changes no stamp in it: bytes read meanwhile must not count as the file's."""
    folder = make_folder(tmp_path / "shared", {"d": {"a": 2 * CHUNK}})
    make_folder(tmp_path / "other", {"a": 2 * CHUNK + 5})
    os.truncate(tmp_path / "other" / "a", 2 * CHUNK)

    def swap() -> None:
        (folder / "d").rename(tmp_path / "kept")
        (tmp_path / "other").rename(folder / "d")

    def swap_back() -> None:
        (folder / "d").rename(tmp_path / "other")
        (tmp_path / "kept").rename(folder / "d")

    def when_all_is_read(hashed: Hashed) -> None:
        if hashed.n_files and (tmp_path / "kept").exists():
            swap_back()

    tree = hash_tree(str(folder), clock=TimelyClock(swap), progress=when_all_is_read)
    assert tree.hashes == plain_hashes(str(folder), tree)


def test_a_file_that_never_holds_still_is_named(folder: Path) -> None:
    changes = [lambda: overwrite(folder / "folder" / "middle")] * 3
    with pytest.raises(Conflict, match=f"{folder}/folder/middle changes while it is read"):
        hash_tree(str(folder), clock=TimelyClock(*changes))
    assert hash_tree(str(folder), clock=TimelyClock(*changes[:2])).hashes


def test_what_vanishes_altogether_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(NotFound, match=f"{tmp_path}/a does not exist"):
        hash_tree(str(tmp_path / "a"), clock=TimelyClock((tmp_path / "a").unlink))


def test_a_file_that_cannot_be_read_says_which_and_as_whom() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = make_folder(Path(name) / "shared", {"d": {"open": 10, "secret": 10}})
        os.chmod(name, 0o755)
        (folder / "d" / "secret").chmod(0o200)
        with as_nobody(), pytest.raises(NotAllowed) as caught:
            hash_tree(str(folder), clock=CLOCK)
        assert f"{folder}/d/secret is not readable for uid {65534 if os.geteuid() == 0 else os.geteuid()}" in str(
            caught.value
        )


@pytest.mark.parametrize("when", ["before", "while reading"])
def test_cancelled(folder: Path, when: str) -> None:
    cancel = threading.Event()
    clock = CLOCK if when == "before" else TimelyClock(cancel.set)
    if when == "before":
        cancel.set()
    with pytest.raises(Incomplete, match="cancelled"):
        hash_tree(str(folder), clock=clock, cancel=cancel)


def test_progress_ends_with_everything(folder: Path) -> None:
    seen: list[Hashed] = []
    tree = hash_tree(str(folder), clock=CLOCK, progress=seen.append)
    n_bytes, n_files = tree.entries.total_size, tree.entries.n_files
    assert seen[-1] == Hashed(n_bytes, n_bytes, n_files, n_files)
    assert {(each.total_bytes, each.total_files) for each in seen} == {(n_bytes, n_files)}
    assert [each.n_bytes for each in seen] == sorted(each.n_bytes for each in seen)
    seen.clear()
    hash_tree(str(folder), clock=CLOCK, progress=seen.append, known=[tree])
    assert seen == [Hashed(n_bytes, n_bytes, n_files, n_files)]


def test_a_caller_that_fails_ends_the_threads(folder: Path) -> None:
    def fail(hashed: Hashed) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_tree(str(folder), clock=CLOCK, progress=fail)


class Patience(threading.Event):
    """Notes how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return super().wait(timeout)


def test_a_file_written_this_instant_is_left_to_settle(tmp_path: Path) -> None:
    """Kernels stamp files in ticks: a second change within one would not show."""
    file = tmp_path / "a"
    file.write_bytes(b"x")

    class At(SystemClock):
        def __init__(self, age: float) -> None:
            self._age = age

        def wall(self) -> float:
            return file.stat().st_ctime_ns / 1e9 + self._age

    for age, waits in ((SETTLE_PERIOD / 2, [SETTLE_PERIOD]), (-3600, [SETTLE_PERIOD]), (2 * SETTLE_PERIOD, [])):
        patience = Patience()
        hash_tree(str(file), clock=At(age), cancel=patience)
        assert patience.waits == waits


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before
