"""What every command gets: where the daemon is, and how to print.

Invariant: stdout carries results only, everything else goes to stderr; nothing a stranger has named reaches
a terminal unescaped, in JSON neither.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import update_wrapper
from typing import Any, TextIO, TypeVar, cast

import click
import msgspec

from cli import overview
from swarmd.control.client import Client, default_socket_path
from swarmd.control.failures import exit_code, failure_code
from swarmd.core.concealment import conceal
from swarmd.core.errors import SwarmError
from swarmd.core.terminal import escape

F = TypeVar("F", bound=Callable[..., Any])

_MAX_MESSAGE_CHARS = 2_000
"""Of one error: some repeat what was given, and that may have been a whole file on stdin."""
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


class Settings:
    """The global options, and the doors to the daemon and to the terminal."""

    def __init__(self) -> None:
        self.socket: str | None = None
        self.json = False

    def connect(self) -> Client:
        """A connection to the daemon; use it in a `with`."""
        return Client(self.socket or default_socket_path(os.environ), self._say_that_it_takes_long)

    @property
    def is_watched(self) -> bool:
        """Whether a human looks at stderr: then there are bars, QR codes and hints."""
        return sys.stderr.isatty() and not self.json

    @property
    def width(self) -> int | None:
        """Columns that a table on stdout may have; None where no terminal shows it."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def emit(self, result: object, text: str) -> None:
        """The result: as JSON when that was asked for, else `text`, whose foreign parts are escaped already."""
        self.write(as_json(result) if self.json else text)

    def write(self, line: str) -> None:
        """One line, or several, to stdout, at once: who reads NDJSON waits for it."""
        if line:
            click.echo(line)

    def say(self, *lines: str) -> None:
        """A message for the human, to stderr; escaped here, so that a name cannot add a line."""
        for line in lines:
            with suppress(OSError):  # nobody can be told; the exit code still says it
                click.echo(escape(line), err=True)

    def _say_that_it_takes_long(self) -> None:
        self.say("swarm: swarmd has not answered yet; Ctrl-C ends the waiting")

    def emit_error(self, code: str, message: str) -> None:
        """The error as data, where data was asked for."""
        if self.json:
            self.write(as_json({"error": {"code": code, "message": message}}))

    def report(self, error: SwarmError) -> int:
        """Say what went wrong; the exit code for it."""
        message = conceal(str(error))
        if len(message) > _MAX_MESSAGE_CHARS:
            message = f"{message[:_MAX_MESSAGE_CHARS]}…"
        self.say(f"swarm: {message}")
        self.emit_error(failure_code(error), message)
        return exit_code(error)


def pass_settings(command: F) -> F:
    """Give a command its `Settings`; before that, refuse what was given empty.

    An empty argument is what `"$FOLDER"` becomes when nobody has set FOLDER, and an empty path would mean the
    current folder. No argument of any command means something when it is empty.
    """

    @click.pass_context
    def checked(ctx: click.Context, /, *args: Any, **kwargs: Any) -> Any:
        refuse_empty(ctx)
        return ctx.invoke(command, ctx.find_object(Settings), *args, **kwargs)

    return cast(F, update_wrapper(checked, command))


def refuse_empty(ctx: click.Context) -> None:
    """BadParameter (exit code 2) for the first argument or option that was given as an empty text."""
    for parameter in ctx.command.params:
        if parameter.name in ctx.params and ctx.params[parameter.name] == "":
            remedy = "leave it out or say what is meant" if isinstance(parameter, click.Option) else "say what is meant"
            raise click.BadParameter(f"it is empty (a shell variable that is not set?); {remedy}", ctx, parameter)


def json_option(command: F) -> F:
    """`--json`, on the root and on each command alike."""

    def remember(ctx: click.Context, parameter: click.Parameter, given: bool) -> None:
        settings = ctx.find_object(Settings)
        if settings is not None and given:
            settings.json = True

    option = click.option(
        "--json", is_flag=True, is_eager=True, expose_value=False, callback=remember, help=overview.JSON_HELP
    )
    return option(command)


def as_json(value: object) -> str:
    """One line of JSON; what a terminal would obey (C1 controls, direction overrides) is written as \\u...."""
    encoded = msgspec.json.encode(value)
    text = encoded.decode()
    return text if encoded.isascii() and b"\x7f" not in encoded else _NOT_PLAIN.sub(_plain, text)


def _plain(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def read_ticket(given: str) -> str:
    """`given`, or the ticket on stdin when it is `-`, so that secrets need not stand in a process list."""
    if given != "-":
        return given
    ticket = _stdin().read(_MAX_TICKET_CHARS).strip()
    if not ticket:
        raise click.UsageError("there is no ticket on stdin")
    return ticket


def read_bytes(limit: int) -> bytes:
    """What is on stdin, of too much one byte more than `limit`."""
    return _stdin().buffer.read(limit + 1)


def _stdin() -> TextIO:
    if sys.stdin is None:  # the shell has closed it; an empty one would be another matter
        raise click.UsageError("stdin is closed, and `-` reads from it")
    return sys.stdin


_MAX_TICKET_CHARS = 128 << 10
"""As the schema has it; a whole file piped in by mistake must not be read."""
