"""The command tree, and what an error looks like at the shell.

Invariant: whatever a command raises becomes one message on stderr and one exit code; with `--json` also one
object `{"error": {"code", "message"}}` on stdout. A trace is shown only for what is a bug.
"""

from __future__ import annotations

import errno
import importlib
from collections.abc import Sequence
from contextlib import suppress
from io import StringIO

import click

from cli import overview, streams
from cli.context import Settings, json_option, pass_settings
from swarmd import __version__
from swarmd.core.concealment import conceal
from swarmd.core.errors import DiskFull, LocalError, SwarmError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LazyGroup(click.Group):
    """Commands of `overview.COMMANDS`, imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(overview.COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in overview.COMMANDS:
            return None
        module = importlib.import_module(overview.COMMANDS[cmd_name][0])
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def get_help(self, ctx: click.Context) -> str:
        return overview.overview()


@click.group(
    cls=LazyGroup,
    help=overview.TAGLINE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--socket", metavar="PATH", help=overview.SOCKET_HELP)
@click.version_option(__version__, prog_name="swarm", help="Print the version of swarm.")
@json_option
@pass_settings
def swarm(settings: Settings, socket: str | None) -> None:
    """The root; each command has a module of its own."""
    settings.socket = socket


def invoke(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    settings = Settings()
    try:
        code = swarm.main(list(arguments), "swarm", standalone_mode=False, obj=settings)
    except click.ClickException as error:
        shown = StringIO()
        error.show(shown)
        with suppress(OSError):  # nobody can be told; the exit code still says it
            click.echo(conceal(shown.getvalue()), err=True, nl=False)
        settings.emit_error("invalid", conceal(error.format_message()))
        return error.exit_code
    except click.Abort:
        settings.emit_error("interrupted", "interrupted")
        return overview.EXIT_INTERRUPTED
    except SwarmError as error:
        return settings.report(error)
    except OSError as error:
        is_full = error.errno in _FULL
        if streams.settle() and not is_full:
            raise  # it was not for want of a place to write to
        kind = DiskFull if is_full else LocalError
        return settings.report(kind(f"the output cannot be written: {error.strerror}"))
    return code if isinstance(code, int) else 0
