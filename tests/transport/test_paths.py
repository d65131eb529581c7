"""Which of two ways to a peer is the better one."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import pytest

from swarmd.core.addresses import Address
from swarmd.transport.paths import BEST_GRADE, RTT_MARGIN, Kind, Path, grade, is_better, is_near, preferred_kind

LOOPBACK, LAN, LAN_V6 = Address("127.0.0.1", 1), Address("192.168.1.7", 1), Address("fd00::7", 1)
FAR, FAR_V6 = Address("8.8.8.8", 1), Address("2606:4700::1", 1)
OWN = (Address("2606:4700::99", 7927), Address("8.8.8.9", 7927))


@pytest.mark.parametrize("address", [LOOPBACK, Address("::1", 1), LAN, LAN_V6])
def test_on_the_local_network_tcp_is_better(address: Address) -> None:
    assert is_near(address) and preferred_kind(address) is Kind.TCP
    assert is_better(Path(Kind.TCP, address, rtt=0.1), Path(Kind.UDP, address, rtt=0.001))
    assert not is_better(Path(Kind.UDP, address, rtt=0.001), Path(Kind.TCP, address, rtt=0.1))


@pytest.mark.parametrize("address", [FAR, FAR_V6])
def test_elsewhere_udp_is_better(address: Address) -> None:
    assert not is_near(address) and preferred_kind(address) is Kind.UDP
    assert is_better(Path(Kind.UDP, address), Path(Kind.TCP, address))
    assert not is_better(Path(Kind.TCP, address), Path(Kind.UDP, address))


def test_the_network_of_our_own_ipv6_address_is_near() -> None:
    assert is_near(FAR_V6, OWN) and not is_near(Address("2606:4700:0:1::1", 1), OWN)
    assert not is_near(FAR, OWN), "neighbours in number only"
    assert is_better(Path(Kind.TCP, FAR_V6), Path(Kind.UDP, FAR_V6), OWN)


def test_private_addresses_are_near_to_those_who_have_one() -> None:
    assert is_near(LAN, [FAR, Address("10.0.0.1", 1)]) and not is_near(LAN, [FAR, LAN_V6]) and not is_near(LAN, OWN)
    assert is_near(LAN_V6, [LAN_V6]) and not is_near(LAN_V6, [LAN])
    assert is_near(LOOPBACK, OWN), "this machine is near to itself, whatever its addresses"


def test_grades_are_what_is_better() -> None:
    paths = [Path(kind, address) for kind, address in product(Kind, (LAN, FAR))]
    assert sorted(map(grade, paths)) == [0, 1, 2, BEST_GRADE]
    for one, other in permutations(paths, 2):
        assert is_better(one, other) is (grade(one) > grade(other))


def test_near_is_better_than_far_by_whatever_transport() -> None:
    for near, far in product(Kind, Kind):
        assert is_better(Path(near, LAN), Path(far, FAR)) and not is_better(Path(far, FAR), Path(near, LAN))


def test_between_equals_a_clearly_shorter_round_trip_decides() -> None:
    long, short = Path(Kind.UDP, FAR, rtt=0.1), Path(Kind.UDP, FAR_V6, rtt=0.07)
    assert is_better(short, long) and not is_better(long, short)
    for rtt in (0.1, 0.09, 0.081, None):
        assert not is_better(replace(short, rtt=rtt), long)
    assert not is_better(short, replace(long, rtt=None))
    quick = Path(Kind.TCP, LAN, rtt=0.001)
    assert RTT_MARGIN > 0.001
    assert not is_better(replace(quick, rtt=0.0001), quick), "less than the margin is noise"


def test_better_is_an_order() -> None:
    """Never both ways round, and never in a circle: a session would be moved for ever."""
    paths = [
        Path(kind, address, rtt)
        for kind, address, rtt in product(
            Kind, (LAN, LAN_V6, FAR, FAR_V6), (None, 0.001, 0.0063, 0.02, 0.09, 0.11, 0.2)
        )
    ]
    for one, other in permutations(paths, 2):
        assert not (is_better(one, other) and is_better(other, one))
    for one, two, three in permutations(paths[::3], 3):
        if is_better(one, two) and is_better(two, three):
            assert is_better(one, three)


def test_the_round_trip_is_no_part_of_which_path_it_is() -> None:
    assert Path(Kind.UDP, FAR, rtt=0.1) == Path(Kind.UDP, FAR)
    assert len({Path(Kind.UDP, FAR), Path(Kind.UDP, FAR, rtt=1.0), Path(Kind.TCP, FAR)}) == 2
    assert str(Path(Kind.UDP, FAR)) == "8.8.8.8:1 (udp)"
