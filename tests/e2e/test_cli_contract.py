"""What scripts may rely on (design §10): JSON keys, exit codes, what each command does, limits that hold."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import pytest

from swarmd.core.clock import SystemClock
from tests.e2e.farm import (
    KIB,
    MIB,
    Farm,
    join,
    wait_for_bytes,
    wait_for_members,
    wait_for_progress,
    wait_for_share,
)
from tests.e2e.nodes import Node, outcome

SLOW = '[limits]\nupload = "3 MiB/s"'


def test_json_keys(farm: Farm) -> None:
    (node,) = farm.start()
    path = farm.file("song", 1000)
    promised = {
        ("id",): {"peer_id"},
        ("version",): {"version", "daemon"},
        ("status",): {"peer_id", "version", "uptime_s", "listen", "sessions", "groups", "transfers"},
        ("share", path): {"ticket", "content_id", "name", "size"},
        ("group", "create", "films"): {"group_id", "name", "ticket"},
        ("group", "list"): {"groups"},
        ("group", "show", "films"): {"group_id", "name", "members"},
        ("group", "members", "films"): {"members"},
        ("group", "invite", "films"): {"ticket"},
        ("ls",): {"shares"},
        ("transfers",): {"transfers"},
        ("peer", "list"): {"peers"},
        ("unshare", "song"): {"name", "content_id"},
        ("group", "leave", "films"): {"group_id", "name"},
    }
    for command, keys in promised.items():
        before = node.json(*command)
        assert keys <= before.keys(), f"{command}: {before}"
    after = json.loads(node.swarm("status", "--json"))
    assert after["peer_id"] == node.json("id")["peer_id"]
    assert after["pid"] == node.pid
    assert (after["listen"], after["groups"]) == ([node.address()], 0), "the group of the share went with it"


def test_progress_is_ndjson_and_the_result_comes_last(farm: Farm) -> None:
    (seeder,) = farm.start(config=SLOW)
    (leecher,) = farm.start()
    ticket = seeder.call("share", path=str(farm.file("disk.iso", 3 * MIB)))["ticket"]
    result = leecher.run("get", ticket, "-o", leecher.downloads, "--json")
    *progress, last = map(json.loads, result.stdout.splitlines())
    assert len(progress) >= 2
    assert all(each.keys() == {"progress"} for each in progress)
    assert last["state"] == "done"
    assert result.stderr == "", "no bar where nobody looks"


def test_exit_codes(farm: Farm) -> None:
    (node,) = farm.start()
    nobody = farm.node()
    for code, where, command in (
        (2, node, ("get",)),
        (2, node, ("no-such-command",)),
        (2, node, ("get", "x", "--order", "random")),
        (2, node, ("peer", "add", "localhost")),
        (2, node, ("peer", "add", "127.0.0.1:0")),
        (3, nobody, ("status",)),
        (4, node, ("get", "nothing")),
        (4, node, ("ls", "--group", "nothing")),
        (4, node, ("group", "leave", "nothing")),
        (4, node, ("pause", "nothing")),
        (4, node, ("share", farm.folder / "nothing")),
        (4, node, ("unshare", "nothing")),
        (6, node, ("peer", "add", "127.0.0.1:9")),
        (6, node, ("peer", "add", "localhost:9")),
    ):
        found, said = where.error(*command)
        assert found == code, f"{command}: {said}"
    answer = json.loads(node.run("--json", "get", "nothing").stdout)
    assert answer["error"]["code"] == "not_found"
    assert answer["error"]["message"] == node.error("get", "nothing")[1].removeprefix("swarm: ").rstrip()


def test_interrupted(farm: Farm) -> None:
    (seeder,) = farm.start(config=SLOW)
    (leecher,) = farm.start()
    ticket = seeder.call("share", path=str(farm.file("disk.iso", 6 * MIB)))["ticket"]
    getting = leecher.popen("get", ticket, "-o", leecher.downloads)
    wait_for_bytes(leecher, MIB)
    getting.send_signal(signal.SIGINT)
    code, out, said = outcome(getting)
    assert (code, out) == (130, "")
    assert "goes on fetching disk.iso" in said
    wait_for_progress(leecher, lambda value: value["state"] == "done")


def test_pause_resume_rm(farm: Farm) -> None:
    (seeder,) = farm.start(config=SLOW)
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 6 * MIB)
    ticket = seeder.call("share", path=str(path))["ticket"]
    transfer = leecher.swarm("get", ticket, "-o", leecher.downloads, "--no-wait").strip()
    waiting = leecher.popen("get", ticket, "-o", leecher.downloads)
    wait_for_bytes(leecher, MIB)
    assert f"{transfer} paused at" in leecher.swarm("pause", transfer)
    code, _, said = outcome(waiting)
    assert (code, f"swarm resume {transfer}" in said) == (7, True), said
    (listed,) = leecher.json("transfers")["transfers"]
    assert (listed["state"], listed["waiting"]["code"]) == ("paused", "paused")
    leecher.stop()
    leecher.start()
    (listed,) = leecher.json("transfers")["transfers"]
    assert listed["state"] == "paused", "also after a restart"
    have = listed["have_bytes"]
    assert have >= MIB
    leecher.swarm("resume", transfer)
    done = leecher.call("transfer.wait", id=transfer)
    assert done["received_bytes"] <= path.stat().st_size - have
    assert f"from      {seeder.call('id')['peer_id'][:8]}" in leecher.swarm("transfers", transfer)
    assert leecher.json("rm", transfer)["left"] == str(leecher.downloads / "disk.iso")
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
    assert leecher.json("transfers") == {"transfers": []}


@pytest.mark.parametrize("option", [(), ("--delete-data",)])
def test_rm_of_an_unfinished_one(farm: Farm, option: tuple[str, ...]) -> None:
    (seeder,) = farm.start(config=SLOW)
    (leecher,) = farm.start()
    ticket = seeder.call("share", path=str(farm.file("disk.iso", 6 * MIB)))["ticket"]
    waiting = leecher.popen("get", ticket, "-o", leecher.downloads)
    wait_for_bytes(leecher, MIB)
    part = leecher.downloads / "disk.iso.part"
    (transfer,) = leecher.json("transfers")["transfers"]
    removed = leecher.json("rm", transfer["id"], *option)
    assert removed["left"] == (None if option else str(part))
    assert part.exists() == (not option)
    code, _, said = outcome(waiting)
    assert (code, "was removed" in said) == (7, True), said
    if option:
        leecher.swarm("get", ticket, "-o", leecher.downloads)
        assert leecher.swarm("rm", leecher.json("transfers")["transfers"][0]["id"], "--delete-data")
        assert list(leecher.downloads.iterdir()) == []
    else:
        code, said = leecher.error("get", ticket, "-o", leecher.downloads)
        assert (code, f"{part} is there and is not ours" in said) == (1, True), said


def test_groups(farm: Farm) -> None:
    one, two = farm.start(2)
    made = one.json("group", "create", "Films für alle")
    assert one.error("group", "create", "Films für alle")[0] == 1
    assert two.swarm("group", "join", "-", stdin=made["ticket"]) == "joined Films für alle\n"
    assert two.json("group", "join", made["ticket"])["group_id"] == made["group_id"], "twice is no error"
    for node in (one, two):
        wait_for_members(node, made["name"], 1)
    assert [group["name"] for group in two.json("group", "list")["groups"]] == ["Films für alle"]
    shown = two.swarm("group", "show", made["group_id"][:8])
    assert "members     1 other known, 1 connected" in shown
    members = two.json("group", "members", made["name"])["members"]
    assert {member["peer_id"] for member in members} == {node.call("id")["peer_id"] for node in (one, two)}
    assert all(member["connected"] for member in members)
    (three,) = farm.start()
    three.json("group", "join", two.json("group", "invite", made["name"])["ticket"])
    wait_for_members(three, made["name"], 2)


def test_leave_and_join_again(farm: Farm) -> None:
    one, two = farm.group()
    song, film = farm.file("song", 1000), farm.file("film", 300 * KIB)
    one.call("share", path=str(film), group="films")
    two.call("share", path=str(song), group="films")
    wait_for_share(two, "film")
    two.swarm("group", "leave", "films")
    assert two.json("group", "list") == {"groups": []}
    assert two.json("ls") == {"shares": []}
    wait_for_members(one, "films", 0)
    two.call("group.join", ticket=one.call("group.invite", group="films")["ticket"])
    wait_for_share(two, "film")
    two.swarm("get", "film", "-o", two.downloads)
    assert (two.downloads / "film").read_bytes() == film.read_bytes()
    two.call("share", path=str(song), group="films")
    wait_for_share(one, "song")
    one.swarm("get", "song", "-o", one.downloads)


def test_publishing_may_be_restricted(farm: Farm) -> None:
    one, two = farm.start(2)
    one.json("group", "create", "press", "--restrict-publish")
    two.call("group.join", ticket=one.call("group.invite", group="press")["ticket"])
    wait_for_members(two, "press", 1)
    path = farm.file("news", 1000)
    code, said = two.error("share", path, "--group", "press")
    assert code == 5
    assert "only authorised members share here" in said
    assert two.error("group", "invite", "press", "--publisher", two.call("id")["peer_id"])[0] == 5
    permit = one.json("group", "invite", "press", "--publisher", two.call("id")["peer_id"], "--valid", "1")["ticket"]
    two.json("group", "join", permit)
    two.json("share", path, "--group", "press")
    wait_for_share(one, "news")


def test_peers(farm: Farm) -> None:
    one, two = farm.group()
    two.stop()
    one.wait_until(lambda: not one.call("peer.list")["peers"], "peers")
    two.start()
    added = one.json("peer", "add", two.address())
    assert (added["state"], added["groups"]) == ("connected", ["films"])
    listed = one.json("peer", "list")["peers"]
    assert [peer["peer_id"] for peer in listed] == [two.call("id")["peer_id"]]
    assert two.address() in one.swarm("peer", "list") or listed[0]["inbound"]
    two.stop()
    one.wait_until(lambda: one.call("peer.list")["peers"][0]["state"] != "connected", "peers")
    assert two.address() in one.swarm("peer", "list")
    one.stop()
    two.start()
    one.start()
    wait_for_members(one, "films", 1)


def test_names_of_strangers_do_not_drive_the_terminal(farm: Farm) -> None:
    one, two = farm.group()
    for name in ("\x1b[31mred", "two\nlines", "..", "a/b", "CON"):
        assert one.error("share", farm.file("song", 10), "--group", "films", "--name", name)[0] == 2
    one.json("share", farm.file("song", 10), "--group", "films", "--name", "\u202egpj.exe")
    wait_for_share(two, "\u202egpj.exe")
    assert "\u202e" not in two.swarm("ls") + two.swarm("ls", "--json")
    assert "\\u202egpj.exe" in two.swarm("ls")


# --- limits ---


def have_bytes(node: Node, transfer: str) -> int:
    return next(int(one["have_bytes"]) for one in node.call("transfers")["transfers"] if one["id"] == transfer)


def measure(node: Node, transfer: str, amount: int) -> float:
    """Bytes a second over the next `amount` bytes; too low rather than too high, however busy this machine is."""
    clock = SystemClock()
    begun_at = clock.monotonic()
    begun = have_bytes(node, transfer)
    ended = wait_for_progress(node, lambda value: value["have_bytes"] >= begun + amount, transfer)
    return (int(ended["have_bytes"]) - begun) / (clock.monotonic() - begun_at)


def is_close(rate: float, limit: float) -> bool:
    """Not over it, but for a chunk or two that were on the way; how far below depends on who else uses this machine."""
    return 0.4 * limit <= rate <= 1.25 * limit


def test_limits_hold_and_sighup_changes_them(farm: Farm) -> None:
    seeder = farm.node(config='[limits]\nupload = "4 MiB/s"')
    leecher = farm.node(config='[limits]\ndownload = "100 MiB/s"')
    seeder.start()
    leecher.start()
    ticket = seeder.call("share", path=str(farm.file("disk.iso", 60 * MIB)))["ticket"]
    transfer = leecher.call("get", source=ticket, target_dir=str(leecher.downloads))["id"]
    wait_for_bytes(leecher, MIB)
    assert is_close(rate := measure(leecher, transfer, 8 * MIB), 4 * MIB), f"{rate / MIB:.2f} of 4 MiB/s up"
    assert reload(seeder, "") == "limits.upload"
    assert reload(leecher, '[limits]\ndownload = "12 MiB/s"\n[log]\nlevel = "debug"') == "limits.download, log.level"
    assert leecher.call("status")["download_limit"] == 12 * MIB
    wait_for_bytes(leecher, 28 * MIB)  # what was asked for before comes at once
    assert is_close(rate := measure(leecher, transfer, 16 * MIB), 12 * MIB), f"{rate / MIB:.2f} of 12 MiB/s down"


def reload(node: Node, config: str) -> str:
    """Send SIGHUP and wait until it has been obeyed; what has changed."""
    node.config_file.write_text(config)
    with node.control() as control:
        control.subscribe("daemon")
        node.signal(signal.SIGHUP)
        return str(control.wait_for("daemon", "reloaded")["text"])


def test_limits_of_one_group(farm: Farm) -> None:
    limits = '[limits]\nupload = "8 MiB/s"\n[limits.groups.films]\nupload = "2 MiB/s"\n'
    seeder = farm.node(config=limits)
    leecher = farm.node()
    seeder.start()
    leecher.start()
    join("films", seeder, leecher)
    film = seeder.call("share", path=str(farm.file("film", 8 * MIB)), group="films")
    song = seeder.call("share", path=str(farm.file("song", 16 * MIB)))
    wait_for_share(leecher, "film")
    transfers: dict[str, str] = {}
    for name, share in (("film", film), ("song", song)):
        answer = leecher.call("get", source=share["ticket"], target_dir=str(leecher.downloads))
        transfers[name] = answer["id"]
    assert is_close(rate := measure(leecher, transfers["film"], 6 * MIB), 2 * MIB), f"{rate / MIB:.2f} of 2 MiB/s"
    assert leecher.call("transfer.wait", id=transfers["song"])["state"] == "done"


LOOKS: dict[str, Callable[[Node], str]] = {
    "status": lambda node: node.swarm("status"),
    "transfers": lambda node: node.swarm("transfers"),
    "ls": lambda node: node.swarm("ls"),
    "group list": lambda node: node.swarm("group", "list", "--unlisted"),
    "peer list": lambda node: node.swarm("peer", "list"),
}


def test_tables_for_people(farm: Farm) -> None:
    seeder, leecher = farm.group()
    seeder.call("share", path=str(farm.file("disk.iso", 3 * MIB)), group="films")
    wait_for_share(leecher, "disk.iso")
    leecher.swarm("get", "disk.iso", "-o", leecher.downloads)
    shown = {name: look(leecher) for name, look in LOOKS.items()}
    assert "1 session, 1 group, 0 own shares, 1 transfer" in shown["status"]
    assert "disk.iso  3.0 MiB  100 %  done" in shown["transfers"]
    assert "disk.iso  3.0 MiB  file  films" in shown["ls"]
    assert "films" in shown["group list"]
    assert "films" in shown["peer list"]
