"""`swarm transfers`, `pause`, `resume`, `rm`: the downloads."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli.complete import group_names, transfer_ids
from cli.context import Settings, json_option, pass_settings
from cli.wording import (
    count,
    duration,
    group_label,
    moment,
    percentage,
    rate,
    short,
    size,
    standing_for,
    table,
    transfer_label,
)
from swarmd.control.records import Transfer
from swarmd.control.schema import PAUSE, RESUME, RM, TRANSFERS, RmParams, TransferParams, TransfersParams
from swarmd.core.terminal import escape

_id_argument = click.argument("id", metavar="ID", shell_complete=transfer_ids)


@click.command("transfers")
@click.argument("id", metavar="[ID]", required=False, shell_complete=transfer_ids)
@click.option("--group", metavar="G", shell_complete=group_names, help="Only those of this group.")
@json_option
@pass_settings
def transfers_command(settings: Settings, id: str | None, group: str | None) -> None:
    """List the downloads, or show one with all that is known of it."""
    with settings.connect() as client:
        found = client.call(TRANSFERS, TransfersParams(id=id, group=group))
    if id is not None:
        settings.emit(found, "\n\n".join(map(_transfer_text, found.transfers)))
        return
    settings.emit(found, transfer_table(found.transfers, settings.width))
    if not found.transfers and settings.is_watched:
        settings.say("no transfers")


def transfer_table(transfers: Sequence[Transfer], width: int | None) -> str:
    """One row each; what a standing one waits for in a line of its own below the table."""
    rows = [
        (
            escape(each.id),
            transfer_label(each),
            size(each.size) if each.size is not None else "?",
            percentage(each),
            each.state,
            rate(each.rate) if each.state == "downloading" else "",
            str(each.peers),
            duration(each.eta_s) if each.eta_s is not None and each.state == "downloading" else "",
        )
        for each in transfers
    ]
    header = ("ID", "NAME", "SIZE", "HAVE", "STATE", "RATE", "PEERS", "LEFT")
    reasons = [f"{escape(each.id)}: {reason}" for each in transfers if (reason := standing_for(each))]
    return "\n".join([table(header, rows, "SIZE HAVE RATE PEERS LEFT", "NAME", width), *reasons])


def _transfer_text(transfer: Transfer) -> str:
    of = f" of {size(transfer.size)}" if transfer.size is not None else ""
    lines = [
        f"{escape(transfer.id)}  {transfer_label(transfer)}: {transfer.state}, {percentage(transfer)}",
        f"have      {size(transfer.have_bytes)}{of}, {size(transfer.reused_bytes)} of it from this machine",
        f"to        {escape(transfer.target) if transfer.target is not None else 'nowhere, it is only read'}",
        f"group     {group_label(transfer.group_id, transfer.group_name)}",
        f"content   {transfer.content_id}",
        f"began     {moment(transfer.created_at)}",
        f"now       {rate(transfer.rate)}, {count(transfer.peers, 'peer')} of "
        f"{count(transfer.members, 'connected member')} with some of it",
        f"received  {size(transfer.received_bytes)}, sent {size(transfer.sent_bytes)}",
    ]
    if reason := standing_for(transfer):
        lines.append(f"waits     {reason}")
    for source in transfer.sources:
        where = f" ({escape(source.address)})" if source.address is not None else ""
        lines.append(f"from      {short(source.peer_id)}{where}: {size(source.received_bytes)}")
    return "\n".join(lines)


@click.command("pause")
@_id_argument
@json_option
@pass_settings
def pause_command(settings: Settings, id: str) -> None:
    """Let a download rest; what is there is kept and served on."""
    with settings.connect() as client:
        transfer = client.call(PAUSE, TransferParams(id=id))
    settings.emit(transfer, f"{escape(id)} {transfer.state} at {percentage(transfer)}")


@click.command("resume")
@_id_argument
@json_option
@pass_settings
def resume_command(settings: Settings, id: str) -> None:
    """Go on with a paused download."""
    with settings.connect() as client:
        transfer = client.call(RESUME, TransferParams(id=id))
    settings.emit(transfer, f"{escape(id)} {transfer.state} at {percentage(transfer)}")


@click.command("rm")
@_id_argument
@click.option("--delete-data", is_flag=True, help="Also delete what was fetched, finished or not.")
@json_option
@pass_settings
def rm_command(settings: Settings, id: str, delete_data: bool) -> None:
    """Forget a download. Its data stays on disk unless you say --delete-data."""
    with settings.connect() as client:
        removed = client.call(RM, RmParams(id=id, delete_data=delete_data))
    left = f"; {escape(removed.left)} stays" if removed.left is not None else ""
    settings.emit(removed, f"{escape(id)} removed{left}")
