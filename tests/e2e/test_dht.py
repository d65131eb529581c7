"""The DHT between real daemons: with nothing but one address, over restarts, apart from other networks, and with
libtorrent.

A command waits until its daemon has entered the DHT, so nothing here has to.
"""

from __future__ import annotations

import json
import select
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha1, sha512
from pathlib import Path
from typing import Any

import pytest

from swarmd.core.clock import SystemClock
from swarmd.dht.items import Signer
from swarmd.groups.rendezvous.places import Calendar
from swarmd.groups.tickets import GroupTicket, parse_ticket
from tests.e2e.farm import KIB, Farm, wait_for_members
from tests.e2e.nodes import Node, start_all

LOCAL = "--no-mdns"
TIMEOUT = 60.0
ROUND = 3.0


def network(farm: Farm, count: int, **options: Any) -> list[Node]:
    """The first one's address is all that the others are given."""
    (first,) = farm.start(arguments=(LOCAL,), **options)
    others = [farm.node(arguments=(LOCAL, "--bootstrap", first.address()), **options) for _ in range(count - 1)]
    start_all(*others)
    return [first, *others]


def put(node: Node, value: str, *options: str) -> str:
    """The key."""
    return node.swarm("dht", "put", "-", *options, stdin=value).strip()


def test_what_one_of_five_puts_the_others_get(farm: Farm) -> None:
    first, ann, bob, eve, dan = network(farm, 5)
    key = put(ann, "hello, world\n")
    assert key == sha1(b"13:hello, world\n").hexdigest(), "as BEP 44 has it"
    for node in (first, eve):
        assert node.swarm("dht", "get", key) == "hello, world\n"
    a_value_in_pieces(farm, bob, dan)
    a_name(ann, first, eve)
    what_cannot_be(farm, eve)
    assert ann.json("dht", "status")["nodes"] == 4
    assert ann.call("status")["dht"] == {"mode": "private", "on": True, "nodes": 4}
    assert 'swarmd_dht_queries_total{result="answered"}' in eve.swarm("metrics")


def a_value_in_pieces(farm: Farm, putter: Node, getter: Node) -> None:
    path = farm.file("large", 300 * KIB)
    done = putter.json("dht", "put", path)
    assert (done["size"], done["items"], done["kept"]) == (300 * KIB, 317, True)
    assert done["copies"] >= 3
    assert Path(getter.swarm("dht", "get", done["key"], "-o", farm.folder / "got").strip()) == farm.folder / "got"
    assert (farm.folder / "got").read_bytes() == path.read_bytes()
    (kept,) = putter.json("dht", "list")["values"]
    assert (kept["key"], kept["size"], kept["items"]) == (done["key"], 300 * KIB, 317)
    putter.swarm("dht", "rm", done["key"])
    assert putter.json("dht", "list")["values"] == []
    assert putter.json("dht", "status")["kept"] == 0
    assert putter.error("dht", "rm", done["key"])[0] == 4


def a_name(owner: Node, *others: Node) -> None:
    """The newest counts, wherever it is asked for."""
    first = owner.json("dht", "put", "-", "--name", "motd", stdin="one")
    for node in others:
        assert node.swarm("dht", "get", first["key"]) == "one"
    second = owner.json("dht", "put", "-", "--name", "motd", stdin="two")
    assert second["key"] == first["key"]
    assert second["key"].endswith("/motd")
    assert second["seq"] > first["seq"]
    for node in others:
        assert node.swarm("dht", "get", first["key"]) == "two"
        assert node.swarm("dht", "get", first["target"], "--salt", "motd") == "two", "as BEP 44 has it"
    salted = put(owner, "three", "--name", "motd", "--salt", "pepper")
    assert others[0].swarm("dht", "get", salted) == "three"
    assert others[0].swarm("dht", "get", first["key"]) == "two"


