"""Carrying out a race: with attempts that end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.errors import Unreachable
from swarmd.core.ids import PeerId
from swarmd.daemon.calling import Reached, call
from swarmd.daemon.connection import DialFailed
from swarmd.transport.api import CloseReason
from swarmd.transport.paths import Kind, Path
from swarmd.transport.racing import ATTEMPT_DELAY, Race, plan_steps
from tests.daemon.hosts import PATIENCE

PEER = PeerId(bytes(32))
NEAR, FAR, OTHER = Address("127.0.0.1", 1), Address("8.8.8.8", 1), Address("2606:4700::1", 1)
TCP, UDP = Path(Kind.TCP, FAR), Path(Kind.UDP, FAR)


@dataclass
class Scene:
    """A call to one peer, and its attempts."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(1000.0))
    attempts: dict[Path, asyncio.Future[PeerId]] = field(default_factory=dict)
    called_off: list[Path] = field(default_factory=list)
    failures: list[tuple[Address, str]] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def call(self, *addresses: Address, kinds: Collection[Kind] = tuple(Kind)) -> asyncio.Task[Reached]:
        race = Race(plan_steps(addresses or (FAR,), kinds), self.clock.monotonic())
        return asyncio.create_task(call(race, self.attempt, self.clock, self.failed))

    def failed(self, address: Address, error: Unreachable) -> None:
        self.failures.append((address, str(error)))

    async def attempt(self, path: Path) -> PeerId:
        self.attempts[path] = asyncio.get_running_loop().create_future()
        self.started.set()
        try:
            return await self.attempts[path]
        except asyncio.CancelledError:
            self.called_off.append(path)
            raise

    async def until_started(self, *paths: Path) -> None:
        async with asyncio.timeout(PATIENCE):
            while not set(self.attempts) >= set(paths):
                self.started.clear()
                await self.started.wait()


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_who_answers_first_ends_the_others(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP, TCP)
    scene.attempts[TCP].set_result(PEER)
    assert await calling == Reached(PEER, FAR)
    assert scene.called_off == [UDP]


async def test_the_next_waits_for_its_turn(scene: Scene) -> None:
    """In real time, whatever the clock of the test says."""
    loop = asyncio.get_running_loop()
    calling, begun = scene.call(), loop.time()
    await scene.until_started(UDP)
    await scene.until_started(UDP, TCP)
    assert loop.time() - begun > 0.9 * ATTEMPT_DELAY
    scene.attempts[UDP].set_result(PEER)
    assert await calling == Reached(PEER, FAR)


async def test_what_answers_in_time_is_all_that_is_tried(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP)
    scene.attempts[UDP].set_result(PEER)
    assert await calling == Reached(PEER, FAR)
    assert list(scene.attempts) == [UDP] and not scene.called_off


async def test_one_path_that_fails_gives_way_at_once(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP)
    scene.attempts[UDP].set_exception(Unreachable("the network is down"))
    await scene.until_started(UDP, TCP)
    scene.attempts[TCP].set_result(PEER)
    assert await calling == Reached(PEER, FAR)


async def test_when_nobody_is_reached_it_is_said_why(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP)
    scene.attempts[UDP].set_exception(Unreachable("the network is down"))
    await scene.until_started(UDP, TCP)
    scene.attempts[TCP].set_exception(Unreachable("refused"))
    with pytest.raises(Unreachable, match="the network is down"):
        await calling
    assert scene.failures == [(FAR, "the network is down")]


async def test_somebody_else_at_one_path_is_better_news_than_nobody_at_the_other(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP)
    scene.attempts[UDP].set_exception(Unreachable("no answer"))
    await scene.until_started(UDP, TCP)
    scene.attempts[TCP].set_exception(DialFailed("somebody else", CloseReason.WRONG_PEER))
    with pytest.raises(DialFailed, match="somebody else"):
        await calling


@pytest.mark.parametrize("reason", [CloseReason.DUPLICATE, CloseReason.DENIED, CloseReason.OVERLOADED])
async def test_an_answer_that_holds_for_all_paths_ends_the_race(scene: Scene, reason: CloseReason) -> None:
    calling = scene.call()
    await scene.until_started(UDP, TCP)
    scene.attempts[TCP].set_exception(DialFailed("said the peer", reason, PEER))
    with pytest.raises(DialFailed) as caught:
        await calling
    assert caught.value.reason is reason and caught.value.peer == PEER
    assert scene.called_off == [UDP]


