"""Sealing and opening of records of 256 KiB on one core, GB/s, and what keeping freed memory is worth.

usage: python -m tests.bench.records
"""

from __future__ import annotations

from swarmd.core.clock import SystemClock
from swarmd.daemon.memory import keep_freed_memory
from swarmd.transport.tcp.record import LENGTH, MAX_PAYLOAD_BYTES, Opener, Sealer

_RECORDS = 2048
_HELD = 16


def measure() -> tuple[float, float]:
    """Seconds to seal and to open _RECORDS records."""
    clock = SystemClock()
    sealer, opener = Sealer(bytes(32)), Opener(bytes(32))
    plain = bytes(MAX_PAYLOAD_BYTES)
    held: list[memoryview] = []  # a transfer holds the records of several chunks until they are written
    seal = opened = 0.0
    for _ in range(_RECORDS):
        start = clock.monotonic()
        record = memoryview(sealer.seal(plain))
        middle = clock.monotonic()
        held.append(opener.open(bytes(record[: LENGTH.size]), record[LENGTH.size :]))
        seal += middle - start
        opened += clock.monotonic() - middle
        if len(held) == _HELD:
            held.clear()
    return seal, opened


def main() -> None:
    size = _RECORDS * MAX_PAYLOAD_BYTES / 1e9
    for label in ("memory as glibc has it", "freed memory kept"):
        seal, opened = min(measure() for _ in range(3))
        print(f"{label:24s} seal {size / seal:5.1f} GB/s  open {size / opened:5.1f} GB/s")
        keep_freed_memory()


if __name__ == "__main__":
    main()
