"""Which attempt starts when, in a race to one peer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.transport.paths import Kind, Path
from swarmd.transport.racing import ATTEMPT_DELAY, MAX_ADDRESSES, Race, plan_improvement, plan_steps

V4, V4_TOO = Address("8.8.8.8", 1), Address("1.1.1.1", 1)
V6, V6_TOO = Address("2606:4700::1", 1), Address("2606:4700:1::1", 1)
LAN, LOOPBACK = Address("192.168.1.7", 1), Address("127.0.0.1", 1)
TCP, UDP = Kind.TCP, Kind.UDP
BOTH = (TCP, UDP)


@dataclass
class Starts:
    """A race that is looked at when it says so; when each path was started."""

    race: Race
    now: float = 100.0
    times: dict[Path, float] = field(default_factory=dict)

    def look(self) -> None:
        for path in self.race.paths_to_start(self.now):
            assert path not in self.times, "a path is tried once"
            self.times[path] = round(self.now - 100.0, 6)

    def to_the_end(self) -> dict[Path, float]:
        self.look()
        while (deadline := self.race.next_deadline()) is not None:
            assert deadline >= self.now
            self.now = deadline
            self.look()
        return self.times

    def fail(self, path: Path, period: float = 0.0) -> None:
        self.now += period
        self.race.attempt_failed(path, self.now)
        self.look()


def starts(*addresses: Address, kinds: tuple[Kind, ...] = BOTH) -> Starts:
    return Starts(Race(plan_steps(addresses, kinds), 100.0))


def test_one_path_starts_at_once_and_that_is_all() -> None:
    begun = starts(V4, kinds=(TCP,))
    assert begun.to_the_end() == {Path(TCP, V4): 0.0}


def test_the_best_address_first_and_the_preferred_transport_first() -> None:
    assert starts(V6, V4).to_the_end() == {
        Path(UDP, V6): 0.0,
        Path(UDP, V4): ATTEMPT_DELAY,
        Path(TCP, V6): ATTEMPT_DELAY,
        Path(TCP, V4): 2 * ATTEMPT_DELAY,
    }


@pytest.mark.parametrize("address", [LAN, LOOPBACK])
def test_on_the_local_network_tcp_has_the_head_start(address: Address) -> None:
    assert starts(address).to_the_end() == {Path(TCP, address): 0.0, Path(UDP, address): ATTEMPT_DELAY}


def test_our_own_addresses_tell_what_is_near() -> None:
    race = Race(plan_steps([V6], BOTH, own=[Address("2606:4700::2", 5)]), 0.0)
    assert race.paths_to_start(0.0) == [Path(TCP, V6)]


def test_families_take_turns_and_keep_their_order() -> None:
    for known, expected in (
        ([V4, V4_TOO, V6, LAN, V6_TOO], [V4, V6, V4_TOO, V6_TOO, LAN]),
        ([V6, V6_TOO, V4], [V6, V4, V6_TOO]),
    ):
        assert [path.address for step in plan_steps(known, [TCP]) for path in step] == expected


def test_without_tcp_or_without_udp_only_the_other_is_tried() -> None:
    for kind in BOTH:
        assert starts(V4, V6, kinds=(kind,)).to_the_end() == {Path(kind, V4): 0.0, Path(kind, V6): ATTEMPT_DELAY}


def test_what_fails_at_once_costs_nothing() -> None:
    """A machine without IPv6 says so immediately."""
    begun = starts(V6, V4)
    begun.look()
    begun.fail(Path(UDP, V6), 0.01)
    assert begun.times == {Path(UDP, V6): 0.0, Path(UDP, V4): 0.01, Path(TCP, V6): 0.01}
    begun.fail(Path(TCP, V6))
    assert begun.race.next_deadline() == pytest.approx(100.01 + ATTEMPT_DELAY), "one is under way still"
    assert begun.to_the_end()[Path(TCP, V4)] == pytest.approx(0.01 + ATTEMPT_DELAY)


def test_the_first_to_open_ends_the_others_and_nothing_starts_any_more() -> None:
    begun = starts(V6, V4)
    begun.look()
    begun.now += ATTEMPT_DELAY
    begun.look()
    race = begun.race
    assert race.attempt_succeeded(Path(UDP, V4)) == [Path(UDP, V6), Path(TCP, V6)]
    assert race.winner == Path(UDP, V4) and not race.is_lost
    assert race.next_deadline() is None and not race.paths_to_start(1e9)
    assert race.attempt_succeeded(Path(TCP, V6)) == [] and race.winner == Path(UDP, V4)
    race.attempt_failed(Path(UDP, V6), 1e9)
    assert not race.is_lost


def test_it_is_lost_when_all_have_failed_and_not_before() -> None:
    begun = starts(V4)
    begun.look()
    assert not begun.race.is_lost
    begun.fail(Path(UDP, V4))
    assert not begun.race.is_lost
    begun.fail(Path(TCP, V4))
    assert begun.race.is_lost and begun.race.winner is None and begun.race.next_deadline() is None


def test_nowhere_to_go_is_lost_from_the_start() -> None:
    assert starts().race.is_lost and starts(V4, kinds=()).race.is_lost


def test_addresses_are_bounded_and_none_is_tried_twice() -> None:
    many = [Address(f"8.8.{number >> 8}.{number & 255}", 1) for number in range(1000)]
    paths = [path for step in plan_steps([*many[:5], *many], BOTH) for path in step]
    assert len(paths) == len(set(paths)) == 2 * MAX_ADDRESSES
    assert {path.address for path in paths} == set(many[:MAX_ADDRESSES])


def test_an_address_is_over_when_nothing_is_to_come_there() -> None:
    begun = starts(V6, V4)
    begun.look()
    assert not begun.race.is_over(V6)
    begun.fail(Path(UDP, V6))
    assert not begun.race.is_over(V6), "TCP is under way"
    begun.fail(Path(TCP, V6))
    assert begun.race.is_over(V6) and not begun.race.is_over(V4) and begun.race.is_over(LAN)


def test_an_address_that_is_given_up_costs_the_others_nothing() -> None:
    begun = starts(V6, V4)
    begun.look()
    assert begun.race.give_up(V6, 100.01) == [Path(UDP, V6)]
    begun.now = 100.01
    begun.look()
    assert begun.times == {Path(UDP, V6): 0.0, Path(UDP, V4): 0.01}
    assert begun.race.is_over(V6) and not begun.race.is_lost
    assert begun.race.give_up(V4, 100.02) == [Path(UDP, V4)] and begun.race.is_lost


@pytest.mark.parametrize("seed", range(100))
def test_what_a_silent_network_costs(seed: int) -> None:
    """Some paths swallow everything, some refuse, some answer after a while: the delay is one step for each silent
    address before the first good one, and what wins is what would answer first of those that were started."""
    rng = SeededRng(seed)
    addresses = [V6, V4, V6_TOO, V4_TOO, LAN]
    rng.shuffle(addresses)
    steps = plan_steps(addresses, BOTH)
    ends: dict[Path, tuple[float, bool] | None] = {}
    for path in (path for step in steps for path in step):
        fate = rng.randrange(3)
        ends[path] = None if fate == 0 else (0.001 + 0.2 * rng.random(), fate == 1)
    answered_at = play(Race(steps, 0.0), ends)
    good = [number for number, step in enumerate(steps) if any(is_good(ends[path]) for path in step)]
    if not good:
        assert answered_at is None
        return
    assert answered_at is not None and answered_at <= good[0] * ATTEMPT_DELAY + 0.201


def is_good(end: tuple[float, bool] | None) -> bool:
    return end is not None and end[1]


def play(race: Race, ends: dict[Path, tuple[float, bool] | None]) -> float | None:
    """When it was won; `ends`: after how long each attempt ends, and whether it was a success."""
    now, due = 0.0, dict[Path, tuple[float, bool]]()
    while True:
        for path in race.paths_to_start(now):
            if (end := ends[path]) is not None:
                due[path] = (now + end[0], end[1])
        times = [at for at, _ in due.values()]
        if (deadline := race.next_deadline()) is not None:
            times.append(deadline)
        if not times:
            return None
        now = min(times)
        for path in [path for path, (at, _) in due.items() if at <= now]:
            if due.pop(path)[1]:
                race.attempt_succeeded(path)
                return now
            race.attempt_failed(path, now)


def test_an_improvement_takes_better_paths_only_and_near_ones_first() -> None:
    known = [V4, V6, LAN]
    assert plan_improvement(Path(TCP, V4), known, BOTH) == [
        [Path(TCP, LAN)],
        [Path(UDP, LAN), Path(UDP, V6)],
        [Path(UDP, V4)],
    ]
    assert plan_improvement(Path(UDP, V4), known, BOTH) == [[Path(TCP, LAN)], [Path(UDP, LAN)]]
    assert plan_improvement(Path(UDP, LAN), known, BOTH) == [[Path(TCP, LAN)]]
    assert plan_improvement(Path(TCP, LAN), known, BOTH) == []
    assert plan_improvement(Path(TCP, V4), [V4], [TCP]) == []
    assert plan_improvement(Path(UDP, V4), known, BOTH, own=[V4_TOO]) == [], "private addresses are of other networks"


@given(
    st.lists(st.sampled_from([V4, V4_TOO, V6, V6_TOO, LAN, LOOPBACK])),
    st.sets(st.sampled_from(BOTH)),
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0.0, 0.1, 0.25, 1.0]))),
)
def test_whatever_fails_when_every_path_is_tried_once(
    addresses: list[Address], kinds: set[Kind], failures: list[tuple[int, float]]
) -> None:
    begun = Starts(Race(plan_steps(addresses, kinds), 100.0))
    begun.look()
    for number, period in failures:
        running = sorted(begun.race._running, key=str)
        if running:
            begun.fail(running[number % len(running)], period)
    begun.to_the_end()
    expected = {Path(kind, address) for kind in kinds for address in addresses}
    assert set(begun.times) == expected
    for path in list(begun.race._running):
        assert not begun.race.is_lost
        begun.race.attempt_failed(path, begun.now)
    assert begun.race.is_lost
