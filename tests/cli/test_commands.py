"""Every command but `get`: what it asks the daemon, what it prints, with and without `--json`."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.catalogue import SHOWN
from swarmd import __version__
from swarmd.control import dht, messaging, objects, records, schema, values
from swarmd.control.dispatch import Caller
from swarmd.control.failures import error_of
from swarmd.control.schema import NoParams
from tests.cli.conftest import Swarm
from tests.cli.daemon import (
    CONTENT_ID,
    DHT_GOT,
    DHT_KEY,
    DHT_STATUS,
    DHT_VALUE,
    EVIL,
    GROUP,
    GROUP_ID,
    GROUP_INFO,
    LISTING,
    PEER_ID,
    SHARE,
    STATUS,
    TICKET,
    WAITING,
    Daemon,
    environment,
    execute,
)
from tests.control.records import peer, transfer

COMMANDS: list[tuple[list[str], schema.Method[Any, Any], schema.Params]] = [
    (["status"], schema.STATUS, NoParams()),
    (["id"], schema.ID, NoParams()),
    (["share", "/srv/x", "--group", "films", "--name", "y"], schema.SHARE,
     schema.ShareParams(path="/srv/x", group="films", name="y")),
    (["unshare", "y", "--group", "films"], schema.UNSHARE, schema.UnshareParams(name="y", group="films")),
    (["ls"], schema.LS, schema.LsParams()),
    (["ls", "--group", "films"], schema.LS, schema.LsParams(group="films")),
    (["ls", "iso", "--by", "you"], schema.LS, schema.LsParams(name="*iso*", publisher="you")),
    (["ls", "d?sk*"], schema.LS, schema.LsParams(name="d?sk*")),
    (["transfers"], schema.TRANSFERS, schema.TransfersParams()),
    (["transfers", "t1", "--group", "g"], schema.TRANSFERS, schema.TransfersParams(id="t1", group="g")),
    (["pause", "t1"], schema.PAUSE, schema.TransferParams(id="t1")),
    (["resume", "t1"], schema.RESUME, schema.TransferParams(id="t1")),
    (["rm", "t1"], schema.RM, schema.RmParams(id="t1")),
    (["rm", "t1", "--delete-data"], schema.RM, schema.RmParams(id="t1", delete_data=True)),
    (["group", "create", "films"], schema.GROUP_CREATE, schema.GroupCreateParams(name="films")),
    (["group", "create", "films", "--restrict-publish"], schema.GROUP_CREATE,
     schema.GroupCreateParams(name="films", restrict_publish=True)),
    (["group", "join", TICKET], schema.GROUP_JOIN, schema.GroupJoinParams(ticket=TICKET)),
    (["group", "list"], schema.GROUP_LIST, schema.GroupListParams()),
    (["group", "list", "--unlisted"], schema.GROUP_LIST, schema.GroupListParams(unlisted=True)),
    (["group", "show", "films"], schema.GROUP_SHOW, schema.GroupParams(group="films")),
    (["group", "members", "films"], schema.GROUP_MEMBERS, schema.GroupParams(group="films")),
    (["group", "invite", "films", "--publisher", PEER_ID, "--valid", "7"], schema.GROUP_INVITE,
     schema.GroupInviteParams(group="films", publisher=PEER_ID, valid_s=7 * 86400)),
    (["group", "leave", "films"], schema.GROUP_LEAVE, schema.GroupLeaveParams(group="films")),
    (
        ["group", "leave", "films", "--delete-data"],
        schema.GROUP_LEAVE,
        schema.GroupLeaveParams(group="films", delete_data=True),
    ),
    (["peer", "add", "192.0.2.1:7450"], schema.PEER_ADD, schema.PeerAddParams(address="192.0.2.1:7450")),
    (["peer", "rm", "192.0.2.1:7450"], schema.PEER_RM, schema.PeerRmParams(address="192.0.2.1:7450")),
    (["peer", "list"], schema.PEER_LIST, NoParams()),
    (["metrics"], schema.METRICS, NoParams()),
    (["post", "films", "hello"], messaging.POST, messaging.PostParams(group="films", text="hello")),
    (["route", "films", PEER_ID, "hello", "--timeout", "3"], messaging.ROUTE,
     messaging.RouteParams(group="films", address=PEER_ID, text="hello", timeout_s=3.0)),
    (["group", "invite", "films", "--poster", PEER_ID], schema.GROUP_INVITE,
     schema.GroupInviteParams(group="films", poster=PEER_ID)),
    (["group", "create", "chat", "--posting", "--routing", "--no-replication", "--no-lan", "--no-peers",
      "--restrict-post"], schema.GROUP_CREATE,
     schema.GroupCreateParams(name="chat", posting=True, routing=True, replication=False, lan=False, peers=False,
                              restrict_post=True)),
    (["dht", "put", "--group", "films", "motd", "hello"], values.PUT_VALUE,
     values.PutValueParams(group="films", key="motd", text="hello")),
    (["dht", "rm", "--group", "films", "motd"], values.REMOVE_VALUE,
     values.RemoveValueParams(group="films", key="motd")),
    (["dht", "get", "--group", "films", "motd"], values.GET_VALUE,
     values.GetValueParams(group="films", key="motd")),
    (["dht", "list", "--group", "films"], values.LIST_VALUES, values.ListValuesParams(group="films")),
    (["dht", "put", "/dev/null"], dht.PUT, dht.PutParams(data=b"")),
    (["dht", "put", "/dev/null", "--name", "motd", "--salt", "s", "--once"], dht.PUT,
     dht.PutParams(data=b"", name="motd", salt=b"s", keep=False)),
    (["dht", "get", DHT_KEY], dht.GET, dht.GetParams(key=DHT_KEY)),
    (["dht", "get", DHT_KEY, "--salt", "é"], dht.GET, dht.GetParams(key=DHT_KEY, salt="é".encode())),
    (["dht", "list"], dht.LIST, NoParams()),
    (["dht", "rm", DHT_KEY], dht.FORGET, dht.ForgetParams(key=DHT_KEY)),
    (["dht", "status"], dht.STATUS, NoParams()),
]  # fmt: skip

each_command = pytest.mark.parametrize(
    ("arguments", "method", "params"), COMMANDS, ids=[" ".join(arguments[:2]) for arguments, _, _ in COMMANDS]
)


@each_command
def test_what_it_asks_and_that_it_answers(
    daemon: Daemon, swarm: Swarm, arguments: list[str], method: schema.Method[Any, Any], params: schema.Params
) -> None:
    outcome = swarm(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.strip()
    also: list[schema.Params] = [schema.GroupListParams()] if arguments == ["status"] else []
    assert daemon.calls == [params, *also]
    assert type(params) is method.params


@each_command
def test_json_before_and_after_the_command(
    daemon: Daemon, swarm: Swarm, arguments: list[str], method: schema.Method[Any, Any], params: schema.Params
) -> None:
    before = swarm("--json", *arguments)
    after = swarm(*arguments, "--json")
    assert before == after
    assert (after.code, after.err) == (0, "")
    assert after.out.count("\n") == 1
    assert isinstance(msgspec.json.decode(after.out, type=method.result), method.result)


@each_command
@pytest.mark.parametrize(
    ("word", "code"),
    [("error", 1), ("invalid", 2), ("not_found", 4), ("not_allowed", 5), ("no_peers", 6), ("timed_out", 8)],
)
def test_errors(
    daemon: Daemon,
    swarm: Swarm,
    arguments: list[str],
    method: schema.Method[Any, Any],
    params: schema.Params,
    word: str,
    code: int,
) -> None:
    daemon.answer(method, error_of(word, f"no {EVIL}"))
    outcome = swarm(*arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert outcome.err == "swarm: no a\\x1b[31m\\u202egpj.exe\\n\\x9b2J[red]\n"
    outcome = swarm(*arguments, "--json")
    assert outcome.code == code
    assert outcome.out.isascii()
    assert json.loads(outcome.out) == {"error": {"code": word, "message": f"no {EVIL}"}}


def test_every_method_but_gets_own_is_covered() -> None:
    of_get = {"get", "transfer.wait", "transfer.read", "subscribe", "version"}
    of_programs = {"posts", "send", "reply", "receive", "group.meet", *(method.name for method in objects.METHODS)}
    assert {method.name for _, method, _ in COMMANDS} == schema.METHODS.keys() - of_get - of_programs


def test_the_keys_that_scripts_rely_on(swarm: Swarm) -> None:
    share = json.loads(swarm("share", "/srv/disk.iso", "--json").out)
    assert share.items() >= {"ticket": TICKET, "content_id": CONTENT_ID, "name": "disk.iso", "size": 1 << 30}.items()
    group = json.loads(swarm("group", "create", "films", "--json").out)
    assert group.items() >= {"group_id": GROUP_ID, "name": "films", "ticket": TICKET}.items()
    status = json.loads(swarm("status", "--json").out)
    wanted = {
        "peer_id": PEER_ID,
        "version": "9.9.9",
        "uptime_s": 3725.0,
        "listen": ["192.0.2.1:7450"],
        "sessions": 2,
        "groups": 1,
        "transfers": 1,
    }
    assert status.items() >= wanted.items()


def test_results_alone_are_on_stdout(swarm: Swarm) -> None:
    assert swarm("share", "/srv/disk.iso").out == TICKET + "\n"
    assert swarm("group", "create", "films").out == TICKET + "\n"
    assert swarm("group", "invite", "films").out == TICKET + "\n"
    assert swarm("id").out == PEER_ID + "\n"


def test_share_makes_the_path_absolute_without_following_links(
    daemon: Daemon, swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    swarm("share", "link/../link")
    assert daemon.calls == [schema.ShareParams(path=str(tmp_path / "link"))]


def test_a_path_that_is_not_utf8(swarm: Swarm) -> None:
    outcome = swarm("share", "/srv/" + os.fsdecode(b"\xff.bin"))
    assert outcome.code == 2
    assert "not UTF-8" in outcome.err


def test_status_says_what_a_standing_transfer_waits_for(daemon: Daemon, swarm: Swarm) -> None:
    standing = transfer(id="t7", name=EVIL, waiting=WAITING, rate=0.0, eta_s=None)
    daemon.answer(schema.STATUS, msgspec.structs.replace(STATUS, active=[standing, transfer(id="t8")]))
    text = swarm("status").out
    assert "t7: no member of the group is connected (for 1 min 12 s)" in text
    assert "t8: " not in text
    assert "running for 1 h 2 min (pid 4711)" in text
    assert "of at most 1.9 MiB/s" in text
    assert "mDNS could not start" in text


def test_one_transfer_in_full(daemon: Daemon, swarm: Swarm) -> None:
    source = records.Source(peer_id=PEER_ID, address="192.0.2.9:7450", received_bytes=1 << 20)
    daemon.answer(schema.TRANSFERS, records.Transfers(transfers=[transfer(sources=[source], waiting=WAITING)]))
    text = swarm("transfers", "t1").out
    assert re.search(r"^began     2023-11-1[45] \d\d:\d\d$", text, re.MULTILINE)
    assert "from      pppppppp (192.0.2.9:7450): 1.0 MiB" in text
    assert "waits     no member of the group is connected (for 1 min 12 s)" in text
    assert "have      256 MiB of 1.0 GiB" in text


def test_status_tells_groups_from_single_shares(daemon: Daemon, swarm: Swarm) -> None:
    daemon.answer(schema.STATUS, msgspec.structs.replace(STATUS, groups=7, shares=3))
    assert "2 sessions, 1 group, 6 single shares, 3 own shares, 1 transfer" in swarm("status").out
    daemon.answer(schema.STATUS, msgspec.structs.replace(STATUS, groups=1))
    assert "2 sessions, 1 group, 1 own share, 1 transfer" in swarm("status").out
    assert json.loads(swarm("status", "--json").out)["groups"] == 1


def test_ls_marks_own_shares_that_are_not_served(daemon: Daemon, swarm: Swarm) -> None:
    gone = msgspec.structs.replace(LISTING, name="gone", own=True)
    here = msgspec.structs.replace(LISTING, name="here", own=True, path="/srv/here")
    daemon.answer(schema.LS, records.Listings(shares=[gone, here, LISTING]))
    _, first, second, third = swarm("ls").out.splitlines()
    assert first.endswith("not served: changed or gone, share it again")
    assert second.endswith("/srv/here")
    assert "not served" not in third


def test_ls_comes_in_parts_and_is_put_out_whole(daemon: Daemon, swarm: Swarm) -> None:
    parts: dict[str | None, tuple[int, str | None]] = {None: (30, "one"), "one": (10, "two"), "two": (20, None)}

    async def part(params: schema.LsParams, caller: Caller) -> records.Listings:
        created_at, following = parts[params.after]
        shares = [msgspec.structs.replace(LISTING, name=f"{created_at}", created_at=created_at)]
        return records.Listings(shares=shares, next=following)

    daemon.on(schema.LS, part)
    found = json.loads(swarm("ls", "--group", "films", "--json").out)
    assert [each["name"] for each in found["shares"]] == ["10", "20", "30"]
    assert found.keys() == {"shares"}
    assert daemon.calls == [schema.LsParams(group="films", after=after) for after in (None, "one", "two")]


def test_ls_looks_for_the_same_in_each_part(daemon: Daemon, swarm: Swarm) -> None:
    async def part(params: schema.LsParams, caller: Caller) -> records.Listings:
        return records.Listings(shares=[LISTING], next="there" if params.after is None else None)

    daemon.on(schema.LS, part)
    swarm("ls", "disk*", "--group", "films")
    assert daemon.calls == [schema.LsParams(group="films", name="disk*", after=after) for after in (None, "there")]


def test_a_pipe_gets_all_shares_however_many(daemon: Daemon, swarm: Swarm) -> None:
    daemon.answer(schema.LS, records.Listings(shares=[LISTING] * (SHOWN + 1)))
    assert len(swarm("ls").out.splitlines()) == 1 + SHOWN + 1


def test_group_show_tells_of_records_that_were_not_taken(daemon: Daemon, swarm: Swarm) -> None:
    assert "refused" not in swarm("group", "show", "films").out
    daemon.answer(schema.GROUP_SHOW, msgspec.structs.replace(GROUP_INFO, refused={"quota": 2, "full": 1, "false": 0}))
    assert "refused     3 share records: 2 quota, 1 full\n" in swarm("group", "show", "films").out


def test_dht_get_writes_bytes_as_they_are(daemon: Daemon, swarm: Swarm, tmp_path: Path) -> None:
    assert swarm("dht", "get", DHT_KEY).out == "hello"
    data = bytes(range(256))
    daemon.answer(dht.GET, msgspec.structs.replace(DHT_GOT, text=None, data=data, size=256))
    assert swarm("dht", "get", DHT_KEY, "-o", str(tmp_path / "got")).out == f"{tmp_path / 'got'}\n"
    assert (tmp_path / "got").read_bytes() == data
    outcome = swarm("dht", "get", DHT_KEY, "-o", str(tmp_path / "none" / "got"))
    assert (outcome.code, outcome.err) == (4, f"swarm: {tmp_path}/none/got: No such file or directory\n")


def test_dht_put_reads_no_more_than_there_is_room_for(daemon: Daemon, swarm: Swarm, tmp_path: Path) -> None:
    (tmp_path / "full").write_bytes(bytes(dht.MAX_VALUE_BYTES))
    assert swarm("dht", "put", str(tmp_path / "full")).code == 0
    (tmp_path / "more").write_bytes(bytes(dht.MAX_VALUE_BYTES + 1))
    assert swarm("dht", "put", str(tmp_path / "more")).code == 2
    assert swarm("dht", "put", str(tmp_path / "nothing")).code == 4
    assert len(daemon.calls) == 1


@pytest.mark.parametrize(
    "words",
    ["put --group films motd", "put a b", "put --group films a b --name n", "put --group films a b --once"]
    + ["get --group films a -o b", "get --group films a --salt s", "put", "get", "rm"],
)
def test_dht_is_told_what_belongs_together(daemon: Daemon, swarm: Swarm, words: str) -> None:
    assert swarm("dht", *words.split()).code == 2
    assert daemon.calls == []


def test_dht_status_says_what_is_missing(daemon: Daemon, swarm: Swarm) -> None:
    assert "note" not in swarm("dht", "status").out
    lacking = msgspec.structs.replace(DHT_STATUS, nodes=0, bootstrap=[], seen_as=None, why="nobody is known")
    daemon.answer(dht.STATUS, lacking)
    assert "nodes      0, entered at neighbours\n" in swarm("dht", "status").out
    assert "note       nobody is known\n" in swarm("dht", "status").out
    daemon.answer(dht.STATUS, msgspec.structs.replace(DHT_STATUS, on=False, why="it is off"))
    assert swarm("dht", "status").out == "DHT        off\nnote       it is off\n"


def _evil_answers() -> list[tuple[list[str], schema.Method[Any, Any], records.Result]]:
    evil = transfer(id=EVIL, name=EVIL, group_name=EVIL, target=EVIL, error=records.Failure(code="x", message=EVIL))
    waiting = transfer(name=EVIL, waiting=records.Waiting(code="x", text=EVIL, since_s=9))
    listing = msgspec.structs.replace(LISTING, name=EVIL, group_name=EVIL, path=EVIL)
    group = msgspec.structs.replace(GROUP, name=EVIL, capabilities=[EVIL])
    info = msgspec.structs.replace(GROUP_INFO, name=EVIL, capabilities=[EVIL])
    member = records.Member(peer_id=PEER_ID, own=False, connected=True, addresses=[EVIL], heard_s=1)
    connected = msgspec.structs.replace(peer(1), address=EVIL, groups=[EVIL], error=EVIL)
    status = msgspec.structs.replace(STATUS, notes=[EVIL], listen=[EVIL], state_dir=EVIL, active=[waiting])
    kept = msgspec.structs.replace(DHT_VALUE, key=EVIL, name=EVIL)
    joined = records.GroupJoined(**{name: getattr(group, name) for name in group.__struct_fields__})
    return [
        (["status"], schema.STATUS, status),
        (["transfers"], schema.TRANSFERS, records.Transfers(transfers=[evil, waiting])),
        (["transfers", "x"], schema.TRANSFERS, records.Transfers(transfers=[evil])),
        (["rm", "x"], schema.RM, records.Removed(id="x", name=EVIL, left=EVIL)),
        (["ls"], schema.LS, records.Listings(shares=[listing])),
        (["unshare", "x"], schema.UNSHARE, records.Unshared(name=EVIL, content_id="c", group_id="g")),
        (["group", "list"], schema.GROUP_LIST, records.Groups(groups=[group])),
        (["group", "show", "x"], schema.GROUP_SHOW, info),
        (["group", "join", "x"], schema.GROUP_JOIN, joined),
        (["group", "leave", "x"], schema.GROUP_LEAVE, records.GroupLeft(group_id="g" * 52, name=EVIL)),
        (["group", "members", "x"], schema.GROUP_MEMBERS, records.Members(members=[member])),
        (["peer", "list"], schema.PEER_LIST, records.Peers(peers=[connected])),
        (["peer", "add", "x"], schema.PEER_ADD, connected),
        (["dht", "list"], dht.LIST, dht.KeptValues(values=[kept])),
        (["dht", "status"], dht.STATUS, msgspec.structs.replace(DHT_STATUS, bootstrap=[EVIL], why=EVIL)),
    ]


@pytest.mark.parametrize(("arguments", "method", "result"), _evil_answers(), ids=lambda value: str(value)[:20])
def test_foreign_names_are_escaped(
    daemon: Daemon, swarm: Swarm, arguments: list[str], method: schema.Method[Any, Any], result: records.Result
) -> None:
    daemon.answer(method, result)
    outcome = swarm(*arguments)
    assert (outcome.code, outcome.err) == (0, "")
    assert "\\x1b[31m\\u202egpj.exe\\n\\x9b2J[red]" in outcome.out
    assert all(line.isprintable() for line in outcome.out.split("\n"))
    data = swarm(*arguments, "--json").out
    assert data.isascii()
    assert msgspec.json.decode(data, type=method.result) == result


def test_json_leaves_readable_text_readable(daemon: Daemon, swarm: Swarm) -> None:
    name = "Grüße-日本語-😀\U000e0041"
    daemon.answer(schema.SHARE, msgspec.structs.replace(SHARE, name=name))
    text = swarm("share", "/x", "--json").out
    assert "Grüße-日本語-😀\\udb40\\udc41" in text
    assert json.loads(text)["name"] == name


def test_nothing_to_list_is_nothing_printed(daemon: Daemon, swarm: Swarm) -> None:
    daemon.answer(schema.LS, records.Listings(shares=[]))
    daemon.answer(schema.TRANSFERS, records.Transfers(transfers=[]))
    for command in ("ls", "transfers"):
        outcome = swarm(command)
        assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_version(daemon: Daemon, swarm: Swarm) -> None:
    assert swarm("version").out == f"swarm {__version__}\nswarmd 9.9.9\n"
    assert json.loads(swarm("version", "--json").out) == {"version": __version__, "daemon": "9.9.9"}


def test_without_a_daemon(tmp_path: Path) -> None:
    path = str(tmp_path / "none.sock")
    done = execute("--socket", path, "status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "unreachable"
    assert path in done.stderr
    assert "Start one with `swarmd`" in done.stderr
    done = execute("version", env={**os.environ, "SWARMD_SOCKET": path})
    assert (done.returncode, done.stdout) == (0, f"swarm {__version__}\nswarmd (does not run)\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_another_user(daemon: Daemon, mode: int) -> None:
    """By the mode of the socket or, where that is careless, by the daemon's own check."""
    os.chmod(daemon.path, mode)
    for folder in Path(daemon.path).parents[:3]:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    script = (
        "import os, sys, cli.app, cli.node\nfrom cli.main import run\n"
        "os.setgroups([]), os.setgid(65534), os.setuid(65534)\n"
        "sys.exit(run(['--socket', sys.argv[1], 'id']))"
    )
    arguments = [sys.executable, "-c", script, daemon.path]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stdout) == (5, "")
    assert re.fullmatch(r"swarm: uid 65534 may not (open the control socket .*|use this swarmd)\n", done.stderr)
    assert daemon.calls == []


