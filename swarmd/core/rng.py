"""The only place that draws random numbers.

`SystemRng` is the kernel's generator and the only one that may make keys; `SeededRng` repeats itself from a
seed, for tests and simulations, and costs a tenth, for choices that need not be secret. Everything that draws takes
an `Rng` from its caller, so one seed replays a whole simulation.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import MutableSequence, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
Octets = bytes
"""`bytes` under another name, since `Rng.bytes` hides it inside the classes below."""


class Rng(Protocol):
    """What swarmd draws. The names are those of `random.Random` where it has them."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def randrange(self, stop: int) -> int:
        """An integer in [0, stop); ValueError when stop is not positive."""
        ...

    def bytes(self, n: int) -> Octets:
        """`n` bytes."""
        ...

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Put `items` in a random order, in place."""
        ...

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`; IndexError when there is none."""
        ...

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different places of `items` in random order; ValueError when there are fewer."""
        ...


class _Drawn:
    """The `Rng` methods over a `random.Random`, which differ only in where the bits come from."""

    __slots__ = ("_source",)

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def random(self) -> float:
        return self._source.random()

    def randrange(self, stop: int) -> int:
        return self._source.randrange(stop)

    def shuffle(self, items: MutableSequence[Any]) -> None:
        self._source.shuffle(items)

    def choice(self, items: Sequence[T]) -> T:
        return self._source.choice(items)

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        return self._source.sample(items, k)


class SystemRng(_Drawn):
    """The kernel's generator: unpredictable, fit for keys."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(secrets.SystemRandom())

    def bytes(self, n: int) -> Octets:
        return secrets.token_bytes(n)


class SeededRng(_Drawn):
    """The same draws for the same seed. Predictable: never for keys outside a test."""

    __slots__ = ()

    def __init__(self, seed: int) -> None:
        super().__init__(random.Random(seed))

    def bytes(self, n: int) -> Octets:
        return self._source.randbytes(n)
