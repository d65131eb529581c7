"""One encrypted RTMFP session between two processes on a veth pair of MTU 1500, beside aioquic and libtorrent's uTP.

usage: python -m tests.bench.rtmfp [SECONDS]       all of it (idle takes half a minute)
       python -m tests.bench.rtmfp transfer|idle|flood [SECONDS]

transfer  one flow of 64 KiB messages, MB/s as they arrive, CPU of each side; the same with aioquic and uTP, if they are
          installed (they are no dependency), and the ratios
idle      _IDLE sessions on one endpoint: its share of a core
flood     the same transfer while a third process sends the receiver _FLOOD_RATE IHellos a second, each well formed,
          with a tag of its own, from one of many ports, and of nobody who will go on

"Others" is what else ran on the machine meanwhile: figures are good while it is small.
CPU is of the process, with what the kernel does in its name: on a veth pair that includes much of the other end's
network stack for the sender. A first second is not measured: windows open meanwhile. Needs root, for the namespaces.
"""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SystemRng
from swarmd.daemon.memory import keep_freed_memory
from swarmd.identity.identity import Identity
from swarmd.net.link import Link
from swarmd.net.udpcarrier import UdpCarrier, UdpLink
from swarmd.transport.api import Closed, Event, MessageReceived, MessageSent, Opened, Priority
from swarmd.transport.rtmfp.chunks import IHello, encode_chunk
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packet import Mode, encode_header, scramble
from tests.bench import _rivals
from tests.bench._rivals import cpu, machine_busy
from tests.net.namespaces import ANN, ANN_IPV4, BOB, BOB_IPV4, cable

MESSAGE = 64 * 1024
_AHEAD = 4 << 20  # queued in the session
_WARMING = 1.0
_PACKET = 1472  # what the path takes
_GOAL, _GOAL_RATIO = 150.0, 5.0
_IDLE, _IDLE_SECONDS = 100, 30.0
_FLOOD_RATE, _FLOOD_PORTS, _FLOOD_STEP = 10_000, 64, 0.005
_CLOCK = SystemClock()


