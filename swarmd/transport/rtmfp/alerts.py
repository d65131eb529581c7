"""Time-critical data on any session of one endpoint: what the others should yield to (RFC 7016 §3.5.2.1, appendix A).

A host that receives such data on one session says so in the packets of its other sessions (the *reverse* flag), for
what comes by those shares its line; a host that sends such data lets the bulk of all its sessions grow slowly.
"""

from __future__ import annotations

from swarmd.transport.rtmfp.congestion import TIME_CRITICAL_PERIOD


class Alerts:
    """One for all sessions of an endpoint. `near_id` tells the sessions apart."""

    def __init__(self) -> None:
        self._received: dict[int, float] = {}
        self._sent_by, self._sent_at = 0, -TIME_CRITICAL_PERIOD

    def received(self, near_id: int, now: float) -> None:
        self._received[near_id] = now

    def sent(self, near_id: int, now: float) -> None:
        self._sent_by, self._sent_at = near_id, now

    def is_received_elsewhere(self, near_id: int, now: float) -> bool:
        """Whether another session has received some lately."""
        if not self._received:
            return False
        late = [each for each, at in self._received.items() if now > at + TIME_CRITICAL_PERIOD]
        for each in late:
            del self._received[each]
        return any(each != near_id for each in self._received)

    def is_sent_elsewhere(self, near_id: int, now: float) -> bool:
        return self._sent_by != near_id and now <= self._sent_at + TIME_CRITICAL_PERIOD
