"""A catalogue of 100,000 shares and 50,000 tombstones: memory, a start, a change, a newcomer, differences.

usage: python -m tests.bench.catalogue
CPU seconds of this process, so that what else runs here disturbs little. Signing the records takes 15 s of its own.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

from swarmd.core.ids import PeerId
from swarmd.groups import messages
from swarmd.groups.catalogue import (
    MAX_SHARES,
    MAX_SHARES_PER_PUBLISHER,
    MAX_TOMBSTONES,
    MAX_TOMBSTONES_PER_PUBLISHER,
    Catalogue,
    oldest_first,
)
from swarmd.groups.exchange import Exchange
from swarmd.groups.records import RecordKind
from swarmd.groups.recordtable import decode_held
from tests.groups.builders import WALL, identity, record, spec
from tests.groups.net import Net

HERE, THERE = 100, 101


def main() -> None:
    shares = [signed(number, RecordKind.SHARE, MAX_SHARES_PER_PUBLISHER) for number in range(MAX_SHARES)]
    tombstones = [signed(n, RecordKind.TOMBSTONE, MAX_TOMBSTONES_PER_PUBLISHER) for n in range(MAX_TOMBSTONES)]
    print(f"{len(shares)} shares, {len(tombstones)} tombstones, {sum(map(len, shares)) / len(shares):.0f} bytes each")
    held = bench_memory(shares, tombstones)
    bench_looking(held)
    del held
    for count in (0, 1, 10, 100, 1000):
        bench_differences(shares, count)
    bench_newcomer(shares)


def signed(number: int, kind: RecordKind, each: int) -> bytes:
    name = f"The name of a {kind.name.lower()} {number:06}.mkv"
    return record(1 + number // each, name=name, number=number, seq=int(WALL * 1000) + number, kind=kind).encode()


def resident() -> float:
    """MiB of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def cpu(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def bench_memory(shares: list[bytes], tombstones: list[bytes]) -> Catalogue:
    held = Catalogue(spec())
    gc.collect()
    before = resident()
    for what, encoded in (("shares", shares), ("tombstones", tombstones)):
        took = cpu(lambda: [held.restore(bytes(bytearray(each)), WALL) for each in encoded])  # noqa: B023
        gc.collect()
        print(f"with its {what}: {resident() - before:.1f} MiB; {took:.2f} s of CPU to restore them")
    return held


def bench_looking(held: Catalogue) -> None:
    digests = list(held.digests)[::15]
    print(f"sum of everything, anew: {cpu(held.digests.root) * 1e3:.1f} ms")

    def change() -> None:
        for digest in digests:
            held.digests.discard(digest)
            held.digests.add(digest)
            held.digests.root()

    each = 1e6 / len(digests)
    print(f"out, in, and the sum after it: {cpu(change) * each:.0f} us")
    print(f"a record's bytes by digest: {cpu(lambda: [held.encoded(each) for each in digests]) * each:.1f} us")
    names = [f"The name of a share {number:06}.mkv" for number in range(0, MAX_SHARES, 10)]
    print(f"by name: {cpu(lambda: [held.find_shares(name=name) for name in names]) * each:.0f} us")
    print(f"everything listed, oldest first: {cpu(held.shares):.2f} s")

    def pages() -> None:
        after: bytes | None = bytes(16)
        while after is not None:
            page, after = held.following(after, 1000)
            oldest_first(map(decode_held, page))

    print(f"in pages of 1,000: {cpu(pages):.2f} s")


def bench_differences(shares: list[bytes], count: int) -> None:
    net = Net(HERE, THERE)
    spread = range(0, MAX_SHARES, MAX_SHARES // count) if count else range(0)
    left_out = set(spread)
    net[HERE].restore(shares, WALL)
    net[THERE].restore((each for number, each in enumerate(shares) if number not in left_out), WALL)
    net[HERE].status(), net[THERE].status()
    net.link(HERE, THERE)
    took = cpu(net.settle)
    assert net.are_alike()
    found = sum(len(shares[number]) for number in spread)
    print(
        f"{count} differences: {net.sent_bytes - found} bytes beside the records, {net.n_rounds} one-way trips,"
        f" {took * 1e3:.0f} ms of both CPUs"
    )


def bench_newcomer(shares: list[bytes]) -> None:
    """Driven as a daemon does: in slices, with a look at how long each turn takes."""
    giver, taker = (Exchange(identity(each).peer_id, Catalogue(spec())) for each in (HERE, THERE))
    sides = {identity(HERE).peer_id: giver, identity(THERE).peer_id: taker}
    giver.restore(shares, WALL)
    giver.status()
    taker.in_slices = True
    for own, other in ((HERE, THERE), (THERE, HERE)):
        sides[identity(own).peer_id].open_link(identity(other).peer_id, 0.0)
    turns: dict[PeerId, list[float]] = {each: [] for each in sides}
    began, n_bytes = time.process_time(), 0

    def turn(who: PeerId, work: Callable[[], object]) -> None:
        turns[who].append(cpu(work))

    while True:
        sent = [(who, peer, data) for who, each in sides.items() for peer, data in each.messages_to_send()]
        for who, peer, data in sent:
            n_bytes += len(data)
            now = time.process_time() - began
            message = messages.decode(data)
            turn(peer, lambda: sides[peer].receive(who, message, now, WALL))  # type: ignore[arg-type]  # noqa: B023
        if taker.has_work:
            turn(identity(THERE).peer_id, lambda: taker.work(time.process_time() - began, WALL))
        elif not sent:
            break
        while taker.next_event() is not None:
            pass
    took = time.process_time() - began
    assert taker.status() == giver.status()
    mine, theirs = (sorted(turns[identity(each).peer_id]) for each in (THERE, HERE))
    print(f"a newcomer: {took:.1f} s of CPU of both, {len(shares) / took:.0f} records a second, {n_bytes / 1e6:.1f} MB")
    print(f"its turns: {mine[len(mine) // 2] * 1e3:.1f} ms each, 99 of 100 within {mine[-len(mine) // 100] * 1e3:.1f},")
    print(
        f"the longest {mine[-1] * 1e3:.1f}; of who gives {sum(theirs):.1f} s in all, the longest {theirs[-1] * 1e3:.1f}"
    )


if __name__ == "__main__":
    main()
