"""`swarm peer add`, `swarm peer rm`, `swarm peer list`: the nodes we are connected to or dial."""

from __future__ import annotations

import click

from cli.context import Settings, json_option, pass_settings
from cli.wording import duration, short, size, table
from swarmd.control.records import Peer
from swarmd.control.schema import PEER_ADD, PEER_LIST, PEER_RM, NoParams, PeerAddParams, PeerRmParams
from swarmd.core.terminal import escape


@click.group("peer")
@json_option
def peer_command() -> None:
    """Add, remove and list peers."""


@peer_command.command("add")
@click.argument("address", metavar="HOST:PORT")
@json_option
@pass_settings
def add(settings: Settings, address: str) -> None:
    """Tell the daemon of a node, where nothing else finds it. It is remembered and dialled again."""
    with settings.connect() as client:
        peer = client.call(PEER_ADD, PeerAddParams(address=address))
    settings.emit(peer, f"{peer.state}: {_who(peer)} at {escape(peer.address)}")
    if settings.is_watched:
        settings.say(f"It is remembered, and called again when it is gone; `swarm peer rm {address}` ends that.")


@peer_command.command("rm")
@click.argument("address", metavar="HOST:PORT")
@json_option
@pass_settings
def remove(settings: Settings, address: str) -> None:
    """Forget a node that was added: it is not dialled any more. A connection that stands goes on."""
    with settings.connect() as client:
        removed = client.call(PEER_RM, PeerRmParams(address=address))
    settings.emit(removed, f"not called any more: {', '.join(map(escape, removed.addresses))}")


@peer_command.command("list")
@json_option
@pass_settings
def list_peers(settings: Settings) -> None:
    """List the nodes that we are connected to or dial."""
    with settings.connect() as client:
        found = client.call(PEER_LIST, NoParams())
    header = ("PEER", "ADDRESS", "STATE", "FOR", "RECEIVED", "SENT", "RTT", "GROUPS")
    settings.emit(found, table(header, map(_row, found.peers), "RECEIVED SENT RTT", "STATE GROUPS", settings.width))
    if not found.peers and settings.is_watched:
        settings.say("no peers")


def _who(peer: Peer) -> str:
    return short(peer.peer_id) if peer.peer_id is not None else "?"


def _row(peer: Peer) -> tuple[str, ...]:
    return (
        _who(peer),
        escape(peer.address),
        _state(peer),
        duration(peer.connected_s) if peer.connected_s is not None else "",
        size(peer.received_bytes),
        size(peer.sent_bytes),
        f"{peer.rtt_s * 1000:.1f} ms" if peer.rtt_s is not None else "",
        escape(", ".join(peer.groups)),
    )


def _state(peer: Peer) -> str:
    reason = f": {escape(peer.error)}" if peer.error is not None else ""
    if peer.state == "connected":
        return f"{peer.transport or ''} {'in' if peer.inbound else 'out'}".strip() + reason
    again = f", again in {duration(peer.redial_s)}" if peer.redial_s is not None else ""
    return f"{peer.state}{again}{reason}"