def what_cannot_be(farm: Farm, node: Node) -> None:
    assert node.error("dht", "get", "00" * 20)[0] == 4
    assert node.error("dht", "get", "hello")[0] == 2
    assert node.error("dht", "put", farm.file("too large", 1024 * KIB + 1))[0] == 2
    assert node.error("dht", "put", "-", "--name", "n", stdin="x" * 997)[0] == 2
    assert node.error("dht", "put", farm.folder / "nothing")[0] == 4


def test_a_node_that_was_restarted_finds_and_answers(farm: Farm) -> None:
    first, ann, bob = network(farm, 3)
    of_ann, of_bob = put(ann, "of ann"), put(bob, "of bob", "--name", "mine")
    assert bob.stop() == 0
    first.kill_daemon()
    bob.start()
    assert bob.call("dht.status")["items"] == 1, "it has what it kept for others"
    assert [value["key"] for value in bob.call("dht.list")["values"]] == [of_bob]
    assert bob.swarm("dht", "get", of_bob) == "of bob", "ann has it, whom it knew"
    later = put(bob, "later", "--name", "other")
    bob.kill_daemon()
    bob.start()
    assert {value["key"] for value in bob.call("dht.list")["values"]} == {of_bob, later}, "as soon as they are put"
    assert bob.swarm("dht", "get", of_ann) == "of ann"
    ann.kill_daemon()
    (eve,) = farm.start(arguments=(LOCAL, "--bootstrap", bob.address()))
    assert eve.swarm("dht", "get", of_ann) == "of ann"


def test_what_others_have_put_outlives_kill_9(farm: Farm) -> None:
    """They need not put it again: the node has it on disk two seconds after it came, and answers with it."""
    holder, ann = network(farm, 2)
    key = put(ann, "of ann")
    assert holder.call("dht.status")["items"] == 1
    assert any(map(has_written_it, [holder] * 60))
    holder.kill_daemon()
    ann.kill_daemon()
    holder.start()
    assert holder.call("dht.status")["items"] == 1
    (eve,) = farm.start(arguments=(LOCAL, "--bootstrap", holder.address()))
    assert eve.swarm("dht", "get", key) == "of ann"


def has_written_it(node: Node) -> bool:
    """Looked at after a command: that is what it takes its time with."""
    node.swarm("version")
    with closing(sqlite3.connect(f"file:{node.state_dir / 'swarmd.db'}?mode=ro", uri=True)) as database:
        return bool(database.execute("SELECT 1 FROM dht_items").fetchall())


def test_networks_of_other_names_stay_apart(farm: Farm) -> None:
    ours = '[dht]\nnetwork = "a name that is ours"\n'
    first, ann = network(farm, 2, config=ours)
    (stranger,) = farm.start(arguments=(LOCAL, "--bootstrap", first.address()))
    key = put(ann, "for us")
    assert first.swarm("dht", "get", key) == "for us"
    code, message = stranger.error("dht", "get", key)
    assert (code, "no node of the DHT has answered yet" in message) == (6, True), message
    assert stranger.json("dht", "status")["nodes"] == 0
    assert first.json("dht", "status")["nodes"] == 1
    assert first.json("dht", "status")["network"] != stranger.json("dht", "status")["network"]
    assert "a name that is ours" not in first.log_text() + first.swarm("dht", "status")


def test_where_there_is_no_dht(farm: Farm) -> None:
    (without, no_udp, alone) = (
        farm.node(arguments=(LOCAL, "--no-dht")),
        farm.node(arguments=(LOCAL, "--no-udp")),
        farm.node(arguments=(LOCAL,)),
    )
    start_all(without, no_udp, alone)
    for node, why in ((without, "--no-dht"), (no_udp, "--no-udp")):
        code, message = node.error("dht", "get", "00" * 20)
        assert (code, why in message) == (5, True), message
        found = node.json("dht", "status")
        assert (found["on"], found["nodes"], why in found["why"]) == (False, 0, True)
        assert node.call("status")["dht"]["on"] is False
    code, message = alone.error("dht", "put", "-", stdin="x")
    assert (code, "--bootstrap" in message) == (6, True), message
    assert "--bootstrap" in alone.json("dht", "status")["why"]


