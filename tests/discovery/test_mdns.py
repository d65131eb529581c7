"""mDNS for real, over the loopback interface: finding, rotating, leaving, and a network that is not there."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng, SystemRng
from swarmd.discovery.announcement import NONCE_BYTES, TAG_BYTES
from swarmd.discovery.interfaces import Interface, read_interfaces
from swarmd.discovery.mdns import Mdns
from swarmd.discovery.responder import SERVICE_TYPE
from swarmd.discovery.sightings import Lost, Sighted
from tests.discovery.node import Member

TIMEOUT = 20.0


def has_multicast() -> bool:
    return any("127.0.0.1" in each.hosts for each in read_interfaces())


pytestmark = pytest.mark.skipif(not has_multicast(), reason="this machine has no loopback interface that is up")


@asynccontextmanager
async def running(mdns: Mdns) -> AsyncIterator[None]:
    task = asyncio.create_task(mdns.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


def node(port: int, *keys: str) -> tuple[Mdns, Member]:
    member = Member(keys)
    return Mdns([Address("127.0.0.1", port)], member.tags_of, member.clock, member.rng), member


async def next_of(mdns: Mdns, instance: str) -> Sighted | Lost:
    """The next event about `instance`: other swarmds may well be on this machine."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            event = await mdns.next_event()
            if event.instance == instance:
                return event


async def next_sighting(mdns: Mdns, of: Mdns) -> Sighted:
    event = await next_of(mdns, of.instance)
    assert isinstance(event, Sighted)
    return event


async def test_two_members_find_each_other_and_a_stranger_learns_nothing() -> None:
    (ann, anns), (bob, bobs), (eve, eves) = node(7001, "films", "work"), node(7002, "films"), node(7003, "other")
    async with running(ann), running(bob), running(eve):
        seen_by_ann, seen_by_bob = await next_sighting(ann, bob), await next_sighting(bob, ann)
        assert seen_by_ann.addresses == (Address("127.0.0.1", 7002),)
        assert seen_by_bob.addresses == (Address("127.0.0.1", 7001),)
        assert anns.shared_with(seen_by_ann) == bobs.shared_with(seen_by_bob) == ["films"]
        strange = await next_sighting(eve, ann), await next_sighting(eve, bob)
        assert [eves.shared_with(each) for each in strange] == [[], []]
        assert {len(each.tags) for each in strange} == {4}, "not even how many groups they have"
        assert not set(strange[0].tags) & set(strange[1].tags)


async def test_a_group_joined_later_is_found_at_once_both_ways() -> None:
    (ann, anns), (bob, bobs) = node(7001, "films"), node(7002, "other")
    async with running(ann), running(bob):
        first = await next_sighting(ann, bob)
        assert anns.shared_with(first) == []
        await next_sighting(bob, ann)
        bobs.set_keys(["other", "films"])
        bob.groups_changed()
        assert bobs.shared_with(await next_sighting(bob, ann)) == ["films"], "from what was heard before"
        second = await next_sighting(ann, bob)
        assert anns.shared_with(second) == ["films"]
        assert second.nonce != first.nonce
        assert not set(first.tags) & set(second.tags)


async def test_a_goodbye_is_heard_and_a_return_too() -> None:
    (ann, _), (bob, _) = node(7001, "films"), node(7002, "films")
    async with running(ann):
        async with running(bob):
            await next_sighting(ann, bob)
        assert await next_of(ann, bob.instance) == Lost(bob.instance)
        async with running(bob):
            await next_sighting(ann, bob)


STRANGE_LABELS = [b"strange \x1b[31m", b"strange.with.dots", b"strange\x00", b"STRANGE\xff\xfe", b"s" * 63, b"s"]
STRANGE_TEXTS: list[dict[str, str]] = [
    {},
    {"txtvers": "9"},
    {"txtvers": "1", "n": "x"},
    {f"k{i}": "v" for i in range(99)},
    {"txtvers": "1", "n": "n" * NONCE_BYTES, "t0": "t" * (TAG_BYTES + 1)},
]


