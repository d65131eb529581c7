"""Datagrams of 1,400 bytes between two processes: `UdpSocket` in batches against plain `sendto` and `recvfrom`.

usage: python -m tests.bench.udp [SECONDS]

One side sends as fast as it can, the other counts what comes: on loopback, and as root between two network namespaces
joined by a veth pair of MTU 1500; there also with packets cut by the sender's interface, so that each reaches the
receiver by itself, as from a network card. "sealed": each datagram is encrypted and opened with AES-GCM on top.
CPU is of the process, with what the kernel does in its name: on these links that includes much of the other end's
network stack for the sender. Lost is what overtaxes the receiver, as nothing slows the sender down; but for the last
lines of each place, which send at the rate that a whole session is to reach, and show what the socket takes of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.net.udp import UdpSocket
from tests.net.namespaces import ANN, ANN_IPV4, BOB, BOB_IPV4, cable, ip

PACKET = 1400
_OVERHEAD = 4 + 8 + 16  # session ID, sequence, tag
_BATCH = 46  # what goes into one system call
_SILENCE = 0.5
_LAST = 1  # bytes of the datagram that ends a run
_LAST_COPIES = 20
_GOAL = 150e6  # bytes a second of one session: 9.3 us for each packet, on each side
_KINDS = ("plain", "batches", "plain sealed", "batches sealed", "batches paced", "batches sealed paced")
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Moved:
    packets: int
    wall: float
    cpu: float

    @property
    def rate(self) -> float:
        """MB/s."""
        return self.packets * PACKET / self.wall / 1e6

    @property
    def each(self) -> float:
        """Microseconds of CPU for each packet."""
        return self.cpu / max(1, self.packets) * 1e6


class _Cipher:
    """AES-GCM with an explicit sequence: what a session does at least."""

    def __init__(self) -> None:
        self._key = AESGCM(bytes(32))
        self._sequence = 0
        self._plain = bytes(PACKET - _OVERHEAD)
        self._opened = bytearray(PACKET - _OVERHEAD)

    def seal_all(self, blob: memoryview) -> None:
        for start in range(0, len(blob), PACKET):
            self.seal_into(blob[start : start + PACKET])

    def seal_into(self, target: memoryview) -> None:
        self._sequence += 1
        head = self._sequence.to_bytes(8, "big")
        target[4:12] = head
        self._key.encrypt_into(bytes(4) + head, self._plain, None, target[12:])

    def open(self, packet: memoryview) -> None:
        self._key.decrypt_into(bytes(4) + bytes(packet[4:12]), packet[12:], None, self._opened)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class _Count:
    """What has arrived, from the first packet to the last."""

    def __init__(self) -> None:
        self.packets = 0
        self._first_at = self._last_at = self._cpu_at = self._cpu = 0.0

    def add(self, packets: int) -> None:
        self._last_at, self._cpu = _CLOCK.monotonic(), _cpu()
        if not self.packets:
            self._first_at, self._cpu_at = self._last_at, self._cpu
        self.packets += packets

    def result(self) -> Moved:
        return Moved(self.packets, max(1e-9, self._last_at - self._first_at), self._cpu - self._cpu_at)


class _Receiver:
    """By batches."""

    def __init__(self, host: str, cipher: _Cipher | None) -> None:
        loop = asyncio.get_running_loop()
        self.done = asyncio.Event()
        self.count = _Count()
        self._cipher = cipher
        self.socket = UdpSocket(Address(host, 0), loop)
        self.socket.start(self)

    def socket_readable(self, sock: UdpSocket) -> None:
        packets = 0
        for data, segment, _, _ in sock.receive():
            if segment == _LAST:
                self.done.set()
                continue
            packets += len(data) // segment
            if self._cipher:
                for start in range(0, len(data), segment):
                    self._cipher.open(data[start : start + segment])
        if packets:
            self.count.add(packets)

    def socket_writable(self, sock: UdpSocket) -> None: ...

    def socket_faulted(self, sock: UdpSocket) -> None: ...


async def _receive_batches(host: str, cipher: _Cipher | None) -> Moved:
    receiver = _Receiver(host, cipher)
    _say_port(receiver.socket.address.port)
    await receiver.done.wait()
    receiver.socket.close()
    return receiver.count.result()


def _receive_plain(host: str, cipher: _Cipher | None) -> Moved:
    with _plain_socket(host) as sock:
        _say_port(sock.getsockname()[1])
        count, space = _Count(), memoryview(bytearray(65536))
        while True:
            packets = 0
            for _ in range(_BATCH):
                size, _ = sock.recvfrom_into(space)
                if size == _LAST:
                    return count.result()
                packets += 1
                if cipher:
                    cipher.open(space[:size])
            count.add(packets)


def _plain_socket(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    if os.geteuid() == 0:  # the same buffer as the other's
        sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)
    return sock


def _say_port(port: int) -> None:
    print(port, flush=True)


class _Sender:
    """By batches."""

    def __init__(self, host: str) -> None:
        self.room = asyncio.Event()
        self.socket = UdpSocket(Address(host, 0), asyncio.get_running_loop())
        self.socket.start(self)

    def socket_readable(self, sock: UdpSocket) -> None:
        sock.receive()

    def socket_writable(self, sock: UdpSocket) -> None:
        self.room.set()

    def socket_faulted(self, sock: UdpSocket) -> None:
        sock.errors()


async def _send_batches(host: str, to: Address, cipher: _Cipher | None, seconds: float, rate: float) -> Moved:
    sender = _Sender(host)
    blob = memoryview(bytearray(_BATCH * PACKET))
    packets, started, cpu = 0, _CLOCK.monotonic(), _cpu()
    while _CLOCK.monotonic() < started + seconds:
        if packets * PACKET > (_CLOCK.monotonic() - started) * rate:
            await asyncio.sleep(0.001)
            continue
        if cipher:
            cipher.seal_all(blob)
        sent = 0
        while (sent := sent + sender.socket.send(blob[sent:], PACKET, to)) < len(blob):
            sender.room.clear()
            await sender.room.wait()
        packets += _BATCH
        await asyncio.sleep(0)
    result = Moved(packets, _CLOCK.monotonic() - started, _cpu() - cpu)
    sender.socket.close()
    return result


def _send_plain(host: str, to: Address, cipher: _Cipher | None, seconds: float) -> Moved:
    with _plain_socket(host) as sock:
        blob, name = memoryview(bytearray(PACKET)), (to.host, to.port)
        packets, started, cpu = 0, _CLOCK.monotonic(), _cpu()
        while _CLOCK.monotonic() < started + seconds:
            for _ in range(_BATCH):
                if cipher:
                    cipher.seal_into(blob)
                sock.sendto(blob, name)
            packets += _BATCH
        return Moved(packets, _CLOCK.monotonic() - started, _cpu() - cpu)


def _end(host: str, to: Address) -> None:
    """The receiver's buffer may be full still: more than one, over some time."""
    with _plain_socket(host) as sock:
        for _ in range(_LAST_COPIES):
            sock.sendto(bytes(_LAST), (to.host, to.port))
            asyncio.run(asyncio.sleep(_SILENCE / _LAST_COPIES))


