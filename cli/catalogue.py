"""`swarm ls`, `swarm unshare`: what is shared in the groups."""

from __future__ import annotations

from collections.abc import Sequence

import click
import msgspec

from cli.complete import group_names, share_names
from cli.context import Settings, json_option, pass_settings
from cli.wording import count, group_label, short, size, table
from swarmd.control.client import Client
from swarmd.control.records import Listing, Listings
from swarmd.control.schema import LS, UNSHARE, LsParams, UnshareParams
from swarmd.core.terminal import escape

SHOWN = 1_000
"""Shares in the table of a terminal, the newest: more than anybody scrolls through. A pipe or file gets them all."""


@click.command("ls")
@click.argument("pattern", required=False)
@click.option("--group", metavar="G", shell_complete=group_names, help="Only what is shared in this group.")
@click.option("--by", metavar="PEER", help="Only what this peer shares: the beginning of its ID, or `you`.")
@json_option
@pass_settings
def ls_command(settings: Settings, pattern: str | None, group: str | None, by: str | None) -> None:
    """List what is shared in your groups: `swarm get NAME` fetches it.

    With PATTERN only names that have it in them, or, where it has `*` or `?`, that are like it.
    """
    with settings.connect() as client:
        found = list_all(client, LsParams(group=group, name=_pattern(pattern), publisher=by))
    settings.emit(found, "" if settings.json else _table(settings, found.shares))
    if not found.shares and settings.is_watched:
        settings.say("nothing is shared" if pattern is by is None else "nothing like that is shared")


def _pattern(given: str | None) -> str | None:
    return given if given is None or "*" in given or "?" in given else f"*{given}*"


def list_all(client: Client, params: LsParams) -> Listings:
    """All of it, oldest first in each group, in however many parts it comes."""
    part = client.call(LS, params)
    if part.next is None:
        return part
    shares = list(part.shares)
    while part.next is not None:
        part = client.call(LS, msgspec.structs.replace(params, after=part.next))
        shares += part.shares
    places = {each: place for place, each in enumerate(dict.fromkeys(share.group_id for share in shares))}
    return Listings(shares=sorted(shares, key=lambda share: (places[share.group_id], share.created_at, share.name)))


def _table(settings: Settings, shares: Sequence[Listing]) -> str:
    header = ("NAME", "SIZE", "KIND", "GROUP", "BY", "CONTENT", "HERE")
    n_hidden = len(shares) - SHOWN
    if settings.width is not None and n_hidden > 0:
        settings.say(f"{count(n_hidden, 'share')} more, older ones: narrow it with a PATTERN, or see all in a pipe")
        shares = shares[n_hidden:]
    return table(header, map(_row, shares), "SIZE", "NAME GROUP HERE", settings.width)


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
