"""How a peer that has lost a session says so: a *stateless reset*, as QUIC has it (RFC 9000 §10.3).

    ping message    "K" | token        in a session, sealed: what would prove that its sender has lost this session
    reset           12 random bytes | token                in answer to a packet of a session that there is not

The token is a MAC of the session ID that packets to us bear and of the address that they come from, under a key made
of the identity's secrets: a daemon that was killed and started again knows it although it has forgotten the session.
Who does not know what "K" and a token are sends them back, as with every ping (RFC 7016 §3.5.4.1), and sees a reset as
a packet of no session. Without a key (the plain profile) no token is told, and no reset sent.

A token is shown to strangers only while there is no session of that ID, when it is good for nothing; the address in it
keeps them from collecting tokens for sessions to come. It says less of who we are than an RHello, which anybody can
have. Bounds: RESETS a RESET_PERIOD, RESETS_A_HOST of them to one host; a reset is shorter than the packet that it
answers, so two that know nothing of each other fall silent. One token is remembered for each session.
"""

from __future__ import annotations

import hashlib

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng
from swarmd.identity.identity import Identity
from swarmd.transport.rtmfp.allowance import Allowance, host_of
from swarmd.transport.rtmfp.packet import MIN_DATAGRAM_BYTES

KEEPALIVE = b"K"
TOKEN_BYTES = 16
RESET_BYTES = MIN_DATAGRAM_BYTES + TOKEN_BYTES
RESETS, RESET_PERIOD = 32, 0.5
RESETS_A_HOST = 8
"""A fleet behind one NAT that comes back is told within seconds; what strangers can have us send is 2 kB a second."""
_ID_BYTES = 4
_LABEL = b"swarmd rtmfp reset 1\0"


def reset_key(identity: Identity) -> bytes:
    return hashlib.sha256(_LABEL + b"".join(identity.secrets())).digest()


class Resets:
    """One for all sessions of an endpoint. `key`: of this node and nobody else, the same after a restart."""

    def __init__(self, key: bytes | None, rng: Rng) -> None:
        self._key, self._rng = key, rng
        self._allowance = Allowance(RESETS, RESET_PERIOD, RESETS_A_HOST)
        self._near_ids: dict[bytes, int] = {}  # by the token that the peer has told
        self._tokens: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._near_ids)

    def keepalive(self, near_id: int, address: Address | None) -> bytes:
        """The message of a ping to the peer at `address`, which tells it the token."""
        return KEEPALIVE if self._key is None or address is None else KEEPALIVE + self._token(near_id, address)

    def told(self, near_id: int, message: bytes) -> None:
        """A ping of the peer's in this session."""
        if message[:1] != KEEPALIVE or len(message) != 1 + TOKEN_BYTES:
            return
        self.forget(near_id)
        self._tokens[near_id] = message[1:]
        self._near_ids[message[1:]] = near_id

    def forget(self, near_id: int) -> None:
        """The session is over."""
        token = self._tokens.pop(near_id, None)
        if token is not None and self._near_ids.get(token) == near_id:
            del self._near_ids[token]

    def session_of(self, datagram: memoryview) -> int | None:
        """The session that this ends, if it is a reset; it may come from anywhere."""
        if len(datagram) != RESET_BYTES:
            return None
        return self._near_ids.get(bytes(datagram[-TOKEN_BYTES:]))

    def answer(self, near_id: int, datagram_bytes: int, address: Address, now: float) -> bytes | None:
        """To a packet of a session that there is not."""
        if self._key is None or datagram_bytes <= RESET_BYTES or not self._allowance.take(now, host_of(address)):
            return None
        return self._rng.bytes(MIN_DATAGRAM_BYTES) + self._token(near_id, address)

    def _token(self, near_id: int, address: Address) -> bytes:
        assert self._key is not None
        about = near_id.to_bytes(_ID_BYTES, "big") + str(address).encode()
        return hashlib.blake2s(about, key=self._key, digest_size=TOKEN_BYTES, person=b"reset").digest()
