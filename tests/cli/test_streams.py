"""Standard streams that are closed, full, or read by nobody: an exit code of the list, and never a trace."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import subprocess
import threading

import msgspec
import pytest

from swarmd.control import schema
from swarmd.control.dispatch import Caller
from swarmd.control.records import Data, NodeId
from tests.cli.daemon import GROUP_INFO, Daemon, command, environment, execute


def _shell(daemon: Daemon, arguments: str, redirections: str) -> subprocess.CompletedProcess[str]:
    line = f"{shlex.join(command('--socket', daemon.path))} {arguments} {redirections}; echo $? >&9"
    return subprocess.run(
        ["bash", "-c", f"exec 9>&1; ({line}) | cat"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )


def _code(outcome: subprocess.CompletedProcess[str]) -> int:
    assert "Traceback" not in outcome.stderr
    assert "Exception ignored" not in outcome.stderr
    return int(outcome.stdout.splitlines()[-1])


@pytest.mark.parametrize("arguments", ["get -", "group join -", "post films -", "dht put -"])
def test_closed_input_is_wrong_usage(daemon: Daemon, arguments: str) -> None:
    outcome = _shell(daemon, arguments, "<&-")
    assert _code(outcome) == 2
    assert "stdin is closed" in outcome.stderr
    assert daemon.calls == []


@pytest.mark.parametrize("arguments", ["status --json", "get --stdout x"])
def test_closed_output_harms_nothing(daemon: Daemon, arguments: str) -> None:
    outcome = _shell(daemon, arguments, ">&-")
    assert (_code(outcome), outcome.stderr) == (0, "")


@pytest.mark.parametrize("arguments", ["id", "id --json", "metrics", "get --help", "--help", "get --stdout x"])
def test_output_on_a_full_disk(daemon: Daemon, arguments: str) -> None:
    async def read(params: schema.ReadParams, caller: Caller) -> Data:
        return Data(data=b"" if params.offset else b"x" * 100_000, size=100_000)

    daemon.on(schema.READ, read)
    outcome = _shell(daemon, arguments, ">/dev/full")
    assert _code(outcome) == 9
    assert outcome.stderr == "swarm: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(("arguments", "code"), [("id", 0), ("nosuch", 2), ("pause ''", 2)])
def test_messages_that_cannot_be_written_change_no_exit_code(daemon: Daemon, arguments: str, code: int) -> None:
    assert _code(_shell(daemon, arguments, "2>/dev/full")) == code
    assert _code(_shell(daemon, arguments, "2>&-")) == code


@pytest.mark.parametrize("arguments", ["get --help", "ls"])
def test_a_reader_that_has_gone_is_no_noise(daemon: Daemon, arguments: str) -> None:
    """`swarm ls | head -0`: no trace, and not success either."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        outcome = execute(
            "--socket", daemon.path, *arguments.split(), capture_output=False, stdout=writer, stderr=subprocess.PIPE
        )
    finally:
        os.close(writer)
    assert (outcome.returncode, outcome.stderr) == (1, "")


def test_listening_ends_when_nobody_reads(daemon: Daemon) -> None:
    daemon.answer(schema.GROUP_SHOW, msgspec.structs.replace(GROUP_INFO, capabilities=["posting"]))
    with subprocess.Popen(
        command("--socket", daemon.path, "listen", "films", "--recent", "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["kind"] == "post"
        process.stdout.close()  # as `| head -1` does
        assert process.wait(20) == 1
        assert process.stderr.read() == b""


def test_a_daemon_that_does_not_answer_is_spoken_of(daemon: Daemon) -> None:
    has_been_told = threading.Event()

    async def identify(params: schema.NoParams, caller: Caller) -> NodeId:
        await asyncio.to_thread(has_been_told.wait, 20)
        return NodeId(peer_id="p" * 52)

    daemon.on(schema.ID, identify)
    with subprocess.Popen(
        command("--socket", daemon.path, "id"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"swarm: swarmd has not answered yet; Ctrl-C ends the waiting\n"
        has_been_told.set()
        assert process.wait(20) == 0
        assert process.stdout.read() == b"p" * 52 + b"\n"
