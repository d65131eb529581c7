"""`swarm get`: waiting, streaming, giving up, being interrupted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from swarmd.control import schema
from swarmd.control.dispatch import Caller
from swarmd.control.failures import error_of
from swarmd.control.records import Data, Share, Source, Transfer, Waiting
from swarmd.core.errors import IntegrityError, NoPeers
from tests.cli.conftest import Swarm
from tests.cli.daemon import PEER_ID, TICKET, WAITING, Daemon, command, environment, execute
from tests.control.records import transfer
from tests.control.serving import several_turns


def test_get_waits_and_says_where_it_is(
    daemon: Daemon, swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = swarm("get", TICKET)
    assert (outcome.code, outcome.out, outcome.err) == (0, "/srv/disk.iso\n", "")
    assert daemon.calls == [
        schema.GetParams(source=TICKET, target_dir=str(tmp_path)),
        schema.WaitParams(id="t1"),
    ]


def test_options_reach_the_daemon(
    daemon: Daemon, swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    swarm("get", "x", "-o", "a/../b", "--order", "lowest", "--group", "films", "--overwrite", "--timeout", "2.5")
    assert daemon.calls == [
        schema.GetParams(
            source="x", target_dir=str(tmp_path / "b"), order="lowest", group="films", overwrite=True
        ),
        schema.WaitParams(id="t1", idle_timeout_s=2.5),
    ]  # fmt: skip


def test_no_wait(daemon: Daemon, swarm: Swarm) -> None:
    outcome = swarm("get", TICKET, "--no-wait")
    assert (outcome.code, outcome.out, outcome.err) == (0, "t1\n", "")
    assert len(daemon.calls) == 1
    assert json.loads(swarm("get", TICKET, "--no-wait", "--json").out)["id"] == "t1"


async def _fetch(params: schema.WaitParams, caller: Caller) -> Transfer:
    for have in range(3):
        caller.progress(transfer(have_bytes=have << 20))
        await several_turns()  # more than one turn of the loop, so that each is sent
    source = Source(peer_id=PEER_ID, address=None, received_bytes=1 << 30)
    return transfer(state="done", have_bytes=1 << 30, sources=[source])


def test_json_is_progress_lines_and_then_the_result(daemon: Daemon, swarm: Swarm) -> None:
    daemon.on(schema.WAIT, _fetch)
    outcome = swarm("get", TICKET, "--json")
    *progress, result = map(json.loads, outcome.out.splitlines())
    assert outcome.err == ""
    assert [each["progress"]["have_bytes"] for each in progress] == [0, 1 << 20, 2 << 20]
    assert (result["state"], result["target"]) == ("done", "/srv/disk.iso")


def test_a_ticket_on_stdin_is_not_in_the_process_list(daemon: Daemon) -> None:
    done = execute("--socket", daemon.path, "get", "-", "--no-wait", input=TICKET + "\n")
    assert done.returncode == 0
    assert isinstance(daemon.calls[0], schema.GetParams)
    assert daemon.calls[0].source == TICKET


@pytest.mark.parametrize(
    ("word", "code"),
    [
        *[("error", 1), ("invalid", 2), ("not_found", 4), ("not_allowed", 5), ("no_peers", 6), ("incomplete", 7)],
        *[("timed_out", 8), ("disk_full", 9), ("integrity", 10), ("exists", 1), ("conflict", 1), ("unreachable", 6)],
    ],
)
@pytest.mark.parametrize("method", [schema.GET, schema.WAIT])
def test_why_it_stopped_is_in_the_exit_code(
    daemon: Daemon, swarm: Swarm, method: schema.Method[schema.GetParams, Transfer], word: str, code: int
) -> None:
    daemon.answer(method, error_of(word, "because"))
    outcome = swarm("get", TICKET)
    assert (outcome.code, outcome.out, outcome.err) == (code, "", "swarm: because\n")
    last = swarm("get", TICKET, "--json").out.splitlines()[-1]
    assert json.loads(last) == {"error": {"code": word, "message": "because"}}


def test_what_it_waits_for_is_said_once_for_each_reason(daemon: Daemon, swarm: Swarm) -> None:
    async def stand(params: schema.WaitParams, caller: Caller) -> Transfer:
        brief = Waiting(code="metadata", text="the list of files", since_s=0.1)
        other = Waiting(code="missing_chunks", text="nobody connected has chunks 3-7", since_s=10)
        for waiting in (brief, WAITING, WAITING, WAITING, None, other, other):
            caller.progress(transfer(waiting=waiting))
            await several_turns()
        raise NoPeers("nothing came in 2 s")

    daemon.on(schema.WAIT, stand)
    outcome = swarm("get", TICKET, "--timeout", "2")
    assert outcome.code == 6
    assert outcome.err.splitlines() == [
        "swarm: disk.iso waits: no member of the group is connected",
        "swarm: disk.iso waits: nobody connected has chunks 3-7",
        "swarm: nothing came in 2 s",
    ]


async def _forever(params: schema.WaitParams, caller: Caller) -> Transfer:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_daemon_that_stops_leaves_something_to_resume(daemon: Daemon) -> None:
    daemon.on(schema.WAIT, _forever)
    arguments = command("--socket", daemon.path, "get", TICKET)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        daemon.wait_for(schema.WaitParams)
        daemon.stop()
        _, err = process.communicate(timeout=30)
    assert process.returncode == 7
    assert err == "swarm: swarmd is stopping; t1 goes on when swarmd runs again\n"


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_ctrl_c_stops_only_the_waiting(daemon: Daemon, json_option: list[str]) -> None:
    daemon.on(schema.WAIT, _forever)
    arguments = command("--socket", daemon.path, "get", TICKET, *json_option)
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        daemon.wait_for(schema.WaitParams)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "The daemon goes on fetching" in err
    assert "`swarm pause t1`, `swarm rm t1`" in err
    assert "Traceback" not in err
    if json_option:
        assert json.loads(out)["error"]["code"] == "interrupted"
    else:
        assert out == ""
    assert not any(isinstance(each, schema.RmParams) for each in daemon.calls)


def test_ctrl_c_while_sharing_ends_the_hashing(daemon: Daemon) -> None:
    async def forever(params: schema.ShareParams, caller: Caller) -> Share:
        await asyncio.Event().wait()
        raise AssertionError

    daemon.on(schema.SHARE, forever)
    arguments = command("--socket", daemon.path, "share", "/srv/x")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        daemon.wait_for(schema.ShareParams)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert daemon.closed.wait(10)


class Stream:
    """A file that arrives in pieces."""

    def __init__(self, content: bytes, piece: int) -> None:
        self._content = content
        self._piece = piece

    async def __call__(self, params: schema.ReadParams, caller: Caller) -> Data:
        caller.progress(transfer())
        await asyncio.sleep(0)
        end = min(params.offset + min(params.length, self._piece), len(self._content))
        return Data(data=self._content[params.offset : end], size=len(self._content))


def test_stdout_is_the_file(daemon: Daemon) -> None:
    content = os.urandom(1 << 18) * 13 + b"the end"
    daemon.on(schema.READ, Stream(content, 300_001))
    done = execute("--socket", daemon.path, "get", TICKET, "--stdout", text=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == content
    assert daemon.calls[0] == schema.GetParams(source=TICKET, target_dir=None, order="lowest")
    assert daemon.closed.wait(10)  # which is when the daemon throws it away


def test_stdout_of_an_empty_file(daemon: Daemon) -> None:
    done = execute("--socket", daemon.path, "get", TICKET, "--stdout", text=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_stdout_fails_in_the_middle(daemon: Daemon) -> None:
    async def damaged(params: schema.ReadParams, caller: Caller) -> Data:
        if params.offset:
            raise IntegrityError("disk.iso is damaged")
        return Data(data=b"abc", size=6)

    daemon.on(schema.READ, damaged)
    done = execute("--socket", daemon.path, "get", TICKET, "--stdout")
    assert (done.returncode, done.stdout, done.stderr) == (10, "abc", "swarm: disk.iso is damaged\n")


def test_stdout_never_ends_early_unnoticed(daemon: Daemon) -> None:
    daemon.answer(schema.READ, Data(data=b"", size=6))
    done = execute("--socket", daemon.path, "get", TICKET, "--stdout")
    assert (done.returncode, done.stdout) == (7, "")
    assert "byte 0 of 6" in done.stderr


def test_a_player_that_is_closed_ends_the_stream(daemon: Daemon) -> None:
    daemon.on(schema.READ, Stream(bytes(1 << 24), 1 << 20))
    arguments = command("--socket", daemon.path, "get", TICKET, "--stdout")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1 << 20)
        process.stdout.close()
        assert process.wait(30) == 1
        assert process.stderr.read() == b""
    assert daemon.closed.wait(10)


@pytest.mark.parametrize("option", [["-o", "x"], ["--no-wait"], ["--overwrite"], ["--json"]])
def test_stdout_goes_alone(daemon: Daemon, swarm: Swarm, option: list[str]) -> None:
    outcome = swarm("get", TICKET, "--stdout", *option)
    assert outcome.code == 2
    assert daemon.calls == []
