"""Whom the dialer calls, and when again: with real nodes on loopback and a source of candidates that writes down."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import ManualClock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.daemon import dialer as dialer_module
from swarmd.daemon.dialer import _STRANGER_PERIOD, MAX_NAMED, Dialer
from swarmd.groups.dialer import PROOF_PERIOD, Candidate
from swarmd.groups.groupspec import GroupSpec
from tests.daemon.hosts import PATIENCE, Host, make_group

Word = tuple[str, Address]


@dataclass
class Source:
    """Gives its candidates once each."""

    waiting: list[Candidate] = field(default_factory=list)
    told: list[Word] = field(default_factory=list)
    reasons: dict[Address, str] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    known: dict[PeerId, list[Address]] = field(default_factory=dict)

    def candidates(self, now: float) -> Iterable[Candidate]:
        given, self.waiting = self.waiting, []
        return given

    def addresses(self, peer: PeerId, groups: Iterable[GroupId]) -> Iterable[Address]:
        return self.known.get(peer, ())

    def dial_failed(self, address: Address, now: float, reason: str) -> None:
        self.reasons[address] = reason
        self._tell("failed", address)

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        self._tell(f"answered by {peer.short}", address)

    def dial_called_off(self, address: Address, now: float) -> None:
        self._tell("called off", address)

    def address_is_own(self, address: Address) -> None:
        self._tell("own", address)

    async def until_told(self, *words: Word) -> None:
        async with asyncio.timeout(PATIENCE):
            while sorted(self.told) != sorted(words):
                self.news.clear()
                await self.news.wait()

    def _tell(self, word: str, address: Address) -> None:
        self.told.append((word, address))
        self.news.set()


@dataclass
class Scene:
    """`near` has the dialer; all three are in one group."""

    near: Host
    far: Host
    other: Host
    group: GroupSpec
    clock: ManualClock
    source: Source
    dialer: Dialer

    def tick(self, period: float = 0.0) -> None:
        self.clock.advance(period)
        self.dialer.handle_timer(self.clock.monotonic())


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock, group, source = ManualClock(1000.0), make_group(), Source()
    near, far, other = (Host(clock) for _ in range(3))
    for host in (near, far, other):
        host.join(group)
    dialer = Dialer(near.peers, source, clock, SeededRng(1))
    yield Scene(near, far, other, group, clock, source, dialer)
    await dialer.stop()
    for host in (near, far, other):
        await host.peers.stop()


def silent_server() -> socket.socket:
    """Takes connections into its backlog and says nothing."""
    return socket.create_server(("127.0.0.1", 0))


def unused_address() -> Address:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return Address.of_socket(sock.getsockname())


# Candidates -------------------------------------------------------------------------------------------------------


async def test_candidates_are_called_and_the_results_told(scene: Scene) -> None:
    nobody = unused_address()
    scene.source.waiting = [
        Candidate(scene.far.peer_id, (scene.far.address,)),
        Candidate(None, (scene.other.address,)),
        Candidate(None, (nobody,)),
        Candidate(None, (scene.near.address,)),
    ]
    scene.tick()
    await scene.source.until_told(
        (f"answered by {scene.far.peer_id.short}", scene.far.address),
        (f"answered by {scene.other.peer_id.short}", scene.other.address),
        ("failed", nobody),
        ("own", scene.near.address),
    )
    await scene.near.linked(scene.far, scene.group)
    await scene.near.linked(scene.other, scene.group)


async def test_another_peer_than_the_one_wanted_is_a_failure(scene: Scene) -> None:
    scene.source.waiting = [Candidate(scene.far.peer_id, (scene.other.address,))]
    scene.tick()
    await scene.source.until_told(("failed", scene.other.address))


async def test_whom_we_are_connected_with_is_not_called(scene: Scene) -> None:
    """And that counts as a success, so that the group does not wait for a result until it gives up."""
    await scene.near.dial(scene.far)
    elsewhere = unused_address()
    scene.source.waiting = [Candidate(scene.far.peer_id, (elsewhere,))]
    scene.tick()
    assert not scene.dialer.is_dialing(elsewhere)
    assert scene.source.told == [(f"answered by {scene.far.peer_id.short}", elsewhere)]


async def test_where_somebody_is_who_is_connected_nobody_is_called(scene: Scene) -> None:
    """The DHT names an address and nobody's ID. A second session would take the place of the first."""
    await scene.near.dial(scene.far)
    await scene.other.dial(scene.near)
    claimed = Address("127.0.0.77", 7927)
    scene.source.known = {scene.other.peer_id: [scene.other.address, claimed]}
    await scene.near.linked(scene.far, scene.group)
    await scene.near.linked(scene.other, scene.group)
    places = (scene.far.address, scene.other.address, claimed)
    scene.source.waiting = [Candidate(None, (place,)) for place in places]
    scene.tick(60.0)
    assert [scene.dialer.is_dialing(place) for place in places] == [False, False, True], (
        "what it says of elsewhere counts not"
    )
    assert scene.source.told == [
        (f"answered by {scene.far.peer_id.short}", scene.far.address),
        (f"answered by {scene.other.peer_id.short}", scene.other.address),
    ]


