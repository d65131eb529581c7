"""What the user is told when something does not go as meant, and that doing what it says helps."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.farm import KIB, MIB, Farm, join, wait_for_progress, wait_for_share
from tests.e2e.nodes import clean_environ, outcome
from tests.e2e.privileges import needs, small_disk

ROOT = Path(__file__).parents[2]


def test_an_unset_variable_shares_nothing(farm: Farm) -> None:
    (node,) = farm.start()
    folder = farm.folder / "here"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    environ = {**clean_environ(), "PYTHONPATH": str(ROOT)}
    for words in (["share", ""], ["share", "secret", "--name", ""], ["get", "x", "-o", ""], ["group", "create", ""]):
        done = subprocess.run(
            node.swarm_command(*words), cwd=folder, env=environ, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (2, ""), words
        assert "it is empty" in done.stderr
    assert node.call("ls")["shares"] == []


# --- a name in place of an address ---


def test_a_peer_is_added_by_name(farm: Farm) -> None:
    one, two = farm.group()
    port = two.address().rpartition(":")[2]
    one.stop()
    two.stop()
    two.start()
    one.start()
    added = one.json("peer", "add", f"localhost:{port}")
    assert (added["state"], added["groups"]) == ("connected", ["films"])


def test_names_that_lead_nowhere(farm: Farm) -> None:
    (node,) = farm.start()
    code, said = node.error("peer", "add", "no-such-host.invalid:7927")
    assert code in (4, 6), "6 where no name server can be asked"
    assert "the name 'no-such-host.invalid'" in said
    for wrong in ("a..b:7927", "10.1:7927", "localhost", "localhost:0", "[::1:7927"):
        code, said = node.error("peer", "add", wrong)
        assert code == 2, wrong
        assert "Error" not in said, "no exception's name"
    code, said = node.error("peer", "add", "localhost:1")
    assert (code, "127.0.0.1:1: Connection refused" in said) == (6, True), said
    assert "it is remembered, and called again: `swarm peer rm localhost:1`" in said
    assert "127.0.0.1:1" in node.json("peer", "rm", "localhost:1")["addresses"]
    assert node.json("peer", "list") == {"peers": []}
    code, said = node.error("peer", "rm", "127.0.0.1:1")
    assert (code, "is not remembered" in said) == (4, True), said
    node.stop()
    node.start()
    assert node.json("peer", "list") == {"peers": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--listen", "localhost:0"], "'localhost:0' has a name where a numeric IP address is needed"),
        (["--state-dir", "file"], "file is not a folder"),
        (["--state-dir", ""], "--state-dir: it is empty"),
    ],
)
def test_a_daemon_that_cannot_start_says_what_it_takes(farm: Farm, arguments: list[str], said: str) -> None:
    node = farm.node()
    (node.folder / "file").touch()
    environ = {**clean_environ(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*node.command, *arguments], cwd=node.folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr


# --- what is on its way already, or there already ---


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8 * MIB) as folder:
        yield folder


@needs("mount")
@pytest.mark.root
def test_the_way_out_of_a_full_disk(disk: Path, farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("disk.iso", 9 * MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    code, said = leecher.error("get", ticket, "-o", disk)
    (standing,) = leecher.call("transfers")["transfers"]
    way_out = f"`swarm rm {standing['id']} --delete-data`"
    assert (code, way_out in said) == (9, True), said
    for elsewhere in (["-o", leecher.downloads], ["--stdout"]):
        code, said = leecher.error("get", ticket, *elsewhere)
        assert code == 1
        assert f"fetches that already, to {disk / 'disk.iso'}, and waits for room" in said
        assert f"{way_out} (what it has fetched so far goes), and then this command again" in said
    leecher.swarm("rm", standing["id"], "--delete-data")
    leecher.swarm("get", ticket, "-o", leecher.downloads)
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


def test_what_is_on_its_way_to_elsewhere(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("disk.iso", MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    seeder.stop()
    leecher.swarm("get", ticket, "-o", leecher.downloads, "--no-wait")
    (transfer,) = leecher.call("transfers")["transfers"]
    other = leecher.downloads / "other"
    other.mkdir()
    code, said = leecher.error("get", ticket, "-o", other)
    assert (code, f"`swarm transfers {transfer['id']}` shows how far" in said) == (1, True), said
    leecher.swarm("pause", transfer["id"])
    code, said = leecher.error("get", ticket, "--stdout")
    assert (code, f"is paused: `swarm resume {transfer['id']}` goes on; to stream it, `swarm rm" in said) == (1, True)
    assert not (leecher.state_dir / "streams").exists() or not list((leecher.state_dir / "streams").iterdir())
    leecher.swarm("rm", transfer["id"], "--delete-data")
    seeder.start()
    leecher.swarm("get", ticket, "-o", other)
    assert (other / "disk.iso").read_bytes() == path.read_bytes()


def test_what_is_being_streamed(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    ticket = str(seeder.call("share", path=str(farm.file("disk.iso", MIB)))["ticket"])
    seeder.stop()
    stream = leecher.popen("get", ticket, "--stdout")
    (transfer,) = leecher.wait_until(lambda: leecher.call("transfers")["transfers"], "transfers")
    code, said = leecher.error("get", ticket, "-o", leecher.downloads)
    assert (code, f"for another `swarm get --stdout`: wait for its end, or `swarm rm {transfer['id']}`" in said) == (
        1,
        True,
    )
    leecher.swarm("rm", transfer["id"])
    assert outcome(stream)[0] != 0


def test_getting_again_what_is_there_unchanged_is_no_error(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("disk.iso", MIB)
    farm.file("empty", 0)
    farm.file("tree/a/b", 300 * KIB)
    link = leecher.folder / "link"
    link.symlink_to(leecher.downloads)
    for name in ("disk.iso", "empty", "tree"):
        ticket = seeder.json("share", farm.folder / name)["ticket"]
        told = leecher.json("get", ticket, "-o", leecher.downloads)
        for folder, overwrite in ((leecher.downloads, False), (link, False), (leecher.downloads, True)):
            again = leecher.call("get", source=ticket, target_dir=str(folder), overwrite=overwrite)
            assert (again["id"], again["state"]) == (told["id"], "done")
    assert len(leecher.call("transfers")["transfers"]) == 3
    leecher.stop()
    leecher.start()
    ticket = seeder.json("share", path)["ticket"]
    assert leecher.swarm("get", ticket, "-o", leecher.downloads) == f"{leecher.downloads / 'disk.iso'}\n"


@pytest.mark.parametrize("name", ["disk.iso", "empty", "tree"])
def test_getting_again_what_was_changed_or_deleted(farm: Farm, name: str) -> None:
    seeder, leecher = farm.pair()
    farm.file("disk.iso", MIB)
    farm.file("empty", 0)
    farm.file("tree/a/b", 300 * KIB)
    ticket = seeder.json("share", farm.folder / name)["ticket"]
    leecher.swarm("get", ticket, "-o", leecher.downloads)
    place = leecher.downloads / name
    (place / "a/b" if name == "tree" else place).write_text("mine")
    code, said = leecher.error("get", ticket, "-o", leecher.downloads)
    assert (code, f"{place} is there already" in said) == (1, True), said
    assert "choose another folder with -o" in said
    assert ("--overwrite" in said) == (name != "tree")
    if name != "tree":
        assert place.read_text() == "mine"
        place.unlink()
        leecher.swarm("get", ticket, "-o", leecher.downloads)
        assert place.read_bytes() == (farm.folder / name).read_bytes()


# --- who shares what ---


def test_names_are_readable_in_any_script(farm: Farm) -> None:
    (node,) = farm.start()
    for words in (["group", "show", "фильмы"], ["get", "фильмы"], ["unshare", "фильмы"], ["pause", "фильмы"]):
        code, said = node.error(*words)
        assert (code, "'фильмы'" in said) == (4, True), said
    node.swarm("group", "create", "фильмы")
    assert "'фильмы'" in node.error("group", "create", "фильмы")[1]
    code, said = node.error("group", "show", "a\x1b[2J\u202e")
    assert (code, "\x1b" in said, "\u202e" in said) == (4, False, False), said


def test_one_object_in_two_groups_is_one_object(farm: Farm) -> None:
    seeder, leecher = farm.group()
    join("songs", seeder, leecher)
    path = farm.file("song", MIB)
    shared = [seeder.json("share", path, "--group", group) for group in ("films", "songs")]
    assert shared[0]["content_id"] == shared[1]["content_id"]
    leecher.wait_until(lambda: len(leecher.call("ls")["shares"]) == 2, "shares")
    leecher.swarm("get", "song", "-o", leecher.downloads)
    assert (leecher.downloads / "song").read_bytes() == path.read_bytes()


def test_only_who_shares_something_can_unshare_it(farm: Farm) -> None:
    one, two = farm.group()
    shared = one.json("share", farm.file("song", 1000), "--group", "films")
    wait_for_share(two, "song")
    for reference in ("song", shared["content_id"]):
        code, said = two.error("unshare", reference)
        assert code == 5
        assert f"'song' is shared by peer {one.call('id')['peer_id'][:8]}" in said
        assert "only that peer can unshare it" in said


def test_a_name_that_no_share_can_have(farm: Farm) -> None:
    (node,) = farm.start()
    for name in ("two\nlines", "12:30.ts"):
        code, said = node.error("share", farm.file(name, 10))
        assert (code, "share it under another name with --name" in said) == (2, True), said
        assert node.json("share", farm.folder / name, "--name", "fine")["name"] == "fine"
    path = os.fsdecode(os.fsencode(farm.folder) + b"/\xff")
    code, said = node.error("share", path)
    assert (code, "is not UTF-8" in said, "JSON" in said) == (2, True, False), said


def test_ls_marks_what_is_no_longer_served(farm: Farm) -> None:
    (node,) = farm.start()
    for name in ("kept", "changed", "gone", "tree/file"):
        node.call("share", path=str(farm.file(name, 1000).parents[name.count("/")] / name.split("/")[0]))
    (farm.folder / "changed").write_bytes(b"other")
    (farm.folder / "gone").unlink()
    (farm.folder / "tree").rename(farm.folder / "moved")
    lines = {line.split()[0]: line for line in node.swarm("ls").splitlines()}
    assert {name for name, line in lines.items() if "not served" in line} == {"changed", "gone", "tree"}
    assert str(farm.folder / "kept") in lines["kept"]
    assert f"{farm.folder / 'gone'} was changed, or is gone" in node.swarm("status")
    node.call("share", path=str(farm.folder / "changed"))
    shares = {share["path"]: share for share in node.call("ls")["shares"]}
    assert str(farm.folder / "changed") in shares, "shared again, it is served again"


def test_a_path_is_that_of_the_share_that_was_read_there_last(farm: Farm) -> None:
    """Of a folder: no look at its top tells that a file in it was changed."""
    (node,) = farm.start()
    tickets = []
    for group, content in (("films", b"old"), ("music", b"new")):
        node.call("group.create", name=group)
        farm.file("tree/file", 1000).write_bytes(content)
        tickets.append(node.json("share", farm.folder / "tree", "--group", group)["content_id"])
    for _ in ("now", "after a restart"):
        places = {share["content_id"]: share["path"] for share in node.call("ls")["shares"]}
        assert places == dict(zip(tickets, (None, str(farm.folder / "tree")), strict=True))
        node.stop()
        node.start()


def test_a_pause_is_no_silence(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    ticket = str(seeder.call("share", path=str(farm.file("song", 1000)))["ticket"])
    seeder.stop()
    leecher.call("get", source=ticket, target_dir=str(leecher.downloads))
    waited = wait_for_progress(leecher, lambda value: value["waiting"] and value["waiting"]["since_s"] > 1)
    leecher.swarm("pause", waited["id"])
    resumed = leecher.json("resume", waited["id"])
    assert resumed["waiting"] is None or resumed["waiting"]["since_s"] < 1
