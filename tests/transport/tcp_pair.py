"""Two TCP session machines joined by function calls."""

from __future__ import annotations

from swarmd.core.rng import SystemRng
from swarmd.identity.identity import Identity
from swarmd.transport.tcp.session import TcpSession


class TcpPair:
    """`step` cuts what is carried into pieces of at most that many bytes (1: byte by byte)."""

    def __init__(self, initiator: Identity, responder: Identity, *, step: int = 1 << 20) -> None:
        self.now = 100.0
        rng = SystemRng()
        self.initiator = TcpSession(initiator, rng, self.now, is_initiator=True, wanted=responder.peer_id)
        self.responder = TcpSession(responder, rng, self.now, is_initiator=False)
        self._step = step

    def pump(self, max_units: int | None = None) -> None:
        left = {self.initiator: max_units, self.responder: max_units}
        moved = True
        while moved:
            moved = False
            for near, far in ((self.initiator, self.responder), (self.responder, self.initiator)):
                units = left[near]
                if units == 0 or (data := near.data_to_send()) is None:
                    continue
                sent = bytes(data)
                near.data_sent(len(data), self.now)
                self.feed(far, sent)
                left[near] = None if units is None else units - 1
                moved = True

    def feed(self, session: TcpSession, data: bytes) -> None:
        """Give the session these bytes, as its driver would."""
        offset = 0
        while offset < len(data):
            space = session.receive_buffer()
            piece = data[offset : offset + min(self._step, len(space))]
            space[: len(piece)] = piece
            session.bytes_received(len(piece), self.now)
            offset += len(piece)