async def test_of_several_addresses_one_counts_as_answered(scene: Scene) -> None:
    """The one that the session leads to, if it is among them."""
    await scene.near.dial(scene.far)
    first, last = unused_address(), unused_address()
    scene.source.waiting = [Candidate(scene.far.peer_id, (first, scene.far.address, last))]
    scene.tick()
    answer = f"answered by {scene.far.peer_id.short}"
    assert scene.source.told == [("called off", first), (answer, scene.far.address), ("called off", last)]


async def test_a_dead_address_does_not_keep_the_next_one_waiting(scene: Scene) -> None:
    """It costs a quarter of a second, and is neither reached nor missed."""
    with silent_server() as dead:
        first = Address.of_socket(dead.getsockname())
        scene.source.waiting = [Candidate(scene.far.peer_id, (first, scene.far.address))]
        scene.tick()
        await scene.near.linked(scene.far, scene.group)
        answer = f"answered by {scene.far.peer_id.short}"
        await scene.source.until_told((answer, scene.far.address), ("called off", first))
        assert not scene.dialer.is_dialing(first)


async def test_a_better_candidate_ends_the_race_that_hangs(scene: Scene) -> None:
    with silent_server() as dead:
        first = Address.of_socket(dead.getsockname())
        scene.source.waiting = [Candidate(scene.far.peer_id, (first,))]
        scene.tick()
        scene.source.waiting = [Candidate(scene.far.peer_id, (first, scene.far.address))]
        scene.tick(1.0)
        answer = f"answered by {scene.far.peer_id.short}"
        await scene.source.until_told((answer, scene.far.address), ("called off", first))
        assert not scene.dialer.is_dialing(first)


async def test_each_address_that_fails_is_told_at_once(scene: Scene) -> None:
    """So that it may be tried again while others hang."""
    refused = unused_address()
    with silent_server() as dead:
        hangs = Address.of_socket(dead.getsockname())
        scene.source.waiting = [Candidate(scene.far.peer_id, (hangs, refused, scene.other.address))]
        scene.tick()
        await scene.source.until_told(("failed", refused), ("failed", scene.other.address))
        assert scene.dialer.is_dialing(hangs)
        assert not scene.dialer.is_dialing(refused) and not scene.dialer.is_dialing(scene.other.address)
        assert "another node than the one asked for" in scene.source.reasons[scene.other.address]
        assert "refused" in scene.source.reasons[refused]
        await scene.dialer.stop()
    assert ("called off", hangs) in scene.source.told


async def test_an_address_of_our_own_among_those_of_a_peer(scene: Scene) -> None:
    """Two networks with the same numbers: the others are tried all the same."""
    scene.source.waiting = [Candidate(scene.far.peer_id, (scene.near.address, scene.far.address))]
    scene.tick()
    await scene.near.linked(scene.far, scene.group)
    answer = f"answered by {scene.far.peer_id.short}"
    await scene.source.until_told((answer, scene.far.address), ("failed", scene.near.address))


async def test_who_refuses_has_answered_for_all_its_addresses(scene: Scene) -> None:
    """So that it is not asked at the next one right after. Here we refuse it ourselves, after it broke a protocol."""
    second = scene.far.peers.open_listener(Address("127.0.0.1", 0))
    scene.far.peers.listen([second])
    scene.near.peers.penalise(scene.far.peer_id, 100, "a fault")
    scene.source.waiting = [Candidate(scene.far.peer_id, (scene.far.address, second.address))]
    scene.tick()
    await scene.source.until_told(("failed", scene.far.address), ("failed", second.address))
    assert scene.source.reasons[second.address].startswith(str(scene.far.address))


