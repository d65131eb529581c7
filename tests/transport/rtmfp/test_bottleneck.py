"""Controllers on one bottleneck of 100 Mbit/s, in virtual time: filling it, sharing it, giving way, taking over.

Queues are in parts of rate x round-trip time. Figures seen, over paths of 20, 50, 100 and 200 ms, queues of 0.1 to 2
and other seeds than those tried here:

- 0.01 % random loss, 60 s: 95-98 % of the line at 50 ms, 90-96 % at 200 ms.
- two CUBIC flows, together or 5 s apart: the first has 47-60 % of the first half minute, 46-57 % of the minute.
  Where a second one comes to a queue of 0.1 (at 200 ms, 0.25) the first half minute is 55-71 %, the minute 50-60 %, its
  second half 46-54 %.
- LEDBAT++ beside CUBIC: 0.1-5 %, at a queue of 0.1 up to 11 %. It has 80 % of the line in the second to fifth second
  after CUBIC ends, at queues from 0.5; behind shorter ones it fills 55-90 % of it.
- time-critical packets beside bulk: 99 % of them wait under 17 ms, under 27 ms on a path of 200 ms.
"""

from __future__ import annotations

import math

import pytest

from swarmd.core.rng import SeededRng
from swarmd.transport.rtmfp.congestion import Controller
from swarmd.transport.rtmfp.cubic import Cubic
from swarmd.transport.rtmfp.ledbat import Ledbat
from tests.transport.rtmfp.bottleneck import PACKET_BYTES, Flow, Link, run

RATE = 12.5e6


def link(rtt: float, queue: float, loss: float = 0.0, seed: int = 1) -> Link:
    return Link(RATE, rtt, RATE * rtt * queue, SeededRng(seed), loss)


def cubic(on: Link, start: float = 0.0, stop: float = math.inf) -> Flow:
    return Flow(Cubic(PACKET_BYTES, start), on, start, stop)


def ledbat(on: Link, start: float = 0.0) -> Flow:
    return Flow(Ledbat(PACKET_BYTES, start), on, start)


@pytest.mark.parametrize(("rtt", "share"), [(0.05, 0.85), (0.2, 0.75)])
@pytest.mark.parametrize(("queue", "seed"), [(0.25, 1), (1.0, 2)])
def test_a_long_path_that_loses_now_and_then_is_filled(rtt: float, share: float, queue: float, seed: int) -> None:
    flow = cubic(link(rtt, queue, loss=1e-4, seed=seed))
    run([flow], 30.0)
    assert flow.rate(0, 30) > share * RATE
    assert flow.timeouts == 0


def test_without_forgiveness_it_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick growth alone gives 61 %, RFC 9438's response function 21 %."""
    monkeypatch.setattr(Cubic, "_is_forgiven", lambda self, n_bytes: False)
    flow = cubic(link(0.05, 1.0, loss=1e-4))
    run([flow], 30.0)
    assert flow.rate(5, 30) < 0.75 * RATE


@pytest.mark.parametrize("rtt", [0.02, 0.05, 0.2])
def test_slow_start_does_not_overshoot_grossly(rtt: float) -> None:
    flow = cubic(link(rtt, 1.0))
    peak, now = 0, 0.0
    while now < 40 * rtt:
        run([flow], now := now + rtt / 2)
        peak = max(peak, flow.outstanding)
    assert flow.lost * PACKET_BYTES < 0.15 * RATE * rtt  # 28 packets at 20 ms, none on the longer paths
    assert RATE * rtt <= peak < 2.2 * RATE * rtt


def test_slow_start_into_a_short_queue_loses_once() -> None:
    flow = cubic(link(0.05, 0.25))
    run([flow], 2.0)
    assert flow.lost * PACKET_BYTES < RATE * 0.05
    lost = flow.lost
    run([flow], 5.0)
    assert flow.lost == lost
    assert flow.rate(2, 5) > 0.85 * RATE


