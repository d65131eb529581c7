"""`swarm ls`, `swarm unshare`: what is shared in the groups."""

from __future__ import annotations

import click

from cli.complete import group_names, share_names
from cli.context import Settings, json_option, pass_settings
from cli.wording import group_label, short, size, table
from swarmd.control.client import Client
from swarmd.control.records import Listing, Listings
from swarmd.control.schema import LS, UNSHARE, LsParams, UnshareParams
from swarmd.core.terminal import escape


@click.command("ls")
@click.option("--group", metavar="G", shell_complete=group_names, help="Only what is shared in this group.")
@json_option
@pass_settings
def ls_command(settings: Settings, group: str | None) -> None:
    """List what is shared in your groups: `swarm get NAME` fetches it."""
    with settings.connect() as client:
        found = _list(client, group)
    header = ("NAME", "SIZE", "KIND", "GROUP", "BY", "CONTENT", "HERE")
    settings.emit(found, table(header, map(_row, found.shares), "SIZE", "NAME GROUP HERE", settings.width))
    if not found.shares and settings.is_watched:
        settings.say("nothing is shared")


def _list(client: Client, group: str | None) -> Listings:
    """All of it, in however many parts it comes."""
    part = client.call(LS, LsParams(group=group))
    if part.next is None:
        return part
    shares = list(part.shares)
    while part.next is not None:
        part = client.call(LS, LsParams(group=group, after=part.next))
        shares += part.shares
    places = {each: place for place, each in enumerate(dict.fromkeys(share.group_id for share in shares))}
    return Listings(shares=sorted(shares, key=lambda share: (places[share.group_id], share.created_at)))


def _row(share: Listing) -> tuple[str, ...]:
    return (
        escape(share.name),
        size(share.size),
        share.kind,
        group_label(share.group_id, share.group_name),
        "you" if share.own else short(share.publisher),
        short(share.content_id),
        _place(share),
    )


def _place(share: Listing) -> str:
    if share.path is not None:
        return escape(share.path)
    return "not served: changed or gone, share it again" if share.own else ""


@click.command("unshare")
@click.argument("name", shell_complete=share_names)
@click.option("--group", metavar="G", shell_complete=group_names, help="Where, if it is shared in several.")
@json_option
@pass_settings
def unshare_command(settings: Settings, name: str, group: str | None) -> None:
    """Stop sharing NAME (or a content ID). The files stay where they are."""
    with settings.connect() as client:
        ended = client.call(UNSHARE, UnshareParams(name=name, group=group))
    settings.emit(ended, f"{escape(ended.name)} is no longer shared")
