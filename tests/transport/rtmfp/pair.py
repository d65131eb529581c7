"""Two RTMFP endpoints joined by function calls, with one session between them."""

from __future__ import annotations

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng, SystemRng
from swarmd.identity.identity import Identity
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packing import BATCH_BYTES
from swarmd.transport.rtmfp.session import RtmfpSession

NEAR, FAR = Address("192.0.2.1", 1935), Address("192.0.2.2", 1935)
PATIENCE = 0.3
"""Seconds that `pump` lets pass when nothing moves: acknowledgements that are held back come out."""


class Side:
    """One endpoint and the session that the test is about."""

    def __init__(self, endpoint: Endpoint, address: Address) -> None:
        self.endpoint, self.address = endpoint, address
        self.session: RtmfpSession | None = None
        self._batch = memoryview(bytearray(BATCH_BYTES))

    def output(self, now: float) -> list[tuple[Address, bytes, int]]:
        """One batch, or the startup datagrams there are."""
        startup = [(each.address, each.data, len(each.data)) for each in self.endpoint.datagrams_to_send()]
        if startup or self.session is None:
            return startup
        batch = self.session.next_batch(self._batch, now)
        return [(batch.address, bytes(batch.data), batch.segment_bytes)] if batch is not None else []

    def receive(self, data: bytes, segment_bytes: int, source: Address, now: float) -> None:
        self.endpoint.receive(memoryview(data), segment_bytes, source, now)
        sessions = self.endpoint.sessions()
        if self.session is None and sessions:
            self.session = sessions[0]


class RtmfpPair:
    """Keyed as far as the initiator's question, which has been asked but not carried."""

    def __init__(self, initiator: Identity, responder: Identity, rng: Rng | None = None) -> None:
        self.now = 100.0
        rng = rng or SystemRng()
        self.near = Side(Endpoint(NoiseProfile(initiator, rng), rng, self.now), NEAR)
        self.far = Side(Endpoint(NoiseProfile(responder, rng), rng, self.now), FAR)
        self.near.session = self.near.endpoint.connect(responder.peer_id, [FAR], self.now, timeout=10.0)
        self._carry(self.near, self.far)
        self._carry(self.far, self.near)

    @property
    def initiator(self) -> RtmfpSession:
        assert self.near.session is not None
        return self.near.session

    @property
    def responder(self) -> RtmfpSession:
        assert self.far.session is not None
        return self.far.session

    def pump(self, max_units: int | None = None) -> None:
        """A unit is one batch of each end."""
        while max_units is None or max_units > 0:
            moved = self._carry(self.far, self.near)
            moved = self._carry(self.near, self.far) or moved
            if max_units is not None:
                max_units -= 1
            elif not moved and not self._wait():
                return

    def _carry(self, near: Side, far: Side) -> bool:
        output = near.output(self.now)
        for address, data, segment_bytes in output:
            assert address == far.address
            far.receive(data, segment_bytes, near.address, self.now)
        return bool(output)

    def _wait(self) -> bool:
        """Let time pass until something is due, if that is soon."""
        sessions = [side.session for side in (self.near, self.far) if side.session is not None]
        deadlines = [each for each in (session.next_deadline() for session in sessions) if each is not None]
        if not deadlines or min(deadlines) > self.now + PATIENCE:
            return False
        self.now = max(self.now, min(deadlines))
        for session in sessions:
            session.handle_timer(self.now)
        return True
