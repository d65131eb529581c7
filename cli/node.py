"""`swarm status`, `swarm id`, `swarm version`: the node itself."""

from __future__ import annotations

import click

import swarmd
from cli.context import Settings, json_option, pass_settings
from cli.transfers import transfer_table
from cli.wording import count, duration, rate, size
from swarmd.control.client import DaemonUnreachable
from swarmd.control.records import Status
from swarmd.control.schema import GROUP_LIST, ID, METRICS, STATUS, VERSION, GroupListParams, NoParams
from swarmd.core.terminal import escape


@click.command("status")
@json_option
@pass_settings
def status_command(settings: Settings) -> None:
    """Show what the daemon does, and what each unfinished transfer waits for."""
    with settings.connect() as client:
        status = client.call(STATUS, NoParams())
        listed = len(client.call(GROUP_LIST, GroupListParams()).groups) if not settings.json else 0
    settings.emit(status, _status_text(status, listed, settings.width))


def _status_text(status: Status, listed: int, width: int | None) -> str:
    """`listed`: how many of the groups are listed; each other one was made for a single share."""
    singles = max(0, status.groups - listed)
    lines = [
        f"swarmd {status.version}, running for {duration(status.uptime_s)} (pid {status.pid})",
        f"peer ID    {status.peer_id}",
        f"listening  {', '.join(map(escape, status.listen)) or 'nowhere'}, mDNS {'on' if status.mdns else 'off'}",
        *_dht_lines(status),
        f"state      {escape(status.state_dir)}",
        f"socket     {escape(status.socket)}",
        f"now        {count(status.sessions, 'session')}, {count(listed, 'group')}, "
        f"{count(singles, 'single share') + ', ' if singles else ''}"
        f"{count(status.shares, 'own share')}, {count(status.transfers, 'transfer')}",
        f"received   {size(status.received_bytes)}, now {_flow(status.download_rate, status.download_limit)}",
        f"sent       {size(status.sent_bytes)}, now {_flow(status.upload_rate, status.upload_limit)}",
        *(f"note       {escape(note)}" for note in status.notes),
    ]
    if status.active:
        lines += ["", transfer_table(status.active, width)]
    return "\n".join(lines)


def _dht_lines(status: Status) -> list[str]:
    if status.dht is None:
        return []
    dht = status.dht
    return [f"DHT        {dht.mode}, {count(dht.nodes, 'node')} known" if dht.on else "DHT        off"]


def _flow(now: float, limit: float | None) -> str:
    return rate(now) if limit is None else f"{rate(now)} of at most {rate(limit)}"


@click.command("id")
@json_option
@pass_settings
def id_command(settings: Settings) -> None:
    """Print this node's peer ID."""
    with settings.connect() as client:
        node = client.call(ID, NoParams())
    settings.emit(node, node.peer_id)


@click.command("version")
@json_option
@pass_settings
def version_command(settings: Settings) -> None:
    """Print the versions of swarm and of the daemon, if one runs."""
    own = swarmd.__version__
    try:
        with settings.connect() as client:
            daemon: str | None = client.call(VERSION, NoParams()).version
    except DaemonUnreachable:
        daemon = None
    text = f"swarm {own}\nswarmd {daemon or '(does not run)'}"
    settings.emit({"version": own, "daemon": daemon}, text)


@click.command("metrics")
@json_option
@pass_settings
def metrics_command(settings: Settings) -> None:
    """Print counters and gauges in the text format of Prometheus, for its node exporter's textfile collector."""
    with settings.connect() as client:
        metrics = client.call(METRICS, NoParams())
    lines = metrics.text.rstrip("\n").split("\n")
    # Names of groups are in it, which others chose; a scraper has to get them as they are.
    settings.emit(metrics, "\n".join(map(escape, lines) if settings.width is not None else lines))
