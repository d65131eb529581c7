"""Cookies: what a responder hands out instead of remembering who asked (RFC 7016 §3.5.1.2).

    u32 seconds since the jar was made, from a random start | 8 bytes MAC of it | 16 bytes MAC of it and the address

Two MACs, because an initiator whose NAT gave it another port meanwhile shows a cookie that is ours but not this
address's: it is sent a new one (Cookie Change), and whoever made one up is sent nothing. Forging the short one (one try
in 2^64) gains no more than that answer, which is shorter than its question.

Invariant: nothing is kept but two secrets. A secret serves for ROTATION_PERIOD, then the cookies made with it are
checked for as long again, which is longer than any of them is valid. A restart makes all cookies invalid.
"""

from __future__ import annotations

import struct
from enum import Enum
from hashlib import blake2s
from hmac import compare_digest

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng

COOKIE_LIFETIME = 95.0
"""Seconds; as long as an initiator goes on trying."""
ROTATION_PERIOD = 120
"""Whole seconds, over COOKIE_LIFETIME: so a valid cookie is of this secret or the one before."""
_TIME = struct.Struct(">I")
_OWN_BYTES = 8
_BOUND_BYTES = 16
_SECRET_BYTES = 32
COOKIE_BYTES = _TIME.size + _OWN_BYTES + _BOUND_BYTES
_START_LIMIT = 1 << 30
"""The random start hides how long we have been running; 2^32 seconds after it is out of reach."""


class Verdict(Enum):
    """What a cookie that comes back is."""

    VALID = "ours, made for this address, and fresh"
    OTHER_ADDRESS = "ours and fresh, made for another address"
    BAD = "not ours, or too old"


class CookieJar:
    """Makes and checks cookies; `now` is monotonic seconds, never before the one given to the constructor."""

    __slots__ = ("_epoch", "_generation", "_previous", "_rng", "_secret")

    def __init__(self, rng: Rng, now: float) -> None:
        self._rng = rng
        self._epoch = int(now) - rng.randrange(_START_LIMIT)
        self._generation = self._seconds(now) // ROTATION_PERIOD
        self._secret = rng.bytes(_SECRET_BYTES)
        self._previous = rng.bytes(_SECRET_BYTES)

    def __repr__(self) -> str:
        return f"<CookieJar generation {self._generation}>"

    def make(self, address: Address, now: float) -> bytes:
        """COOKIE_BYTES bytes for whoever can read what is sent to `address`."""
        self._rotate(now)
        time = _TIME.pack(self._seconds(now))
        return time + _own(self._secret, time) + _bound(self._secret, time, address)

    def check(self, cookie: bytes, address: Address, now: float) -> Verdict:
        """What `cookie`, which came from `address`, is."""
        if len(cookie) != COOKIE_BYTES:
            return Verdict.BAD
        self._rotate(now)
        time, own, bound = cookie[:4], cookie[4 : 4 + _OWN_BYTES], cookie[4 + _OWN_BYTES :]
        seconds: int = _TIME.unpack(time)[0]
        if not 0 <= now - self._epoch - seconds < COOKIE_LIFETIME + 1:
            return Verdict.BAD
        secret = self._secret if seconds // ROTATION_PERIOD == self._generation else self._previous
        if not compare_digest(own, _own(secret, time)):
            return Verdict.BAD
        return Verdict.VALID if compare_digest(bound, _bound(secret, time, address)) else Verdict.OTHER_ADDRESS

    def _seconds(self, now: float) -> int:
        return int(now - self._epoch)

    def _rotate(self, now: float) -> None:
        generation = self._seconds(now) // ROTATION_PERIOD
        if generation == self._generation:
            return
        skipped = generation != self._generation + 1
        self._previous = self._rng.bytes(_SECRET_BYTES) if skipped else self._secret
        self._secret = self._rng.bytes(_SECRET_BYTES)
        self._generation = generation


def _own(secret: bytes, time: bytes) -> bytes:
    return blake2s(time, key=secret, digest_size=_OWN_BYTES, person=b"own").digest()


def _bound(secret: bytes, time: bytes, address: Address) -> bytes:
    return blake2s(time + str(address).encode(), key=secret, digest_size=_BOUND_BYTES, person=b"bound").digest()
