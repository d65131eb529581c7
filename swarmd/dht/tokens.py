"""Tokens that prove an address: who announces or puts must have asked from there within the last ten minutes.

A token is a keyed hash of the host and the target, so nothing is kept for those who asked. Two secrets are good, the
present one and the one before; a restart makes all older tokens worthless.
"""

from __future__ import annotations

import hmac
from hashlib import blake2s

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng

ROTATE_PERIOD = 300.0
TOKEN_BYTES = 8
_SECRET_BYTES = 16


class Tokens:
    def __init__(self, rng: Rng, now: float) -> None:
        self._rng = rng
        self._secrets = [rng.bytes(_SECRET_BYTES), rng.bytes(_SECRET_BYTES)]
        self._rotated_at = now

    def token(self, address: Address, target: bytes, now: float) -> bytes:
        self._rotate(now)
        return _token(self._secrets[0], address, target)

    def is_good(self, token: bytes, address: Address, target: bytes, now: float) -> bool:
        self._rotate(now)
        return any(hmac.compare_digest(token, _token(secret, address, target)) for secret in self._secrets)

    def _rotate(self, now: float) -> None:
        turns = int((now - self._rotated_at) / ROTATE_PERIOD)
        for _ in range(min(turns, 2)):
            self._secrets = [self._rng.bytes(_SECRET_BYTES), self._secrets[0]]
        self._rotated_at += max(0, turns) * ROTATE_PERIOD


def _token(secret: bytes, address: Address, target: bytes) -> bytes:
    return blake2s(address.host.encode() + target, key=secret, digest_size=TOKEN_BYTES).digest()