def _side(words: list[str]) -> None:
    """One process: `receive KIND HOST`, or `send KIND HOST TO SECONDS`."""
    role, kind, host, *rest = words
    cipher = _Cipher() if "sealed" in kind else None
    is_plain = kind.startswith("plain")
    if role == "receive":
        result = _receive_plain(host, cipher) if is_plain else asyncio.run(_receive_batches(host, cipher))
    else:
        to, seconds = Address.parse(rest[0]), float(rest[1])
        if is_plain:
            result = _send_plain(host, to, cipher, seconds)
        else:
            rate = _GOAL if "paced" in kind else float("inf")
            result = asyncio.run(_send_batches(host, to, cipher, seconds, rate))
        _end(host, to)
    print(json.dumps(asdict(result)), flush=True)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the two processes run: what goes before their commands, and their addresses."""

    name: str
    sender: tuple[str, ...]
    sender_host: str
    receiver: tuple[str, ...]
    receiver_host: str


def _start(prefix: tuple[str, ...], *words: str) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, "-m", "tests.bench.udp", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def measure(place: Place, kind: str, seconds: float) -> tuple[Moved, Moved]:
    """Of the sender and of the receiver."""
    with _start(place.receiver, "receive", kind, place.receiver_host) as receiver:
        assert receiver.stdout
        to = Address(place.receiver_host, int(receiver.stdout.readline()))
        with _start(place.sender, "send", kind, place.sender_host, str(to), str(seconds)) as sender:
            assert sender.stdout
            sent = Moved(**json.loads(sender.stdout.read()))
        return sent, Moved(**json.loads(receiver.stdout.read()))


def places(stack: ExitStack) -> Iterator[Place]:
    yield Place("loopback", (), "127.0.0.1", (), "127.0.0.1")
    if os.geteuid():
        print("veth: needs root")
        return
    stack.enter_context(cable())
    inside = ("ip", "netns", "exec")
    for name, segments in (("veth, MTU 1500", 65535), ("veth, cut by the sender's interface", 1)):
        ip(f"-netns {ANN} link set lan0 gso_max_segs {segments}")
        yield Place(name, (*inside, ANN), ANN_IPV4, (*inside, BOB), BOB_IPV4)


def main(seconds: float = 1.5) -> None:
    with ExitStack() as stack:
        for place in places(stack):
            print(f"{place.name:36s} {'':8s} sender us  receiver us   lost")
            rates: dict[str, float] = {}
            for kind in _KINDS:
                sent, received = measure(place, kind, seconds)
                lost = 1 - received.packets / sent.packets
                rates[kind] = received.rate
                print(f"  {kind:24s} {received.rate:12.0f} MB/s {sent.each:9.2f}  {received.each:11.2f}  {lost:5.0%}")
            for suffix in ("", " sealed"):
                ratio = rates["batches" + suffix] / rates["plain" + suffix]
                print(f"  batches move {ratio:.1f} x as much as plain calls{' when sealed' if suffix else ''}")


if __name__ == "__main__":
    if sys.argv[1:2] in (["send"], ["receive"]):
        _side(sys.argv[1:])
    else:
        main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.5)
