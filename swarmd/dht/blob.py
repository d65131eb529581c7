"""A value of up to 1 MiB as immutable items: one alone when it fits, otherwise a tree of them.

    leaf    up to 996 bytes of the value, a byte string
    branch  {"t": targets of leaves, 48 at most}
    root    {"h": SHA-256 of the value, "l": its length, "t": targets of branches, "z": 1}

A value of up to 996 bytes is a leaf alone, which is what other Mainline programs put and get. The key is the target of
the root (or of the one leaf).

Invariant: what `Assembly` gives is what was put: each item fits the hash that names it, and the whole its SHA-256 (the
targets are Mainline's SHA-1). It asks for no more items than a value of MAX_BLOB_BYTES has.
"""

from __future__ import annotations

import hashlib

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.dht.bencode import Value
from swarmd.dht.contact import ID_BYTES
from swarmd.dht.items import Item, immutable

MAX_BLOB_BYTES = 1 << 20
LEAF_BYTES = 996
BRANCH_LEAVES = 48
"""960 bytes of targets, and 9 around them."""
VERSION = 1


def items_of(data: bytes) -> list[Item]:
    """What has to be put, the root last. InvalidArgument when there is too much of it."""
    if len(data) > MAX_BLOB_BYTES:
        raise InvalidArgument(f"the DHT takes values of up to {MAX_BLOB_BYTES} bytes, not {len(data)}")
    leaves = [immutable(data[at : at + LEAF_BYTES]) for at in range(0, max(1, len(data)), LEAF_BYTES)]
    if len(leaves) == 1:
        return leaves
    groups = [leaves[at : at + BRANCH_LEAVES] for at in range(0, len(leaves), BRANCH_LEAVES)]
    branches = [immutable({b"t": _targets(group)}) for group in groups]
    digest = hashlib.sha256(data).digest()
    root = immutable({b"h": digest, b"l": len(data), b"t": _targets(branches), b"z": VERSION})
    unique = {item.target: item for item in leaves + branches}
    return [*unique.values(), root]


class Assembly:
    """A value being fetched. `wanted` are the targets to get now; RemoteError: it is no value of this kind."""

    def __init__(self, key: bytes) -> None:
        self.wanted: list[bytes] = [key]
        self.result: bytes | None = None
        self._key = key
        self._digest = b""
        self._n_bytes = 0
        self._branches: list[bytes] = []
        self._leaves: dict[bytes, list[bytes]] = {}
        self._parts: dict[bytes, bytes] = {}

    def receive(self, item: Item) -> None:
        """An item that was wanted and has been verified against its target."""
        target, value = item.target, item.value
        if target == self._key:
            self._receive_root(value)
        elif target in self._branches:
            self._leaves[target] = _split(_dictionary(value).get(b"t"), BRANCH_LEAVES)
            self.wanted = list(dict.fromkeys(leaf for leaf in self._leaves[target] if leaf not in self._parts))
            return
        else:
            self._parts[target] = _octets(value)
            self.wanted = []
        self._finish()

    def _receive_root(self, value: Value) -> None:
        self.wanted = []
        if isinstance(value, bytes):
            self.result = value
            return
        root = _dictionary(value)
        length, digest = root.get(b"l"), root.get(b"h")
        if root.get(b"z") != VERSION or not isinstance(length, int) or not isinstance(digest, bytes):
            raise RemoteError("an item that is no value put by swarmd")
        if not LEAF_BYTES < length <= MAX_BLOB_BYTES:
            raise RemoteError("a value of an impossible length")
        self._n_bytes, self._digest = length, digest
        n_leaves = -(-length // LEAF_BYTES)
        n_branches = -(-n_leaves // BRANCH_LEAVES)
        self._branches = _split(root.get(b"t"), n_branches)
        if len(self._branches) != n_branches:
            raise RemoteError("a value with too few parts")
        self.wanted = list(dict.fromkeys(self._branches))

    def _finish(self) -> None:
        if self.result is not None or len(self._leaves) < len(set(self._branches)) or not self._branches:
            return
        leaves = [leaf for branch in self._branches for leaf in self._leaves[branch]]
        if any(leaf not in self._parts for leaf in leaves):
            return
        data = b"".join(self._parts[leaf] for leaf in leaves)
        if len(data) != self._n_bytes or hashlib.sha256(data).digest() != self._digest:
            raise RemoteError("a value that is not what its root says")
        self.result = data


def _targets(items: list[Item]) -> bytes:
    return b"".join(item.target for item in items)


def _split(targets: Value | None, limit: int) -> list[bytes]:
    if not isinstance(targets, bytes) or not targets or len(targets) % ID_BYTES or len(targets) > limit * ID_BYTES:
        raise RemoteError("a list of parts of the wrong length")
    return [targets[at : at + ID_BYTES] for at in range(0, len(targets), ID_BYTES)]


def _dictionary(value: Value) -> dict[bytes, Value]:
    if not isinstance(value, dict):
        raise RemoteError("an item that is no value put by swarmd")
    return value


def _octets(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise RemoteError("a part of a value that is no bytes")
    return value