# With others.


class Session:
    """libtorrent's node, on loopback."""

    def __init__(self, lt: Any) -> None:
        mask = lt.alert.category_t.dht_notification | lt.alert.category_t.dht_operation_notification
        options = {
            "listen_interfaces": "127.0.0.1:0",
            "dht_bootstrap_nodes": "",
            "enable_dht": True,
            **dict.fromkeys(("enable_lsd", "enable_upnp", "enable_natpmp"), False),
            **dict.fromkeys(("dht_restrict_routing_ips", "dht_restrict_search_ips"), False),
            **dict.fromkeys(("dht_prefer_verified_node_ids", "dht_enforce_node_id"), False),
            "dht_upload_rate_limit": 1_000_000,
            "dht_block_ratelimit": 100_000,
            "alert_mask": mask,
        }
        self._lt, self._clock = lt, SystemClock()
        self.session: Any = lt.session(options)

    @property
    def address(self) -> str:
        end = self._clock.monotonic() + TIMEOUT
        while not self.session.listen_port() and self._clock.monotonic() < end:
            self.session.wait_for_alert(100)
            self.session.pop_alerts()
        return f"127.0.0.1:{self.session.listen_port()}"

    def wait_for(self, name: str, says: Callable[[Any], Any]) -> Any:
        """What alerts of that name say, the first that is something; an alert is gone once the next are fetched."""
        end = self._clock.monotonic() + TIMEOUT
        while self._clock.monotonic() < end:
            self.session.wait_for_alert(1000)
            for alert in self.session.pop_alerts():
                if type(alert).__name__ == name and (said := says(alert)):
                    return said
        raise AssertionError(f"no {name} that says so")

    def put(self, value: bytes) -> str:
        """Its key, when others have it."""
        target = self.session.dht_put_immutable_item(value).to_bytes().hex()
        self.wait_for("dht_put_alert", lambda alert: alert.num_success)
        return str(target)

    def get(self, key: str) -> Any:
        self.session.dht_get_immutable_item(self._lt.sha1_hash(bytes.fromhex(key)))
        return self.wait_for("dht_immutable_item_alert", lambda alert: alert.item)

    def put_name(self, seed: bytes, salt: bytes, value: bytes) -> str:
        """The public key; whatever is there is read first, and its seq is one less."""
        public = Signer(seed).key
        self.session.dht_put_mutable_item(expanded(seed), public, value, salt)
        self.wait_for("dht_put_alert", lambda alert: alert.num_success)
        return public.hex()

    def get_name(self, public: str, salt: bytes, value: bytes) -> int:
        """Its seq, when that value is what is found."""
        self.session.dht_get_mutable_item(bytes.fromhex(public), salt)
        return int(self.wait_for("dht_mutable_item_alert", lambda alert: alert.seq if alert.item == value else 0))

    def finds(self, info_hash: bytes, peer: str) -> bool:
        """Asks every ROUND until it does, for TIMEOUT; more often would be a flood, which nodes do not answer."""
        found: list[str] = []

        def is_found() -> bool:
            replies = [each for each in self.session.pop_alerts() if type(each).__name__ == "dht_get_peers_reply_alert"]
            found.extend(f"{host}:{port}" for each in replies for host, port in each.peers())
            return peer in found

        for _ in range(round(TIMEOUT / ROUND)):
            self.session.dht_get_peers(self._lt.sha1_hash(info_hash))
            if self.waits_for(is_found, ROUND):
                return True
        return False

    def waits_for(self, holds: Callable[[], Any], limit: float = TIMEOUT) -> bool:
        """Whether it does; `holds` fetches the alerts, else there is no waiting for the next."""
        end = self._clock.monotonic() + limit
        while not (held := holds()) and self._clock.monotonic() < end:
            self.session.wait_for_alert(100)
        return bool(held)

    def announce(self, info_hash: bytes, port: int) -> None:
        self.session.dht_announce(self._lt.sha1_hash(info_hash), port, 0)


