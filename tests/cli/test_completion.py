"""Shell completion: the scripts load, and TAB offers what is there."""

from __future__ import annotations

import shutil
import subprocess

import msgspec
import pytest

from swarmd.control import schema
from swarmd.control.records import Groups, Listings, Transfers
from swarmd.core.errors import LocalError
from tests.cli.daemon import GROUP, LISTING, Daemon, command, environment, execute
from tests.control.records import transfer


def _offers(daemon: Daemon, *words: str) -> list[str]:
    """What bash would show after these words, the last of which is being typed."""
    line = ["swarm", *words]
    variables = {
        "_SWARM_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(line),
        "COMP_CWORD": str(len(line) - 1),
        "SWARMD_SOCKET": daemon.path,
    }
    done = subprocess.run(
        command(), env=environment(**variables), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return [offer.partition(",")[2] for offer in done.stdout.splitlines() if offer]


def test_commands_and_options(daemon: Daemon) -> None:
    assert _offers(daemon, "un") == ["unshare"]
    assert _offers(daemon, "group", "in") == ["invite"]
    assert _offers(daemon, "get", "--or") == ["--order"]
    assert _offers(daemon, "get", "--order", "") == ["rarest", "lowest"]


def test_names_from_the_daemon(daemon: Daemon) -> None:
    daemon.answer(schema.TRANSFERS, Transfers(transfers=[transfer(id="t1"), transfer(id="t22"), transfer(id="x")]))
    assert _offers(daemon, "pause", "t") == ["t1", "t22"]
    assert _offers(daemon, "group", "show", "f") == ["films"]
    assert _offers(daemon, "get", "di") == ["disk.iso"]


def test_names_that_a_shell_would_obey_are_not_offered(daemon: Daemon) -> None:
    names = ["a$(reboot)", "a;b", "a b", "a`b`", "-rf", "a\nb", "a'b", "aé.txt"]
    listings = [msgspec.structs.replace(LISTING, name=name) for name in names]
    daemon.answer(schema.LS, Listings(shares=listings))
    groups = [msgspec.structs.replace(GROUP, name=name) for name in [*names, None]]
    daemon.answer(schema.GROUP_LIST, Groups(groups=groups))
    assert _offers(daemon, "unshare", "a") == ["aé.txt"]
    assert _offers(daemon, "group", "show", "a") == ["aé.txt"]


def test_no_daemon_no_offers_no_noise(daemon: Daemon) -> None:
    daemon.answer(schema.TRANSFERS, LocalError("broken"))
    assert _offers(daemon, "pause", "") == []
    daemon.path = "/nonexistent"
    assert _offers(daemon, "get", "x") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts(shell: str) -> None:
    done = execute("completion", shell)
    assert done.returncode == 0
    assert "_SWARM_COMPLETE" in done.stdout
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=done.stdout, text=True, check=False).returncode == 0


def test_an_unknown_shell_is_a_usage_error() -> None:
    assert execute("completion", "tcsh").returncode == 2
