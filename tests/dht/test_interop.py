"""libtorrent's DHT, from its wheel, and ours in one network on loopback: each finds what the other has put, each keeps
what the other puts and hands it out again, and both answer the same questions alike."""

from __future__ import annotations

import hashlib
import itertools
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from swarmd.dht import bencode, krpc
from swarmd.dht.events import Event, GetDone, PeersDone, PeersFound, PutDone
from swarmd.dht.items import Item, Signer, immutable, mutable_target
from swarmd.dht.krpc import Reply
from swarmd.dht.node import Node, Settings

lt: Any = pytest.importorskip("libtorrent", reason="libtorrent is not installed: pip install libtorrent")

TIMEOUT = 60.0
"""Seconds of a busy machine; all together takes about three."""
TURN = 0.05
OPTIONS = {
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

    def __init__(self, host: str, seed: int) -> None:
        self.socket = _socket(host)
        self.address = Address.of_socket(self.socket.getsockname())
        self.clock = SystemClock()
        self.node = Node(Settings(has_ipv6=":" in host), SeededRng(seed), self.clock.monotonic())
        self.events: list[Event] = []
        self.given: list[tuple[Reply, int]] = []
        """Answers with something in them, and the port that they went to."""

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
            message = krpc.decode(data)
            if isinstance(message, Reply) and (message.item or message.peers):
                self.given.append((message, address.port))
        while (event := self.node.next_event()) is not None:
            self.events.append(event)

    def done(self, number: int) -> Any:
        kinds = (GetDone, PutDone, PeersDone)
        return next((event for event in self.events if isinstance(event, kinds) and event.operation == number), None)


class Theirs:
    def __init__(self, host: str) -> None:
        mask = lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification
        self.session = lt.session(
            {**OPTIONS, "listen_interfaces": f"{host if ':' not in host else f'[{host}]'}:0", "alert_mask": mask}
        )
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
    names = (
        "item",
        "num_success",
        "key",
        "salt",
        "seq",
        "signature",
        "info_hash",
        "target",
        "samples",
        "num_infohashes",
    )
    parts = {name: getattr(alert, name) for name in names if hasattr(alert, name)}
    if hasattr(alert, "peers"):
        parts["peers"] = alert.peers()
    return parts


class Mixed:
    """Three of each. All know of one: half of them one of ours, the others one of theirs."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.ours = [Ours(host, seed) for seed in range(3)]
        self.theirs = [Theirs(host) for _ in range(3)]

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

    def has_given(self, value: bytes | None = None, peer: Address | None = None) -> bool:
        """Whether one of ours has answered one of theirs with that."""
        ports = {each.port for each in self.theirs}
        return any(
            (reply.item is not None and reply.item.value == value) if value is not None else peer in reply.peers
            for each in self.ours
            for reply, port in each.given
            if port in ports
        )

    def now(self) -> float:
        return self.ours[0].clock.monotonic()

    def close(self) -> None:
        for each in self.ours:
            each.socket.close()
        self.theirs.clear()  # a session ends when nothing refers to it


def _socket(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, 0))
    made.setblocking(False)
    return made


def _has(host: str) -> bool:
    try:
        _socket(host).close()
    except OSError:
        return False
    return True


NO_IPV6 = pytest.mark.skipif(not _has("::1"), reason="no IPv6 on this machine")


@pytest.fixture(scope="module", params=["127.0.0.1", pytest.param("::1", marks=NO_IPV6)])
def joined(request: pytest.FixtureRequest) -> Iterator[Mixed]:
    mixed = Mixed(request.param)
    try:
        ours, theirs = mixed.ours, mixed.theirs
        mixed.until(lambda: all(each.port for each in theirs))
        first = Address(mixed.host, theirs[0].port)
        ours[0].node.bootstrap([first], mixed.now())
        mixed.until(lambda: ours[0].node.status().n_nodes)
        for each in ours[1:]:
            each.node.bootstrap([first], mixed.now())

        turns = itertools.count()

        def has_met() -> bool:
            """Told and looked for again until it counts: libtorrent takes no contact before its DHT has started."""
            if not next(turns) % 10:
                for each in theirs[1:]:
                    each.session.add_dht_node((mixed.host, ours[0].address.port))
                for node in (each.node for each in ours):
                    node.find_nodes(node.node_id, mixed.now())
            return all(each.node.status().n_nodes >= 5 for each in ours)

        mixed.until(has_met)
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
    joined.until(lambda: joined.has_given(value=b"from us" * 100))


def test_an_immutable_item_of_theirs_is_got_by_us(joined: Mixed) -> None:
    ours, theirs = joined.ours[2], joined.theirs[1]
    target = theirs.session.dht_put_immutable_item(b"from them" * 100).to_bytes()
    joined.until(lambda: theirs.parts("dht_put_alert"))
    assert target == immutable(b"from them" * 100).target
    done = joined.done(ours, ours.node.get(target, joined.now()))
    assert done.item is not None and done.item.value == b"from them" * 100
    for each in joined.ours:
        assert target in _kept(each, joined.now()), "ours keep it as well"


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


def test_a_mutable_item_is_updated_by_turns_with_cas(joined: Mixed) -> None:
    """Theirs reads what is there and writes the next seq; ours then says which one it expects to overwrite."""
    seed = b"2" * 32
    ours, theirs, signer = joined.ours[1], joined.theirs[1], Signer(seed)
    target = mutable_target(signer.key, b"pepper")

    def they_put(value: bytes, seq: int) -> None:
        theirs.session.dht_put_mutable_item(_expanded(seed), signer.key, value, b"pepper")
        joined.until(lambda: [put for put in theirs.parts("dht_put_alert") if put["seq"] == seq])
        joined.until(lambda: all(_seq(each, target, joined.now()) == seq for each in joined.ours))
        got = joined.done(ours, ours.node.get_mutable(signer.key, joined.now(), salt=b"pepper"))
        assert (got.item.value, got.item.seq) == (value, seq)

    def we_put(value: bytes, seq: int, cas: int) -> PutDone:
        item = signer.item(value, seq, b"pepper")
        return cast("PutDone", joined.done(ours, ours.node.put(item, joined.now(), cas=cas)))

    they_put(b"theirs", 1)
    assert we_put(b"ours", 2, cas=1).n_copies >= 3
    they_put(b"theirs again", 3)
    late = we_put(b"too late", 4, cas=2)
    assert (late.n_copies, late.newer and late.newer.seq) == (0, 3)
    assert we_put(b"ours again", 4, cas=3).n_copies >= 3
    theirs.session.dht_get_mutable_item(signer.key, b"pepper")
    joined.until(lambda: [got for got in theirs.parts("dht_mutable_item_alert") if got["item"] == b"ours again"])
    joined.until(lambda: joined.has_given(value=b"ours again"))


def test_our_announcement_is_found_by_them(joined: Mixed) -> None:
    ours, theirs = joined.ours[2], joined.theirs[2]
    done = joined.done(ours, ours.node.announce(INFO_HASH, joined.now(), port=7777))
    assert done.n_copies >= 3
    theirs.session.dht_get_peers(lt.sha1_hash(INFO_HASH))
    joined.until(lambda: _found_by(theirs, INFO_HASH))
    assert (joined.host, 7777) in _found_by(theirs, INFO_HASH)
    joined.until(lambda: joined.has_given(peer=Address(joined.host, 7777)))


@pytest.mark.parametrize(("info_hash", "port", "flags"), [(b"j" * 20, 8888, 0), (b"k" * 20, 0, 2)])
def test_their_announcement_is_found_by_us(joined: Mixed, info_hash: bytes, port: int, flags: int) -> None:
    """Of a port, or (flag 2) of the one that it comes from."""
    ours, theirs = joined.ours[0], joined.theirs[1]
    theirs.session.dht_announce(lt.sha1_hash(info_hash), port, flags)
    joined.until(lambda: all(_peers(each, info_hash, joined.now()) for each in joined.ours))
    joined.done(ours, ours.node.get_peers(info_hash, joined.now()))
    found = [event.peers for event in ours.events if isinstance(event, PeersFound) and event.info_hash == info_hash]
    assert {Address(joined.host, port or theirs.port)} == {peer for peers in found for peer in peers}


def test_they_sample_our_info_hashes(joined: Mixed) -> None:
    if joined.host == "::1":
        pytest.skip("libtorrent asks this over IPv6 only when it knows its address outside")
    ours, theirs = joined.ours[1], joined.theirs[0]
    done = joined.done(ours, ours.node.announce(b"l" * 20, joined.now(), port=5))
    assert done.n_copies
    joined.until(lambda: joined.ours[2].node.status().n_info_hashes)
    theirs.session.dht_sample_infohashes((joined.host, joined.ours[2].address.port), lt.sha1_hash(b"t" * 20))
    joined.until(lambda: theirs.parts("dht_sample_infohashes_alert"))
    (sampled,) = theirs.parts("dht_sample_infohashes_alert")
    hashes = {each.to_bytes() for each in sampled["samples"]}
    assert b"l" * 20 in hashes and sampled["num_infohashes"] == len(hashes)


def test_both_refuse_the_same_with_the_same_codes(joined: Mixed) -> None:
    """BEP 44's errors. One of theirs and one of ours are asked the same by somebody else."""
    ours, theirs = joined.ours[0].address.port, joined.theirs[0].port
    asker = Asker(joined)
    try:
        codes = {port: [asker.put(port, item, **more) for item, more, _ in WRONG] for port in (ours, theirs)}
    finally:
        asker.socket.close()
    assert codes[ours] == codes[theirs] == [code for _, _, code in WRONG]


_OF_ASKER = Signer(b"3" * 32)
WRONG: list[tuple[Item, dict[str, Any], int]] = [
    (_OF_ASKER.item(b"first", 5, b"s"), {}, 0),
    (_OF_ASKER.item(b"first", 5, b"s"), {}, 0),
    (_OF_ASKER.item(b"older", 4, b"s"), {}, 302),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"cas": 4}, 301),
    (_OF_ASKER.item(b"first", 5, b"s"), {"cas": 4}, 301),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"sig": bytes(64)}, 206),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"v": b"other"}, 206),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"token": b"no"}, 203),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"v": bytes(997)}, 205),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"salt": bytes(65)}, 207),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"seq": -1}, 203),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"token": 5}, 203),
    (_OF_ASKER.item(b"newer", 6, b"s"), {"cas": 5}, 0),
    (immutable(bytes(996)), {}, 0),
    (immutable(b"v"), {"v": bytes(997)}, 205),
    (immutable(b"v"), {"token": b"no"}, 203),
]


