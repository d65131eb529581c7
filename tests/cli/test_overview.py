"""`swarm --help`: complete, the only copy, and quick because it loads nothing."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from cli import overview
from cli.app import swarm
from cli.main import run
from swarmd import __version__
from tests.cli.daemon import ROOT, environment, execute

HEAVY = {"asyncio", "cryptography", "rich", "segno", "sqlite_utils", "zeroconf", "swarmd.control.server"}


def _modules_after(*arguments: str) -> set[str]:
    """What a command loads beyond what any Python here does (an editable installation loads a finder of its own)."""
    script = f"""
import sys
before = set(sys.modules)
sys.path.insert(0, {str(ROOT)!r})
from cli.main import run
run({list(arguments)!r})
print("\\n".join(set(sys.modules) - before), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment())
    return set(done.stderr.split("\n"))


def test_help_loads_next_to_nothing() -> None:
    found = _modules_after("--help")
    assert "cli.overview" in found
    assert not found & (HEAVY | {"click", "msgspec", "swarmd", "dataclasses", "typing", "re"})


@pytest.mark.parametrize("command", [*overview.COMMANDS, "nonsense"])
def test_commands_load_no_more_than_they_need(command: str) -> None:
    found = _modules_after(command, "--help")
    assert "click" in found
    assert not found & HEAVY


def test_every_option_of_the_root_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    context = click.Context(swarm, info_name="swarm")
    for parameter in swarm.get_params(context):
        assert all(f" {option}" in text for option in parameter.opts)
        record = parameter.get_help_record(context)
        assert "--help" in parameter.opts or (record is not None and record[1] in text)
    assert run(["-h"]) == 0
    assert capsys.readouterr().out == text
    assert swarm.get_help(context) + "\n" == text
    assert max(map(len, text.split("\n"))) <= 100


@pytest.mark.parametrize("name", overview.COMMANDS)
def test_every_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = getattr(importlib.import_module(overview.COMMANDS[name][0]), f"{name}_command")
    assert command.name == name
    commands = [[name]]
    if isinstance(command, click.Group):
        commands += [[name, each] for each in command.commands]
    for each in commands:
        assert run([*each, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"Usage: swarm {' '.join(each)}")
        assert name == "completion" or "--json" in text


def test_the_design_has_every_command_and_no_other() -> None:
    promised = "status id version share get ls transfers pause resume rm unshare group peer completion"
    promised += " post listen route dht metrics"
    assert set(overview.COMMANDS) == set(promised.split())


def test_version_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"swarm, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["share"], ["get", "x", "--order", "best"], ["group"], ["ls", "-x"]]
)
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Usage: swarm" in captured.err


def test_as_a_module() -> None:
    done = execute("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == overview.overview() + "\n"