async def test_two_addresses_of_one_node_end_in_one_session(scene: Scene) -> None:
    second = scene.far.peers.open_listener(Address("127.0.0.1", 0))
    scene.far.peers.listen([second])
    scene.source.waiting = [Candidate(None, (scene.far.address,)), Candidate(None, (second.address,))]
    scene.tick()
    answer = f"answered by {scene.far.peer_id.short}"
    await scene.source.until_told((answer, scene.far.address), (answer, second.address))
    await scene.near.linked(scene.far, scene.group)
    await scene.far.linked(scene.near, scene.group)
    assert len(scene.near.peers.connections()) == len(scene.far.peers.connections()) == 1


async def test_an_address_is_called_by_one_attempt_at_a_time_and_not_too_many_at_once(scene: Scene) -> None:
    servers = [silent_server() for _ in range(dialer_module._MAX_DIALS + 5)]
    addresses = [Address.of_socket(server.getsockname()) for server in servers]
    for _ in range(3):
        scene.source.waiting = [Candidate(None, (address,)) for address in addresses]
        scene.tick()
        await asyncio.sleep(0)
    assert sum(map(scene.dialer.is_dialing, addresses)) == dialer_module._MAX_DIALS
    assert scene.source.told == [("called off", address) for address in addresses[-5:]] * 3, "no room, and no failure"
    await scene.dialer.stop()
    assert not any(map(scene.dialer.is_dialing, addresses))
    for server in servers:
        server.close()


# Named addresses --------------------------------------------------------------------------------------------------


async def test_a_named_address_is_called_until_somebody_answers(scene: Scene) -> None:
    address = unused_address()
    scene.dialer.name(address)
    scene.tick()
    await scene.source.until_told(("failed", address))
    named = scene.dialer.named()[0]
    assert named.error is not None and "refused" in named.error
    scene.tick()
    assert not scene.dialer.is_dialing(address), "not again at once"
    late = scene.far.peers.open_listener(address)
    scene.far.peers.listen([late])
    scene.tick(named.due_at - scene.clock.monotonic() + 0.01)
    await scene.near.linked(scene.far, scene.group)
    assert named.peer == scene.far.peer_id and named.error is None


async def test_it_is_called_again_when_its_session_has_ended(scene: Scene) -> None:
    scene.dialer.name(scene.far.address)
    scene.tick()
    await scene.near.linked(scene.far, scene.group)
    scene.tick(1.0)
    assert not scene.dialer.is_dialing(scene.far.address)
    scene.near.peers.connections()[0].link.abort()
    await scene.near.alone()
    await scene.far.alone()
    scene.tick()
    await scene.near.linked(scene.far, scene.group)


async def test_it_rests_when_its_session_was_let_go(scene: Scene) -> None:
    """Neither end needed it: who is named by a thousand would be called by all of them again and again."""
    scene.dialer.name(scene.far.address)
    scene.tick()
    named = scene.dialer.named()[0]
    rests = []
    for _ in range(3):
        await scene.near.linked(scene.far, scene.group)
        scene.tick(1.0)
        scene.far.peers.release(scene.group.group_id, scene.near.peer_id)
        await scene.near.alone()
        await scene.far.alone()
        scene.tick(1.0)
        assert not scene.dialer.is_dialing(scene.far.address)
        rests.append(named.due_at - scene.clock.monotonic())
        scene.tick(rests[-1] - 1.0)
        assert not scene.dialer.is_dialing(scene.far.address)
        scene.tick(2.0)
    assert rests[0] >= 100.0 and rests[2] > rests[0]
    await scene.near.linked(scene.far, scene.group)
    scene.tick(1.0)
    scene.near.peers.connections()[0].link.abort()
    await scene.near.alone()
    await scene.far.alone()
    scene.tick()
    await scene.near.linked(scene.far, scene.group)


