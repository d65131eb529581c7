"""Listening: exactly what was named, or any port when the usual one is taken; by all transports on the same one.

With real sockets.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import LocalError
from swarmd.daemon import listening as listening_module
from swarmd.daemon.listening import open_listeners, open_together


class Opened:
    """A real listening socket, as `net` makes them."""

    def __init__(self, address: Address) -> None:
        family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
        self.socket = socket.socket(family)
        try:
            if address.is_ipv6:
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self.socket.bind((address.host, address.port))
            self.socket.listen()
        except OSError as error:
            self.socket.close()
            raise LocalError(f"cannot listen on {address}") from error
        self.address = Address.of_socket(self.socket.getsockname())

    def close(self) -> None:
        self.socket.close()


class OpenedUdp(Opened):
    """The same for datagrams, whose ports are others than those of TCP."""

    def __init__(self, address: Address) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.socket.bind((address.host, address.port))
        except OSError as error:
            self.socket.close()
            raise LocalError(f"cannot listen on {address}") from error
        self.address = Address.of_socket(self.socket.getsockname())


@contextmanager
def taken_port(host: str = "127.0.0.1") -> Iterator[Address]:
    opened = Opened(Address(host, 0))
    try:
        yield opened.address
    finally:
        opened.close()


def without_ipv6(address: Address) -> Opened:
    if address.is_ipv6:
        raise LocalError("no IPv6 here") from OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return Opened(address)


def close_all(listeners: tuple[Opened, ...]) -> None:
    for each in listeners:
        each.close()


def has_ipv6() -> bool:
    try:
        Opened(Address("::1", 0)).close()
    except LocalError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback address")


def both_families(port: int) -> tuple[Address, Address]:
    return Address("127.0.0.1", port), Address("::1", port)


def test_named_addresses_are_opened_as_named() -> None:
    wanted = [Address("127.0.0.1", 0), Address("127.0.0.2", 0)]
    listening = open_listeners(wanted, True, Opened)
    assert [each.address.host for each in listening.listeners] == ["127.0.0.1", "127.0.0.2"]
    assert listening.note is None
    close_all(listening.listeners)


def test_a_named_address_that_is_taken_is_an_error_and_nothing_stays_open() -> None:
    with taken_port() as address, pytest.raises(LocalError, match=r"cannot listen on 127\.0\.0\.1"):
        open_listeners([Address("127.0.0.1", 0), address], True, Opened)  # a socket left open would fail the test


@needs_ipv6
def test_the_usual_port_when_it_is_free() -> None:
    with taken_port() as address:
        port = address.port
    listening = open_listeners(both_families(port), False, Opened)
    assert {each.address.port for each in listening.listeners} == {port}
    assert listening.note is None
    close_all(listening.listeners)


@needs_ipv6
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_another_port_for_both_families_when_the_usual_is_taken_in_one(host: str) -> None:
    with taken_port(host) as address:
        listening = open_listeners(both_families(address.port), False, Opened)
        (port,) = {each.address.port for each in listening.listeners}
        assert len(listening.listeners) == 2
        assert port != address.port
        assert listening.note is not None
        assert f"port {address.port} is taken" in listening.note
        assert f"port {port}" in listening.note
        close_all(listening.listeners)


def test_a_machine_without_ipv6_listens_on_ipv4_alone() -> None:
    with taken_port() as address:
        port = address.port
        elsewhere = open_listeners(both_families(port), False, without_ipv6)
        assert len(elsewhere.listeners) == 1
        close_all(elsewhere.listeners)
    usual = open_listeners(both_families(port), False, without_ipv6)
    assert [each.address for each in usual.listeners] == [address]
    assert usual.note is None
    close_all(usual.listeners)


def test_a_machine_without_any_family_says_so() -> None:
    with pytest.raises(LocalError, match="no IPv6 here"):
        open_listeners([Address("::1", 0)], False, without_ipv6)


def test_the_usual_port_refused_for_another_reason_is_an_error() -> None:
    def forbidden(address: Address) -> Opened:
        raise LocalError(f"cannot listen on {address}: Permission denied") from PermissionError(errno.EACCES, "no")

    with pytest.raises(LocalError, match="Permission denied"):
        open_listeners(both_families(80), False, forbidden)


# Several transports on one port -----------------------------------------------------------------------------------


def test_all_transports_listen_on_the_same_free_port() -> None:
    port = open_together(Address("127.0.0.1", 0), [Opened, OpenedUdp])
    assert port.address.port
    assert [each.address for each in port.listeners] == [port.address, port.address]
    port.close()


def test_a_free_port_that_one_transport_cannot_have_is_not_taken_by_the_other() -> None:
    """As often as that happens, and nothing stays open: a socket left open would fail the test."""
    obstacles: list[OpenedUdp] = []

    def opened_and_taken(address: Address) -> Opened:
        opened = Opened(address)
        if len(obstacles) < 3:
            obstacles.append(OpenedUdp(opened.address))
        return opened

    port = open_together(Address("127.0.0.1", 0), [opened_and_taken, OpenedUdp])
    assert len(obstacles) == 3 and port.address not in [each.address for each in obstacles]
    port.close()
    close_all(tuple(obstacles))


def test_a_port_that_was_asked_for_is_not_replaced_by_another() -> None:
    obstacle = OpenedUdp(Address("127.0.0.1", 0))
    with pytest.raises(LocalError, match="cannot listen on") as caught:
        open_together(obstacle.address, [Opened, OpenedUdp])
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.EADDRINUSE
    Opened(obstacle.address).close()
    obstacle.close()


def test_the_search_for_a_port_ends() -> None:
    tries: list[Address] = []

    def taken(address: Address) -> Opened:
        tries.append(address)
        raise LocalError(f"cannot listen on {address}") from OSError(errno.EADDRINUSE, "in use")

    with pytest.raises(LocalError):
        open_together(Address("127.0.0.1", 0), [Opened, taken])
    assert len(tries) == listening_module._TRIES and all(address.port for address in tries)


def test_the_usual_port_taken_by_another_transport_is_replaced_for_all() -> None:
    obstacle = OpenedUdp(Address("127.0.0.1", 0))
    openers = [Opened, OpenedUdp]
    listening = open_listeners([obstacle.address], False, lambda address: open_together(address, openers))
    (port,) = listening.listeners
    assert port.address.port != obstacle.address.port and listening.note is not None
    port.close()
    obstacle.close()
