"""Which packets of a session have been seen: a window over their sequence numbers.

`is_new` before a packet is opened (cheap, so that a replay costs no decryption), `mark` after it has opened (a forged
packet must not move the window). A packet further back than the window counts as seen.

Invariant: bit i of the bitmap stands for sequence `top - i`, after the run is taken into account. The run is the number
of packets that came one after another since the bitmap was last shifted: packets that come in order, nearly all of
them, cost one addition, and the bitmap (an int of 2,048 bits) is shifted only when one does not.

Speed: 0.10 us to look and mark in order, 0.24 us with every second pair swapped (`python -m tests.bench.packets`).
"""

from __future__ import annotations

WINDOW = 2048
"""How far a packet may be overtaken: at 1 GB/s in packets of 1,400 bytes 3 ms, which paths over several queues need."""
_MASK = (1 << WINDOW) - 1


class ReplayWindow:
    """Starts with nothing seen; sequence numbers are 0 and up."""

    __slots__ = ("_bitmap", "_run", "_top")

    def __init__(self) -> None:
        self._top = -1
        self._bitmap = 0
        self._run = 0

    def is_new(self, sequence: int) -> bool:
        """Whether `sequence` has not been marked and is not too old to tell."""
        behind = self._top - sequence
        if behind < 0:
            return True
        if behind < self._run:
            return False
        behind -= self._run
        return behind < WINDOW - self._run and not self._bitmap >> behind & 1

    def mark(self, sequence: int) -> None:
        """`sequence` has been seen: one that `is_new` says yes to."""
        if sequence == self._top + 1:
            self._top = sequence
            if self._run < WINDOW:
                self._run += 1
            return
        self._settle()
        ahead = sequence - self._top
        if ahead < 0:
            self._bitmap |= 1 << -ahead
            return
        self._top = sequence
        # shifting by a number that a peer chose, before it is bounded, would take all memory
        self._bitmap = (self._bitmap << ahead & _MASK if ahead < WINDOW else 0) | 1

    def _settle(self) -> None:
        """Put the run into the bitmap."""
        if self._run:
            self._bitmap = (self._bitmap << self._run | (1 << self._run) - 1) & _MASK
            self._run = 0
