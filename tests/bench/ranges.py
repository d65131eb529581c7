"""Range sets at their worst: every second of 2^18 chunks (1 TiB), put in and taken out at random.

usage: python -m tests.bench.ranges
"""

from __future__ import annotations

from collections.abc import Callable

from swarmd.core.clock import SystemClock
from swarmd.core.ranges import RangeSet
from swarmd.core.rng import SeededRng

INDICES = 2**18
SMALL = 1024
"""The chunks of a 1 GiB object."""
ROUNDS = 5


def main() -> None:
    print(f"{'one index of ' + str(SMALL):44} {'us':>10}")
    order = shuffled(SMALL)
    show("add, random order, empty to full", per(SMALL, lambda: added(order)))
    print(f"{'one index of ' + str(INDICES):44} {'us':>10}")
    order = shuffled(INDICES)
    show("add, random order, empty to full", per(INDICES, lambda: added(order)))
    show("add, in order", per(INDICES, lambda: added(list(range(INDICES)))))

    even, odd = every(2, 0), every(2, 1)
    third = every(3, 0)
    few = RangeSet((index, index + 1) for index in shuffled(INDICES)[:20])
    show("in, fragmented", per(INDICES, lambda: [index in even for index in order]))
    show("first_missing, fragmented", per(INDICES, lambda: [even.first_missing(index) for index in order]))

    print(f"{'a whole set, up to ' + str(INDICES // 2) + ' ranges':44} {'us':>10}")
    encoded, sparse = even.encode(), every(300, 0)
    show("even | odd", per(1, lambda: even | odd))
    show("even & third", per(1, lambda: even & third))
    show("even - third", per(1, lambda: even - third))
    show("even & 20 ranges", per(1, lambda: even & few))
    show("copy, update with 20 ranges", per(1, lambda: even.copy().update(few)))
    show("copy", per(1, even.copy))
    show(f"encode ({len(encoded) // 1024} KiB)", per(1, even.encode))
    show("decode", per(1, lambda: RangeSet.decode(encoded, INDICES, INDICES)))
    encoded_sparse = sparse.encode()
    show(
        f"decode, two-byte steps ({len(encoded_sparse)} B)",
        per(1, lambda: RangeSet.decode(encoded_sparse, INDICES, INDICES)),
    )


def shuffled(n: int) -> list[int]:
    order = list(range(n))
    SeededRng(1).shuffle(order)
    return order


def added(order: list[int]) -> RangeSet:
    ranges = RangeSet()
    for index in order:
        ranges.add(index)
    return ranges


def every(step: int, start: int) -> RangeSet:
    return RangeSet((index, index + 1) for index in range(start, INDICES, step))


def per(times: int, run: Callable[[], object]) -> float:
    """Microseconds for one of `times`, the best of ROUNDS."""
    clock = SystemClock()
    best = float("inf")
    for _ in range(ROUNDS):
        started_at = clock.monotonic()
        run()
        best = min(best, clock.monotonic() - started_at)
    return best * 1e6 / times


def show(what: str, microseconds: float) -> None:
    print(f"  {what:42} {microseconds:10.2f}")


if __name__ == "__main__":
    main()
