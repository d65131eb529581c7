"""Sealing and opening of session packets and the replay window's part in it, microseconds each on one core.

usage: python -m tests.bench.packets
"""

from __future__ import annotations

from collections.abc import Iterable

from swarmd.core.clock import SystemClock
from swarmd.transport.rtmfp.noise import NoiseCipher
from swarmd.transport.rtmfp.replay import ReplayWindow

_PACKETS = 100_000
_PLAIN_BYTES = 1400


def measure_cipher() -> tuple[float, float]:
    """Seconds to seal into one buffer, and to open, _PACKETS packets."""
    clock = SystemClock()
    sealer, opener = NoiseCipher(bytes(32), bytes(32)), NoiseCipher(bytes(32), bytes(32))
    plain, target = bytes(_PLAIN_BYTES), memoryview(bytearray(_PLAIN_BYTES + sealer.overhead))
    start = clock.monotonic()
    for _ in range(_PACKETS):
        sealer.seal_into(plain, target)
    sealing = clock.monotonic() - start
    packets = [memoryview(NoiseCipher.seal(opener, plain)) for _ in range(_PACKETS)]
    start = clock.monotonic()
    for packet in packets:
        opener.open(packet)
    return sealing, clock.monotonic() - start


def measure_window(sequences: Iterable[int]) -> float:
    """Seconds to look and mark them."""
    clock = SystemClock()
    window = ReplayWindow()
    start = clock.monotonic()
    for sequence in sequences:
        if window.is_new(sequence):
            window.mark(sequence)
    return clock.monotonic() - start


def main() -> None:
    unit = 1e6 / _PACKETS
    sealing, opening = (min(times) for times in zip(*(measure_cipher() for _ in range(3)), strict=True))
    print(f"packets of {_PLAIN_BYTES} bytes: seal {sealing * unit:.2f} us  open {opening * unit:.2f} us")
    in_order = min(measure_window(range(_PACKETS)) for _ in range(3))
    swapped = [sequence ^ (sequence >> 1 & 1) for sequence in range(_PACKETS)]
    print(f"replay window: in order {in_order * unit:.2f} us", end="  ")
    print(f"every second pair swapped {min(measure_window(swapped) for _ in range(3)) * unit:.2f} us")


if __name__ == "__main__":
    main()
