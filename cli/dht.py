"""`swarm dht ...`: put, get, list, rm, status: values in the DHT, for everybody or (`--group`) for a group's members.

A value goes to stdout byte by byte, as it was put; only a terminal gets it escaped.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
from contextlib import suppress

import click

from cli.complete import group_names
from cli.context import Settings, json_option, pass_settings, read_bytes
from cli.values import get_value, list_values, put_value, remove_value
from cli.wording import count, moment, size, table
from swarmd.control import dht
from swarmd.control.schema import NoParams
from swarmd.core.errors import DiskFull, InvalidArgument, LocalError, NotAllowed, NotFound
from swarmd.core.terminal import escape

_group_option = click.option(
    "--group", metavar="G", shell_complete=group_names, help="For the members of group G only."
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_salt_option = click.option("--salt", metavar="S", help="The salt (BEP 44) in place of the name.")


@click.group("dht")
@json_option
def dht_command() -> None:
    """Put values into the DHT, and get them.

    KEY is what `put` prints. Whoever has it can read the value, but for values of a group (--group), which only its
    members can.
    """


@dht_command.command("put")
@click.argument("value", metavar="FILE|-")
@click.argument("group_value", metavar="[VALUE]", required=False)
@click.option("--name", metavar="N", help="Under this node's key and the name, instead of what is there.")
@_salt_option
@click.option("--once", is_flag=True, help="Do not keep it alive from here.")
@_group_option
@json_option
@pass_settings
def put(
    settings: Settings,
    value: str,
    group_value: str | None,
    name: str | None,
    salt: str | None,
    once: bool,
    group: str | None,
) -> None:
    """Put a file (up to 1 MiB; `-` reads stdin) and print its key; under a name it has at most 996 bytes.

    This node puts it again every hour, until `swarm dht rm`. With --group the arguments are a key and a value:
    `swarm dht put --group G KEY VALUE`.
    """
    if group is not None:
        if group_value is None or name is not None or salt is not None or once:
            raise click.UsageError("with --group it is: swarm dht put --group G KEY VALUE")
        put_value(settings, group, value, group_value)
        return
    if group_value is not None:
        raise click.UsageError("a key and a value are for --group; otherwise give one FILE, or - for stdin")
    params = dht.PutParams(data=_content(value), name=name, salt=_salt(salt), keep=not once)
    with settings.connect() as client:
        done = client.call(dht.PUT, params)
    settings.emit(done, escape(done.key))
    if settings.is_watched:
        settings.say(f"{size(done.size)} in {count(done.items, 'item')}, each on {count(done.copies, 'node')} or more")


@dht_command.command("get")
@click.argument("key")
@click.option("-o", "--output", metavar="FILE", type=click.Path(), help="Where to write it; by default stdout.")
@_salt_option
@_group_option
@json_option
@pass_settings
def get(settings: Settings, key: str, output: str | None, salt: str | None, group: str | None) -> None:
    """Get what KEY stands for; of a name, the newest."""
    if group is not None:
        if output is not None or salt is not None:
            raise click.UsageError("with --group it is: swarm dht get --group G KEY")
        get_value(settings, group, key)
        return
    with settings.connect() as client:
        got = client.call(dht.GET, dht.GetParams(key=key, salt=_salt(salt)))
    content = got.data or b"" if got.text is None else got.text.encode()
    if output is not None:
        _write(output, content)
        settings.emit(got, escape(os.path.abspath(output)))
    elif settings.json or sys.stdout.isatty():
        shown = escape(got.text.removesuffix("\n")) if got.text is not None else f"({got.size} bytes, not text)"
        settings.emit(got, shown)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@dht_command.command("list")
@_group_option
@json_option
@pass_settings
def list_(settings: Settings, group: str | None) -> None:
    """List what this node keeps alive in the DHT for everybody; with --group, the values of that group."""
    if group is not None:
        list_values(settings, group)
        return
    with settings.connect() as client:
        found = client.call(dht.LIST, NoParams())
    rows = [
        (escape(each.key), escape(each.name or ""), size(each.size), count(each.items, "item"), moment(each.put_at))
        for each in found.values
    ]
    settings.emit(found, table(("KEY", "NAME", "SIZE", "ITEMS", "PUT"), rows, "", "NAME", settings.width))


@dht_command.command("rm")
@click.argument("key")
@_salt_option
@_group_option
@json_option
@pass_settings
def rm(settings: Settings, key: str, salt: str | None, group: str | None) -> None:
    """Keep a value alive no longer. Others have it for some hours still.

    With --group, remove it for all members of the group.
    """
    if group is not None:
        if salt is not None:
            raise click.UsageError("with --group it is: swarm dht rm --group G KEY")
        remove_value(settings, group, key)
        return
    with settings.connect() as client:
        done = client.call(dht.FORGET, dht.ForgetParams(key=key, salt=_salt(salt)))
    settings.emit(done, f"{escape(done.key)} is not put again")


@dht_command.command("status")
@json_option
@pass_settings
def status(settings: Settings) -> None:
    """Show how this node stands in the DHT."""
    with settings.connect() as client:
        found = client.call(dht.STATUS, NoParams())
    settings.emit(found, _status_text(found))


def _status_text(status: dht.DhtStatus) -> str:
    lines = [f"DHT        {status.mode if status.on else 'off'}"]
    if status.on:
        lines += [
            f"network    {status.network}",
            f"node ID    {status.node_id}",
            f"nodes      {status.nodes}, entered at {escape(', '.join(status.bootstrap)) or 'neighbours'}",
            f"seen as    {status.seen_as or 'nobody has said yet'}",
            f"reached    {escape(status.reached or 'not known')}",
            f"stored     {count(status.items, 'item')} ({size(status.item_bytes)}) for others, "
            f"{count(status.announced, 'announced key')}",
            f"kept       {count(status.kept, 'item')} put from here",
        ]
    if status.why:
        lines.append(f"note       {escape(status.why)}")
    return "\n".join(lines)


def _salt(given: str | None) -> bytes | None:
    return None if given is None else given.encode(errors="surrogateescape")


def _content(place: str) -> bytes:
    """Refused here when it is too long, before all of it is read."""
    try:
        if place == "-":
            content = read_bytes(dht.MAX_VALUE_BYTES)
        else:
            with open(place, "rb") as file:
                content = file.read(dht.MAX_VALUE_BYTES + 1)
    except OSError as error:
        raise _told(error, place) from error
    if len(content) > dht.MAX_VALUE_BYTES:
        raise InvalidArgument("the DHT takes values of up to 1 MiB: share the file instead (swarm share)")
    return content


def _write(place: str, content: bytes) -> None:
    """All or nothing: a file that is there stays until the new one is whole. Devices and pipes are written to."""
    path = os.path.realpath(place)
    is_file = os.path.isfile(path)
    part = f"{path}.{os.getpid()}.part" if is_file or not os.path.exists(path) else path
    try:
        with open(part, "wb") as file:
            file.write(content)
        if part != path:
            if is_file:
                shutil.copymode(path, part)
            os.replace(part, path)
    except OSError as error:
        if part != path:
            with suppress(OSError):
                os.unlink(part)
        raise _told(error, place) from error


def _told(error: OSError, place: str) -> LocalError:
    kinds: dict[type[OSError], type[LocalError]] = {FileNotFoundError: NotFound, PermissionError: NotAllowed}
    kind = DiskFull if error.errno in _FULL else kinds.get(type(error), LocalError)
    return kind(f"{place}: {error.strerror}")
