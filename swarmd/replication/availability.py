"""How many connected peers have each chunk: one counter a chunk, kept as bit planes.

Plane k holds bit k of every counter, so adding a peer's whole set is a ripple-carry addition of at most
log2(peers) + 1 integer operations, whatever the number of chunks, and `rarest` halves the candidates plane by plane.
No operation walks the chunks.

Invariant: the planes are the sum of the sets added and not taken out again. Taking out what was not put in is a bug
of the caller and raises.
"""

from __future__ import annotations


class Availability:
    __slots__ = ("_planes",)

    def __init__(self) -> None:
        self._planes: list[int] = []

    def add(self, bits: int) -> None:
        """One more peer has these."""
        planes = self._planes
        for k, plane in enumerate(planes):
            if not bits:
                return
            planes[k] = plane ^ bits
            bits &= plane
        if bits:
            planes.append(bits)

    def remove(self, bits: int) -> None:
        """One peer less has these."""
        planes = self._planes
        for k, plane in enumerate(planes):
            if not bits:
                break
            planes[k] = plane ^ bits
            bits ^= bits & plane
        if bits:
            raise ValueError("a chunk's count would fall below zero")
        while planes and not planes[-1]:
            planes.pop()

    def count(self, index: int) -> int:
        """How many peers have chunk `index`."""
        return sum((plane >> index & 1) << k for k, plane in enumerate(self._planes))

    def held(self) -> int:
        """The chunks that at least one peer has."""
        bits = 0
        for plane in self._planes:
            bits |= plane
        return bits

    def rarest(self, candidates: int) -> int:
        """Those of the candidates that the fewest peers have."""
        for plane in reversed(self._planes):
            low = candidates ^ (candidates & plane)
            if low:
                candidates = low
        return candidates
