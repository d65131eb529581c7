"""What cannot be sent, what comes back by ICMP, and what a cable between two network namespaces does to datagrams."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import subprocess

import pytest

from swarmd.core.addresses import Address
from swarmd.net import udp
from swarmd.net.udp import Fault, UdpSocket
from tests.e2e.privileges import needs
from tests.net.namespaces import ANN, ANN_IPV4, ANN_IPV6, BOB, BOB_IPV4, BOB_IPV6, inside, ip
from tests.net.sides import IPV4, SEGMENT, Make, Side, cut, families

# A kernel that refuses --------------------------------------------------------------------------------------------


class Stubborn(socket.socket):
    """Refuses what a kernel may refuse: every send of several segments, or every send for a while."""

    segment_error: int | None = None
    errors: list[int]

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):  # type: ignore[no-untyped-def]
        if ancdata and self.segment_error is not None:
            raise OSError(self.segment_error, os.strerror(self.segment_error))
        if self.errors:
            error = self.errors.pop(0)
            raise OSError(error, os.strerror(error))
        return super().sendmsg(buffers, ancdata, flags, address)


def make_stubborn(sock: UdpSocket, segment_error: int | None = None, errors: tuple[int, ...] = ()) -> Stubborn:
    stubborn = Stubborn(fileno=sock._socket.detach())
    stubborn.setblocking(False)
    stubborn.segment_error, stubborn.errors = segment_error, list(errors)
    sock._socket = stubborn
    return stubborn


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL], ids=errno.errorcode.get)
async def test_where_the_kernel_does_not_cut_we_do(side: Make, error: int) -> None:
    near, far = side(), side()
    stubborn = make_stubborn(near.socket, segment_error=error)
    blob = random.Random(1).randbytes(20 * SEGMENT + 5)
    assert near.socket.send(blob, SEGMENT, far.address) == len(blob)
    assert far.address in near.socket._unsegmented, "not tried again for each batch"
    await far.until(lambda: len(far.datagrams) == 21)
    assert far.datagrams == cut(blob)
    stubborn.segment_error = None
    other = side()
    assert near.socket.send(blob, SEGMENT, other.address) == len(blob)
    assert other.address not in near.socket._unsegmented, "another destination may take another device"
    assert not near.faults


async def test_a_full_kernel_takes_a_part_and_says_when_it_takes_more(side: Make) -> None:
    near, far = side(), side()
    stubborn = make_stubborn(near.socket)
    blob = random.Random(1).randbytes(200_000)
    step = udp._PAYLOAD_BYTES // SEGMENT * SEGMENT
    stubborn.errors = [errno.EAGAIN]
    assert near.socket.send(blob, SEGMENT, far.address) == 0
    assert near.socket.is_full
    assert near.socket.send(blob, SEGMENT, far.address) == 0
    await near.until(lambda: near.writable == 1)
    assert not near.socket.is_full
    near.socket.can_segment = False
    stubborn.errors = []
    taken = near.socket.send(blob, SEGMENT, far.address)
    assert taken == len(blob) > step
    await far.until(lambda: sum(map(len, far.datagrams)) >= taken)
    assert far.datagrams == cut(blob)
    assert near.writable == 1


@pytest.mark.parametrize("error", [errno.ENOBUFS, errno.ENOMEM], ids=errno.errorcode.get)
async def test_a_full_queue_of_the_interface_is_loss(side: Make, error: int) -> None:
    near, far = side(), side()
    make_stubborn(near.socket, errors=(error,))
    step = udp._PAYLOAD_BYTES // SEGMENT
    blob = bytes((step + 3) * SEGMENT)
    assert near.socket.send(blob, SEGMENT, far.address) == len(blob)
    assert near.socket.dropped == (step if near.socket.can_segment else 1)
    await far.until(lambda: len(far.datagrams) == step + 3 - near.socket.dropped)
    assert not near.faults


@pytest.mark.parametrize(
    "error", [errno.EPERM, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL], ids=errno.errorcode.get
)
async def test_an_error_that_stands_is_a_fault_of_that_address(side: Make, error: int) -> None:
    near, far = side(), side()
    make_stubborn(near.socket, errors=(error,) * 4)
    assert near.socket.send(bytes(5 * SEGMENT), SEGMENT, far.address) == 5 * SEGMENT
    await near.until(lambda: near.faults)
    assert near.faults == [Fault(far.address, error)]
    near.socket.send(b"later", SEGMENT, far.address)
    await far.until(lambda: far.datagrams)
    assert far.datagrams == [b"later"]


async def test_what_has_no_way_is_a_fault(side: Make) -> None:
    near = side()
    for address in (Address("255.255.255.255", 9), Address("127.0.0.1", 0), Address("fe80::1", 9)):
        assert near.socket.send(b"xyz", 2, address) == 3
        await near.until(lambda: near.faults)
        (fault,) = near.faults
        assert (fault.address, fault.error) in {
            (address, errno.EACCES),
            (address, errno.EINVAL),
            (address, errno.EAFNOSUPPORT),
            (address, errno.ENETUNREACH),
        }
        near.faults.clear()


async def test_close_leaves_nothing_behind(side: Make) -> None:
    near, far = side(), side()
    make_stubborn(near.socket, errors=(errno.EPERM, errno.EPERM, errno.EAGAIN))
    near.socket.send(b"x", 1, far.address)
    near.socket.send(b"x", 1, far.address)
    assert near.socket.is_full
    near.socket.close()
    near.socket.close()
    assert near.socket.is_closed
    near.socket.resume()
    near.socket.pause()
    assert (near.socket.send(b"xy", 1, far.address), near.socket.receive(), near.socket.overflowed) == (2, [], 0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (near.faults, near.writable) == ([], 0)


# ICMP -------------------------------------------------------------------------------------------------------------


def unused(address: Address) -> Address:
    with socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address.host, 0))
        return Address.of_socket(sock.getsockname())


@families
async def test_a_port_that_nobody_has_is_a_fault(side: Make, address: Address) -> None:
    near, nobody = side(address), unused(address)
    assert near.socket.send(bytes(100), 100, nobody) == 100
    await near.until(lambda: near.faults)
    assert near.faults == [Fault(nobody, errno.ECONNREFUSED)]


@families
async def test_the_fault_of_one_address_costs_no_other_a_datagram(side: Make, address: Address) -> None:
    """The kernel gives an error of the past to the next call on the socket, whomever that is for."""
    near, far, nobody = side(address), side(address), unused(address)
    for number in range(50):
        near.socket.send(bytes(10), 10, nobody)
        near.socket.send(bytes([number]) * 30, 10 if number % 2 else 30, far.address)
    await far.until(lambda: len(far.datagrams) == 25 * 3 + 25)
    assert {fault.address for fault in near.faults + near.socket.errors()} == {nobody}


async def test_an_error_ends_no_receiving(side: Make) -> None:
    near, far, nobody = side(), side(), unused(IPV4)
    near.socket.pause()
    near.socket.send(bytes(10), 10, nobody)
    far.socket.send(b"hello", 5, near.address)
    near.socket.resume()
    await near.until(lambda: near.datagrams and near.faults)
    assert near.datagrams == [b"hello"]


async def test_faults_are_told_once_for_each_address_and_bounded(side: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_FAULTS", 3)
    near = side()
    for number in range(1, 6):
        for _ in range(3):
            near.socket.send(b"x", 1, Address("::1", number))
    assert [fault.address.port for fault in near.socket.errors()] == [1, 2, 3]
    assert near.socket.errors() == []


async def test_the_loop_rests_after_an_error(side: Make) -> None:
    """An error queue that is not emptied would wake the loop for ever."""
    near, nobody = side(), unused(IPV4)
    near.socket.send(b"x", 1, nobody)
    await near.until(lambda: near.faults)
    with pytest.raises(OSError, match="too long"):  # an error of our own interface, which no receive gives
        near.socket._socket.sendto(bytes(65_520), (nobody.host, nobody.port))
    before = len(near.turns)
    for _ in range(50):
        await asyncio.sleep(0)
    assert before < len(near.turns) <= before + 2


# Over a cable -----------------------------------------------------------------------------------------------------


def ends(side: Make, is_ipv6: bool) -> tuple[Side, Side]:
    with inside(ANN):
        near = side(Address(ANN_IPV6 if is_ipv6 else ANN_IPV4, 0))
    with inside(BOB):
        far = side(Address(BOB_IPV6 if is_ipv6 else BOB_IPV4, 0))
    return near, far


def run(command: str) -> None:
    """Skips the test where this kernel lacks what it takes."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{command}: {done.stderr.strip()}")


