"""Finding out which records two members do not have in common, without sending the whole list.

The digests of all records lie in a tree of 16 branches at each level, by their hexadecimal digits. A subtree
is summed up by its count and a fingerprint, the first 16 bytes of a SHA-256:
    of at most `MAX_LISTED` digests  over them, sorted
    of more                          over the count (4 bytes) and the fingerprints of its 16 children
So the sums depend on the set alone, and a change to it concerns the sums from one leaf to the root. Two sides
compare summaries from the root down; where they differ and one side has few digests left, that side lists
them, and the other knows both what to offer and what to ask for. With n records and d differences that is
O(d log n) summaries, in at most log16 n round trips: 100 differences in 100,000 records cost 76 KB, one 1.5.

`DigestSet` is the sorted set and its sums; `respond` decides the answer to a summary, and keeps no state: each
message is answered from what is held at that moment, so a hostile peer can tie up nothing.

Invariant: what `span` gives is sorted, and equal sets have equal fingerprints. Not here: messages, links,
whom to ask (`groups.exchange`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice

from swarmd.groups.records import DIGEST_BYTES

FINGERPRINT_BYTES = 16
MAX_DEPTH = 2 * DIGEST_BYTES
"""Hexadecimal digits in a digest."""
MAX_LISTED = 64
"""A subtree with so few digests is listed whole (1 KiB): about the size of its 16 children's summaries."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """The subtree of the digests whose first `depth` hexadecimal digits are those of `first`.

    `first`: its lowest possible digest, the digits after `depth` zero. ValueError otherwise.
    """

    depth: int
    first: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.depth <= MAX_DEPTH or len(self.first) != DIGEST_BYTES:
            raise ValueError(f"no prefix has {self.depth} digits")
        if int.from_bytes(self.first, "big") % self._width:
            raise ValueError("the digits after a prefix must be zero")

    @property
    def _width(self) -> int:
        return 1 << 4 * (MAX_DEPTH - self.depth)

    @property
    def after(self) -> bytes | None:
        """The lowest digest beyond the subtree; None when it reaches to the end."""
        after = int.from_bytes(self.first, "big") + self._width
        return after.to_bytes(DIGEST_BYTES, "big") if after < 1 << 8 * DIGEST_BYTES else None

    def __contains__(self, digest: bytes) -> bool:
        after = self.after
        return self.first <= digest and (after is None or digest < after)

    def children(self) -> list[Prefix]:
        """The 16 subtrees one digit deeper."""
        depth = self.depth + 1
        start, width = int.from_bytes(self.first, "big"), self._width >> 4
        return [Prefix(depth, (start + digit * width).to_bytes(DIGEST_BYTES, "big")) for digit in range(16)]


ROOT = Prefix(0, bytes(DIGEST_BYTES))


@dataclass(frozen=True, slots=True)
class Summary:
    """What somebody holds below `prefix`."""

    prefix: Prefix
    count: int
    fingerprint: bytes


class _Node:
    """One subtree. A leaf has `digests`, sorted, one after the other; an inner node its 16 `children`."""

    __slots__ = ("children", "count", "digests", "fingerprint")

    def __init__(self) -> None:
        self.count = 0
        self.digests = bytearray()
        self.children: list[_Node] = []
        self.fingerprint: bytes | None = None
        """Kept until something below changes."""


class DigestSet:
    """The sorted set, and its sums. `add` and `discard` forget the sums on the way down and no others: 3 us at 100,000,
    and the sum of the root after one change is 5 hashes, 10 us."""

    __slots__ = ("_root",)

    def __init__(self, digests: Iterable[bytes] = ()) -> None:
        self._root = _Node()
        for digest in digests:
            self.add(digest)

    def __len__(self) -> int:
        return self._root.count

    def __iter__(self) -> Iterator[bytes]:
        return _walk(self._root)

    def __contains__(self, digest: bytes) -> bool:
        leaf = self._path(digest)[-1]
        return _is_at(leaf.digests, _place(leaf.digests, digest), digest)

    def add(self, digest: bytes) -> None:
        path = self._path(digest)
        leaf = path[-1]
        place = _place(leaf.digests, digest)
        if _is_at(leaf.digests, place, digest):
            return
        leaf.digests[place:place] = digest
        for node in path:
            node.count += 1
            node.fingerprint = None
        if leaf.count > MAX_LISTED:
            _split(leaf, len(path) - 1)

    def discard(self, digest: bytes) -> None:
        path = self._path(digest)
        leaf = path[-1]
        place = _place(leaf.digests, digest)
        if not _is_at(leaf.digests, place, digest):
            return
        del leaf.digests[place : place + DIGEST_BYTES]
        for node in path:
            node.count -= 1
            node.fingerprint = None
        for node in path[:-1]:
            if node.count <= MAX_LISTED:
                node.digests, node.children = bytearray(b"".join(_walk(node))), []
                break

    def span(self, prefix: Prefix) -> list[bytes]:
        """The digests below `prefix`, in order."""
        node = self._find(prefix)
        return [digest for digest in _walk(node) if digest in prefix] if not node.children else list(_walk(node))

    def count(self, prefix: Prefix) -> int:
        """How many digests are below `prefix`."""
        node = self._find(prefix)
        return node.count if node.children else len(self.span(prefix))

    def summary(self, prefix: Prefix) -> Summary:
        """The sum of one subtree."""
        node = self._find(prefix)
        if node.children:
            return Summary(prefix, node.count, _sum(node))
        digests = self.span(prefix)
        return Summary(prefix, len(digests), _hash(b"".join(digests)))

    def root(self) -> Summary:
        """The sum of everything."""
        return Summary(ROOT, self._root.count, _sum(self._root))

    def following(self, digest: bytes, limit: int) -> list[bytes]:
        """The next ones beyond this, at most `limit`: to go through all of them in pieces while they change."""
        return list(islice(_walk_beyond(self._root, 0, digest), limit))

    def _path(self, digest: bytes) -> list[_Node]:
        """From the root to the leaf that holds it, or would."""
        node = self._root
        path = [node]
        while node.children:
            node = node.children[_digit(digest, len(path) - 1)]
            path.append(node)
        return path

    def _find(self, prefix: Prefix) -> _Node:
        """The node of this subtree, or the leaf above it."""
        node = self._root
        for depth in range(prefix.depth):
            if not node.children:
                break
            node = node.children[_digit(prefix.first, depth)]
        return node


def _digit(digest: bytes, depth: int) -> int:
    return digest[depth >> 1] & 15 if depth & 1 else digest[depth >> 1] >> 4


def _place(digests: bytearray, digest: bytes) -> int:
    """Where it stands in a leaf, or would, in bytes."""
    low, high = 0, len(digests) // DIGEST_BYTES
    while low < high:
        middle = (low + high) // 2
        if digests[middle * DIGEST_BYTES : (middle + 1) * DIGEST_BYTES] < digest:
            low = middle + 1
        else:
            high = middle
    return low * DIGEST_BYTES


def _is_at(digests: bytearray, place: int, digest: bytes) -> bool:
    return digests[place : place + DIGEST_BYTES] == digest


def _split(leaf: _Node, depth: int) -> None:
    """Make an inner node of a leaf that holds too many, at this depth."""
    leaf.children = [_Node() for _ in range(16)]
    for digest in _cut(leaf.digests):
        child = leaf.children[_digit(digest, depth)]
        child.digests += digest
        child.count += 1
    leaf.digests = bytearray()
    for child in leaf.children:
        if child.count > MAX_LISTED:
            _split(child, depth + 1)


def _cut(digests: bytearray) -> Iterator[bytes]:
    whole = bytes(digests)
    return (whole[start : start + DIGEST_BYTES] for start in range(0, len(whole), DIGEST_BYTES))


def _walk(node: _Node) -> Iterator[bytes]:
    if not node.children:
        return _cut(node.digests)
    return chain.from_iterable(map(_walk, node.children))


def _walk_beyond(node: _Node, depth: int, digest: bytes) -> Iterator[bytes]:
    if not node.children:
        return (each for each in _cut(node.digests) if each > digest)
    digit = _digit(digest, depth)
    first = _walk_beyond(node.children[digit], depth + 1, digest)
    return chain(first, chain.from_iterable(map(_walk, node.children[digit + 1 :])))


def _sum(node: _Node) -> bytes:
    if node.fingerprint is None:
        if node.children:
            node.fingerprint = _hash(node.count.to_bytes(4, "big") + b"".join(map(_sum, node.children)))
        else:
            node.fingerprint = _hash(node.digests)
    return node.fingerprint


def _hash(data: bytes | bytearray) -> bytes:
    return sha256(data).digest()[:FINGERPRINT_BYTES]


@dataclass(frozen=True, slots=True)
class Listing:
    """All digests that somebody holds below `prefix`: at most `MAX_LISTED`, in order."""

    prefix: Prefix
    digests: tuple[bytes, ...]


def opening(digests: DigestSet) -> Listing | Summary:
    """What to say first."""
    return _listing(digests, ROOT) if len(digests) <= MAX_LISTED else digests.root()


def respond(digests: DigestSet, theirs: Summary) -> Listing | list[Summary]:
    """The answer to a summary: nothing when both hold the same; our list when we hold few; the same subtree when
    they do, for them to list it; otherwise its children."""
    ours = digests.root() if theirs.prefix == ROOT else digests.summary(theirs.prefix)
    if ours == theirs:
        return []
    if ours.count <= MAX_LISTED:
        return _listing(digests, theirs.prefix)
    if theirs.count <= MAX_LISTED:
        return [ours]
    return [digests.summary(child) for child in theirs.prefix.children()]


def _listing(digests: DigestSet, prefix: Prefix) -> Listing:
    return Listing(prefix, tuple(digests.span(prefix)))
