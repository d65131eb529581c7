"""One encrypted TCP session between two processes on loopback: MB/s and CPU seconds per GiB, against a bare socket.

usage: python -m tests.bench.tcp_session [MIB]

Both runs move the same 256 KiB blocks from memory to memory; the bare one only `sendall`s and `recv_into`s.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import socket
import sys
from multiprocessing.connection import Connection

from swarmd.core.clock import SystemClock
from swarmd.core.rng import SystemRng
from swarmd.daemon.memory import keep_freed_memory
from swarmd.identity.identity import Identity
from swarmd.net.link import Link
from swarmd.net.tcp import TcpLink
from swarmd.transport.api import Closed, Event, MessageReceived, MessageSent, Opened, Priority
from swarmd.transport.tcp.session import TcpSession

BLOCK = 256 * 1024
_AHEAD = 8  # blocks queued in the session


class _Side:
    """Sends `total` bytes when it is the sender, counts them when it is not."""

    def __init__(self, total: int, sends: bool) -> None:
        self.left = total
        self.sends = sends
        self.unsent = total if sends else 0
        self.flow = 0
        self.block = bytearray(BLOCK)
        self.done = asyncio.get_running_loop().create_future()

    def link_event(self, link: Link, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self.left -= sum(map(len, event.parts))
            if self.left <= 0:
                self.done.set_result(None)
        elif isinstance(event, Opened) and self.sends:
            self.flow = link.session.open_flow(b"bulk", Priority.BULK, report_sent=True)
            for _ in range(_AHEAD):
                self._send(link)
        elif isinstance(event, MessageSent):
            self._send(link)
        elif isinstance(event, Closed) and not self.done.done():
            self.done.set_result(None)

    def _send(self, link: Link) -> None:
        if self.unsent > 0:
            self.unsent -= BLOCK
            link.session.send(self.flow, [b"0123456789", self.block])


async def _run(sock: socket.socket, total: int, sends: bool) -> None:
    clock = SystemClock()
    side = _Side(total, sends)
    session = TcpSession(Identity.generate(), SystemRng(), clock.monotonic(), is_initiator=sends)
    sock.setblocking(False)
    link = TcpLink(sock, session, side, clock, asyncio.get_running_loop())
    link.start()
    await side.done
    link.close()
    link.abort()


def _bare(sock: socket.socket, total: int, sends: bool) -> None:
    block = bytearray(BLOCK)
    moved = 0
    while moved < total:
        if sends:
            sock.sendall(block)
            moved += BLOCK
        else:
            count = sock.recv_into(block)
            if not count:
                break
            moved += count


def _process(kind: str, port: int, total: int, pipe: Connection) -> None:
    keep_freed_memory()
    sock = socket.create_connection(("127.0.0.1", port))
    clock = SystemClock()
    started = clock.monotonic()
    if kind == "swarmd":
        asyncio.run(_run(sock, total, True))
    else:
        _bare(sock, total, True)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
    pipe.send((clock.monotonic() - started, _cpu()))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(kind: str, total: int) -> tuple[float, float]:
    """Seconds and CPU seconds to move `total` bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours, theirs = multiprocessing.Pipe()
        sender = multiprocessing.Process(
            target=_process, args=(kind, server.getsockname()[1], total, theirs), daemon=True
        )
        sender.start()
        sock, _ = server.accept()
        base = _cpu()
        clock = SystemClock()
        started = clock.monotonic()
        with sock:
            if kind == "swarmd":
                asyncio.run(_run(sock, total, False))
            else:
                _bare(sock, total, False)
        wall = clock.monotonic() - started
        cpu = _cpu() - base
        _, sender_cpu = ours.recv()
        sender.join()
    return wall, cpu + sender_cpu


def main(mib: int = 1024) -> None:
    keep_freed_memory()
    results = {}
    for kind in ("bare", "swarmd"):
        wall, cpu = min(measure(kind, mib << 20) for _ in range(3))
        results[kind] = wall
        print(f"{kind:8s} {(mib << 20) / wall / 1e6:8.0f} MB/s  {cpu / mib * 1024:5.2f} CPU s/GiB")
    print(f"an encrypted session takes {results['swarmd'] / results['bare']:.2f} x the time of a bare socket")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024)
