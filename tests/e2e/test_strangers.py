"""Who reaches the port and belongs to no group: garbage, half a handshake and silence, frames that are too long.

Nobody of them stays longer than it takes to find out (10 s for those that say nothing), and nobody else notices.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng, SystemRng
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.tickets import ObjectTicket, parse_ticket
from swarmd.identity.identity import Identity
from swarmd.transport.api import Buffer, Priority
from swarmd.transport.tcp.frames import HEADER, FrameType, encode_frame, encode_open
from swarmd.transport.tcp.keying import InitiatorKeying
from swarmd.transport.tcp.record import Sealer
from tests.e2e.farm import MIB, Farm
from tests.e2e.nodes import EXTRA_ARGUMENTS, Node

OVER_TCP = pytest.mark.skipif("--no-tcp" in EXTRA_ARGUMENTS, reason="these strangers speak TCP")

PROOF_PERIOD = 10.0
NOTICE_PERIOD = 12.0
"""The same, and a little for the daemon to look."""


class Stranger:
    """A plain connection to the daemon's port."""

    def __init__(self, node: Node) -> None:
        address = Address.parse(node.address())
        self.socket = socket.create_connection((address.host, address.port), timeout=NOTICE_PERIOD)

    def send(self, data: Buffer) -> None:
        self.socket.sendall(data)

    def is_closed_by_them(self) -> bool:
        """Read what they say to the end."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        finally:
            self.socket.close()
        return True

    def read_frame(self) -> bytes:
        (size,) = struct.unpack(">H", self._exactly(2))
        return self._exactly(size)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            assert part, "closed"
            data += part
        return data

    def key(self) -> Sealer:
        """Go through the handshake as anybody may; what seals the records to come."""
        keying = InitiatorKeying(Identity.generate(SystemRng()), SystemRng(), None)
        self.send(keying.hello())
        self.send(keying.receive(self.read_frame()))
        keying.receive(self.read_frame())
        assert keying.result is not None
        return Sealer(keying.result.send_key)


def hello() -> bytes:
    return InitiatorKeying(Identity.generate(SystemRng()), SystemRng(), None).hello()


RUDE: dict[str, bytes] = {
    "garbage": SeededRng(1).bytes(5000),
    "another protocol": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a keying frame that is too long": b"\xff\xff" + bytes(100),
    "a version from the future": struct.pack(">H", 7) + b"swarmd\x63",
    "a hello for somebody else": struct.pack(">H", 39) + b"swarmd\x01" + bytes(32),
    "a second hello": hello() * 2,
    "a key of low order": hello() + struct.pack(">H", 96) + bytes(96),
}
RUDE_RECORDS: dict[str, Callable[[Sealer], Buffer]] = {
    "a record that is too long": lambda _: b"\xff\xff\xff\xff" + bytes(100),
    "a record that does not open": lambda _: struct.pack(">I", 100) + bytes(100),
    "a frame longer than its record": lambda sealer: sealer.seal(HEADER.pack(FrameType.DATA, 3, 1, 1 << 31)),
    "a frame of no kind": lambda sealer: sealer.seal(HEADER.pack(0xEE, 0, 0, 0)),
    "a message on no flow": lambda sealer: sealer.seal(encode_frame(FrameType.DATA, 99, b"x", 3)),
    "a flow for nothing": lambda sealer: sealer.seal(encode_open(1, b"\x99", Priority.BULK)),
}


@OVER_TCP
def test_those_who_do_not_speak_the_protocol_are_cut_off_at_once(farm: Farm) -> None:
    (node,) = farm.start()
    clock = SystemClock()
    for name in [*RUDE, *RUDE_RECORDS]:
        stranger = Stranger(node)
        begun_at = clock.monotonic()
        stranger.send(RUDE[name] if name in RUDE else RUDE_RECORDS[name](stranger.key()))
        assert stranger.is_closed_by_them(), name
        assert clock.monotonic() - begun_at < PROOF_PERIOD / 2, name
    assert node.call("status")["sessions"] == 0


@OVER_TCP
def test_those_who_prove_nothing_are_shown_out_and_hold_nobody_up(farm: Farm) -> None:
    """Silent ones, half a handshake, a whole one and silence; and a swarmd with the secret of another group."""
    seeder, leecher, outsider = farm.start(3)
    path = farm.file("disk.iso", MIB)
    text = str(seeder.call("share", path=str(path))["ticket"])
    ticket = parse_ticket(text)
    assert isinstance(ticket, ObjectTicket)
    forged = GroupSpec.create(ticket.spec.name, SeededRng(1), capabilities=Capability.REPLICATION).spec
    strangers = [Stranger(seeder) for _ in range(10)]
    for stranger in strangers[2:4]:
        stranger.send(hello()[:5])
    for stranger in strangers[4:6]:
        stranger.send(hello())
        stranger.read_frame()
    for stranger in strangers[6:]:
        stranger.key()
    with seeder.control() as watch:
        watch.subscribe("peers")
        code, said = outsider.error(
            "get",
            ObjectTicket(forged, ticket.object, ticket.contacts).text(),
            "-o",
            outsider.downloads,
            "--timeout",
            "1",
        )
        assert (code, "no member is connected" in said) == (6, True), said
        leecher.swarm("get", text, "-o", leecher.downloads)
        assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
        code, said = outsider.error("peer", "add", seeder.address())
        assert (code, "no group" in said) == (6, True), said
        assert all(stranger.is_closed_by_them() for stranger in strangers)
        turned_away = watch.wait_for("peers", "disconnected")
        assert (turned_away["groups"], turned_away["connected_s"] < NOTICE_PERIOD) == ([], True)
    proven = [
        peer["peer_id"] for peer in seeder.call("peer.list")["peers"] if peer["groups"]
    ]  # the outsider calls again
    assert proven == [leecher.call("id")["peer_id"]]


def test_a_share_that_was_unshared_is_told_from_a_machine_that_is_off(farm: Farm) -> None:
    seeder, leecher = farm.start(2)
    first = str(seeder.call("share", path=str(farm.file("one", 1000)))["ticket"])
    second = str(seeder.call("share", path=str(farm.file("two", 1000)))["ticket"])
    seeder.swarm("unshare", "one")
    code, said = leecher.error("get", first, "-o", leecher.downloads, "--timeout", "5")
    assert code == 6
    assert f"{seeder.address()} was reached but is not in this group: was it unshared" in said
    (transfer,) = leecher.call("transfers")["transfers"]
    assert (transfer["waiting"]["code"], transfer["waiting"]["reached"]) == ("no_members", [seeder.address()])
    (peer,) = leecher.call("peer.list")["peers"]
    assert (peer["state"], "no group is shared" in peer["error"]) == ("connected", True)
    leecher.wait_until(lambda: leecher.call("peer.list")["peers"][0]["state"] != "connected", "peers")
    (peer,) = leecher.call("peer.list")["peers"]
    assert (peer["address"], "not in group" in peer["error"]) == (seeder.address(), True)
    leecher.swarm("get", second, "-o", leecher.downloads)
    seeder.stop()
    leecher.swarm("rm", transfer["id"])
    (late,) = farm.start()
    code, said = late.error("get", second, "-o", late.downloads, "--timeout", "2")
    assert (code, f"({seeder.address()}: Connection refused)" in said) == (6, True), said
