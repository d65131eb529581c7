"""A small public internet with a NAT at its edge, in network namespaces: nodes of Mainline's DHT in this process, each
on an address and a socket of its own, and places for daemons in the open (`OPEN`) and at home (`HOME`).

The NAT is of the worst kind: address- and port-dependent both in what it maps and in what it lets in (each destination
sees another port, and only that destination gets an answer through); what nobody inside has asked for is dropped
without a word. `tried` and `heard` say what came to it and from it.

The nodes are the product's own machines, run by `run` in the caller's thread: nothing here answers meanwhile.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht import krpc
from swarmd.dht.contact import Contact, bound_id
from swarmd.dht.krpc import Query
from swarmd.dht.node import Node, Settings
from swarmd.dht.state import State
from tests.leftovers import remove_namespaces
from tests.net.namespaces import inside, ip

HOME_PLACE, NAT_PLACE, OPEN_PLACE = (f"swarmd-e2e-{name}-{os.getpid()}" for name in ("ann", "router", "bob"))
HOME, NAT, OPEN = "192.168.77.2", "20.255.255.2", "20.254.0.1"
MAX_DATAGRAM_BYTES = 2048
PORT = 6881
MAX_PAUSE = 0.2
_RULES = """
table ip nat {
    chain out { type nat hook postrouting priority 100; oifname "wan0" masquerade fully-random; }
    chain in { type filter hook input priority 0; iifname "wan0" udp dport 1-65535 drop; }
}
"""


@contextmanager
def world(udp_timeout: int | None = None) -> Iterator[None]:
    """The namespaces. udp_timeout: seconds for which the NAT keeps a way open; None: Linux' own, 30 to 120.

    Skips the test where that cannot be."""
    remove_namespaces()
    if subprocess.run(["ip", "netns", "add", NAT_PLACE], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    try:
        for place in (HOME_PLACE, OPEN_PLACE):
            ip(f"netns add {place}")
        _cable(HOME_PLACE, "lan0", f"{HOME}/24", "lan0", "192.168.77.1/24")
        _cable(OPEN_PLACE, "wan0", "20.255.255.1/24", "wan0", f"{NAT}/24")
        ip(f"-netns {OPEN_PLACE} address add {OPEN}/32 dev lo")
        ip(f"-netns {HOME_PLACE} route add default via 192.168.77.1")
        ip(f"-netns {NAT_PLACE} route add default via 20.255.255.1")
        _in_nat("sysctl", "-qw", "net.ipv4.ip_forward=1")
        _in_nat("nft", "-f", "-", text=_RULES)
        for name in ("udp_timeout", "udp_timeout_stream") if udp_timeout is not None else ():
            _in_nat("sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={udp_timeout}")
        yield
    finally:
        for place in (HOME_PLACE, OPEN_PLACE, NAT_PLACE):
            subprocess.run(["ip", "netns", "delete", place], check=False, capture_output=True)


def _cable(place: str, device: str, address: str, its_device: str, its_address: str) -> None:
    """From there to the NAT."""
    ip(f"-netns {place} link add {device} type veth peer name {its_device} netns {NAT_PLACE}")
    for name, dev, each in ((place, device, address), (NAT_PLACE, its_device, its_address)):
        ip(f"-netns {name} link set lo up")
        ip(f"-netns {name} address add {each} dev {dev}")
        ip(f"-netns {name} link set {dev} up")


def _in_nat(*words: str, text: str = "") -> None:
    subprocess.run(["ip", "netns", "exec", NAT_PLACE, *words], input=text, text=True, check=True)


@dataclass(slots=True)
class Host:
    address: Address
    node: Node
    socket: socket.socket


@dataclass
class Internet:
    """Use as a context manager: leaving closes the sockets."""

    seed: int
    hosts: list[Host] = field(default_factory=list)
    tried: set[Address] = field(default_factory=set)
    """Who of the nodes has sent a query to the NAT's address."""
    heard: dict[str, bool] = field(default_factory=dict)
    """By who asked: whether its last query said that it is read-only."""

    def __post_init__(self) -> None:
        self._clock, self.rng = SystemClock(), SeededRng(self.seed)
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Internet:
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts:
            host.socket.close()
        self._selector.close()

    @property
    def now(self) -> float:
        return self._clock.monotonic()

    @property
    def first(self) -> Address:
        return self.hosts[0].address

    def add(self, count: int = 1) -> list[Host]:
        """Newcomers, each in a /24 of its own, who are told of one node."""
        return [self._add_one() for _ in range(count)]

    def look(self, host: Host, target: bytes) -> None:
        """It looks for that place, as one who stores something there does."""
        host.node.find_nodes(target, self.now)
        self._flush(host)

    def run(self, period: float, until: Callable[[], object] = lambda: False) -> bool:
        """At most so many seconds; whether it came to that."""
        end = self.now + period
        while (now := self.now) < end:
            if until():
                return True
            for host in self.hosts:
                deadline = host.node.next_deadline()
                if deadline is not None and deadline <= now:
                    host.node.handle_timer(now)
                    self._flush(host)
            for key, _ in self._selector.select(min(MAX_PAUSE, end - now)):
                self._receive(key.data)
        return bool(until())

    def n_that_know(self, host: str, among: list[Host] | None = None) -> int:
        """Nodes who have it in their tables."""
        listed = self.hosts if among is None else among
        return sum(any(contact.address.host == host for contact in _known(each)) for each in listed)

    def _add_one(self) -> Host:
        number = len(self.hosts)
        address = Address(f"20.{number >> 8}.{number & 255}.1", PORT)
        ip(f"-netns {OPEN_PLACE} address add {address.host}/32 dev lo")
        with inside(OPEN_PLACE):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((address.host, address.port))
        node = Node(Settings(is_public=True), self.rng, self.now, State(bound_id(address, self.rng)))
        host = Host(address, node, sock)
        if self.hosts:
            node.bootstrap([self.rng.choice(self.hosts).address], self.now)
        self.hosts.append(host)
        self._selector.register(sock, selectors.EVENT_READ, host)
        self._flush(host)
        return host

    def _receive(self, host: Host) -> None:
        with suppress(BlockingIOError):
            while True:
                data, source = host.socket.recvfrom(MAX_DATAGRAM_BYTES)
                query = _query(data)
                if query is not None:
                    self.heard[source[0]] = query.is_read_only
                host.node.receive_datagram(data, Address.of_socket(source), self.now)
        self._flush(host)

    def _flush(self, host: Host) -> None:
        for data, address in host.node.datagrams_to_send():
            if address.host == NAT and _query(data) is not None:
                self.tried.add(host.address)
            with suppress(OSError):  # as any datagram, it may be lost
                host.socket.sendto(data, (address.host, address.port))
        while host.node.next_event() is not None:
            pass


def _known(host: Host) -> Iterator[Contact]:
    for table in host.node.tables.values():
        yield from table.contacts()


def _query(data: bytes) -> Query | None:
    with suppress(RemoteError, krpc.Unanswerable):
        message = krpc.decode(data, None)
        return message if isinstance(message, Query) else None
    return None
