"""The parts on their own: ways that are held, whom to pass a question to, what answers mean, rates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmd.groups import ring
from swarmd.groups.ring import RING, GroupAddress
from swarmd.groups.routing.journey import (
    CONFIRMATIONS,
    MAX_WAYS,
    MORE_CONFIRMATIONS,
    Journey,
    Request,
    Road,
    Stage,
    Verdict,
)
from swarmd.groups.routing.links import CHOICES, QUESTIONS_BURST, QUESTIONS_RATE, Links, pick_hop
from swarmd.groups.routing.messages import Envelope, Locate, Question, Way
from swarmd.groups.routing.paths import ENVELOPE_PERIOD, LOCATE_PERIOD, MAX_PATHS, MAX_PATHS_OF_ONE, Path, Paths
from swarmd.groups.routing.sealing import Statement
from tests.groups.builders import identity, peer_id

ONE, TWO, THREE = map(peer_id, (1, 2, 3))
TARGET = GroupAddress.at(5)


def locate(index: int = 0) -> Question:
    return Locate(Way(path(index), TARGET))


def path(index: int) -> bytes:
    return index.to_bytes(16, "big")


# ways


def test_paths_are_forgotten_after_their_time() -> None:
    paths = Paths()
    envelope = Envelope(Way(path(2), TARGET), bytes(32), bytes(16), b"")
    paths.add(path(1), Path.of(locate(1), ONE, TWO, 0.0))
    paths.add(path(2), Path.of(envelope, ONE, TWO, 0.0))
    paths.expire(LOCATE_PERIOD)
    assert path(1) not in paths
    assert path(2) in paths
    paths.expire(ENVELOPE_PERIOD)
    assert len(paths) == 0


def test_paths_have_so_many_answers() -> None:
    paths = Paths()
    paths.add(path(1), Path.of(Envelope(Way(path(1), TARGET), bytes(32), bytes(16), b""), ONE, TWO, 0.0))
    paths.use(path(1))
    assert path(1) in paths, "a reply may follow"
    paths.use(path(1))
    assert path(1) not in paths


def test_paths_are_bounded() -> None:
    paths = Paths()
    peers = [peer_id(number) for number in range(10, 20)]
    for index in range(MAX_PATHS + 100):
        previous = peers[index // MAX_PATHS_OF_ONE]
        if paths.has_room(previous):
            paths.add(path(index), Path.of(locate(index), previous, ONE, 0.0))
    assert len(paths) == MAX_PATHS
    assert not paths.has_room(TWO)
    assert paths.has_room(None), "our own are bounded elsewhere"


def test_no_neighbour_takes_all_paths() -> None:
    paths = Paths()
    for index in range(MAX_PATHS_OF_ONE):
        assert paths.has_room(ONE)
        paths.add(path(index), Path.of(locate(index), ONE, TWO, 0.0))
    assert not paths.has_room(ONE)
    assert paths.has_room(TWO)
    paths.drop(path(0))
    assert paths.has_room(ONE)


def test_a_link_that_closes() -> None:
    paths = Paths()
    paths.add(path(1), Path.of(locate(1), ONE, TWO, 0.0))
    paths.add(path(2), Path.of(locate(2), TWO, ONE, 0.0))
    paths.add(path(3), Path.of(locate(3), None, TWO, 0.0))
    paths.add(path(4), Path.of(locate(4), ONE, THREE, 0.0))
    assert paths.close_link(TWO) == [(path(1), ONE), (path(3), None)]
    assert [each for each in range(5) if path(each) in paths] == [4]


# hops


@given(st.integers(0, RING - 1).map(GroupAddress.at), st.integers(1, 9), st.integers(0, 255), st.data())
def test_pick_hop(own: GroupAddress, n: int, turn: int, data: st.DataObject) -> None:
    nearer = [peer_id(number) for number in range(n)]
    previous = data.draw(st.sampled_from([None, *nearer]))
    picked = pick_hop(own, nearer, previous, turn)
    others = [peer for peer in nearer if peer != previous]
    assert picked == pick_hop(own, nearer, previous, turn), "the same turn leads the same way"
    assert (picked in others[:CHOICES]) if others else picked is None
    if not turn and others:
        assert picked == others[0]


def test_turns_differ() -> None:
    nearer = [peer_id(number) for number in range(9)]
    own = ring.group_address(ONE)
    assert {pick_hop(own, nearer, None, turn) for turn in range(32)} == set(nearer[:CHOICES])


# links


@given(st.lists(st.integers(0, 30), unique=True, max_size=12), st.data())
def test_coverage_is_kept_up(numbers: list[int], data: st.DataObject) -> None:
    own = ring.group_address(peer_id(99))
    links = Links(own)
    for number in numbers:
        links.open(peer_id(number), 0.0)
    for number in data.draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else []:
        links.close(peer_id(number))
    addresses = [ring.group_address(peer) for peer in links.peers]
    assert links.coverage == ring.coverage(own, addresses)
    assert links.nearest(TARGET) == ring.nearest(TARGET, [own, *addresses])
    assert [links[peer].address for peer in links.by_distance(TARGET)] == ring.by_distance(TARGET, addresses)
    nearer = [links[peer].address for peer in links.nearer(TARGET)]
    assert all(ring.is_nearer(TARGET, each, own) for each in nearer)
    assert set(nearer) == {each for each in addresses if ring.is_nearer(TARGET, each, own)}


def test_spacing() -> None:
    links = Links(GroupAddress.at(0))
    peers = [peer_id(number) for number in range(64)]
    for peer in peers[:5]:
        links.open(peer, 0.0)
    assert links.spacing == RING, "nothing can be said of so few"
    for peer in peers[5:]:
        links.open(peer, 0.0)
    assert RING // 64 // 4 < links.spacing < RING // 64 * 4


def test_admission() -> None:
    links = Links(GroupAddress.at(0))
    links.open(ONE, 0.0)
    assert sum(links.admit(ONE, 100, 0.0) for _ in range(1000)) == QUESTIONS_BURST
    assert sum(links.admit(ONE, 100, 1.0) for _ in range(1000)) == QUESTIONS_RATE


# journeys


def statement(number: int) -> Statement:
    return Statement(identity(number).certificate, bytes(32))


def journey(address: GroupAddress = TARGET, *, is_exact: bool = False) -> Journey:
    made = Journey(1, Request(address, b"", is_exact, False), bytes(16), 30.0)
    made.begin_stage(Stage.LOCATING, 2, 0.0)
    return made


def test_an_exact_answer_needs_no_second() -> None:
    made = journey(statement(1).address, is_exact=True)
    made.add_answer(Road(ONE, 0), statement(1))
    assert made.verdict(20, RING) is Verdict.FOUND


def test_the_nearest_is_confirmed() -> None:
    made = journey(GroupAddress.at(statement(1).address.number + 1))
    for index in range(CONFIRMATIONS):
        assert made.verdict(20, RING // 1000) is Verdict.OPEN
        made.add_answer(Road(peer_id(index), 0), statement(1))
    assert made.verdict(20, RING // 1000) is Verdict.FOUND


def test_the_same_neighbour_twice_is_no_confirmation() -> None:
    made = journey(GroupAddress.at(statement(1).address.number + 1))
    for turn in range(5):
        made.add_answer(Road(ONE, turn), statement(1))
    assert made.verdict(20, RING // 1000) is Verdict.OPEN
    assert made.verdict(1, RING // 1000) is Verdict.FOUND, "there is nobody else to ask"


def test_what_is_unlikely_is_confirmed_more_often() -> None:
    made = journey(GroupAddress.at(statement(1).address.number + RING // 500))
    for index in range(MORE_CONFIRMATIONS):
        assert made.verdict(20, RING // 1000) is Verdict.OPEN
        made.add_answer(Road(peer_id(index), 0), statement(1))
    assert made.verdict(20, RING // 1000) is Verdict.FOUND


def test_one_nearer_answer_counts_more_than_many() -> None:
    near, far = sorted((statement(1), statement(2)), key=lambda each: ring.distance(TARGET, each.address))
    made = journey()
    for index in range(9):
        made.add_answer(Road(peer_id(index), 0), far)
    assert made.verdict(20, RING) is Verdict.FOUND
    made.add_answer(Road(ONE, 0), near)
    assert made.verdict(20, RING) is Verdict.OPEN
    best = made.best()
    assert best is not None
    assert best[0] == near
    made.shun(near.peer_id)
    made.add_answer(Road(TWO, 0), near)
    assert made.verdict(20, RING) is Verdict.FOUND, "who does not acknowledge is nobody"


def test_absence_is_confirmed_by_four_who_agree() -> None:
    made = journey(is_exact=True)
    for index in range(MORE_CONFIRMATIONS):
        made.add_answer(Road(peer_id(index), 0), statement(index))
    assert made.verdict(20, RING) is Verdict.OPEN, "they do not agree"
    best = made.best()
    assert best is not None
    for index in range(10, 9 + MORE_CONFIRMATIONS):
        assert made.verdict(20, RING) is Verdict.OPEN
        made.add_answer(Road(peer_id(index), 0), best[0])
    assert made.verdict(20, RING) is Verdict.ABSENT


def test_roads() -> None:
    made = journey()
    made.preferred = (Road(THREE, 9),)
    peers = [ONE, TWO, THREE]
    assert made.pick_road(peers, 7) == Road(THREE, 9)
    assert made.pick_road([ONE, TWO], 7) == Road(ONE, 0), "a preferred one that is no neighbour any more"
    made.start_way(path(1), Road(ONE, 0))
    made.start_way(path(2), Road(THREE, 9))
    assert made.pick_road(peers, 7) is None, "two at once"
    made.begin_round(1.0)
    made.begin_round(2.0)
    made.start_way(path(3), Road(THREE, 9))
    assert made.pick_road(peers, 7) == Road(ONE, 7)
    for index in range(3, MAX_WAYS):
        made.start_way(path(index), Road(ONE, 7))
    assert made.pick_road(peers, 7) is None, "they are bounded"


def test_rounds_grow() -> None:
    made = journey()
    times = []
    for _ in range(4):
        times.append(made.round_at)
        made.begin_round(made.round_at)
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] == 1.0
    assert made.deadline == min(made.round_at, 30.0)
