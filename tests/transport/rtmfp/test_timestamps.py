"""What the headers tell besides: the time there and back, and time-critical data elsewhere."""

from __future__ import annotations

from swarmd.transport.rtmfp.alerts import Alerts
from swarmd.transport.rtmfp.congestion import TIME_CRITICAL_PERIOD
from swarmd.transport.rtmfp.packet import Header, Mode, decode_header, ticks
from swarmd.transport.rtmfp.timestamps import ECHO_PERIOD, Timestamps


def header(timestamps: Timestamps, now: float) -> Header:
    plain = bytearray(8)
    size = timestamps.write(plain, Mode.INITIATOR, now)
    parsed = decode_header(memoryview(plain))
    assert parsed.size == size
    return parsed


def test_our_time_once_a_tick() -> None:
    timestamps = Timestamps()
    assert header(timestamps, 1.0).timestamp == ticks(1.0)
    assert header(timestamps, 1.001).timestamp is None
    assert header(timestamps, 1.005).timestamp == ticks(1.0) + 1


def test_the_peers_time_comes_back_moved_on_by_what_we_held_it() -> None:
    timestamps = Timestamps()
    timestamps.heard(1000, 1.0)
    assert header(timestamps, 1.0).echo == 1000
    assert header(timestamps, 1.0).echo is None
    assert header(timestamps, 1.4).echo == 1100
    timestamps.heard(1000, 2.0)  # nothing new: still counted from when it was heard first
    assert header(timestamps, 2.0).echo == 1250
    timestamps.heard(0xFFFF, 3.0)
    assert header(timestamps, 3.008).echo == 1


def test_what_has_not_left_is_due_still() -> None:
    timestamps = Timestamps()
    timestamps.heard(1000, 1.0)
    first = header(timestamps, 1.0)
    timestamps.withdraw()
    assert header(timestamps, 1.0) == first
    again = header(timestamps, 1.0)
    assert again.timestamp is None and again.echo is None


def test_an_old_time_is_not_sent_back() -> None:
    timestamps = Timestamps()
    timestamps.heard(1000, 1.0)
    assert header(timestamps, 1.0 + ECHO_PERIOD + 1).echo is None


def test_data_elsewhere_is_told_for_a_while() -> None:
    alerts = Alerts()
    assert not alerts.is_received_elsewhere(1, 0.0)
    alerts.received(1, 10.0)
    assert not alerts.is_received_elsewhere(1, 10.0) and alerts.is_received_elsewhere(2, 10.0)
    alerts.received(2, 10.0)
    assert alerts.is_received_elsewhere(1, 10.0 + TIME_CRITICAL_PERIOD)
    assert not alerts.is_received_elsewhere(1, 10.1 + TIME_CRITICAL_PERIOD)
    alerts.sent(1, 20.0)
    assert not alerts.is_sent_elsewhere(1, 20.0) and alerts.is_sent_elsewhere(2, 20.0)
    assert not alerts.is_sent_elsewhere(2, 20.1 + TIME_CRITICAL_PERIOD)
