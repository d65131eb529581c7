"""Which interfaces take part and what is announced, for machines of several shapes."""

from __future__ import annotations

import pytest

from swarmd.core.addresses import Address
from swarmd.discovery.interfaces import MAX_INTERFACES, Interface, Place, Plan, plan, read_interfaces, takes_multicast
from swarmd.discovery.sightings import MAX_ADDRESSES

LOOPBACK = Interface(1, ("127.0.0.1", "::1"))
ETHERNET = Interface(2, ("192.168.1.5", "2001:db8::5", "fe80::5"))
WIFI = Interface(3, ("10.0.0.5", "fe80::6"))
PUBLIC = Interface(4, ("198.51.100.1",))
LOOPBACK4 = Place(1, "127.0.0.1")
LAN4, LAN6 = Place(2, "192.168.1.5"), Place(2, "2001:db8::5")
WIFI4, WIFI6 = Place(3, "10.0.0.5"), Place(3, "fe80::6")
MACHINE = (LOOPBACK, ETHERNET, WIFI)
ANY = (Address("0.0.0.0", 7927), Address("::", 7927))


def at(*hosts: str, port: int = 7927) -> tuple[Address, ...]:
    return tuple(Address(host, port) for host in hosts)


def test_every_interface_but_loopback_when_listening_on_all() -> None:
    assert plan(ANY, MACHINE) == Plan(
        join=(LAN4, LAN6, WIFI4, WIFI6), announce=at("10.0.0.5", "192.168.1.5", "2001:db8::5")
    )


def test_ipv4_alone() -> None:
    assert plan(ANY[:1], MACHINE) == Plan(join=(LAN4, WIFI4), announce=at("10.0.0.5", "192.168.1.5"))


def test_ipv6_alone() -> None:
    assert plan(ANY[1:], MACHINE) == Plan(join=(LAN6, WIFI6), announce=at("2001:db8::5"))


def test_only_the_address_that_is_listened_on() -> None:
    assert plan(at("10.0.0.5", port=1), MACHINE) == Plan(join=(WIFI4,), announce=at("10.0.0.5", port=1))


def test_different_ports_for_different_addresses() -> None:
    listen = (*at("10.0.0.5", port=1), *at("192.168.1.5", port=2))
    assert set(plan(listen, MACHINE).announce) == set(listen)


def test_an_address_this_machine_does_not_have() -> None:
    assert plan(at("203.0.113.1"), MACHINE) == Plan()


def test_loopback_when_nothing_else_is_listened_on() -> None:
    assert plan(at("127.0.0.1"), MACHINE) == Plan(join=(LOOPBACK4,), announce=at("127.0.0.1"))


def test_loopback_when_there_is_nothing_else() -> None:
    assert plan(ANY, [LOOPBACK]) == Plan(join=(LOOPBACK4,), announce=at("127.0.0.1", "::1"))


def test_loopback_is_announced_where_all_else_is_link_local() -> None:
    """A bridge of a container host, say: its fe80 address says nothing to anybody else."""
    bridge = Interface(7, ("fe80::7",))
    plan_ = plan(ANY, [LOOPBACK, bridge])
    assert plan_.announce == at("127.0.0.1", "::1")
    assert plan_.join == (Place(7, "fe80::7"),)


def test_no_interface_at_all() -> None:
    assert plan(ANY, []) == Plan()


def test_private_addresses_come_first() -> None:
    assert plan(ANY, [Interface(5, ("8.8.4.4",)), WIFI]).announce == at("10.0.0.5", "8.8.4.4")


def test_a_container_host_with_very_many_interfaces() -> None:
    many = [Interface(i, (f"10.{i}.0.1",)) for i in range(200)]
    planned = plan(ANY, many)
    assert len(planned.join) == MAX_INTERFACES
    assert len(planned.announce) == MAX_ADDRESSES


def test_the_interfaces_of_this_machine() -> None:
    found = {host: each.index for each in read_interfaces() for host in each.hosts}
    if "127.0.0.1" not in found:
        pytest.skip("this machine has no loopback interface that is up")
    assert found["127.0.0.1"] > 0
    assert not [host for host in found if "%" in host]


@pytest.mark.parametrize("place", [Place(77, "203.0.113.77"), Place(9999, "fe80::77"), Place(9999, "::1")])
def test_a_place_that_is_not_there_takes_no_multicast(place: Place) -> None:
    assert not takes_multicast(place)
