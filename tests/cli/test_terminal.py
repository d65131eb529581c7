"""What a human sees: bars, QR codes and hints on a terminal, and nothing of them elsewhere."""

from __future__ import annotations

import errno
import os
import re
import subprocess

import msgspec
import pytest

from cli.catalogue import SHOWN
from swarmd.control import schema
from swarmd.control.dispatch import Caller
from swarmd.control.records import Invitation, Listings, Share, ShareProgress, Source, Transfer, Transfers
from tests.cli.daemon import EVIL, LISTING, PEER_ID, SHARE, TICKET, WAITING, Daemon, command, environment
from tests.control.records import transfer
from tests.control.serving import several_turns

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


def _on_terminal(*arguments: str, columns: int = 120) -> tuple[int, str, str]:
    """Exit code, stdout, and what the terminal at stderr got, without the codes that rich and segno send."""
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            command(*arguments), stdout=subprocess.PIPE, stderr=theirs, env=environment(COLUMNS=str(columns))
        ) as process:
            os.close(theirs)
            shown = _read_all(ours)
            assert process.stdout is not None
            out = process.stdout.read().decode()
    finally:
        os.close(ours)
    return process.returncode, out, _COLOURS.sub("", shown.decode().replace("\r\n", "\n"))


def _read_all(terminal: int) -> bytes:
    shown = b""
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError as error:  # how Linux says that the other end is closed
            assert error.errno == errno.EIO
            return shown
        shown += data


def test_share_shows_a_code_and_the_other_sides_command(daemon: Daemon) -> None:
    code, out, shown = _on_terminal("--socket", daemon.path, "share", "/srv/disk.iso")
    assert (code, out) == (0, TICKET + "\n")
    assert f"  swarm get {TICKET}\n" in shown
    assert "Whoever has the ticket can now run:" in shown
    assert "shared disk.iso: 1.0 GiB, 1 file" in shown
    assert shown.count("█") > 100


def test_a_code_that_does_not_fit_is_left_out(daemon: Daemon) -> None:
    _, _, shown = _on_terminal("--socket", daemon.path, "group", "create", "films", columns=30)
    assert "needs a terminal" in shown
    assert "█" not in shown
    assert f"swarm group join {TICKET}" in shown


def test_a_ticket_too_long_for_any_code_is_still_printed(daemon: Daemon) -> None:
    ticket = "swarm:" + "a" * 6000
    daemon.answer(schema.GROUP_INVITE, Invitation(ticket=ticket, group_id="g" * 52, name="films"))
    code, out, _ = _on_terminal("--socket", daemon.path, "group", "invite", "films")
    assert (code, out) == (0, ticket + "\n")


def test_json_shows_nothing_on_the_terminal(daemon: Daemon) -> None:
    for arguments in (["share", "/srv/x"], ["get", TICKET], ["group", "create", "g"]):
        _, _, shown = _on_terminal("--socket", daemon.path, *arguments, "--json")
        assert shown == ""


def test_get_draws_a_bar(daemon: Daemon) -> None:
    async def fetch(params: schema.WaitParams, caller: Caller) -> Transfer:
        for state in (
            transfer(name=None, size=None, state="metadata", have_bytes=0),
            transfer(name=EVIL),
            transfer(name=EVIL, waiting=WAITING),
            transfer(name=EVIL, state="finishing"),
        ):
            caller.progress(state)
            await several_turns()
        source = Source(peer_id=PEER_ID, address=None, received_bytes=1)
        return transfer(name=EVIL, state="done", sources=[source])

    daemon.on(schema.WAIT, fetch)
    code, out, shown = _on_terminal("--socket", daemon.path, "get", TICKET, columns=200)
    assert (code, out) == (0, "/srv/disk.iso\n")
    assert "fetching the list of files" in shown
    assert "256 MiB of 1.0 GiB  95.4 MiB/s  3 peers  8 s left" in shown
    assert "no member of the group is connected (for 1 min 12 s)" in shown
    assert "1.0 GiB verified, from 1 peer" in shown
    assert "\\x1b[31m\\u202egpj.exe\\n\\x9b2J[red]" in shown
    assert "\u202e" not in shown
    assert "\u009b" not in shown


def test_share_draws_a_bar(daemon: Daemon) -> None:
    async def share(params: schema.ShareParams, caller: Caller) -> Share:
        for files, n_bytes in ((0, 0), (7, 1 << 20)):
            caller.progress(ShareProgress(files=files, total_files=12, bytes=n_bytes, total_bytes=1 << 21, eta_s=75.0))
            await several_turns()
        return SHARE

    daemon.on(schema.SHARE, share)
    _, _, shown = _on_terminal("--socket", daemon.path, "share", "/srv/x")
    assert "50 %  1.0 MiB of 2.0 MiB  7 of 12 files  1 min 15 s left" in shown


@pytest.mark.parametrize("command_name", ["ls", "transfers"])
def test_empty_lists_say_so_to_a_human(daemon: Daemon, command_name: str) -> None:
    daemon.answer(schema.LS, Listings(shares=[]))
    daemon.answer(schema.TRANSFERS, Transfers(transfers=[]))
    code, out, shown = _on_terminal("--socket", daemon.path, command_name)
    assert (code, out) == (0, "")
    assert shown.startswith("no")


def test_of_very_many_shares_a_terminal_shows_the_newest(daemon: Daemon) -> None:
    shares = [msgspec.structs.replace(LISTING, name=f"n{number}", created_at=number) for number in range(SHOWN + 7)]
    daemon.answer(schema.LS, Listings(shares=shares))
    ours, theirs = os.openpty()
    try:
        with subprocess.Popen(
            command("--socket", daemon.path, "ls"), stdout=theirs, stderr=subprocess.PIPE, env=environment()
        ) as process:
            os.close(theirs)
            lines = _read_all(ours).decode().splitlines()
            assert process.stderr is not None
            said = process.stderr.read().decode()
    finally:
        os.close(ours)
    assert process.returncode == 0
    assert len(lines) == 1 + SHOWN
    assert (lines[1].split()[0], lines[-1].split()[0]) == ("n7", f"n{SHOWN + 6}")
    assert said.startswith("7 shares more, older ones")
