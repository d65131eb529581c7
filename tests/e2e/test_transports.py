"""The main job over UDP alone; and which transport is taken when both may be."""

from __future__ import annotations

import pytest

from swarmd.core.clock import SystemClock
from swarmd.transport.rtmfp.liveness import SILENCE_TIMEOUT
from tests.e2e.farm import KIB, MIB, Farm, contents, join, wait_for_bytes, wait_for_progress
from tests.e2e.nodes import EXTRA_ARGUMENTS, Node, outcome

CLOCK = SystemClock()
UDP_ONLY = ("--no-mdns", "--no-tcp")
TCP_ONLY = ("--no-mdns", "--no-udp")


def transports(node: Node) -> set[str]:
    return {peer["transport"] for peer in node.call("peer.list")["peers"] if peer["state"] == "connected"}


def test_a_file_goes_to_three_over_udp_alone(farm: Farm) -> None:
    seeder, *leechers = farm.start(4, arguments=UDP_ONLY)
    path = farm.file("disk.iso", 24 * MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    commands = [leecher.popen("--json", "get", ticket, "-o", leecher.downloads) for leecher in leechers]
    assert [outcome(command)[0] for command in commands] == [0, 0, 0]
    for leecher in leechers:
        assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
        assert transports(leecher) == {"udp"}


def test_a_folder_goes_over_udp_alone(farm: Farm) -> None:
    seeder, leecher = farm.start(2, arguments=UDP_ONLY)
    for number in range(300):
        farm.file(f"folder/{number % 7}/file {number}", number * 37)
    (farm.folder / "folder/empty").mkdir()
    ticket = str(seeder.call("share", path=str(farm.folder / "folder"))["ticket"])
    leecher.swarm("get", ticket, "-o", leecher.downloads)
    assert contents(leecher.downloads / "folder") == contents(farm.folder / "folder")


def test_the_seeder_goes_away_and_comes_back_over_udp(farm: Farm) -> None:
    seeder, leecher = farm.start(2, arguments=UDP_ONLY, config='[limits]\nupload = "4 MiB/s"')
    path = farm.file("disk.iso", 12 * MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    command = leecher.popen("--json", "get", ticket, "-o", leecher.downloads)
    wait_for_bytes(leecher, 512 * KIB)
    seeder.kill_daemon()
    seeder.start()
    since = CLOCK.monotonic()
    wait_for_progress(leecher, lambda value: value["state"] == "done")
    assert CLOCK.monotonic() - since < SILENCE_TIMEOUT, "the old session was not waited for"
    assert outcome(command)[0] == 0
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


@pytest.mark.skipif("--no-tcp" in EXTRA_ARGUMENTS, reason="TCP is off")
def test_both_may_be_and_on_this_machine_it_is_tcp(farm: Farm) -> None:
    one, two = farm.group(2)
    assert transports(one) == transports(two) == {"tcp"}


def test_where_one_has_only_udp_it_is_udp(farm: Farm) -> None:
    (one,) = farm.start(1, arguments=UDP_ONLY)
    (two,) = farm.start(1)
    join("films", one, two)
    assert transports(one) == transports(two) == {"udp"}


@pytest.mark.parametrize(("ours", "theirs"), [(UDP_ONLY, TCP_ONLY), (TCP_ONLY, UDP_ONLY)])
def test_nothing_in_common_is_said(farm: Farm, ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    (one,) = farm.start(1, arguments=ours)
    (two,) = farm.start(1, arguments=theirs)
    code, said = one.error("peer", "add", two.address())
    assert code == 6
    assert f"{two.address()}: Connection refused" in said
