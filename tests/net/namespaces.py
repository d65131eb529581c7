"""Two machines in this process: sockets keep the network namespace in which they were made."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.leftovers import remove_namespaces

ANN, BOB = f"swarmd-udp-ann-{os.getpid()}", f"swarmd-udp-bob-{os.getpid()}"
ROUTER = f"swarmd-udp-router-{os.getpid()}"
ANN_IPV4, BOB_IPV4 = "10.79.31.1", "10.79.31.2"
ANN_IPV6, BOB_IPV6 = "fd79:31::1", "fd79:31::2"
FAR_IPV4, FAR_IPV6 = "10.79.32.2", "fd79:32::2"
_ANN_MAC, _BOB_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
_CLONE_NEWNET = 0x40000000


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """This thread is there meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(home, _CLONE_NEWNET)
        os.close(there)
        os.close(home)


def _wait_for_carrier(name: str) -> None:
    """The kernel tells of a carrier a moment after the link was set up; what is sent before is lost."""
    state = ""
    while "state UP" not in state:
        command = ["ip", "-netns", name, "link", "show", "lan0"]
        state = subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextmanager
def cable() -> Iterator[None]:
    """ANN and BOB joined by a pair of virtual Ethernet devices `lan0` with MTU 1500, an address of each family on both
    ends. Skips the test where that cannot be.
    """
    remove_namespaces()
    if subprocess.run(["ip", "netns", "add", ANN], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    try:
        ip(f"netns add {BOB}")
        for name in (ANN, BOB):  # an address is good at once, and no second change follows
            ip(f"netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0")
        ip(f"-netns {ANN} link add lan0 address {_ANN_MAC} type veth peer name lan0 address {_BOB_MAC} netns {BOB}")
        for name, ipv4, ipv6 in ((ANN, ANN_IPV4, ANN_IPV6), (BOB, BOB_IPV4, BOB_IPV6)):
            ip(f"-netns {name} link set lo up")
            ip(f"-netns {name} link set lan0 up")
            ip(f"-netns {name} address add {ipv4}/24 dev lan0")
            ip(f"-netns {name} address add {ipv6}/64 dev lan0 nodad")
        for name in (ANN, BOB):
            _wait_for_carrier(name)
        for name, mac, *theirs in ((ANN, _BOB_MAC, BOB_IPV4, BOB_IPV6), (BOB, _ANN_MAC, ANN_IPV4, ANN_IPV6)):
            for address in theirs:  # nothing is lost, and nobody waits, while they ask for each other
                ip(f"-netns {name} neighbour add {address} lladdr {mac} dev lan0 nud permanent")
        yield
    finally:
        for name in (ANN, BOB):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def routed() -> Iterator[None]:
    """ANN - ROUTER - BOB, who is at FAR_IPV4 and FAR_IPV6; every MTU is 1500 until `narrow`. Skips as `cable` does."""
    remove_namespaces()
    if subprocess.run(["ip", "netns", "add", ROUTER], capture_output=True, check=False).returncode:
        pytest.skip("no network namespaces here")
    try:
        for name in (ANN, BOB):
            ip(f"netns add {name}")
        for name in (ANN, BOB, ROUTER):
            ip(f"netns exec {name} sysctl -qw net.ipv6.conf.default.accept_dad=0")
            ip(f"-netns {name} link set lo up")
        ip(f"netns exec {ROUTER} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        for name, port, ours, its in ((ANN, "near0", "1", "254"), (BOB, "far0", "2", "254")):
            net = "31" if name == ANN else "32"
            ip(f"-netns {name} link add lan0 type veth peer name {port} netns {ROUTER}")
            for place, device, host in ((name, "lan0", ours), (ROUTER, port, its)):
                ip(f"-netns {place} link set {device} up")
                ip(f"-netns {place} address add 10.79.{net}.{host}/24 dev {device}")
                ip(f"-netns {place} address add fd79:{net}::{host}/64 dev {device} nodad")
        for name, net in ((ANN, "31"), (BOB, "32")):
            _wait_for_carrier(name)
            ip(f"-netns {name} route add default via 10.79.{net}.254")
            ip(f"-netns {name} -6 route add default via fd79:{net}::254")
        yield
    finally:
        for name in (ANN, BOB, ROUTER):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def narrow(mtu: int) -> None:
    """Of the link between ROUTER and BOB, at both ends: from now on ROUTER says "too big" to ANN."""
    ip(f"-netns {ROUTER} link set far0 mtu {mtu}")
    ip(f"-netns {BOB} link set lan0 mtu {mtu}")
