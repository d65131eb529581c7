"""Sharing on one node and getting on another: files, folders, names, ways to say what, and what is refused."""

from __future__ import annotations

import io
import os
import stat
import subprocess
from pathlib import Path

from tests.e2e.farm import KIB, MIB, Farm, contents, wait_for_bytes, wait_for_share
from tests.e2e.nodes import clean_environ, outcome

NAMES = ["übergrößen.txt", "файл", "文件.tar.gz", "ملف", "ไฟล์", "a b  c", "-rf", "~", "$HOME", "'\"", "\U0001f600", "ﬁ"]


def fill(folder: Path) -> Path:
    """A tree with everything that a tree may have."""
    for name in ("empty", "deep/er/est", "locked"):
        (folder / name).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        (folder / "deep" / name).write_text(f"{number} {name}")
    (folder / "zero").touch()
    (folder / "script.sh").write_text("#!/bin/sh\n")
    (folder / "script.sh").chmod(0o755)
    (folder / "private").write_bytes(b"x" * 5000)
    (folder / "private").chmod(0o600)
    (folder / "locked" / "within").write_text("in a folder that its owner may not write to")
    (folder / "locked").chmod(0o555)
    (folder / "link").symlink_to("deep/er")
    (folder / "deep" / "up").symlink_to("../script.sh")
    (folder / "dangling").symlink_to("not/there")
    return folder


