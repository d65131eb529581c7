"""Group values on the command line: any bytes in and out, and what is wrong usage."""

from __future__ import annotations

import subprocess
import sys

import pytest

from swarmd.control import values
from tests.cli.conftest import Swarm
from tests.cli.daemon import EVIL, GROUP_VALUE, Daemon, environment

PUT = ("dht", "put", "--group", "films", "motd")


def piped(daemon: Daemon, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli", "--socket", daemon.path, *words]
    return subprocess.run(command, input=stdin, capture_output=True, env=environment(), timeout=30, check=False)


@pytest.mark.parametrize(
    ("given", "text", "data"), [(b"hello\n", "hello\n", None), (b"\xff\x00", None, b"\xff\x00"), (b"", "", None)]
)
def test_a_value_from_stdin_is_taken_as_it_is(
    daemon: Daemon, given: bytes, text: str | None, data: bytes | None
) -> None:
    assert piped(daemon, *PUT, "-", stdin=given).returncode == 0
    assert daemon.calls == [values.PutValueParams(group="films", key="motd", text=text, data=data)]


def test_what_is_too_long_is_not_even_sent(daemon: Daemon, swarm: Swarm) -> None:
    done = piped(daemon, *PUT, "-", stdin=bytes(values.MAX_VALUE_BYTES + 1))
    assert (done.returncode, daemon.calls) == (2, [])
    assert b"share a file instead" in done.stderr
    assert swarm(*PUT, "x" * (values.MAX_VALUE_BYTES + 1)).code == 2


@pytest.mark.parametrize("content", [b"four of them\n", b"\xff\x00\x1b", b""])
def test_a_pipe_gets_the_bytes_that_were_put(daemon: Daemon, content: bytes) -> None:
    fields = {name: getattr(GROUP_VALUE, name) for name in GROUP_VALUE.__struct_fields__}
    daemon.answer(values.GET_VALUE, values.GroupValue(**fields | {"text": None, "data": content}))
    assert piped(daemon, "dht", "get", "--group", "films", "motd").stdout == content


def test_a_value_is_removed_for_the_group(daemon: Daemon, swarm: Swarm) -> None:
    done = swarm("dht", "rm", "--group", "films", "motd")
    assert daemon.calls == [values.RemoveValueParams(group="films", key="motd")]
    assert "motd is gone" in done.out
    assert swarm("dht", "rm", "--group", "films", "motd", "--salt", "s").code == 2


@pytest.mark.parametrize(
    ("copies", "put", "gone"), [(1, "on 1 node", "1 node knows"), (3, "on 3 nodes", "3 nodes know")]
)
def test_one_node_is_not_nodes(daemon: Daemon, swarm: Swarm, copies: int, put: str, gone: str) -> None:
    where = {"group_id": GROUP_VALUE.group_id, "group_name": "films"}
    daemon.answer(values.PUT_VALUE, values.ValuePut(**where, key="motd", copies=copies, written_at=1_700_000_000_000))
    daemon.answer(values.REMOVE_VALUE, values.ValueRemoved(**where, key="motd", copies=copies))
    assert swarm(*PUT, "hello").out.endswith(f"{put}\n")
    assert swarm("dht", "rm", "--group", "films", "motd").out.endswith(f"{gone}\n")


def test_of_a_large_one_a_list_shows_the_size(daemon: Daemon, swarm: Swarm) -> None:
    fields = {name: getattr(GROUP_VALUE, name) for name in GROUP_VALUE.__struct_fields__}
    value = values.GroupValue(**fields | {"text": None, "size": 5000})
    daemon.answer(values.LIST_VALUES, values.GroupValues(values=[value]))
    assert "4.9 KiB" in swarm("dht", "list", "--group", "films").out


def test_what_members_have_named_is_escaped_in_a_list(daemon: Daemon, swarm: Swarm) -> None:
    fields = {name: getattr(GROUP_VALUE, name) for name in GROUP_VALUE.__struct_fields__}
    value = values.GroupValue(**fields | {"key": EVIL, "text": EVIL})
    daemon.answer(values.LIST_VALUES, values.GroupValues(values=[value]))
    listed = swarm("dht", "list", "--group", "films").out
    assert listed.count("\n") == 2
    assert "\x1b" not in listed


@pytest.mark.parametrize(
    "words",
    [
        ("dht", "put", "--group", "films", "motd"),
        ("dht", "put", "motd", "hello"),
        ("dht", "put", "--group", "films", "--name", "n", "motd", "hello"),
        ("dht", "get", "--group", "films", "motd", "-o", "/tmp/x"),
    ],
)
def test_wrong_usage(daemon: Daemon, swarm: Swarm, words: tuple[str, ...]) -> None:
    assert (swarm(*words).code, daemon.calls) == (2, [])
