"""The file system of the state folder is full: commands fail and change nothing, transfers stand, and when there is
room all goes on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.farm import KIB, MIB, Farm, wait_for_bytes
from tests.e2e.nodes import Node, outcome
from tests.e2e.privileges import needs, small_disk

pytestmark = [needs("mount"), pytest.mark.root]

STATE_BYTES = 12 * MIB


@pytest.fixture
def node(farm: Farm) -> Iterator[Node]:
    """Its state folder is a small disk."""
    made = farm.node("small")
    with small_disk(made.state_dir, STATE_BYTES):
        yield made.start()
        farm.close()


@contextmanager
def full(node: Node) -> Iterator[None]:
    ballast = fill(node)
    yield
    ballast.unlink()


def fill(node: Node) -> Path:
    ballast = node.state_dir / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(64 * KIB)):
            pass
    return ballast


def groups(node: Node) -> set[str]:
    return {group["name"] or group["group_id"] for group in node.call("group.list", unlisted=True)["groups"]}


def shares(node: Node) -> set[str]:
    return {share["name"] for share in node.call("ls")["shares"] if share["own"]}


def restarted(node: Node) -> Node:
    assert node.stop() == 0
    return node.start()


def test_a_command_that_fails_has_changed_nothing_and_can_be_given_again(farm: Farm, node: Node) -> None:
    (other,) = farm.start()
    ticket = other.call("share", path=str(farm.file("theirs", 1000)))["ticket"]
    invitation = other.call("group.create", name="films")["ticket"]
    node.swarm("group", "create", "z")
    one, two = farm.file("one", 1000), farm.file("two", 1000)
    node.swarm("share", one)
    before = groups(node), shares(node)
    commands: list[tuple[str | Path, ...]] = [
        ("group", "create", "y"),
        ("group", "join", invitation),
        ("group", "leave", "z"),
        ("share", two),
        ("unshare", "one"),
        ("get", ticket, "-o", node.downloads),
    ]
    with full(node):
        for command in commands:
            assert node.error(*command)[0] == 9, command
        for command in commands:
            assert node.error(*command)[0] == 9, "and again"
        assert (groups(node), shares(node)) == before
    restarted(node)
    assert (groups(node), shares(node)) == before
    for command in commands:
        node.swarm(*command)
    assert {"y", "films"} <= groups(node) and "z" not in groups(node)
    after = groups(node), shares(node)
    assert after[1] == {"two"}
    restarted(node)
    assert (groups(node), shares(node)) == after


def test_it_ends_cleanly_with_a_full_state_folder(farm: Farm, node: Node) -> None:
    (other,) = farm.start()
    node.call("group.join", ticket=other.call("group.create", name="films")["ticket"])
    node.wait_until(lambda: node.call("group.show", group="films")["connected"], "members")
    fill(node)
    other.call("share", path=str(farm.file("theirs", 1000)), group="films")
    node.wait_until(lambda: node.call("ls")["shares"], "shares")
    wait_for_log(node, "cannot be written down")
    assert node.stop() == 0
    assert "could not be saved" in node.log_text()


def test_a_download_stands_until_there_is_room_for_its_state(farm: Farm, node: Node) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "4 MiB/s"')
    path = farm.file("disk.iso", 8 * MIB)
    getting = node.popen("get", seeder.call("share", path=str(path))["ticket"], "-o", node.downloads)
    wait_for_bytes(node, MIB)
    with full(node):
        code, _, said = outcome(getting)
        assert (code, "no room left for the database" in said) == (9, True), said
        wait_for_log(node, "waits for room")
        while (transfer(node)["waiting"] or {}).get("since_s", 0) < 5:
            node.swarm("version")  # which takes its time
        assert transfer(node)["state"] == "paused"
        assert transfer(node)["waiting"]["code"] == "disk_full"
    node.wait_until(lambda: transfer(node)["state"] == "done", "transfers")
    assert (node.downloads / "disk.iso").read_bytes() == path.read_bytes()
    assert node.log_text().count("waits for room") == node.log_text().count("goes on") == 1


def test_a_transfer_that_cannot_be_forgotten_is_still_listed(farm: Farm, node: Node) -> None:
    (seeder,) = farm.start()
    ticket = seeder.call("share", path=str(farm.file("song", 1000)))["ticket"]
    node.swarm("get", ticket, "-o", node.downloads)
    only = transfer(node)
    with full(node):
        assert node.error("rm", only["id"])[0] == 9
        assert transfer(node)["id"] == only["id"]
    node.swarm("rm", only["id"])
    restarted(node)
    assert node.call("transfers")["transfers"] == []


def test_a_get_that_fails_leaves_no_group_behind(farm: Farm) -> None:
    seeder, leecher = farm.start(2)
    ticket = seeder.call("share", path=str(farm.file("song", 1000)))["ticket"]
    (leecher.downloads / "song").mkdir(parents=True)
    assert leecher.error("get", ticket, "-o", leecher.downloads)[0] != 0
    assert groups(leecher) == set()
    leecher.swarm("get", ticket, "-o", leecher.folder)
    assert len(groups(leecher)) == 1


def transfer(node: Node) -> dict[str, Any]:
    (only,) = node.call("transfers")["transfers"]
    return dict(only)


def wait_for_log(node: Node, text: str) -> None:
    """Commands are what it takes its time with."""
    for _ in range(60):
        if text in node.log_text():
            return
        node.swarm("version")
    raise AssertionError(f"no {text!r} in\n{node.log_text()}")