async def test_who_answers_and_has_no_group_in_common_is_called_ever_more_rarely(scene: Scene) -> None:
    scene.other.peers.remove_group(scene.group.group_id)
    scene.dialer.name(scene.other.address)
    named = scene.dialer.named()[0]
    waits = []
    for _ in range(5):
        scene.tick()
        await scene.near.sink.until(lambda: bool(scene.near.peers.connections()))
        scene.near.peers.connections()[0].link.abort()
        await scene.near.alone()
        scene.tick()
        assert not scene.dialer.is_dialing(scene.other.address)
        waits.append(named.due_at - scene.clock.monotonic())
        scene.clock.advance(waits[-1] + 0.01)
    assert waits[-1] > 4 * waits[0]


async def test_who_has_no_group_in_common_is_not_called_as_soon_as_its_session_has_ended(scene: Scene) -> None:
    """As a bootstrap node of the DHT: each session lasts longer than the first pauses, were they counted from its
    start."""
    scene.other.peers.remove_group(scene.group.group_id)
    scene.dialer.name(scene.other.address)
    scene.tick()
    await scene.near.sink.until(lambda: bool(scene.near.peers.connections()))
    scene.tick(PROOF_PERIOD + 1)
    scene.near.peers.connections()[0].link.abort()
    await scene.near.alone()
    scene.tick(_STRANGER_PERIOD - 5)
    assert not scene.dialer.is_dialing(scene.other.address)
    scene.tick(10.0)
    assert scene.dialer.is_dialing(scene.other.address)


async def test_an_address_that_the_user_names_is_called_at_once(scene: Scene) -> None:
    assert await scene.dialer.dial_named(scene.far.address) == scene.far.peer_id
    assert [named.address for named in scene.dialer.named()] == [scene.far.address]


async def test_the_user_is_told_why_nobody_is_there(scene: Scene) -> None:
    address = unused_address()
    with pytest.raises(Unreachable, match="refused"):
        await scene.dialer.dial_named(address)
    with pytest.raises(Unreachable, match="this node itself"):
        await scene.dialer.dial_named(scene.near.address)
    assert [named.error is not None for named in scene.dialer.named()] == [True, True]


async def test_a_call_of_the_users_and_the_timer_are_one_attempt(scene: Scene) -> None:
    with silent_server() as server:
        address = Address.of_socket(server.getsockname())
        calls = [asyncio.create_task(scene.dialer.dial_named(address)) for _ in range(2)]
        await asyncio.sleep(0)
        for _ in range(5):
            scene.tick(5.0)
            await asyncio.sleep(0)
        accepted, _ = await asyncio.to_thread(server.accept)
        server.setblocking(False)
        with accepted, pytest.raises(BlockingIOError):
            server.accept()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result).__mro__[1] for result in results] == [Unreachable, Unreachable]


async def test_naming_an_address_that_is_being_tried_for_somebody(scene: Scene) -> None:
    """Who is looked for there may be reached elsewhere; the user asked about this address."""
    second = scene.far.peers.open_listener(Address("127.0.0.1", 0))
    scene.far.peers.listen([second])
    scene.source.waiting = [Candidate(scene.far.peer_id, (scene.far.address, second.address))]
    scene.tick()
    assert scene.dialer.is_dialing(second.address)
    assert await scene.dialer.dial_named(second.address) == scene.far.peer_id
    await scene.near.linked(scene.far, scene.group)
    assert len(scene.near.peers.connections()) == 1


async def test_a_call_of_the_users_ends_with_the_daemon(scene: Scene) -> None:
    with silent_server() as server:
        address = Address.of_socket(server.getsockname())
        call = asyncio.create_task(scene.dialer.dial_named(address))
        await asyncio.sleep(0)
        await scene.dialer.stop()
        with pytest.raises(Unreachable, match="stopping"):
            await call


async def test_naming_whom_we_are_connected_with_is_no_error(scene: Scene) -> None:
    await scene.far.dial(scene.near)
    await scene.near.linked(scene.far, scene.group)
    assert await scene.dialer.dial_named(scene.far.address) == scene.far.peer_id
    scene.tick(3600.0)
    assert not scene.dialer.is_dialing(scene.far.address)


async def test_named_addresses_are_bounded(scene: Scene) -> None:
    for port in range(1, MAX_NAMED + 1):
        scene.dialer.name(Address("127.0.0.1", port))
    scene.dialer.name(Address("127.0.0.1", 1))
    with pytest.raises(LocalError):
        scene.dialer.name(Address("127.0.0.1", MAX_NAMED + 1))