@pytest.mark.parametrize(
    ("rtt", "queue", "start"),
    [(0.02, 0.25, 0.03), (0.02, 1.0, 5.0), (0.05, 0.1, 0.0), (0.05, 0.5, 5.0), (0.1, 1.0, 5.0), (0.2, 2.0, 5.0)],
)
def test_two_foreground_flows_share_from_the_beginning(rtt: float, queue: float, start: float) -> None:
    """Over the half minute from the second one's first packet."""
    on = link(rtt, queue, loss=1e-5)
    first, second = cubic(on), cubic(on, start)
    begin = math.ceil(start)
    run([first, second], begin + 30.0)
    total = first.rate(begin, begin + 30) + second.rate(begin, begin + 30)
    assert 0.4 < first.rate(begin, begin + 30) / total < 0.6
    assert total > 0.93 * RATE


def test_many_flows_on_a_slow_line_lose_nothing_behind_a_long_queue() -> None:
    """The peers of a swarm on one line of 20 Mbit/s. When each of them watched the queue, 0.6 % were lost."""
    on = Link(2.5e6, 0.01, 2.5e6 * 0.3, SeededRng(1))
    flows = [cubic(on, 0.01 * number) for number in range(15)]
    run(flows, 20.0)
    rates = [flow.rate(5, 20) for flow in flows]
    assert sum(rates) > 0.97 * on.rate
    assert sum(flow.lost for flow in flows) < 0.002 * on.sent
    assert min(rates) > 0.5 * on.rate / len(flows)


class Deaf(Cubic):
    """Somebody else's, that looks at losses only."""

    def _watch_queue(self, now: float) -> None:
        pass


def test_who_waits_for_losses_does_not_drive_it_out() -> None:
    on = link(0.05, 1.0, loss=1e-5)
    ours, other = cubic(on), Flow(Deaf(PACKET_BYTES, 5.0), on, 5.0)
    run([ours, other], 45.0)
    assert ours.rate(5, 45) > 0.25 * RATE


@pytest.mark.parametrize("is_scavenger_first", [True, False])
@pytest.mark.parametrize(("rtt", "queue"), [(0.05, 0.25), (0.05, 1.0), (0.1, 0.5)])
def test_a_scavenger_takes_little(rtt: float, queue: float, is_scavenger_first: bool) -> None:
    on = link(rtt, queue, loss=1e-5)
    background = ledbat(on, 0.0 if is_scavenger_first else 8.0)
    foreground = cubic(on, 8.0 if is_scavenger_first else 0.0)
    run([background, foreground], 28.0)
    assert background.rate(9, 28) < 0.1 * RATE
    assert foreground.rate(10, 28) > 0.85 * RATE


@pytest.mark.parametrize(("rtt", "queue"), [(0.02, 1.0), (0.05, 0.5), (0.1, 1.0), (0.2, 1.0)])
def test_a_scavenger_takes_over_within_five_seconds(rtt: float, queue: float) -> None:
    on = link(rtt, queue, loss=1e-5)
    background, foreground = ledbat(on, 8.0), cubic(on, stop=16.0)
    run([background, foreground], 26.0)
    assert background.rate(8, 16) < 0.1 * RATE
    assert max(background.rate(second, second + 1) for second in range(16, 21)) > 0.8 * RATE
    assert background.rate(20, 26) > 0.6 * RATE  # a slowdown of 200 ms takes two seconds


def test_a_scavenger_alone_fills_the_line_with_a_short_queue() -> None:
    on = link(0.05, 2.0)
    flow, longest, now = ledbat(on), 0.0, 5.0
    run([flow], now)
    while now < 25.0:
        run([flow], now := now + 0.01)
        longest = max(longest, on.queue(now))
    assert flow.rate(5, 25) > 0.8 * RATE
    assert longest < 0.03
    assert flow.lost == 0


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize("rtt", [0.02, 0.05, 0.1])
def test_time_critical_packets_wait_little_beside_bulk(rtt: float, is_own: bool) -> None:
    """1 Mbit/s of packets that nothing holds back; the bulk has filled the line when they begin."""
    on = link(rtt, 2.0, loss=1e-5)
    bulk = cubic(on)
    controller: Controller = bulk.controller
    waits, now = [], 4.0
    while now < 16.0:
        run([bulk], now)
        (controller.on_time_critical_sent if is_own else controller.on_time_critical_elsewhere)(now)
        back_at = on.send(PACKET_BYTES, now)
        if back_at < math.inf:
            waits.append(back_at - now - rtt)
        now += PACKET_BYTES * 8 / 1e6
    assert sorted(waits)[len(waits) * 99 // 100] < 0.03
    assert bulk.rate(4, 16) > 0.7 * RATE
