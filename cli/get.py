"""`swarm get`: fetch an object and wait for it, or stream it to stdout.

The transfer belongs to the daemon: a `get` that is interrupted only stops waiting. With `--stdout` it
belongs to this command and goes, with its data, when the command ends.
"""

from __future__ import annotations

import os
import sys

import click

from cli.complete import group_names, share_names
from cli.context import Settings, json_option, pass_settings, read_ticket
from cli.overview import EXIT_INTERRUPTED
from cli.progress import TransferDisplay
from cli.spans import Span
from cli.wording import count, size, transfer_label
from swarmd.control.client import Client, DaemonUnreachable
from swarmd.control.records import Order, Transfer
from swarmd.control.schema import GET, READ, WAIT, GetParams, ReadParams, WaitParams
from swarmd.core.errors import Incomplete
from swarmd.core.terminal import escape


@click.command("get")
@click.argument("source", metavar="TICKET|NAME|CONTENT-ID", shell_complete=share_names)
@click.option(
    "-o", "--output", metavar="DIR", type=click.Path(readable=False), help="Folder to put it in; by default this one."
)
@click.option(
    "--order",
    type=click.Choice(["rarest", "lowest"]),
    help="Rarest chunks first, best for the swarm, or from the start, to watch it grow.",
)
@click.option("--stdout", is_flag=True, help="Write a single file to stdout, in order, as it arrives.")
@click.option("--no-wait", is_flag=True, help="Return at once; the daemon goes on.")
@click.option("--group", metavar="G", shell_complete=group_names, help="Where to look for a name or content ID.")
@click.option("--overwrite", is_flag=True, help="Replace what has its name in DIR, once it is complete.")
@click.option(
    "--background/--foreground",
    default=None,
    help="Let it give way to all other traffic, or not any more; kept across restarts.",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=Span(min=0),
    help="Stop waiting when nothing has arrived for so long: exit code 6 without peers, 8 with.",
)
@json_option
@pass_settings
def get_command(
    settings: Settings,
    source: str,
    output: str | None,
    order: Order | None,
    stdout: bool,
    no_wait: bool,
    group: str | None,
    overwrite: bool,
    background: bool | None,
    timeout: float | None,
) -> None:
    """Fetch what a ticket, a name in a group or a content ID stands for; `-` reads a ticket from stdin.

    Waits until it is there and prints where. Ctrl-C only stops waiting: the daemon goes on, see `swarm
    transfers`, `pause` and `rm`. The exit code says why it stopped: 7 can be resumed, 9 the disk is full (it
    goes on by itself when there is room), 10 the data is damaged.
    """
    if stdout and (output is not None or no_wait or overwrite or settings.json):
        raise click.UsageError("--stdout goes with none of --output, --no-wait, --overwrite and --json")
    params = GetParams(
        source=read_ticket(source),
        target_dir=None if stdout else os.path.abspath(output or "."),
        order=order or ("lowest" if stdout else "rarest"),
        group=group,
        overwrite=overwrite,
        background=background,
    )
    with settings.connect() as client:
        transfer = client.call(GET, params)
        if no_wait:
            settings.emit(transfer, escape(transfer.id))
        elif stdout:
            _stream(settings, client, transfer, timeout)
        else:
            _wait(settings, client, transfer, timeout)


def _wait(settings: Settings, client: Client, transfer: Transfer, timeout: float | None) -> None:
    try:
        with TransferDisplay(settings) as display:
            transfer = client.call(WAIT, WaitParams(id=transfer.id, idle_timeout_s=timeout), display.update)
    except KeyboardInterrupt:
        settings.say("", _goes_on(transfer))
        settings.emit_error("interrupted", f"stopped waiting for {transfer.id}, which goes on")
        click.get_current_context().exit(EXIT_INTERRUPTED)
    except DaemonUnreachable as error:
        raise Incomplete(f"{error}; {transfer.id} goes on when swarmd runs again") from error
    settings.emit(transfer, escape(transfer.target or ""))
    if settings.is_watched:
        peers = count(sum(source.received_bytes > 0 for source in transfer.sources), "peer")
        settings.say(f"{transfer_label(transfer)}: {size(transfer.size or 0)} verified, from {peers}")


def _goes_on(transfer: Transfer) -> str:
    return (
        f"The daemon goes on fetching {transfer_label(transfer)}: see `swarm transfers`, "
        f"`swarm pause {transfer.id}`, `swarm rm {transfer.id}`."
    )


def _stream(settings: Settings, client: Client, transfer: Transfer, timeout: float | None) -> None:
    """Read from the start to the end; the daemon throws the transfer away when we are gone."""
    offset = 0
    with TransferDisplay(settings) as display:
        while True:
            params = ReadParams(id=transfer.id, offset=offset, idle_timeout_s=timeout)
            part = client.call(READ, params, display.mention)
            if not part.data:
                break
            sys.stdout.buffer.write(part.data)
            sys.stdout.buffer.flush()
            offset += len(part.data)
    if offset != part.size:
        raise Incomplete(f"the daemon ended the stream at byte {offset} of {part.size}")
