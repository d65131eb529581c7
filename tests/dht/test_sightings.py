"""Our place in the network: whose word moves a node ID, and how the second family is found."""

from __future__ import annotations

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.contact import Contact, bound_id, is_bound
from swarmd.dht.krpc import Method, Query, Reply
from swarmd.dht.node import Node, Settings
from swarmd.dht.sightings import MAX_VOTERS, PERIOD, TO_MOVE, Sightings
from tests.dht.network import START
from tests.sim.dht import N_FIRST, Crowd, Setting

RNG = SeededRng(1)
HERE, FALSE = Address("9.9.9.9", 5), Address("151.1.1.1", 6881)
OURS = bound_id(HERE, RNG)
DUAL = Settings(is_public=True, has_ipv6=True)


def _voter(number: int) -> Address:
    return Address(f"20.{number >> 8}.{number & 255}.1", 1)


def _heard(votes: list[Address], now: float = START) -> Sightings:
    sightings = Sightings()
    for number, seen in enumerate(votes):
        sightings.heard(_voter(number), seen, now)
    return sightings


def _id_by(sightings: Sightings, own_id: bytes = OURS) -> bytes:
    return sightings.fitting_id(own_id, RNG, ipv6=False)


def test_a_hostile_majority_does_not_move_us() -> None:
    assert _id_by(_heard([HERE] * 10 + [FALSE] * 10 * TO_MOVE)) == OURS
    assert is_bound(_id_by(_heard([HERE] * 10 + [FALSE] * (10 * TO_MOVE + 1))), FALSE.host)


def test_who_was_led_away_comes_back_to_the_same_id() -> None:
    sightings = _heard([FALSE])
    moved = _id_by(sightings)
    assert is_bound(moved, FALSE.host)
    for number in range(1, 8):
        sightings.heard(_voter(number), HERE, START)
    assert _id_by(sightings, moved) == OURS


def test_votes_are_bounded_and_grow_old() -> None:
    sightings = _heard([FALSE] * MAX_VOTERS)
    for number in range(MAX_VOTERS // 4):
        sightings.heard(_voter(MAX_VOTERS + number), HERE, START)
    assert _id_by(sightings, bound_id(FALSE, RNG)) != OURS
    assert is_bound(_id_by(_heard([FALSE] * MAX_VOTERS + [HERE] * MAX_VOTERS)), HERE.host)
    sightings.heard(_voter(0), HERE, START + PERIOD)
    assert sightings.address(ipv6=False) == HERE, "the others are too old"


def test_honest_nodes_keep_their_ids_among_liars() -> None:
    """Lookups missed the closest honest node where it had taken an ID that fits no address of its own."""
    crowd = Crowd(Setting(30, seed=1, hostile=0.2, eclipse=True))
    first = {}
    for number in range(30):
        host = crowd.add(number > N_FIRST and not number % 3)
        first[host] = host.node.node_id
        crowd.network.run(3.0)
    crowd.network.run(120.0)
    assert [host.node.node_id for host in crowd.honest] == [first[host] for host in crowd.honest]


def test_the_other_family_is_asked_for_and_joined() -> None:
    node = Node(DUAL, SeededRng(2), START)
    four, six = Address("8.8.8.8", 1), Address("2600::1", 1)
    named = Contact(bound_id(six, RNG), six)
    node.bootstrap([four], START)
    [(data, to)] = node.datagrams_to_send()
    question = krpc.decode(data)
    assert to == four and isinstance(question, Query) and question.want == (False, True)
    answer = Reply(bound_id(four, RNG), (named,), transaction=question.transaction)
    node.receive_datagram(krpc.encode(answer), four, START)
    asked = {to: krpc.decode(data) for data, to in node.datagrams_to_send()}
    question = asked[six]
    assert isinstance(question, Query) and question.method is Method.FIND_NODE
    answer = Reply(named.node_id, transaction=question.transaction)
    node.receive_datagram(krpc.encode(answer), six, START)
    assert named in node.state(START).contacts
