"""Sightings: news once, bounds that hold against a hostile network, and only what can be dialled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.discovery.announcement import NONCE_BYTES, TAG_BYTES, Announcement, encode
from swarmd.discovery.sightings import MAX_ADDRESSES, MAX_EVENTS, MAX_INSTANCES, Lost, Sighted, Sightings

OWN = "0" * 32
TAGS = (b"a" * TAG_BYTES,) * 4


def strings(nonce: int = 1) -> dict[bytes, bytes | None]:
    return {**encode(Announcement(nonce.to_bytes(NONCE_BYTES, "big"), TAGS))}


def sighted(instance: str, *hosts: str, nonce: int = 1) -> Sighted:
    addresses = tuple(Address(host, 7927) for host in hosts)
    return Sighted(instance, addresses, nonce.to_bytes(NONCE_BYTES, "big"), TAGS)


def events(sightings: Sightings) -> list[Sighted | Lost]:
    found = []
    while event := sightings.next_event():
        found.append(event)
    return found


def test_a_node_is_told_of_once_until_it_says_something_else() -> None:
    sightings = Sightings(OWN)
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings())
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings())
    assert events(sightings) == [sighted("a", "192.0.2.1")]
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings(nonce=2))
    sightings.service_seen("a", ["192.0.2.2"], 7927, strings(nonce=2))
    assert events(sightings) == [sighted("a", "192.0.2.1", nonce=2), sighted("a", "192.0.2.2", nonce=2)]


def test_a_node_that_goes_is_lost_once() -> None:
    sightings = Sightings(OWN)
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings())
    sightings.service_gone("a")
    sightings.service_gone("a")
    sightings.service_gone("never seen")
    assert events(sightings) == [sighted("a", "192.0.2.1"), Lost("a")]


def test_a_new_group_of_ours_gives_old_sightings_a_meaning() -> None:
    sightings = Sightings(OWN)
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings())
    sightings.service_seen("b", ["192.0.2.2"], 7927, strings())
    events(sightings)
    sightings.groups_changed()
    assert events(sightings) == [sighted("a", "192.0.2.1"), sighted("b", "192.0.2.2")]


def test_on_another_network_everybody_is_to_be_found_again() -> None:
    sightings = Sightings(OWN)
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings())
    events(sightings)
    sightings.network_changed()
    sightings.service_seen("a", ["192.0.2.1"], 7927, strings())
    assert events(sightings) == [Lost("a"), sighted("a", "192.0.2.1")]


def test_our_own_announcement_is_no_sighting() -> None:
    sightings = Sightings(OWN)
    sightings.service_seen(OWN, ["192.0.2.1"], 7927, strings())
    assert events(sightings) == []


def test_addresses_that_cannot_be_dialled_are_left_out() -> None:
    sightings = Sightings(OWN)
    hosts = ["0.0.0.0", "224.0.0.251", "192.0.2.1", "fe80::1", "fe80::1%eth0", "nonsense", "fd00::1", "192.0.2.1"]
    sightings.service_seen("a", hosts, 7927, strings())
    assert events(sightings) == [sighted("a", "192.0.2.1", "fd00::1")]


def test_an_instance_has_a_bounded_number_of_addresses() -> None:
    sightings = Sightings(OWN)
    sightings.service_seen("a", (f"192.0.2.{i}" for i in range(1, 200)), 7927, strings())
    (event,) = events(sightings)
    assert isinstance(event, Sighted)
    assert len(event.addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("hosts", "port"), [([], 7927), (["fe80::1"], 7927), (["192.0.2.1"], 0), (["192.0.2.1"], 65536)]
)
def test_an_announcement_nobody_can_follow_is_refused(hosts: list[str], port: int) -> None:
    sightings = Sightings(OWN)
    with pytest.raises(RemoteError):
        sightings.service_seen("a", hosts, port, strings())
    assert len(sightings) == 0
    assert events(sightings) == []


def test_a_flood_of_names_is_bounded_and_the_latest_stay() -> None:
    sightings = Sightings(OWN)
    for i in range(3 * MAX_INSTANCES):
        sightings.service_seen(str(i), ["192.0.2.1"], 7927, strings())
    assert len(sightings) == MAX_INSTANCES
    assert len(events(sightings)) == MAX_EVENTS
    sightings.service_gone("0")  # forgotten long ago
    assert events(sightings) == []
    sightings.service_gone(str(3 * MAX_INSTANCES - 1))
    assert events(sightings) == [Lost(str(3 * MAX_INSTANCES - 1))]


def test_whoever_speaks_stays_in_a_flood() -> None:
    sightings = Sightings(OWN)
    for i in range(3 * MAX_INSTANCES):
        sightings.service_seen(str(i), ["192.0.2.1"], 7927, strings())
        sightings.service_seen("steady", ["192.0.2.9"], 7927, strings())
    events(sightings)
    sightings.service_gone("steady")
    assert events(sightings) == [Lost("steady")]


@given(
    st.text(max_size=5),
    st.lists(st.text(max_size=20) | st.ip_addresses().map(str), max_size=4),
    st.integers(-1, 70000),
    st.dictionaries(st.sampled_from([b"txtvers", b"n", b"t0"]), st.none() | st.just(b"1") | st.binary(max_size=255)),
)
def test_anything_is_taken_or_refused(
    instance: str, hosts: list[str], port: int, said: dict[bytes, bytes | None]
) -> None:
    sightings = Sightings(OWN)
    try:
        sightings.service_seen(instance, hosts, port, said)
    except RemoteError:
        assert events(sightings) == []
