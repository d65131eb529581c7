"""Path MTU discovery: up to what passes, down on a black hole, hints believed no further than they deserve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.rtmfp.pathmtu import (
    BASE_BYTES,
    PROBE_AGAIN_PERIOD,
    PROBE_TIMEOUT,
    SIZES_IPV4,
    SIZES_IPV6,
    PathMtu,
)


def search(mtu: PathMtu, passes: int, now: float = 0.0, limit: int = 100) -> list[int]:
    """Probe a path that takes `passes` bytes until nothing is left to probe; the sizes probed."""
    probed: list[int] = []
    while (size := mtu.probe_to_send(now)) is not None:
        probed.append(size)
        assert len(probed) < limit
        now += 0.05
        if size <= passes:
            mtu.probe_acknowledged(size, now)
        else:
            mtu.probe_lost(size, now)
    return probed


@pytest.mark.parametrize("ipv6", [False, True])
def test_every_path_is_found(ipv6: bool) -> None:
    for size in SIZES_IPV6 if ipv6 else SIZES_IPV4:
        mtu = PathMtu(ipv6)
        search(mtu, size)
        assert mtu.packet_bytes == size


def test_ethernet_takes_one_probe_and_jumbo_two_more() -> None:
    assert search(PathMtu(ipv6=False), 1472) == [1472, 4000, 4000, 4000]
    assert search(PathMtu(ipv6=False), 9000) == [1472, 4000, 8972]
    assert search(PathMtu(ipv6=True), 9000) == [1452, 4000, 8952]


def test_one_probe_at_a_time_three_tries_and_its_own_time_out() -> None:
    mtu = PathMtu(ipv6=False)
    assert mtu.probe_to_send(0.0) == 1472
    assert mtu.probe_to_send(0.1) is None
    assert mtu.probe_to_send(PROBE_TIMEOUT) == 1472
    assert mtu.probe_to_send(2 * PROBE_TIMEOUT) == 1472
    assert mtu.probe_to_send(3 * PROBE_TIMEOUT) not in (None, 1472)


def test_a_late_answer_counts() -> None:
    mtu = PathMtu(ipv6=False)
    search(mtu, BASE_BYTES)
    assert mtu.packet_bytes == BASE_BYTES
    mtu.probe_acknowledged(1472, 20.0)
    assert mtu.packet_bytes == 1472


def test_it_is_tried_again_after_ten_minutes() -> None:
    mtu = PathMtu(ipv6=False)
    search(mtu, 1472)
    assert mtu.probe_to_send(60.0) is None
    assert 0 < mtu.next_probe_at <= PROBE_AGAIN_PERIOD + 1
    assert search(mtu, 9000, mtu.next_probe_at) == [4000, 8972]
    assert mtu.packet_bytes == 8972


def test_the_limit_of_the_ends_holds() -> None:
    mtu = PathMtu(ipv6=False, limit=4096)
    search(mtu, 9000)
    assert mtu.packet_bytes == 4000
    small = PathMtu(ipv6=False, limit=1400)
    search(small, 9000)
    assert small.packet_bytes == 1392


def jumbo() -> PathMtu:
    mtu = PathMtu(ipv6=False)
    search(mtu, 9000)
    mtu.packet_acknowledged(8972, 10.0)
    return mtu


def test_a_black_hole_leads_down_and_the_search_begins_below_it() -> None:
    mtu = jumbo()
    for step in range(5):
        mtu.packet_lost(8972, 11.0 + step / 10)
    mtu.packet_acknowledged(100, 11.5)
    assert mtu.packet_bytes == 8972
    mtu.packet_lost(8972, 11.6)
    assert mtu.packet_bytes == BASE_BYTES
    assert search(mtu, 1472, 12.0)[0] == 1472
    assert mtu.packet_bytes == 1472


def test_without_any_answer_it_goes_down_after_two_seconds() -> None:
    mtu = jumbo()
    for step in range(6):
        mtu.packet_lost(8972, 11.0 + 0.3 * step)
    assert mtu.packet_bytes == 8972
    mtu.packet_lost(8972, 13.1)
    assert mtu.packet_bytes == BASE_BYTES


def test_congestion_is_no_black_hole() -> None:
    """A burst is lost, small packets pass, and large ones before and after it."""
    mtu, now = jumbo(), 11.0
    for _ in range(50):
        mtu.packet_acknowledged(8972, now)
        for _ in range(40):
            mtu.packet_lost(8972, now + 0.01)
        mtu.packet_acknowledged(60, now + 0.02)
        mtu.packet_lost(8972, now + 0.03)
        now += 0.05
    assert mtu.packet_bytes == 8972


def test_a_true_hint_is_taken_at_once_and_found_true() -> None:
    mtu = jumbo()
    mtu.hint(1472, 20.0)
    assert mtu.packet_bytes == 1472
    assert mtu.probe_to_send(21.0) is None
    assert set(search(mtu, 1472, 31.0)) == {8972, 4000}
    assert mtu.packet_bytes == 1472


def test_a_forged_hint_costs_ten_seconds_and_the_next_is_not_believed() -> None:
    mtu = jumbo()
    mtu.hint(68, 20.0)
    assert mtu.packet_bytes == BASE_BYTES
    assert search(mtu, 9000, 31.0)[0] == 8972
    assert mtu.packet_bytes == 8972
    mtu.hint(68, 32.0)
    assert mtu.packet_bytes == 8972


def test_a_moved_address_begins_again() -> None:
    mtu = jumbo()
    mtu.forget_path()
    assert mtu.packet_bytes == BASE_BYTES
    assert mtu.probe_to_send(50.0) == 1472


CALLS = st.sampled_from(["probe", "answer", "lose", "ok", "lost", "small", "hint", "forget"])


@given(st.booleans(), st.lists(st.tuples(CALLS, st.integers(0, 70_000), st.floats(0, 400)), max_size=150))
def test_only_what_has_passed_is_used(ipv6: bool, calls: list[tuple[str, int, float]]) -> None:
    mtu, now, passed, probe = PathMtu(ipv6), 0.0, BASE_BYTES, None
    for call, number, pause in calls:
        now += pause
        if call == "probe":
            under_way = probe
            probe = mtu.probe_to_send(now) or under_way
            assert probe is None or probe in (SIZES_IPV6 if ipv6 else SIZES_IPV4)
        elif call == "answer" and probe is not None:
            passed = max(passed, probe)
            mtu.probe_acknowledged(probe, now)
        elif call == "lose" and probe is not None:
            mtu.probe_lost(probe, now)
        elif call == "ok":
            mtu.packet_acknowledged(mtu.packet_bytes, now)
        elif call == "lost":
            mtu.packet_lost(mtu.packet_bytes, now)
        elif call == "small":
            mtu.packet_acknowledged(100, now)
        elif call == "hint":
            mtu.hint(number, now)
        elif call == "forget":
            mtu.forget_path()
        assert BASE_BYTES <= mtu.packet_bytes <= passed
