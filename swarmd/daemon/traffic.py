"""How much goes through a group, and how fast: bytes of data and of control messages, for each thing that it is for.

In: counters that only grow. Out: the same with rates over the last `MEASURE_PERIOD` or more. Counters are of one group
since it was joined or the daemon started; they begin anew after a restart.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

MEASURE_PERIOD = 2.0
"""Seconds: shorter ones show single messages and not a rate."""


@dataclass(slots=True)
class Bytes:
    data_received: int = 0
    data_sent: int = 0
    control_received: int = 0
    control_sent: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second."""

    data_received: float = 0.0
    data_sent: float = 0.0
    control_received: float = 0.0
    control_sent: float = 0.0


class Meter:
    """Of one counter; asked now and then."""

    def __init__(self, now: float) -> None:
        self._measured_at = now
        self._measured = (0, 0, 0, 0)
        self._rates = Rates()

    def rates(self, counted: Bytes, now: float) -> Rates:
        """Anew at most every `MEASURE_PERIOD`."""
        period = now - self._measured_at
        if period >= MEASURE_PERIOD:
            present = astuple(counted)
            self._rates = Rates(*((count - last) / period for count, last in zip(present, self._measured, strict=True)))
            self._measured_at, self._measured = now, present
        return self._rates