def test_a_ticket_from_stdin(daemon: Daemon) -> None:
    done = execute("--socket", daemon.path, "group", "join", "-", input=f"  {TICKET}\n")
    assert done.returncode == 0
    assert daemon.calls == [schema.GroupJoinParams(ticket=TICKET)]
    done = execute("--socket", daemon.path, "group", "join", "-", input="\n")
    assert done.returncode == 2
    assert "no ticket on stdin" in done.stderr
    assert len(daemon.calls) == 1


@pytest.mark.parametrize("number", ["nan", "inf", "-1", "0"])
def test_how_long_an_authorisation_holds_is_a_number_above_zero(daemon: Daemon, swarm: Swarm, number: str) -> None:
    assert swarm("group", "invite", "films", "--poster", PEER_ID, "--valid", number).code == 2
    assert daemon.calls == []


def test_a_membership_cannot_be_made_to_expire(daemon: Daemon, swarm: Swarm) -> None:
    outcome = swarm("group", "invite", "films", "--valid", "3")
    assert outcome.code == 2
    assert "a membership does not expire" in outcome.err
    assert daemon.calls == []


def test_listening_where_nothing_can_be_heard_is_refused(daemon: Daemon, swarm: Swarm) -> None:
    outcome = swarm("listen", "films")
    assert outcome.code == 5
    assert "neither posting nor routing" in outcome.err


def test_an_error_that_repeats_a_whole_file_is_cut(daemon: Daemon, swarm: Swarm) -> None:
    outcome = swarm("get", "\udcff" * 50_000)
    assert outcome.code == 2
    assert len(outcome.err) < 20_000


def test_a_value_that_cannot_be_written_leaves_what_was_there(daemon: Daemon, swarm: Swarm, tmp_path: Path) -> None:
    target = tmp_path / "notes.txt"
    target.write_text("mine")
    target.chmod(0o640)
    daemon.answer(dht.GET, msgspec.structs.replace(DHT_GOT, text="x" * 100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))  # no room for more; Python ignores SIGXFSZ
    try:
        outcome = swarm("dht", "get", DHT_KEY, "-o", str(target))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (outcome.code, target.read_text()) == (9, "mine")
    assert sorted(os.listdir(tmp_path)) == ["control.sock", "notes.txt"]
    assert swarm("dht", "get", DHT_KEY, "-o", str(target)).code == 0
    assert (target.stat().st_size, target.stat().st_mode & 0o777) == (100_000, 0o640)
