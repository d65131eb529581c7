"""Two whole daemons on one link that find each other with no address given: by mDNS alone. Needs root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.discovery.conftest import ANN, BOB, inside, ip
from tests.e2e.nodes import Node

pytestmark = pytest.mark.root


def test_a_member_is_found_after_it_moved_where_no_ticket_knows_it(link: None, tmp_path: Path) -> None:
    ip(ANN, "addr add 10.77.0.1/24 dev lan0")
    ip(BOB, "addr add 10.77.0.2/24 dev lan0")
    listen = ("0.0.0.0:0",)
    with (
        Node(tmp_path / "ann", prefix=inside(ANN), listen=listen, arguments=()) as ann,
        Node(tmp_path / "bob", prefix=inside(BOB), listen=listen, arguments=()) as bob,
    ):
        ann.start()
        ticket = ann.json("group", "create", "films")["ticket"]
        assert ann.stop() == 0
        ip(ANN, "addr del 10.77.0.1/24 dev lan0")
        ip(ANN, "addr add 10.77.0.9/24 dev lan0")
        bob.start()
        bob.swarm("group", "join", "-", stdin=ticket)
        assert bob.call("status")["sessions"] == 0
        ann.start()  # with another address, and another port

        (peer,) = bob.wait_until(lambda: bob.call("peer.list")["peers"], "peers", "members")
        assert "10.77.0.9" in str(peer)

        shared = tmp_path / "ann/file"
        shared.write_bytes(bytes(range(256)) * 4096)
        ann.swarm("share", shared, "--group", "films")
        bob.wait_until(lambda: bob.call("ls", group="films")["shares"], "shares")
        bob.swarm("get", "file", "--group", "films", "-o", bob.downloads)
        assert (bob.downloads / "file").read_bytes() == shared.read_bytes()
        assert bob.stop() == ann.stop() == 0
