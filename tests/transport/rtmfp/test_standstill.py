"""A host that stands still for a while, with a socket's buffer full of packets, and then goes on."""

from __future__ import annotations

import pytest

from swarmd.core.addresses import Address
from swarmd.transport.api import Priority, State
from tests.transport.rtmfp.network import Weather
from tests.transport.rtmfp.scenes import Scene, scene

BUFFER_BYTES = 200_000
ROUND_TRIP = 0.04


def keep_busy(it: Scene, flow: int, period: float) -> int:
    """Send as much as goes; how many messages arrived meanwhile."""
    ends_at, before = it.network.now + period, len(it.received(flow))
    while it.network.now < ends_at:
        while it.one.queued_bytes < 500_000:
            it.one.send(flow, [bytes(30_000)])
        it.network.run_for(0.01)
    return len(it.received(flow)) - before


@pytest.mark.parametrize("period", [2.0, 10.0])
def test_it_goes_on_at_once_when_the_receiver_does(period: float) -> None:
    it = scene(weather=Weather(delay=ROUND_TRIP / 2, largest=1472))
    flow = it.one.open_flow(b"bulk", Priority.BULK)
    keep_busy(it, flow, 0.4)
    rtt = it.one._rtt.smoothed
    buffer: list[bytes] = []

    def stand_still(source: Address, target: Address, data: bytes) -> bool:
        if source == it.near.address and len(data) <= 1472 and sum(map(len, buffer)) < BUFFER_BYTES:
            buffer.append(data)
        return True

    it.network.lose = stand_still
    keep_busy(it, flow, period)
    it.network.lose = lambda source, target, data: False
    for data in buffer:
        it.far.endpoint.receive(memoryview(data), len(data), it.near.address, it.network.now)
    keep_busy(it, flow, 6 * ROUND_TRIP)
    assert it.one._rtt.smoothed < 2 * rtt
    assert keep_busy(it, flow, 10 * ROUND_TRIP) > 10
    assert it.one.state is State.OPEN