def pointer(label: bytes) -> bytes:
    """A DNS response that says: there is an instance of our service with this name (RFC 1035 §4.1)."""
    service = b"\x07_swarmd\x04_udp\x05local\x00"
    alias = bytes([len(label)]) + label + service
    header = struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0)
    return header + service + struct.pack("!HHIH", 12, 1, 120, len(alias)) + alias


async def test_nonsense_on_the_network_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    """Packets that are no DNS, names and texts that no swarmd would announce; then a real one."""
    (ann, anns), (bob, _), (carl, _) = node(7001, "films"), node(7002, "films"), node(7003, "films")
    heard: list[str] = []
    async with running(ann), running(carl), AsyncZeroconf(interfaces=["127.0.0.1"]) as stranger:
        await next_sighting(ann, carl)  # now it listens
        witness = AsyncServiceBrowser(
            stranger.zeroconf, SERVICE_TYPE, [lambda zeroconf, service_type, name, state_change: heard.append(name)]
        )
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            garbage = [SeededRng(seed).bytes(seed) for seed in range(200)]
            for packet in [*map(pointer, STRANGE_LABELS), *garbage]:
                sender.sendto(packet, ("224.0.0.251", 5353))
        for i, text in enumerate(STRANGE_TEXTS):
            name = f"strange {i}.{SERVICE_TYPE}"
            info = AsyncServiceInfo(SERVICE_TYPE, name, 1, properties=text, parsed_addresses=["127.0.0.1"])
            await stranger.async_register_service(info, cooperating_responders=True)
        async with running(bob):
            async with asyncio.timeout(TIMEOUT):
                while (event := await ann.next_event()).instance != bob.instance:
                    assert "strange" not in event.instance.lower()
            assert isinstance(event, Sighted)
            assert anns.shared_with(event) == ["films"]
        await witness.async_cancel()
    assert len({name for name in heard if name.lower().startswith("s")}) == len(STRANGE_LABELS) + len(STRANGE_TEXTS)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


class Machine:
    """A machine whose interfaces the test changes."""

    def __init__(self) -> None:
        self.interfaces: Sequence[Interface] = ()
        self.looked = asyncio.Event()

    def read(self) -> Sequence[Interface]:
        self.looked.set()
        return self.interfaces


async def test_without_an_interface_it_says_so_once_and_comes_on_with_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "swarmd")
    machine, member = Machine(), Member(["films"])
    mdns = Mdns([Address("0.0.0.0", 7001)], member.tags_of, SystemClock(), SystemRng(), machine.read)
    bob, bobs = node(7002, "films")
    async with running(mdns), running(bob):
        for _ in range(3):
            machine.looked.clear()
            mdns.groups_changed()  # has it look again at once
            await machine.looked.wait()
        assert mdns.note is not None
        assert "no network interface" in mdns.note
        assert "swarm peer add HOST:PORT" in mdns.note
        machine.interfaces = [each for each in read_interfaces() if "127.0.0.1" in each.hosts]
        mdns.groups_changed()
        assert bobs.shared_with(await next_sighting(bob, mdns)) == ["films"]
        assert mdns.note is None
        machine.interfaces = ()
        mdns.groups_changed()
        assert await next_of(bob, mdns.instance) == Lost(mdns.instance), "it says goodbye where it still can"
    said = [record.getMessage() for record in caplog.records]
    assert len([text for text in said if "no network interface" in text]) == 2, "once each time, not at each look"


async def test_an_interface_that_is_gone_when_it_is_joined(caplog: pytest.LogCaptureFixture) -> None:
    """What a race with the system looks like: an address that is no longer ours."""
    machine, member = Machine(), Member(["films"])
    machine.interfaces = [Interface(77, ("203.0.113.77",))]
    mdns = Mdns([Address("0.0.0.0", 7001)], member.tags_of, SystemClock(), SystemRng(), machine.read)
    async with running(mdns):
        for _ in range(2):
            machine.looked.clear()
            mdns.groups_changed()
            await machine.looked.wait()
        assert mdns.note is not None
        assert "mDNS is off: no network interface takes multicast" in mdns.note