root = [needs("ip"), pytest.mark.root]
wires = pytest.mark.parametrize("is_ipv6", [False, True], ids=["IPv4", "IPv6"])


class TestCable:
    pytestmark = root

    @wires
    async def test_batches_cross_whole_or_as_packets(self, side: Make, wired: None, is_ipv6: bool) -> None:
        near, far = ends(side, is_ipv6)
        blob = random.Random(1).randbytes(100 * SEGMENT + 7)
        for setting in ("gso_max_segs 65535", "gso_max_segs 1"):
            ip(f"-netns {ANN} link set lan0 {setting}")
            far.datagrams.clear()
            assert near.socket.send(blob, SEGMENT, far.address) == len(blob)
            await far.until(lambda: len(far.datagrams) >= 101)
            assert far.datagrams == cut(blob)

    @wires
    async def test_too_long_for_our_interface(self, side: Make, wired: None, is_ipv6: bool) -> None:
        near, far = ends(side, is_ipv6)
        header = 48 if is_ipv6 else 28
        fits = 1500 - header
        for size, segment in ((fits + 1, fits + 1), (5 * 1480, 1480), (9000, 9000)):
            assert near.socket.send(bytes(size), segment, far.address) == size
            await near.until(lambda: near.faults)
            assert near.faults.pop() == Fault(far.address, errno.EMSGSIZE, 1500)
        assert near.socket.send(bytes(5 * fits), fits, far.address) == 5 * fits
        await far.until(lambda: len(far.datagrams) == 5)
        assert {*map(len, far.datagrams)} == {fits}
        assert not near.faults and not near.socket._unsegmented

    async def test_nothing_is_sent_in_fragments(self, side: Make, wired: None) -> None:
        """Also when the path is known to be narrow: how large a datagram may be is not the kernel's to say."""
        near, far = ends(side, False)
        ip(f"-netns {ANN} route add {BOB_IPV4}/32 dev lan0 mtu 1300")
        assert near.socket.send(bytes(1400), 1400, far.address) == 1400
        await far.until(lambda: far.datagrams)
        assert not near.faults

    async def test_a_narrow_place_on_the_way_is_told_with_its_mtu(self, side: Make, wired: None) -> None:
        """BOB forwards to a link of MTU 1280, and says that it cannot: ICMP "fragmentation needed"."""
        near, _ = ends(side, False)
        ip(f"-netns {BOB} link add stub0 type veth peer name stub1")
        ip(f"-netns {BOB} link set stub0 mtu 1280 up")
        ip(f"-netns {BOB} address add 10.79.32.1/24 dev stub0")
        run(f"ip netns exec {BOB} sysctl -qw net.ipv4.ip_forward=1")
        ip(f"-netns {ANN} route add 10.79.32.0/24 via {BOB_IPV4}")
        beyond = Address("10.79.32.9", 7000)
        near.socket.send(bytes(1400), 1400, beyond)
        await near.until(lambda: near.faults)
        assert near.faults == [Fault(beyond, errno.EMSGSIZE, 1280)]

    @wires
    async def test_an_answer_comes_from_where_the_question_went(self, side: Make, wired: None, is_ipv6: bool) -> None:
        """Bound to all addresses; the one that was called is not the one that the kernel would choose."""
        second = "fd79:31::77" if is_ipv6 else "10.79.31.77"
        third = "fd79:31::78" if is_ipv6 else "10.79.31.78"
        for each in (second, third):  # of IPv4 the oldest is the kernel's choice, of IPv6 the newest
            ip(f"-netns {BOB} address add {each}/{'64 nodad' if is_ipv6 else 24} dev lan0")
        near, _ = ends(side, is_ipv6)
        with inside(BOB):
            far = side(Address("::" if is_ipv6 else "0.0.0.0", 0))
        called = Address(second, far.address.port)
        near.socket.send(b"question", 4, called)
        await far.until(lambda: len(far.datagrams) == 2)
        assert {*far.locals} == {called}
        for size, segment in ((5, 5), (10, 5)):
            assert far.socket.send(bytes(size), segment, near.address, called) == size
            await near.until(lambda: near.datagrams)
            assert {*near.sources} == {called}
            near.datagrams.clear()
            near.sources.clear()
        ip(f"-netns {BOB} address delete {second}/{64 if is_ipv6 else 24} dev lan0")
        assert far.socket.send(bytes(10), 5, near.address, called) == 10
        await near.until(lambda: near.datagrams)
        assert called not in near.sources
        assert not far.faults and not far.socket._unsegmented

    @wires
    async def test_no_route(self, side: Make, wired: None, is_ipv6: bool) -> None:
        near, _ = ends(side, is_ipv6)
        nowhere = Address("fd80::1" if is_ipv6 else "192.0.2.1", 9)
        near.socket.send(bytes(5 * SEGMENT), SEGMENT, nowhere)
        await near.until(lambda: near.faults)
        assert near.faults == [Fault(nowhere, errno.ENETUNREACH)]

    @needs("nft")
    async def test_a_firewall_of_ours(self, side: Make, wired: None) -> None:
        near, far = ends(side, False)
        run(f"ip netns exec {ANN} nft add table inet t")
        run(f"ip netns exec {ANN} nft add chain inet t c {{ type filter hook output priority 0 ; }}")
        run(f"ip netns exec {ANN} nft add rule inet t c udp dport 9 drop")
        barred = Address(BOB_IPV4, 9)
        near.socket.send(bytes(3000), 1000, barred)
        near.socket.send(b"x", 1, far.address)
        await near.until(lambda: near.faults)
        assert near.faults == [Fault(barred, errno.EPERM)]
        await far.until(lambda: far.datagrams)

    @needs("tc")
    async def test_a_slow_interface_pushes_back_and_loses_nothing_it_took(self, side: Make, wired: None) -> None:
        """40 Mbit/s: the queue is longer than what a socket may have in it, so the socket is what is full first."""
        run(f"tc -netns {ANN} qdisc add dev lan0 root tbf rate 40mbit burst 70000 limit 20000000")
        near, far = ends(side, False)
        blob = random.Random(1).randbytes(1000 * SEGMENT)
        sent = 0
        while sent < len(blob):
            sent += near.socket.send(blob[sent:], SEGMENT, far.address)
            if sent < len(blob):
                assert near.socket.is_full
                await near.until(lambda: not near.socket.is_full)
        await far.until(lambda: len(far.datagrams) >= 1000)
        assert far.datagrams == cut(blob)
        assert near.writable > 0 and near.socket.dropped == 0
