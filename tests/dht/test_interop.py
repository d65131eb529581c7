"""libtorrent's DHT, from its wheel, and ours in one network on loopback: each finds what the other has put."""

from __future__ import annotations

import hashlib
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from swarmd.dht.events import Event, GetDone, PeersDone, PeersFound, PutDone
from swarmd.dht.items import Signer, immutable
from swarmd.dht.node import Node, Settings

lt: Any = pytest.importorskip("libtorrent", reason="libtorrent is not installed: pip install libtorrent")

TIMEOUT = 60.0
"""Seconds of a busy machine; all together takes about ten."""
TURN = 0.05
OPTIONS = {
    "listen_interfaces": "127.0.0.1:0",
    "dht_bootstrap_nodes": "",
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_prefer_verified_node_ids": False,
    "dht_enforce_node_id": False,
    "dht_upload_rate_limit": 1_000_000,
    "dht_block_ratelimit": 100_000,  # all of us are one address here, which it would refuse to hear for minutes
}
INFO_HASH = b"i" * 20


class Ours:
    """A node and its socket."""

    def __init__(self, seed: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address = Address.of_socket(self.socket.getsockname())
        self.clock = SystemClock()
        self.node = Node(Settings(), SeededRng(seed), self.clock.monotonic())
        self.events: list[Event] = []

    def turn(self) -> None:
        now = self.clock.monotonic()
        try:
            while True:
                data, source = self.socket.recvfrom(4096)
                self.node.receive_datagram(data, Address.of_socket(source), now)
        except BlockingIOError:
            pass
        deadline = self.node.next_deadline()
        if deadline is not None and deadline <= now:
            self.node.handle_timer(now)
        for data, address in self.node.datagrams_to_send():
            self.socket.sendto(data, (address.host, address.port))
        while (event := self.node.next_event()) is not None:
            self.events.append(event)

    def done(self, number: int) -> Any:
        kinds = (GetDone, PutDone, PeersDone)
        return next((event for event in self.events if isinstance(event, kinds) and event.operation == number), None)


class Theirs:
    def __init__(self) -> None:
        mask = lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification
        self.session = lt.session({**OPTIONS, "alert_mask": mask})
        self.alerts: list[Any] = []

    @property
    def port(self) -> int:
        return int(self.session.listen_port())

    def turn(self) -> None:
        for alert in self.session.pop_alerts():
            self.alerts.append((type(alert).__name__, _parts(alert)))

    def parts(self, name: str) -> list[dict[str, Any]]:
        return [parts for kind, parts in self.alerts if kind == name]


def _parts(alert: Any) -> dict[str, Any]:
    """What it says; an alert is gone once the next are fetched."""
    names = ("item", "num_success", "key", "salt", "seq", "signature", "info_hash", "target")
    parts = {name: getattr(alert, name) for name in names if hasattr(alert, name)}
    if hasattr(alert, "peers"):
        parts["peers"] = alert.peers()
    return parts


class Mixed:
    """Three of each. All know of one: half of them one of ours, the others one of theirs."""

    def __init__(self) -> None:
        self.ours = [Ours(seed) for seed in range(3)]
        self.theirs = [Theirs() for _ in range(3)]

    def until(self, holds: Callable[[], Any]) -> None:
        clock = SystemClock()
        end = clock.monotonic() + TIMEOUT
        while not holds():
            assert clock.monotonic() < end, "it takes too long"
            select.select([each.socket for each in self.ours], [], [], TURN)
            turns: list[Ours | Theirs] = [*self.ours, *self.theirs]
            for each in turns:
                each.turn()

    def done(self, ours: Ours, number: int) -> Any:
        self.until(lambda: ours.done(number))
        return ours.done(number)

    def now(self) -> float:
        return self.ours[0].clock.monotonic()

    def close(self) -> None:
        for each in self.ours:
            each.socket.close()
        self.theirs.clear()  # a session ends when nothing refers to it


@pytest.fixture(scope="module")
def joined() -> Iterator[Mixed]:
    mixed = Mixed()
    try:
        ours, theirs = mixed.ours, mixed.theirs
        mixed.until(lambda: all(each.port for each in theirs))
        first = Address("127.0.0.1", theirs[0].port)
        ours[0].node.bootstrap([first], mixed.now())
        mixed.until(lambda: ours[0].node.status().n_nodes)
        for each in ours[1:]:
            each.node.bootstrap([first], mixed.now())
        for session in theirs[1:]:
            session.session.add_dht_node(("127.0.0.1", ours[0].address.port))
        mixed.until(lambda: all(each.node.status().n_nodes >= 5 for each in ours))
        yield mixed
    finally:
        mixed.close()


def test_they_bootstrap_from_us_and_we_from_them(joined: Mixed) -> None:
    """Those of theirs that know one of ours only have found the others: all of ours know all of them."""
    ports = {each.port for each in joined.theirs}
    for each in joined.ours:
        assert ports <= {contact.address.port for contact in each.node.state(joined.now()).contacts}


def test_an_immutable_item_of_ours_is_got_by_them(joined: Mixed) -> None:
    item = immutable(b"from us" * 100)
    ours, theirs = joined.ours[1], joined.theirs[2]
    done = joined.done(ours, ours.node.put(item, joined.now()))
    assert done.n_copies >= 3
    theirs.session.dht_get_immutable_item(lt.sha1_hash(item.target))
    joined.until(lambda: theirs.parts("dht_immutable_item_alert"))
    assert theirs.parts("dht_immutable_item_alert")[0]["item"] == b"from us" * 100


def test_an_immutable_item_of_theirs_is_got_by_us(joined: Mixed) -> None:
    ours, theirs = joined.ours[2], joined.theirs[1]
    target = theirs.session.dht_put_immutable_item(b"from them" * 100).to_bytes()
    joined.until(lambda: theirs.parts("dht_put_alert"))
    assert target == immutable(b"from them" * 100).target
    done = joined.done(ours, ours.node.get(target, joined.now()))
    assert done.item is not None and done.item.value == b"from them" * 100


def test_a_mutable_item_of_ours_is_got_by_them(joined: Mixed) -> None:
    signer = Signer(b"1" * 32)
    ours, theirs = joined.ours[0], joined.theirs[0]
    for seq, value in ((4, b"old"), (5, b"new")):
        done = joined.done(ours, ours.node.put(signer.item(value, seq, b"salt"), joined.now()))
        assert done.n_copies >= 3
    theirs.session.dht_get_mutable_item(signer.key, b"salt")
    joined.until(lambda: [got for got in theirs.parts("dht_mutable_item_alert") if got["seq"] == 5])
    got = next(got for got in theirs.parts("dht_mutable_item_alert") if got["seq"] == 5)
    assert (got["item"], got["salt"]) == (b"new", b"salt")


def test_a_mutable_item_of_theirs_is_got_by_us(joined: Mixed) -> None:
    seed = b"2" * 32
    ours, theirs = joined.ours[1], joined.theirs[1]
    n_before = len(theirs.parts("dht_put_alert"))
    theirs.session.dht_put_mutable_item(_expanded(seed), Signer(seed).key, b"theirs", b"pepper")
    joined.until(lambda: len(theirs.parts("dht_put_alert")) > n_before)
    done = joined.done(ours, ours.node.get_mutable(Signer(seed).key, joined.now(), salt=b"pepper"))
    assert done.item is not None
    assert (done.item.value, done.item.seq) == (b"theirs", 1)


def test_our_announcement_is_found_by_them(joined: Mixed) -> None:
    ours, theirs = joined.ours[2], joined.theirs[2]
    done = joined.done(ours, ours.node.announce(INFO_HASH, joined.now(), port=7777))
    assert done.n_copies >= 3
    theirs.session.dht_get_peers(lt.sha1_hash(INFO_HASH))
    joined.until(lambda: _found_by(theirs, INFO_HASH))
    assert ("127.0.0.1", 7777) in _found_by(theirs, INFO_HASH)


def test_their_announcement_is_found_by_us(joined: Mixed) -> None:
    ours, theirs = joined.ours[0], joined.theirs[1]
    info_hash = b"j" * 20
    n_before = ours.node.status().n_info_hashes
    theirs.session.dht_announce(lt.sha1_hash(info_hash), 8888, 0)
    joined.until(lambda: ours.node.status().n_info_hashes > n_before)
    joined.done(ours, ours.node.get_peers(info_hash, joined.now()))
    found = [event.peers for event in ours.events if isinstance(event, PeersFound) and event.info_hash == info_hash]
    assert Address("127.0.0.1", 8888) in [peer for peers in found for peer in peers]


def _found_by(theirs: Theirs, info_hash: bytes) -> list[Any]:
    replies = theirs.parts("dht_get_peers_reply_alert")
    return [peer for reply in replies if reply["info_hash"].to_bytes() == info_hash for peer in reply["peers"]]


def _expanded(seed: bytes) -> bytes:
    """The private key as libtorrent has it (RFC 8032 §5.1.5)."""
    key = bytearray(hashlib.sha512(seed).digest())
    key[0] &= 248
    key[31] = key[31] & 63 | 64
    return bytes(key)
