"""What survives: a seeder that comes back, SIGTERM in the middle, kill -9 at any moment, and who is known.

The crash contract (design §7): after a kill at most what came in the last 5 s, or 64 MiB, is fetched again; all the
rest is there without a check, and nothing that was not verified is given to anybody.
"""

from __future__ import annotations

import os
import select
from collections import deque
from pathlib import Path

from swarmd.core.clock import SystemClock
from swarmd.core.rng import SeededRng
from tests.e2e.farm import MIB, Farm, wait_for_bytes, wait_for_members, wait_for_progress, wait_for_share
from tests.e2e.nodes import Node, outcome

LOSS_PERIOD = 5.0
KILLS = 5
"""Of each kind: the store's own tests have twenty, and this is run often."""


def transfer_of(node: Node) -> dict[str, object]:
    (transfer,) = node.call("transfers")["transfers"]
    return dict(transfer)


def test_the_seeder_goes_away_and_comes_back(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "8 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 12 * MIB)
    getting = leecher.popen("get", seeder.call("share", path=str(path))["ticket"], "-o", leecher.downloads)
    wait_for_bytes(leecher, 3 * MIB)
    assert seeder.stop() == 0
    standing = wait_for_progress(leecher, lambda value: value["waiting"] and value["waiting"]["since_s"] > 3)
    assert standing["waiting"]["code"] == "no_members"
    assert standing["eta_s"] is None
    assert "is the other machine's swarmd running" in leecher.swarm("status")
    seeder.start()
    assert outcome(getting)[0] == 0, "the waiting get saw none of it"
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


def test_sigterm_in_the_middle_loses_nothing(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "10 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 12 * MIB)
    getting = leecher.popen("get", seeder.call("share", path=str(path))["ticket"], "-o", leecher.downloads)
    before = wait_for_bytes(leecher, 3 * MIB)
    assert leecher.stop() == 0
    code, _, said = outcome(getting)
    assert code == 7, "incomplete but resumable"
    assert "goes on when swarmd runs again" in said
    leecher.start()
    wait_for_bytes(leecher, 11 * MIB)
    done = leecher.call("transfer.wait", id=transfer_of(leecher)["id"])
    assert done["received_bytes"] <= path.stat().st_size - before, "nothing was fetched again"
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


def test_a_finished_get_and_its_share_survive(farm: Farm) -> None:
    seeder, leecher, late = farm.group(3)
    path = farm.file("disk.iso", MIB)
    seeder.call("share", path=str(path), group="films")
    wait_for_share(leecher, "disk.iso")
    leecher.swarm("get", "disk.iso", "-o", leecher.downloads)
    wait_for_share(late, "disk.iso")
    seeder.stop()
    began_at = transfer_of(leecher)["created_at"]
    for stop in (leecher.stop, leecher.kill):
        stop()
        leecher.start()
        assert transfer_of(leecher)["state"] == "done"
        assert transfer_of(leecher)["created_at"] == began_at
        wait_for_members(late, "films", 1)
    late.swarm("get", "disk.iso", "-o", late.downloads)
    assert (late.downloads / "disk.iso").read_bytes() == path.read_bytes()


def test_known_members_are_kept(farm: Farm) -> None:
    """Nobody is told an address twice: after a restart of both the members find each other as they were."""
    one, two, three = farm.group(3)
    for node in (one, two, three):
        node.stop()
    two.start()
    assert two.call("group.show", group="films")["connected"] == 0
    three.start()
    wait_for_members(two, "films", 1)
    wait_for_members(three, "films", 1)


def test_members_are_kept_even_when_the_power_goes(farm: Farm) -> None:
    """At once after they met: what a ticket said is written down before it is answered."""
    one, two = farm.group(2)
    for node in (one, two):
        node.kill()
    two.start()
    one.start()
    wait_for_members(two, "films", 1)


def test_identity_groups_and_shares_are_kept(farm: Farm) -> None:
    (node,) = farm.start()
    path = farm.file("song", 1000)
    node.call("group.create", name="films")
    ticket = node.call("share", path=str(path))["ticket"]
    node.call("share", path=str(path), group="films")
    before = [node.call(method) for method in ("id", "ls", "group.list")]
    node.kill()
    node.start()
    assert [node.call(method) for method in ("id", "ls", "group.list")] == before
    assert node.call("share", path=str(path))["ticket"] == ticket


# --- kill -9 ---


def follow(node: Node, period: float) -> deque[tuple[float, int]]:
    """Watch the node's transfer for so long, or until it is done: when it had how many bytes."""
    clock = SystemClock()
    seen: deque[tuple[float, int]] = deque()
    end = clock.monotonic() + period
    while (now := clock.monotonic()) < end:
        transfers = node.call("transfers")["transfers"]
        seen.append((now, transfers[0]["have_bytes"] if transfers else 0))
        if transfers and transfers[0]["state"] == "done":
            break
    return seen


def test_kill_in_the_middle_of_a_download(farm: Farm) -> None:
    """Each time it has at least what it had 5 s before the kill, and in the end it is right."""
    rng = SeededRng(20)
    (seeder,) = farm.start(config='[limits]\nupload = "6 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 64 * MIB)
    ticket = seeder.call("share", path=str(path))["ticket"]
    leecher.call("get", source=ticket, target_dir=str(leecher.downloads))
    longest = rng.randrange(KILLS)
    for number in range(KILLS):
        seen = follow(leecher, LOSS_PERIOD + 1 if number == longest else 2.5 * rng.random())
        killed_at = SystemClock().monotonic()
        leecher.kill()
        safe = max((have for at, have in seen if at < killed_at - LOSS_PERIOD), default=0)
        leecher.start()
        after = wait_for_bytes(leecher, -1)
        assert after >= safe, f"after kill {number} it has {after} bytes; 5 s before the kill it had {safe}"
        if number == longest:
            assert safe > 0, "the kill that matters came after something was safe"
    (transfer,) = leecher.call("transfers")["transfers"]
    part = leecher.downloads / "disk.iso.part"
    assert part.exists()
    seeder.config_file.write_text("")
    seeder.stop()
    seeder.start()
    done = leecher.call("transfer.wait", id=transfer["id"])
    assert done["received_bytes"] <= path.stat().st_size
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
    assert not part.exists()


def test_kill_while_a_folder_of_small_files_arrives(farm: Farm) -> None:
    rng = SeededRng(21)
    (seeder,) = farm.start(config='[limits]\nupload = "4 MiB/s"')
    (leecher,) = farm.start()
    for number in range(400):
        farm.file(f"tree/{number % 9}/{number}", rng.randrange(40_000))
    ticket = seeder.call("share", path=str(farm.folder / "tree"))["ticket"]
    leecher.call("get", source=ticket, target_dir=str(leecher.downloads))
    for _ in range(KILLS - 1):
        follow(leecher, rng.random())
        leecher.kill()
        leecher.start()
    done = leecher.call("transfer.wait", id=transfer_of(leecher)["id"])
    assert done["state"] == "done"
    for path in (farm.folder / "tree").rglob("*"):
        if path.is_file():
            assert (leecher.downloads / path.relative_to(farm.folder)).read_bytes() == path.read_bytes()


def test_kill_in_the_middle_of_a_share(farm: Farm) -> None:
    """It is shared as it was before or as it is now, never something between; and can be shared again."""
    rng, clock = SeededRng(22), SystemClock()
    (node,) = farm.group(1)
    folder = farm.folder / "tree"
    for number in range(1000):
        farm.file(f"tree/{number % 5}/{number}", 3000)
    begun_at = clock.monotonic()
    content_id = share(node, folder)
    took = clock.monotonic() - begun_at
    n_cut_off = 0
    for _ in range(KILLS):
        farm.file("tree/large", 20 * MIB)
        for path in folder.rglob("*"):
            os.utime(path)  # all has to be read again
        with node.control() as control:
            control.ask("share", path=str(folder))
            answered, _, _ = select.select([control.socket], [], [], took * rng.random())
            n_cut_off += not answered
            node.kill_daemon()
        node.start()
        (found,) = node.call("ls")["shares"]
        before, content_id = content_id, share(node, folder)
        assert found["content_id"] in (before, content_id)
    assert n_cut_off > 0
    (leecher,) = farm.start()
    leecher.call("group.join", ticket=node.call("group.invite", group="films")["ticket"])
    wait_for_share(leecher, "tree")
    leecher.swarm("get", content_id, "-o", leecher.downloads)
    assert same_files(leecher.downloads / "tree", folder)


def share(node: Node, path: Path) -> str:
    """Share it in the group; its content ID."""
    return str(node.call("share", path=str(path), group="films")["content_id"])


def same_files(one: Path, other: Path) -> bool:
    return all(
        (one / path.relative_to(other)).read_bytes() == path.read_bytes() for path in other.rglob("*") if path.is_file()
    )
