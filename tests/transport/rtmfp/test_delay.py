"""A path that becomes ten times longer at once: nothing is lost, so hardly anything is to be sent again."""

from __future__ import annotations

import pytest

from swarmd.transport.api import Priority
from tests.transport.rtmfp.network import Weather
from tests.transport.rtmfp.scenes import scene


@pytest.mark.parametrize("delay", [0.1, 0.2, 0.4])
def test_late_is_not_lost(delay: float) -> None:
    it = scene(weather=Weather(delay=0.02, largest=1472))
    flow = it.one.open_flow(b"bulk", Priority.BULK)

    def run(period: float) -> None:
        ends_at = it.network.now + period
        while it.network.now < ends_at:
            while it.one.queued_bytes < 500_000:
                it.one.send(flow, [bytes(60_000)])
            it.network.run_for(0.01)

    run(0.5)
    it.network.weather.delay = delay
    sent, come = len(it.near.sent), len(it.received(flow))
    run(1.5)
    sent = sum(len(data) for _, data in it.near.sent[sent:])
    it.network.run_for(2)
    come = sum(map(len, it.received(flow)[come:]))
    assert sent < 1.15 * come
