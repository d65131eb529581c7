"""Rates as people write them: `"10 MiB/s"`, `"20 Mbit/s"`, `"unlimited"`, or a number of bytes a second.

Invariant: `parse_rate(format_rate(r)) == r`. Units are case-sensitive where case has a meaning: `Mbit` is
10^6 bits, `MB` 10^6 bytes, `MiB` 2^20 bytes; `mb` could be either and is refused. Zero is refused too: half
of all programs take it for "unlimited" and half for "stop".
"""

from __future__ import annotations

import re

from swarmd.core.errors import InvalidArgument

_UNITS = {
    "B": 1.0,
    "kB": 1e3,
    "KB": 1e3,
    "KiB": 2.0**10,
    "MB": 1e6,
    "MiB": 2.0**20,
    "GB": 1e9,
    "GiB": 2.0**30,
    "kbit": 1e3 / 8,
    "Mbit": 1e6 / 8,
    "Gbit": 1e9 / 8,
}
_RATE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]+)(?:/s)?\s*", re.ASCII)
MIN_RATE = 1024
"""Bytes a second. Below, a block of 256 KiB takes minutes and every time-out of the protocol fires."""
MAX_RATE = 10**15
UNLIMITED = "unlimited"


def parse_rate(value: str | int) -> int | None:
    """Bytes a second, or None for unlimited; InvalidArgument otherwise."""
    if isinstance(value, str):
        if value.strip() == UNLIMITED:
            return None
        rate = _parsed(value)
    else:
        rate = value
    if rate == 0:
        raise InvalidArgument(f'a rate of 0 would stop everything; for no limit write "{UNLIMITED}"')
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidArgument(f"{value!r} is not between {MIN_RATE} and {MAX_RATE} bytes a second")
    return rate


def format_rate(rate: int | None) -> str:
    """The shortest exact form."""
    if rate is None:
        return UNLIMITED
    for unit in ("GiB", "MiB", "KiB"):
        size = int(_UNITS[unit])
        if rate % size == 0:
            return f"{rate // size} {unit}/s"
    return f"{rate} B/s"


def _parsed(text: str) -> int:
    found = _RATE.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise InvalidArgument(
            f'{text!r} is not a rate: write "10 MiB/s", "20 Mbit/s", "{UNLIMITED}" or bytes a second'
            f" (units: {', '.join(_UNITS)})"
        )
    return round(float(found[1]) * _UNITS[found[2]])
