"""Who may use the socket: judged by what the kernel says of the caller."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmd.control import schema
from swarmd.control.dispatch import Caller, bind
from swarmd.control.records import NodeId
from tests.control.serving import serving

STRANGER = 65534
GROUP = 54321

_ASK = """
import os, socket, sys
uid, gid, groups, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.setgroups([int(each) for each in groups.split(",") if each])
os.setgid(gid)
os.setuid(uid)
sock = socket.socket(socket.AF_UNIX)
sock.connect(path)
try:
    sock.sendall(b'{"jsonrpc":"2.0","id":1,"method":"id"}\\n')
except ConnectionError:  # turned away already; the reason is there to read
    pass
print(sock.makefile().readline())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may go through, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


async def _id(params: schema.NoParams, caller: Caller) -> NodeId:
    return NodeId(peer_id=str(caller.credentials.uid))


async def _ask_as(path: str, uid: int, gid: int, groups: str = "") -> Any:
    """What the server tells a process of that user; the socket is made open to everybody."""
    os.chmod(path, 0o666)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ASK, str(uid), str(gid), groups, path, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


@needs_root
async def test_another_user_learns_only_that_it_may_not(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(folder, dict([bind(schema.ID, _id)])) as served:
        answer = await _ask_as(served.path, STRANGER, STRANGER)
    assert answer["error"]["data"] == {"code": "not_allowed"}
    assert answer["error"]["message"] == f"uid {STRANGER} may not use this swarmd"
    assert "result" not in answer
    assert f"refused: uid {STRANGER}" in caplog.text


@needs_root
@pytest.mark.parametrize(("gid", "groups"), [(GROUP, ""), (STRANGER, str(GROUP)), (STRANGER, f"7,{GROUP},{GROUP + 1}")])
async def test_members_of_the_group_may(folder: Path, gid: int, groups: str) -> None:
    async with serving(folder, dict([bind(schema.ID, _id)]), gid=GROUP) as served:
        answer = await _ask_as(served.path, STRANGER, gid, groups)
    assert answer["result"] == {"peer_id": str(STRANGER)}


@needs_root
async def test_members_of_other_groups_may_not(folder: Path) -> None:
    async with serving(folder, dict([bind(schema.ID, _id)]), gid=GROUP) as served:
        answer = await _ask_as(served.path, STRANGER, STRANGER, f"7,{GROUP + 1}")
    assert answer["error"]["data"] == {"code": "not_allowed"}


@needs_root
async def test_without_a_configured_group_membership_means_nothing(folder: Path) -> None:
    async with serving(folder, dict([bind(schema.ID, _id)])) as served:
        answer = await _ask_as(served.path, STRANGER, 0, "0")
    assert answer["error"]["data"] == {"code": "not_allowed"}
