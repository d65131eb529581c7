"""No argument may be empty: `swarm share "$FOLDER"` with FOLDER unset must not share the current folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.app import swarm as root
from cli.main import run
from tests.cli.conftest import Swarm
from tests.cli.daemon import Daemon

Case = tuple[list[str], str]


def _commands(group: click.Group, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, [*path, name])
        else:
            yield [*path, name], command


def _cases() -> Iterator[Case]:
    """Each text that a command takes, given empty, beside whatever else the command must have."""
    for path, command in _commands(root, []):
        texts = [each for each in command.params if each.type.name in ("text", "path")]
        for empty in texts:
            words = list(path)
            for parameter in command.params:
                if isinstance(parameter, click.Argument):
                    words.append("" if parameter is empty else "x")
            if isinstance(empty, click.Option):
                words += [empty.opts[-1], ""]
            assert empty.name is not None
            yield (
                words,
                empty.make_metavar(click.Context(command)) if isinstance(empty, click.Argument) else empty.opts[-1],
            )


CASES = list(_cases())


def test_the_cases_are_all_there() -> None:
    words = [" ".join(case) for case, _ in CASES]
    assert len(CASES) >= 22
    assert {"share ", "share x --name ", "get ", "get x --output ", "group create ", "unshare ", "rm "} <= set(words)


@pytest.mark.parametrize(("words", "named"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_an_empty_argument_is_refused_before_anything_is_asked(
    daemon: Daemon, swarm: Swarm, words: list[str], named: str
) -> None:
    outcome = swarm(*words)
    assert (outcome.code, outcome.out, daemon.calls) == (2, "", [])
    assert "it is empty (a shell variable that is not set?)" in outcome.err
    assert named in outcome.err


def test_with_json_the_mistake_is_data_too(daemon: Daemon, swarm: Swarm) -> None:
    outcome = swarm("share", "", "--json")
    assert outcome.code == 2
    error = json.loads(outcome.out)["error"]
    assert error["code"] == "invalid"
    assert "PATH" in error["message"]


def test_an_empty_socket_is_not_the_usual_one(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWARMD_SOCKET", daemon.path)
    assert run(["--socket", "", "id"]) == 2
    assert daemon.calls == []
    assert "--socket" in capsys.readouterr().err
    assert run(["id"]) == 0


def test_the_current_folder_must_be_said(
    daemon: Daemon, swarm: Swarm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert swarm("share", ".").code == 0
    assert [getattr(call, "path", None) for call in daemon.calls] == [str(tmp_path)]