def expanded(seed: bytes) -> bytes:
    """The private key as libtorrent has it (RFC 8032, 5.1.5)."""
    key = bytearray(sha512(seed).digest())
    key[0] &= 248
    key[31] = key[31] & 63 | 64
    return bytes(key)


@pytest.fixture
def theirs() -> Iterator[Session]:
    lt = pytest.importorskip("libtorrent", reason="libtorrent is not installed: pip install libtorrent")
    session = Session(lt)
    yield session
    session.session = None  # it ends when nothing refers to it


PUBLIC = '[dht]\nmode = "public"\n'


def test_what_libtorrent_puts_we_get_and_the_other_way_round(farm: Farm, theirs: Session) -> None:
    """Ours are told nothing but where theirs is."""
    config = f"{PUBLIC}bootstrap = [{json.dumps(theirs.address)}]\n"
    ann, bob = farm.start(2, arguments=(LOCAL,), config=config)
    key = put(ann, "from us")
    assert theirs.get(key) == b"from us"
    assert bob.swarm("dht", "get", key) == "from us"
    key = theirs.put(b"from them")
    assert bob.swarm("dht", "get", key) == "from them"
    assert ann.json("dht", "status")["mode"] == "public"
    names_of_either(ann, bob, theirs)
    announcements_of_either(ann, bob, theirs)


def names_of_either(ann: Node, bob: Node, theirs: Session) -> None:
    """With a salt, and the later in the place of the earlier."""
    for value in ("one", "two"):
        done = ann.json("dht", "put", "-", "--name", "motd", "--salt", "pepper", stdin=value)
        assert theirs.get_name(done["key"].partition("/")[0], b"pepper", value.encode()) == done["seq"]
    for seq, data in enumerate((b"their first", b"their second"), 1):
        public = theirs.put_name(b"s" * 32, b"salt", data)
        got = bob.json("dht", "get", public, "--salt", "salt")
        assert (got["text"], got["seq"], got["mutable"]) == (data.decode(), seq, True)


def announcements_of_either(ann: Node, bob: Node, theirs: Session) -> None:
    """Ours announces its group; and theirs says that somebody is there at a port."""
    ticket = parse_ticket(ann.call("group.create", name="films")["ticket"])
    assert isinstance(ticket, GroupTicket)
    (place, *_) = Calendar.of(ticket.spec).meeting_places(SystemClock().wall())
    assert theirs.finds(place, ann.address())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as third:
        third.bind(("127.0.0.1", 0))
        host, port = third.getsockname()
        theirs.announce(place, port)
        assert theirs.finds(place, f"{host}:{port}")
        bob.call("group.join", ticket=GroupTicket(ticket.spec, (), ticket.authorisation).text())
        assert select.select([third], [], [], TIMEOUT)[0], "it is called there"
    wait_for_members(bob, "films", 1)


def test_libtorrent_begins_with_one_of_ours(farm: Farm, theirs: Session) -> None:
    """Which knows nobody, for at its bootstrap address nobody is: whoever asks it becomes known to it."""
    (ann,) = farm.start(arguments=(LOCAL,), config=f'{PUBLIC}bootstrap = ["127.0.0.1:1"]\n')
    host, _, port = ann.address().rpartition(":")
    assert theirs.address
    theirs.session.add_dht_node((host, int(port)))

    def is_known() -> bool:
        theirs.session.pop_alerts()
        return bool(ann.call("dht.status")["nodes"])

    assert theirs.waits_for(is_known)
    assert ann.swarm("dht", "get", theirs.put(b"from them")) == "from them"