async def test_an_address_that_is_our_own_is_given_up_and_the_others_are_not(scene: Scene) -> None:
    calling = scene.call(FAR, NEAR)
    near_tcp, near_udp = Path(Kind.TCP, NEAR), Path(Kind.UDP, NEAR)
    await scene.until_started(UDP, TCP, near_tcp, near_udp)
    scene.attempts[TCP].set_exception(DialFailed("that is us", CloseReason.SELF))
    scene.attempts[near_tcp].set_exception(Unreachable("refused"))
    scene.attempts[near_udp].set_result(PEER)
    assert await calling == Reached(PEER, NEAR)
    assert scene.failures == [(FAR, "that is us")] and scene.called_off == [UDP]


async def test_a_call_to_ourselves_alone_is_over(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP, TCP)
    scene.attempts[UDP].set_exception(DialFailed("that is us", CloseReason.SELF))
    with pytest.raises(DialFailed, match="that is us"):
        await calling
    assert scene.failures == [(FAR, "that is us")] and scene.called_off == [TCP]


async def test_an_address_is_told_of_once(scene: Scene) -> None:
    """Although it was given up for one answer, and failed by the other transport in the same turn."""
    calling = scene.call()
    await scene.until_started(UDP, TCP)
    for path in (UDP, TCP):
        scene.attempts[path].set_exception(DialFailed("that is us", CloseReason.SELF))
    with pytest.raises(DialFailed, match="that is us"):
        await calling
    assert scene.failures == [(FAR, "that is us")]


async def test_each_address_is_told_of_when_all_its_attempts_have_failed(scene: Scene) -> None:
    """Before the race is over, and those that were called off never."""
    calling = scene.call(NEAR, OTHER, FAR)
    near = [Path(kind, NEAR) for kind in (Kind.TCP, Kind.UDP)]
    await scene.until_started(*near)
    scene.attempts[near[0]].set_exception(Unreachable("refused"))
    await scene.until_started(UDP, TCP, Path(Kind.UDP, OTHER))
    assert not scene.failures, "UDP hangs there"
    scene.attempts[near[1]].set_exception(DialFailed("somebody else", CloseReason.WRONG_PEER))
    scene.attempts[UDP].set_result(PEER)
    assert await calling == Reached(PEER, FAR)
    assert scene.failures == [(NEAR, "somebody else")]
    assert {path.address for path in scene.called_off} == {OTHER, FAR}


async def test_of_what_ends_in_one_turn_the_success_counts(scene: Scene) -> None:
    """Two sessions may open at once; one is kept, and the other attempt is told that there is a session already."""
    for order in ((UDP, TCP), (TCP, UDP)):
        scene.attempts.clear()
        calling = scene.call()
        await scene.until_started(UDP, TCP)
        scene.attempts[order[0]].set_exception(DialFailed("there is one", CloseReason.DUPLICATE, PEER, FAR))
        scene.attempts[order[1]].set_result(PEER)
        assert await calling == Reached(PEER, FAR)


@pytest.mark.parametrize("failing", [UDP, TCP])
async def test_an_address_that_answers_one_way_has_not_failed_the_other_way(scene: Scene, failing: Path) -> None:
    """Whichever is looked at first."""
    for _ in range(8):
        scene.attempts.clear()
        calling = scene.call()
        await scene.until_started(UDP, TCP)
        for path in (UDP, TCP):
            if path == failing:
                scene.attempts[path].set_exception(Unreachable("refused"))
            else:
                scene.attempts[path].set_result(PEER)
        assert await calling == Reached(PEER, FAR) and not scene.failures


async def test_a_call_that_is_given_up_leaves_no_attempt(scene: Scene) -> None:
    calling = scene.call()
    await scene.until_started(UDP, TCP)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert sorted(scene.called_off, key=str) == sorted([UDP, TCP], key=str)


async def test_a_fault_of_our_own_is_not_taken_for_a_peer_that_is_away(scene: Scene) -> None:
    calling = scene.call(NEAR, kinds=(Kind.TCP,))
    await scene.until_started(Path(Kind.TCP, NEAR))
    scene.attempts[Path(Kind.TCP, NEAR)].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await calling
