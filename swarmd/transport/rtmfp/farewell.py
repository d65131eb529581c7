"""The end of a session: telling the peer until it has heard, or answering that we have (RFC 7016 §3.5.5).

Whoever closes sends Close Request every CLOSE_PERIOD until it is acknowledged, or CLOSE_TIMEOUT is over; whoever is
told acknowledges, and goes on doing so for FAR_CLOSE_PERIOD, in which a repeated request may come.

swarmd puts its reason behind the request, which is empty in the RFC: others pass over it.
"""

from __future__ import annotations

from swarmd.core.errors import RemoteError
from swarmd.transport.api import CloseReason
from swarmd.transport.rtmfp.chunks import CloseAck, CloseRequest, decode_chunks, encode_chunk
from swarmd.transport.rtmfp.packet import decode_header

CLOSE_PERIOD, CLOSE_TIMEOUT = 5.0, 90.0
FAR_CLOSE_PERIOD = 19.0
MAX_DETAIL_BYTES = 200


class Farewell:
    """Said from `now` on. Over at once when there is nobody to tell."""

    def __init__(self) -> None:
        self.due_at: float | None = None
        self._ends_at = 0.0
        self._chunk = b""
        self._is_request = False

    def request(self, reason: CloseReason, detail: str, now: float) -> None:
        self._chunk, self._is_request = encode_chunk(CloseRequest(encode_reason(reason, detail))), True
        self.due_at, self._ends_at = now, now + CLOSE_TIMEOUT

    def acknowledge(self, now: float) -> None:
        """The peer has closed, or has heard nothing of our acknowledgement."""
        if self._is_request or not self._chunk:
            self._ends_at = now + FAR_CLOSE_PERIOD
        self._chunk, self._is_request, self.due_at = encode_chunk(CloseAck()), False, now

    def receive(self, plain: memoryview, now: float) -> None:
        """A packet that came after the end: only the end is talked about."""
        try:
            for chunk in decode_chunks(plain[decode_header(plain).size :]):
                if isinstance(chunk, CloseAck):
                    self.due_at, self._ends_at = None, 0.0
                elif isinstance(chunk, CloseRequest):
                    self.acknowledge(now)
        except RemoteError:
            pass  # it has ended anyway

    def chunk_to_send(self, now: float) -> bytes | None:
        """What is due, encoded."""
        if self.due_at is None or now < self.due_at:
            return None
        self.due_at = now + CLOSE_PERIOD if self._is_request and now + CLOSE_PERIOD < self._ends_at else None
        return self._chunk

    def is_over(self, now: float) -> bool:
        return now >= self._ends_at


def encode_reason(reason: CloseReason, detail: str) -> bytes:
    return bytes((reason,)) + detail.encode(errors="replace")[:MAX_DETAIL_BYTES].decode(errors="ignore").encode()


def decode_reason(body: bytes) -> tuple[CloseReason, str]:
    """NORMAL when there is none; RemoteError for one that is not known."""
    if not body:
        return CloseReason.NORMAL, ""
    try:
        return CloseReason(body[0]), body[1 : 1 + MAX_DETAIL_BYTES].decode()
    except ValueError:
        raise RemoteError("a session was closed for a reason that there is not") from None
