"""What is measured of our own line: believed for a while, and then not known any more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.replication import messages
from swarmd.replication.fetch import MAX_OPEN_BYTES
from swarmd.replication.messages import MAX_COMING_MS, Status
from swarmd.replication.pacing import DELAY_PERIOD, RATE_PERIOD, Downlink, Path, Uplink

LOOK_PERIOD = 0.1


def look(line: Downlink, now: float, period: float, rate: float) -> float:
    """Receive so much for so long; the time then."""
    for _ in range(int(period / LOOK_PERIOD)):
        line.received(int(rate * LOOK_PERIOD))
        line.look(now := now + LOOK_PERIOD)
    return now


def test_a_line_that_was_silent_for_long_is_not_known_rather_than_endlessly_slow() -> None:
    line = Downlink(0.0)
    now = look(line, 0.0, 2.0, 40e6)
    assert line.period(8 << 20) == pytest.approx(0.2, rel=0.1)
    now = look(line, now, 3 * DELAY_PERIOD, 0.0)
    assert line.period(8 << 20) == 0.0
    assert not line.is_busy
    look(line, now, 2.0, 1e6)
    assert line.period(1_000_000) == pytest.approx(1.0, rel=0.1)


@given(st.lists(st.tuples(st.floats(0, 1e10), st.floats(0, 100)), max_size=40))
def test_what_it_says_fits_a_message(steps: list[tuple[float, float]]) -> None:
    line, now = Downlink(0.0), 0.0
    for rate, period in steps:
        now = look(line, now, period, rate)
        assert line.period(MAX_OPEN_BYTES) * 1e3 < MAX_COMING_MS


def test_the_status_of_any_line_can_be_read() -> None:
    said = Status(2**62, 2**39, 2**39, MAX_COMING_MS)
    assert list(messages.decode_packet(messages.encode(said))) == [said]


@pytest.mark.parametrize("batch", [0.001, 0.02, 0.1])
def test_the_rate_of_our_line_is_not_overstated_when_receipts_come_in_batches(batch: float) -> None:
    """Fifteen peers, each reporting once in a batch, at its own moment; the line carries a megabyte a second."""
    rate, block, n_peers = 1e6, 10_000, 15
    uplink = Uplink(0.0)
    paths = [Path(uplink, 0.0) for _ in range(n_peers)]
    arrived, reported_at = [0] * n_peers, [index * batch / n_peers for index in range(n_peers)]
    now, turn = 0.0, 0
    for path in paths:
        path.sent(block, now)
    while now < 3 * RATE_PERIOD:
        now += block / rate
        arrived[turn % n_peers] += block
        paths[turn % n_peers].sent(block, now)
        turn += 1
        for index, path in enumerate(paths):
            if now - reported_at[index] >= batch:
                reported_at[index] = now
                path.received(arrived[index], now)
    assert uplink.rate.value == pytest.approx(rate, rel=0.25)
