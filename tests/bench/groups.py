"""Groups: what a catalogue of 10,000 shares and the membership of a hundred members cost.

usage: python -m tests.bench.groups
"""

from __future__ import annotations

import resource
import tracemalloc

from swarmd.groups.catalogue import Catalogue
from swarmd.groups.records import Record
from tests.groups.builders import WALL, record, spec
from tests.groups.net import Net
from tests.groups.simulation import Simulation

PUBLISHERS, SHARES_EACH = 5, 2000
MEMBERS = 100


def main() -> None:
    records = [record(who, name=f"{n}", number=n) for who in range(PUBLISHERS) for n in range(SHARES_EACH)]
    bench_decoding(records)
    bench_late_comer(records)
    bench_members()


def cpu() -> float:
    """Seconds of CPU so far: not disturbed by what else runs here."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def bench_decoding(records: list[Record]) -> None:
    encoded = [each.encode() for each in records]
    tracemalloc.start()
    catalogue = Catalogue(spec())
    for data in encoded:
        catalogue.restore(data, WALL)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    began = cpu()
    for data in encoded:
        catalogue.decode(data)
    each = (cpu() - began) / len(encoded)
    print(f"{len(records)} records: {size / 1e6:.1f} MB held, {each * 1e6:.0f} us each to decode")


def bench_late_comer(records: list[Record]) -> None:
    net = Net(100, 101)
    net.hold(100, records)
    net.link(100, 101)
    began = cpu()
    net.settle()
    assert net.are_alike()
    took = cpu() - began
    print(f"a late comer fetches and verifies them: {took:.2f} s of both CPUs, {net.sent_bytes / 1e6:.2f} MB")


def bench_members() -> None:
    made = Simulation(1)
    began = cpu()
    made.add()
    for _ in range(MEMBERS - 1):
        made.add(0)
    waited = made.run_until(made.all_know_all, 60.0)
    made.run(20.0)
    took = (cpu() - began) / MEMBERS
    print(f"{MEMBERS} members at once: all know all after {waited:.1f} s (virtual), {took * 1e3:.0f} ms of CPU each")
    before, began = sum(node.sent_bytes for node in made.nodes), cpu()
    made.run(60.0)
    rate = (sum(node.sent_bytes for node in made.nodes) - before) / MEMBERS / 60
    load = (cpu() - began) / MEMBERS / 60
    print(f"idle: {rate:.0f} bytes a second, {load * 100:.2f} % of a core each")


if __name__ == "__main__":
    main()