class Asker:
    """Puts with anything wrong in them."""

    def __init__(self, joined: Mixed) -> None:
        self.joined = joined
        self.socket = _socket(joined.host)

    def put(self, port: int, item: Item, **more: Any) -> int:
        """The code of its failure; 0: it was taken."""
        token = self._ask(port, b"get", {b"target": item.target})[b"r"][b"token"]
        fields: dict[bytes, Any] = {b"token": token, b"v": item.value}
        if item.is_mutable:
            fields |= {b"k": item.key, b"seq": item.seq, b"sig": item.signature, b"salt": item.salt}
        answer = self._ask(port, b"put", fields | {name.encode(): value for name, value in more.items()})
        return int(answer[b"e"][0]) if b"e" in answer else 0

    def _ask(self, port: int, method: bytes, arguments: dict[bytes, Any]) -> dict[bytes, Any]:
        answers: list[dict[bytes, Any]] = []
        query = {b"a": {b"id": b"a" * 20, **arguments}, b"q": method, b"ro": 1, b"t": b"aa", b"y": b"q"}
        self.socket.sendto(bencode.encode(cast("bencode.Value", query)), (self.joined.host, port))

        def has_come() -> bool:
            with suppress(BlockingIOError):
                while True:
                    answers.append(cast("dict[bytes, Any]", bencode.decode(self.socket.recv(4096))))
            return bool(answers)

        self.joined.until(has_come)
        (answer,) = answers
        return answer


def _kept(ours: Ours, now: float) -> dict[bytes, Item]:
    return {saved.item.target: saved.item for saved in ours.node.state(now).items}


def _seq(ours: Ours, target: bytes, now: float) -> int | None:
    item = _kept(ours, now).get(target)
    return None if item is None else item.seq


def _peers(ours: Ours, info_hash: bytes, now: float) -> list[Address]:
    return [saved.address for saved in ours.node.state(now).peers if saved.info_hash == info_hash]


def _found_by(theirs: Theirs, info_hash: bytes) -> list[Any]:
    replies = theirs.parts("dht_get_peers_reply_alert")
    return [peer for reply in replies if reply["info_hash"].to_bytes() == info_hash for peer in reply["peers"]]


def _expanded(seed: bytes) -> bytes:
    """The private key as libtorrent has it (RFC 8032 §5.1.5)."""
    key = bytearray(hashlib.sha512(seed).digest())
    key[0] &= 248
    key[31] = key[31] & 63 | 64
    return bytes(key)
