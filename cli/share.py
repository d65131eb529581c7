"""`swarm share`: publish a file or folder where it lies, and hand out the ticket."""

from __future__ import annotations

import os

import click

from cli.complete import group_names
from cli.context import Settings, json_option, pass_settings
from cli.progress import ShareDisplay
from cli.qr import show_ticket
from cli.wording import count, size
from swarmd.control.records import Share
from swarmd.control.schema import SHARE, ShareParams


@click.command("share")
@click.argument("path", type=click.Path(readable=False))
@click.option("--group", metavar="G", shell_complete=group_names, help="Share it with the members of this group.")
@click.option("--name", metavar="N", help="What others see; by default the last part of PATH.")
@json_option
@pass_settings
def share_command(settings: Settings, path: str, group: str | None, name: str | None) -> None:
    """Share the file or folder PATH where it is, and print a ticket.

    Without --group the ticket lets its reader in: who has it can fetch the file. With --group it works
    for the members of that group only.
    """
    params = ShareParams(path=os.path.abspath(path), group=group, name=name)
    with settings.connect() as client, ShareDisplay(settings) as display:
        share = client.call(SHARE, params, display.update)
    settings.emit(share, share.ticket)
    if settings.is_watched:
        _explain(settings, share)


def _explain(settings: Settings, share: Share) -> None:
    settings.say("", f"shared {share.name}: {size(share.size)}, {count(share.files, 'file')}")
    show_ticket(settings, share.ticket)
    whom = "Members of the group" if share.group_name is not None else "Whoever has the ticket"
    settings.say(f"{whom} can now run:", "", f"  swarm get {share.ticket}", "")