@dataclass(frozen=True, slots=True)
class Moved:
    """What one side has seen while it was measured. `machine_cpu`: of all processes."""

    seconds: float
    cpu: float
    machine_cpu: float
    message_bytes: int
    wire_bytes: int
    overflowed: int = 0
    memory_bytes: tuple[int, int] = (0, 0)  # before and after
    note: str = ""

    @property
    def rate(self) -> float:
        """MB/s."""
        return self.message_bytes / self.seconds / 1e6

    @property
    def each(self) -> float:
        """Microseconds of CPU for each packet of the transfer."""
        return self.cpu / max(1, self.wire_bytes / _PACKET) * 1e6

    @property
    def share(self) -> float:
        """Of a core."""
        return self.cpu / self.seconds


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class Side:
    """One carrier. Sends while `is_sending`, counts what comes."""

    def __init__(self) -> None:
        self.carrier = UdpCarrier(Identity.generate(), SystemRng(), _CLOCK, self)
        self.links: list[Link] = []
        self.opened = asyncio.Semaphore(0)
        self.message_bytes = 0
        self.lost: list[Closed] = []
        self._flow: int | None = None
        self._message = bytes(MESSAGE)

    def has_room_for(self, remote: Address) -> bool:
        return True

    def link_accepted(self, link: Link) -> None:
        self.links.append(link)
        link.start()

    async def call(self, address: Address) -> UdpLink:
        link = await self.carrier.connect(address, None)
        self.links.append(link)
        link.start()
        await self.opened.acquire()
        return link

    def send(self, link: Link) -> None:
        """From now on."""
        self._flow = link.session.open_flow(b"bulk", Priority.BULK, report_sent=True)
        for _ in range(_AHEAD // MESSAGE):
            link.session.send(self._flow, [self._message])
        link.pump()

    def link_event(self, link: Link, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self.message_bytes += sum(map(len, event.parts))
        elif isinstance(event, MessageSent):
            assert self._flow is not None
            self.message_bytes += event.size
            link.session.send(self._flow, [self._message])
        elif isinstance(event, Opened):
            self.opened.release()
        elif isinstance(event, Closed):
            self.lost.append(event)

    async def measure(self, seconds: float) -> Moved:
        await asyncio.sleep(_WARMING)
        moved, wire, memory = self.message_bytes, self._wire(), _resident()
        used, busy, start = cpu(), machine_busy(), _CLOCK.monotonic()
        await asyncio.sleep(seconds)
        return Moved(
            _CLOCK.monotonic() - start,
            cpu() - used,
            machine_busy() - busy,
            self.message_bytes - moved,
            self._wire() - wire,
            sum(sock.overflowed for sock in self.carrier._sockets),
            (memory, _resident()),
            self._note(),
        )

    def _wire(self) -> int:
        return sum(max(link.sent_bytes, link.received_bytes) for link in self.links)

    def _note(self) -> str:
        rtt = self.links[0].rtt if self.links else None
        return f"; round trip {rtt * 1e3:.1f} ms" if rtt is not None else ""

    def stop(self) -> None:
        self.carrier.stop()


async def _receive(host: str, seconds: float, sessions: int) -> Moved:
    side = Side()
    print(side.carrier.open_listener(Address(host, 0)).address.port, flush=True)
    for _ in range(sessions):
        await side.opened.acquire()
    result = await side.measure(seconds)
    assert len(side.links) == sessions and not side.lost, "sessions were lost"
    await asyncio.sleep(0.2)
    side.stop()
    return result


async def _send(host: str, to: Address, seconds: float) -> Moved:
    side = Side()
    side.carrier.open_listener(Address(host, 0))
    side.send(await side.call(to))
    result = await side.measure(seconds)
    side.stop()
    return result


async def _call_often(host: str, to: Address, seconds: float) -> Moved:
    side = Side()
    side.carrier.open_listener(Address(host, 0))
    for _ in range(_IDLE):
        await side.call(to)
    result = await side.measure(seconds)
    assert not side.lost, "sessions were lost"
    side.stop()
    return result


async def _flood(host: str, to: Address, seconds: float) -> Moved:
    """Sealed before, so that this process takes as little as it can of the machine."""
    rng = SystemRng()
    profile = NoiseProfile(Identity.generate(), rng)
    header, epd = encode_header(Mode.STARTUP, timestamp=None, echo=None), profile.epd_for(None)
    count = int((seconds + 3 * _WARMING) * _FLOOD_RATE)  # longer than the transfer
    datagrams = []
    for _ in range(count):
        sealed = profile.startup.seal(header + encode_chunk(IHello(epd, rng.bytes(16))))
        datagrams.append(scramble(0, sealed) + sealed)
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(_FLOOD_PORTS)]
        for sock in socks:
            sock.setblocking(False)
            sock.bind((host, 0))
            sock.connect((to.host, to.port))
        print("ready", flush=True)
        start, sent, used = _CLOCK.monotonic(), 0, cpu()
        with suppress(ConnectionRefusedError):  # the receiver is through
            while sent < count:
                due = min(count, int((_CLOCK.monotonic() - start) * _FLOOD_RATE))
                for number in range(sent, due):
                    socks[number % _FLOOD_PORTS].send(datagrams[number])
                sent = due
                await asyncio.sleep(_FLOOD_STEP)
        return Moved(_CLOCK.monotonic() - start, cpu() - used, 0.0, sent, sent)


def _side(words: list[str]) -> None:
    """One process: `receive HOST SECONDS SESSIONS`, or `send|call|flood HOST SECONDS TO`."""
    keep_freed_memory()
    role, host, seconds = words[0], words[1], float(words[2])
    if role == "receive":
        result = asyncio.run(_receive(host, seconds, int(words[3])))
    else:
        run = {"send": _send, "call": _call_often, "flood": _flood}[role]
        result = asyncio.run(run(host, Address.parse(words[3]), seconds))
    print(json.dumps(asdict(result)), flush=True)


def _start(place: str, *words: str, module: str = "tests.bench.rtmfp") -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", place, sys.executable, "-m", module, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def _result(process: subprocess.Popen[str]) -> Moved:
    return Moved(**json.loads(_line(process)))


def transfer(seconds: float, *, role: str = "send", is_flooded: bool = False) -> tuple[Moved, Moved]:
    """Of the sender and of the receiver."""
    sessions = str(_IDLE if role == "call" else 1)
    with ExitStack() as stack:
        receiver = stack.enter_context(_start(BOB, "receive", BOB_IPV4, str(seconds), sessions))
        to = str(Address(BOB_IPV4, int(_line(receiver))))
        if is_flooded:
            flood = stack.enter_context(_start(ANN, "flood", ANN_IPV4, str(seconds), to))
            _line(flood)
        sender = stack.enter_context(_start(ANN, role, ANN_IPV4, str(seconds), to))
        results = _result(sender), _result(receiver)
        if is_flooded:
            flooded = _result(flood)
            print(f"  (sent {flooded.message_bytes / flooded.seconds:.0f} IHellos a second)")
        return results


def _show(name: str, sent: Moved, received: Moved) -> None:
    others = max(0.0, received.machine_cpu - sent.cpu - received.cpu) / received.seconds
    print(
        f"  {name:25s} {received.rate:5.0f} MB/s, CPU us a packet: sender {sent.each:5.2f}, "
        f"receiver {received.each:5.2f}; of a core: {sent.share:.0%}, {received.share:.0%}, "
        f"others on this machine {others:.0%}{sent.note}",
        flush=True,
    )
    if received.overflowed:
        print(f"    {received.overflowed} packets found the receiver's buffer full")


def show_transfer(seconds: float) -> None:
    sent, received = transfer(seconds)
    _show("swarmd", sent, received)
    print(f"    goal {_GOAL:.0f} MB/s: {'reached' if received.rate >= _GOAL else 'missed'}")
    for name in _rivals.NAMES:
        if not _rivals.is_installed(name):
            print(f"  {name} is not installed: nothing to compare with")
            continue
        with _start(BOB, name, "receive", BOB_IPV4, str(seconds), module="tests.bench._rivals") as receiver:
            _line(receiver)
            with _start(ANN, name, "send", ANN_IPV4, str(seconds), BOB_IPV4, module="tests.bench._rivals") as sender:
                theirs = _result(receiver)
                _show(name, _result(sender), theirs)
        ratio = received.rate / theirs.rate
        print(f"    swarmd moves {ratio:.1f} x as much (goal {_GOAL_RATIO:.0f} x)")


def show_idle(seconds: float) -> None:
    caller, called = transfer(seconds, role="call")
    for name, side in (("that called", caller), ("that was called", called)):
        print(
            f"  {_IDLE} idle sessions, the side {name}: {side.share:.2%} of a core over {side.seconds:.0f} s (goal 1 %)"
        )


def show_flood(seconds: float) -> None:
    quiet = transfer(seconds)
    flooded = transfer(seconds, is_flooded=True)
    _show("no flood", *quiet)
    _show(f"{_FLOOD_RATE} IHellos a second", *flooded)
    before, after = flooded[1].memory_bytes
    share = flooded[1].rate / quiet[1].rate
    print(f"    {share:.0%} of the speed (goal 50 %); the receiver's memory {before >> 20} MiB, then {after >> 20} MiB")


def main(wanted: str = "", seconds: float = 3.0) -> None:
    shows = {"transfer": show_transfer, "idle": show_idle, "flood": show_flood}
    with cable():
        for name, show in shows.items():
            if wanted in ("", name):
                print(name)
                show(_IDLE_SECONDS if name == "idle" else seconds)


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] and arguments[0] in ("send", "receive", "call", "flood") and len(arguments) > 2:
        _side(arguments)
    else:
        name = arguments.pop(0) if arguments and not arguments[0][0].isdigit() else ""
        main(name, float(arguments[0]) if arguments else 3.0)