def test_a_file(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("disk.iso", 3 * MIB + 17)
    path.chmod(0o640)
    shared = seeder.json("share", path)
    assert (shared["name"], shared["size"], shared["kind"]) == ("disk.iso", path.stat().st_size, "file")
    told = leecher.swarm("get", shared["ticket"], "-o", leecher.downloads)
    got = leecher.downloads / "disk.iso"
    assert told == f"{got}\n", "on stdout nothing but where it is"
    assert contents(got) == contents(path)
    assert os.listdir(leecher.downloads) == ["disk.iso"], "no .part is left"


def test_a_folder_with_everything(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    folder = fill(farm.folder / "tree")
    large = farm.file("tree/large", 700 * KIB)
    ticket = seeder.json("share", folder)["ticket"]
    done = leecher.json("get", ticket, "-o", leecher.downloads)
    assert done["state"] == "done"
    assert done["size"] == sum(path.lstat().st_size for path in folder.rglob("*") if stat.S_ISREG(path.lstat().st_mode))
    assert contents(leecher.downloads / "tree") == contents(folder)
    assert (leecher.downloads / "tree/large").read_bytes() == large.read_bytes()


def test_hundreds_of_small_files(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    folder = farm.folder / "many"
    for number in range(600):
        farm.file(f"many/{number % 7}/{number}.txt", number * 37 % 4000)
    leecher.json("get", seeder.json("share", folder)["ticket"], "-o", leecher.downloads)
    assert contents(leecher.downloads / "many") == contents(folder)


def test_sizes_at_the_edges(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    (farm.folder / "nothing").mkdir()
    for size in (0, 1, 256 * KIB, 256 * KIB + 1):
        path = farm.file(f"edge {size}", size)
        done = leecher.json("get", seeder.call("share", path=str(path))["ticket"], "-o", leecher.downloads)
        assert (done["size"], done["have_bytes"]) == (size, size)
        assert (leecher.downloads / path.name).read_bytes() == path.read_bytes()
    leecher.swarm(
        "get", seeder.call("share", path=str(farm.folder / "nothing"))["ticket"], "-o", leecher.downloads, "--json"
    )
    assert contents(leecher.downloads / "nothing") == contents(farm.folder / "nothing")


def test_ways_to_say_what(farm: Farm) -> None:
    seeder, leecher = farm.group()
    path = farm.file("song", 100_000)
    shared = seeder.json("share", path, "--group", "films", "--name", "A song")
    wait_for_share(leecher, "A song")
    ways: list[tuple[list[str], str | None]] = [
        (["A song"], None),
        (["A song", "--group", "films"], None),
        ([shared["content_id"]], None),
        ([shared["ticket"]], None),
        ([shared["ticket"].upper()], None),
        (["-"], f"  {shared['ticket'][:60]}\n{shared['ticket'][60:]}\n"),
    ]
    for number, (words, stdin) in enumerate(ways):
        folder = leecher.downloads / str(number)
        folder.mkdir()
        done = leecher.json("get", *words, "-o", folder, stdin=stdin)
        assert (folder / "A song").read_bytes() == path.read_bytes()
        assert done["reused_bytes"] == (100_000 if number else 0), "what is on this machine is copied"
    code, said = leecher.error("get", "A wrong song")
    assert code == 4
    assert "'A wrong song'" in said
    assert "swarm ls" in said


def test_stdout_in_order(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("film.mkv", 5 * MIB + 1)
    ticket = seeder.json("share", path)["ticket"]
    command = leecher.swarm_command("get", ticket, "--stdout")
    with leecher.control() as watch:
        watch.subscribe("transfers")
        streamed = subprocess.run(command, capture_output=True, env=clean_environ(), timeout=60, check=True)
        assert streamed.stdout == path.read_bytes()
        watch.wait_for("transfers", "removed")
    assert leecher.call("transfers")["transfers"] == []
    assert list((leecher.state_dir / "streams").iterdir()) == []


def test_stdout_begins_before_the_end_and_may_be_cut_off(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "2 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("film.mkv", 30 * MIB)
    stream = leecher.popen("get", seeder.json("share", path)["ticket"], "--stdout")
    assert isinstance(stream.stdout, io.TextIOWrapper)
    assert stream.stdout.buffer.read(MIB) == path.read_bytes()[:MIB]
    (transfer,) = leecher.call("transfers")["transfers"]
    assert transfer["have_bytes"] < 20 * MIB
    assert transfer["target"] is None
    stream.stdout.close()
    assert stream.wait(20) != 0
    leecher.wait_until(lambda: not leecher.call("transfers")["transfers"], "transfers")


def test_a_folder_is_no_stream(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    farm.file("tree/a", 10)
    code, said = leecher.error("get", seeder.json("share", farm.folder / "tree")["ticket"], "--stdout")
    assert code == 2
    assert "folder" in said


def test_lowest_first_arrives_in_order(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "16 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("film.mkv", 16 * MIB)
    getting = leecher.popen("get", seeder.json("share", path)["ticket"], "--order", "lowest", "-o", leecher.downloads)
    part = leecher.downloads / "film.mkv.part"
    have = wait_for_bytes(leecher, 4 * MIB)
    sample = part.read_bytes()[: have - 3 * MIB]
    assert sample == path.read_bytes()[: len(sample)], "the beginning is there but for the chunks under way"
    assert outcome(getting)[0] == 0


def test_nothing_is_overwritten_unless_asked(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("notes", 50_000)
    ticket = seeder.json("share", path)["ticket"]
    there = leecher.downloads / "notes"
    there.write_text("mine")
    code, said = leecher.error("get", ticket, "-o", leecher.downloads)
    assert code == 1
    assert str(there) in said
    assert there.read_text() == "mine"
    leecher.json("get", ticket, "-o", leecher.downloads, "--overwrite")
    assert there.read_bytes() == path.read_bytes()


def test_a_folder_is_never_overwritten(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    farm.file("tree/a", 10)
    (leecher.downloads / "tree").mkdir()
    ticket = seeder.json("share", farm.folder / "tree")["ticket"]
    for option in ((), ("--overwrite",)):
        code, said = leecher.error("get", ticket, "-o", leecher.downloads, *option)
        assert code == 1
        assert str(leecher.downloads / "tree") in said
    assert not list((leecher.downloads / "tree").iterdir())


def test_a_second_share_is_the_same_one(farm: Farm) -> None:
    (seeder,) = farm.start()
    path = farm.file("disk.iso", MIB)
    first, second = seeder.json("share", path), seeder.json("share", path)
    assert first == second
    farm.file("disk.iso", MIB)
    third = seeder.json("share", path)
    assert third["content_id"] != first["content_id"], "it is another object now"


def test_sharing_again_what_has_changed_gives_the_new_one(farm: Farm) -> None:
    seeder, leecher = farm.group()
    path = farm.file("list.txt", 1000)
    seeder.json("share", path, "--group", "films")
    path.write_text("another text")
    again = seeder.json("share", path, "--group", "films")
    leecher.wait_until(
        lambda: [share["content_id"] for share in leecher.call("ls")["shares"]] == [again["content_id"]], "shares"
    )
    leecher.json("get", "list.txt", "-o", leecher.downloads)
    assert (leecher.downloads / "list.txt").read_text() == "another text"


def test_unshare(farm: Farm) -> None:
    seeder, leecher = farm.group()
    path = farm.file("song", 1000)
    ticket = seeder.json("share", path, "--group", "films")["ticket"]
    wait_for_share(leecher, "song")
    assert seeder.json("unshare", "song")["name"] == "song"
    wait_for_share(leecher, "song", is_there=False)
    assert path.exists()
    assert leecher.error("get", "song")[0] == 4
    code, said = leecher.error("get", ticket, "-o", leecher.downloads, "--timeout", "0.5")
    assert code == 6, "nobody has it any more"
    assert "nobody has any of it" in said
    assert seeder.error("unshare", "song")[0] == 4


def test_a_ticket_of_a_group_is_for_its_members(farm: Farm) -> None:
    seeder, _ = farm.group()
    (stranger,) = farm.start()
    ticket = seeder.json("share", farm.file("song", 1000), "--group", "films")["ticket"]
    code, said = stranger.error("get", ticket, "-o", stranger.downloads)
    assert code == 5
    assert "swarm group invite" in said


def test_two_groups_at_once_over_one_session(farm: Farm) -> None:
    one, two = farm.group()
    other = one.json("group", "create", "songs")["ticket"]
    two.json("group", "join", other)
    two.wait_until(lambda: two.call("group.show", group="songs")["connected"], "members")
    film, song = farm.file("film", 6 * MIB), farm.file("song", 6 * MIB)
    one.json("share", film, "--group", "films")
    two.json("share", song, "--group", "songs")
    wait_for_share(one, "song")
    wait_for_share(two, "film")
    getting = [
        two.popen("get", "film", "-o", two.downloads),
        one.popen("get", "song", "-o", one.downloads),
    ]
    assert [outcome(command)[0] for command in getting] == [0, 0]
    assert (two.downloads / "film").read_bytes() == film.read_bytes()
    assert (one.downloads / "song").read_bytes() == song.read_bytes()
    (peer,) = one.json("peer", "list")["peers"]
    assert sorted(peer["groups"]) == ["films", "songs"]


def test_names_that_cannot_travel_are_named(farm: Farm) -> None:
    (seeder,) = farm.start()
    farm.file("tree/fine", 10)
    farm.file("tree/Fine", 10)
    code, said = seeder.error("share", farm.folder / "tree")
    assert code == 2
    assert "ine" in said
    assert "Traceback" not in said
    os.mkfifo(farm.folder / "pipe")
    code, said = seeder.error("share", farm.folder / "pipe")
    assert code == 2
    assert "pipe" in said
    (farm.folder / "out").mkdir()
    (farm.folder / "out" / "link").symlink_to("../../secret")
    code, said = seeder.error("share", farm.folder / "out")
    assert code == 2
    assert "link" in said
    assert seeder.error("share", farm.folder / "not there")[0] == 4


def test_another_ticket_for_what_is_under_way_brings_its_group_along(farm: Farm) -> None:
    """Who shared it first is gone; somebody else shares the same thing, and sends a new ticket."""
    gone, seeder, leecher = farm.start(3)
    path = farm.file("disk.iso", MIB)
    first, second = (node.call("share", path=str(path))["ticket"] for node in (gone, seeder))
    gone.stop()
    waiting = leecher.popen("get", first, "-o", leecher.downloads)
    leecher.wait_until(lambda: leecher.call("transfers")["transfers"], "transfers")
    leecher.swarm("get", second, "-o", leecher.downloads)
    assert outcome(waiting)[0] == 0, "it was one transfer"
    assert len(leecher.call("transfers")["transfers"]) == 1
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


def test_what_is_got_and_removed_where_it_is_shared_stays_shared(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("disk.iso", MIB)
    ticket = seeder.call("share", path=str(path))["ticket"]
    copied = seeder.json("get", ticket, "-o", seeder.downloads)
    assert copied["reused_bytes"] == MIB
    subprocess.run(
        seeder.swarm_command("get", ticket, "--stdout"), stdout=subprocess.DEVNULL, env=clean_environ(), check=True
    )
    seeder.swarm("rm", copied["id"], "--delete-data")
    assert not (seeder.downloads / "disk.iso").exists()
    seeder.wait_until(lambda: not seeder.call("transfers")["transfers"], "transfers")
    leecher.swarm("get", ticket, "-o", leecher.downloads)
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
