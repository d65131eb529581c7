"""Whether the peer really is at the address that its packets come from (RFC 7016 §3.5.4.2).

A packet that opens proves that the peer made it, not that it sent it from there: whoever is on the path can send it on
from anywhere, and would have us send everything to a victim. So a ping goes there with a message that only we can
make, of the time and that address; when it comes back from there, and not too late, the session moves. A question is
repeated, for it may be lost, and a peer that only receives says nothing more by itself.

Invariant: a move is to an address that has answered, after all that moved before. One address at most is asked a
second, and it REPEATS times more while it stays silent.
"""

from __future__ import annotations

import hashlib
import hmac
from math import inf

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng

MARK = b"M"
QUESTION_PERIOD = 1.0
REPEATS = 3
REPEAT_PERIOD = 0.3  # several round trips of most paths: whoever moved stands still until it has answered
LIFETIME = 120.0
_STAMP_BYTES, _MAC_BYTES = 8, 16


class Mobility:
    def __init__(self, rng: Rng) -> None:
        self._secret = rng.bytes(32)
        self._asked_at = self._repeated_at = self._moved_at = -LIFETIME
        self._unproved: Address | None = None
        self._repeats = 0

    def question(self, address: Address, now: float) -> bytes | None:
        """The message of a ping to `address`, from which a packet has come; None when one was sent lately."""
        if now < self._asked_at + QUESTION_PERIOD:
            return None
        self._asked_at, self._unproved, self._repeats = now, address, REPEATS
        return self._ask(address, now)

    def repeat_at(self) -> float:
        """When the last question is to be repeated."""
        return self._repeated_at + REPEAT_PERIOD if self._unproved is not None else inf

    def repeat(self, now: float) -> tuple[Address, bytes] | None:
        """Whom to ask again, and how; None when nobody is to be asked now."""
        address = self._unproved
        if address is None or now < self.repeat_at():
            return None
        self._repeats -= 1
        if self._repeats <= 0:
            self._unproved = None
        return address, self._ask(address, now)

    def _ask(self, address: Address, now: float) -> bytes:
        self._repeated_at = now
        return MARK + self._signed((int(now * 1000)).to_bytes(_STAMP_BYTES, "big"), address)

    def is_proof(self, message: bytes, address: Address, now: float) -> bool:
        """Whether this came back from there in answer to our question, and is newer than the last that did."""
        stamp = message[1 : 1 + _STAMP_BYTES]
        asked_at = int.from_bytes(stamp, "big") / 1000
        if not self._moved_at < asked_at <= now or now > asked_at + LIFETIME:
            return False
        if not hmac.compare_digest(message[1:], self._signed(stamp, address)):
            return False
        self._moved_at, self._unproved = asked_at, None
        return True

    def _signed(self, stamp: bytes, address: Address) -> bytes:
        mac = hashlib.blake2s(stamp + str(address).encode(), key=self._secret, digest_size=_MAC_BYTES, person=b"moved")
        return stamp + mac.digest()
