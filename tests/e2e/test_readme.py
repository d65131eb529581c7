"""What the README tells newcomers to type is there, and its example program works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.app import swarm
from swarmd.core.rng import SeededRng
from tests.e2e.nodes import Node, clean_environ

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = ("README.md", "SECURITY.md", "DECISIONS.md", "CHANGELOG.md", "docs/service.md", "docs/figures.md")


def commands() -> Iterator[str]:
    """Each `swarm ...` that stands in the README after a prompt, without what the shell does with it."""
    for line in re.findall(r"^ +\$ (.*)$", README, re.MULTILINE):
        for found in re.findall(r"\bswarm [^|<>#)]*", line):
            yield found.strip()


def parsed(words: list[str]) -> None:
    """As click reads them, without running anything; a usage error when they are wrong."""
    context = click.Context(swarm, info_name="swarm")
    command: click.Command = swarm
    while isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.parse_args(context, words)


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_command_of_the_readme_is_one(command: str) -> None:
    parsed(shlex.split(command)[1:])


def test_the_commands_were_found_and_wrong_ones_are_noticed() -> None:
    assert len(set(commands())) > 15
    with pytest.raises(click.UsageError):
        parsed(["get", "--no-such-option"])
    with pytest.raises(AssertionError):
        parsed(["no-such-command"])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert not [target for target in targets if not ((ROOT / page).parent / target).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_named_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:swarmd|cli|tests|systemd|docs)/[\w./-]*)`", text)
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_benchmarks_that_are_named_exist(page: str) -> None:
    modules = re.findall(r"python -m (tests\.[\w.]+)", (ROOT / page).read_text())
    paths = [ROOT / module.replace(".", "/") for module in modules]
    assert not [str(path) for path in paths if not path.with_suffix(".py").exists() and not path.is_dir()]


def test_the_example_program_works(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    program = tmp_path / "example.py"
    program.write_text(found[1])
    shared, folder = tmp_path / "shared.bin", tmp_path / "fetched"
    shared.write_bytes(SeededRng(1).bytes(3_000_000))
    folder.mkdir()
    with Node(tmp_path / "node").start() as node:
        result = subprocess.run(
            [sys.executable, program, shared, folder],
            capture_output=True,
            text=True,
            timeout=60,
            env={**clean_environ(), "SWARMD_SOCKET": str(node.socket), "PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert result.returncode == 0, result.stderr
    ticket, target = result.stdout.splitlines()
    assert ticket.startswith("swarm:")
    assert Path(target).read_bytes() == shared.read_bytes()
