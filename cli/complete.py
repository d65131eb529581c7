"""What the shell offers after TAB, asked of the daemon. No daemon, no offers: a TAB never prints an error."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from cli.context import Settings
from cli.wording import percentage, transfer_label
from swarmd.control.schema import GROUP_LIST, LS, TRANSFERS, GroupListParams, LsParams, TransfersParams
from swarmd.core.errors import SwarmError


def transfer_ids(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        with _settings(ctx).connect() as client:
            transfers = client.call(TRANSFERS, TransfersParams()).transfers
    except SwarmError:
        return []
    found = [each for each in transfers if each.id.startswith(incomplete)]
    return [CompletionItem(each.id, help=f"{transfer_label(each)} {percentage(each)}") for each in found]


def group_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        with _settings(ctx).connect() as client:
            groups = client.call(GROUP_LIST, GroupListParams()).groups
    except SwarmError:
        return []
    return _plain_items([each.name for each in groups if each.name is not None], incomplete)


def share_names(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    try:
        with _settings(ctx).connect() as client:
            shares = client.call(LS, LsParams(name=f"{incomplete}*")).shares
    except SwarmError:
        return []
    return _plain_items([each.name for each in shares], incomplete)


def _plain_items(names: list[str], incomplete: str) -> list[CompletionItem]:
    """Names that a shell would not have to quote; a stranger chose them, and they go into a command line."""
    offered = {name for name in names if name.startswith(incomplete) and _is_plain(name)}
    return [CompletionItem(name) for name in sorted(offered)]


def _is_plain(name: str) -> bool:
    return not name.startswith("-") and all(each.isalnum() or each in "._-+=@%" for each in name)


def _settings(ctx: click.Context) -> Settings:
    """While completing, callbacks have not run: the global options are in the root's parameters."""
    settings = Settings()
    settings.socket = ctx.find_root().params.get("socket")
    return settings
