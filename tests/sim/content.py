"""The object of a simulation: its bytes are slices of one pool, so that a thousand nodes hold it in four MiB."""

from __future__ import annotations

from collections.abc import Sequence

from swarmd.core.ids import ContentId
from swarmd.core.rng import SeededRng
from swarmd.replication.shape import HASH_PAGE_CHUNKS, MAX_CHUNK_BYTES, MetaKind, Shape, uniform

_SPREAD = 1 << 16
_POOL = memoryview(SeededRng(7).bytes(MAX_CHUNK_BYTES + _SPREAD))
_PROBE = 16


class Content:
    def __init__(self, size: int, chunk_size: int) -> None:
        self.content_id = ContentId(bytes(31) + b"\1")
        self.shape: Shape = uniform(size, chunk_size)

    def chunk(self, index: int) -> memoryview:
        start = index * 7919 % _SPREAD
        return _POOL[start : start + self.shape.chunk_length(index)]

    def false_chunk(self, index: int) -> memoryview:
        """Of the right length, and wrong."""
        start = (index * 7919 + 1) % _SPREAD
        return _POOL[start : start + self.shape.chunk_length(index)]

    def is_true(self, index: int, parts: Sequence[memoryview]) -> bool:
        """Whether `parts` is that chunk: its length, and some bytes of each part."""
        true = self.chunk(index)
        offset = 0
        for part in parts:
            if part[:_PROBE] != true[offset : offset + min(_PROBE, len(part))]:
                return False
            offset += len(part)
        return offset == len(true)

    def page(self, kind: MetaKind, index: int) -> bytes:
        if kind is MetaKind.HASHES:
            chunks = min(HASH_PAGE_CHUNKS, self.shape.n_chunks - index * HASH_PAGE_CHUNKS)
            return bytes([index % 256]) * (32 * chunks)
        return bytes([kind]) * 200
