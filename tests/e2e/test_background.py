"""Groups and transfers in the background: they arrive all the same, and it is said of them."""

from __future__ import annotations

import signal

import pytest

from tests.e2e.farm import MIB, Farm, join, wait_for_share
from tests.e2e.nodes import Node

UDP_ONLY = ("--no-mdns", "--no-tcp")
BACKGROUND = "[limits.groups.films]\nbackground = true\n"


def reload(node: Node, config: str) -> None:
    node.config_file.write_text(config)
    with node.control() as control:
        control.subscribe("daemon")
        node.signal(signal.SIGHUP)
        assert control.wait_for("daemon", "reloaded")["text"] == "limits.groups"


@pytest.mark.parametrize("arguments", [UDP_ONLY, ("--no-mdns", "--no-udp")])
def test_a_background_group_transfers_and_says_so(farm: Farm, arguments: tuple[str, ...]) -> None:
    seeder, leecher = farm.start(2, arguments=arguments, config=BACKGROUND)
    join("films", seeder, leecher)
    path = farm.file("film", 8 * MIB)
    seeder.call("share", path=str(path), group="films")
    wait_for_share(leecher, "film")
    leecher.swarm("get", "film", "-o", leecher.downloads)
    assert (leecher.downloads / "film").read_bytes() == path.read_bytes()
    (group,) = leecher.call("group.list")["groups"]
    assert group["background"]
    for node in (seeder, leecher):
        assert node.call("status")["background"] == [group["group_id"]]
    assert seeder.call("status")["yielding"] == 1
    (transfer,) = leecher.call("transfers")["transfers"]
    assert transfer["background"]
    for node in (seeder, leecher):
        reload(node, "")
        assert node.call("status")["background"] == []
    (transfer,) = leecher.call("transfers")["transfers"]
    assert not transfer["background"]
    again = farm.file("again", 4 * MIB)
    seeder.call("share", path=str(again), group="films")
    wait_for_share(leecher, "again")
    leecher.swarm("get", "again", "-o", leecher.downloads)
    assert seeder.call("status")["yielding"] == 0, "its blocks were waited for"


def test_a_background_transfer_is_given_as_one_also_after_a_restart(farm: Farm) -> None:
    seeder, leecher = farm.start(2, arguments=UDP_ONLY)
    path = farm.file("disk.iso", 8 * MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    leecher.swarm("get", ticket, "-o", leecher.downloads, "--background")
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
    assert seeder.call("status")["yielding"] == 1, "it was asked to"
    leecher.stop()
    leecher.start()
    (transfer,) = leecher.call("transfers")["transfers"]
    assert transfer["background"]
    leecher.swarm("get", ticket, "-o", leecher.downloads, "--foreground")
    (transfer,) = leecher.call("transfers")["transfers"]
    assert not transfer["background"]
