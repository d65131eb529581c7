"""What `swarm dht put`, `get`, `rm` and `list` do with `--group`: values that members of a group keep for each other.

A value goes to stdout byte by byte, as it was put; only a terminal gets it escaped.
"""

from __future__ import annotations

import sys

from cli.context import Settings, read_bytes
from cli.wording import count, group_label, short, size, table
from swarmd.control import values
from swarmd.core.errors import InvalidArgument
from swarmd.core.terminal import escape


def put_value(settings: Settings, group: str, key: str, value: str) -> None:
    """`swarm dht put --group G KEY VALUE`; VALUE `-` is read from stdin."""
    given = read_bytes(values.MAX_VALUE_BYTES) if value == "-" else value.encode(errors="surrogateescape")
    if len(given) > values.MAX_VALUE_BYTES:
        raise InvalidArgument(
            f"a group's value has at most {values.MAX_VALUE_BYTES:,} bytes (64 KiB): share a file instead"
            " (swarm share --group)"
        )
    try:
        text, data = given.decode(), None
    except UnicodeDecodeError:
        text, data = None, given
    with settings.connect() as client:
        done = client.call(values.PUT_VALUE, values.PutValueParams(group=group, key=key, text=text, data=data))
    label = group_label(done.group_id, done.group_name)
    settings.emit(done, f"{escape(done.key)} in {label}: on {count(done.copies, 'node')}")


def get_value(settings: Settings, group: str, key: str) -> None:
    """`swarm dht get --group G KEY`."""
    with settings.connect() as client:
        value = client.call(values.GET_VALUE, values.GetValueParams(group=group, key=key))
    content = value.data or b"" if value.text is None else value.text.encode()
    if settings.json or sys.stdout.isatty():
        settings.emit(value, _shown(value))
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


def remove_value(settings: Settings, group: str, key: str) -> None:
    """`swarm dht rm --group G KEY`."""
    with settings.connect() as client:
        done = client.call(values.REMOVE_VALUE, values.RemoveValueParams(group=group, key=key))
    label = group_label(done.group_id, done.group_name)
    settings.emit(
        done,
        f"{escape(done.key)} is gone from {label}: {count(done.copies, 'node')} know{'s' if done.copies == 1 else ''}",
    )


def list_values(settings: Settings, group: str | None) -> None:
    """`swarm dht list [--group G]`: what this node keeps alive."""
    with settings.connect() as client:
        found = client.call(values.LIST_VALUES, values.ListValuesParams(group=group))
    rows = [
        (escape(each.key), group_label(each.group_id, each.group_name), short(each.author), _shown(each))
        for each in found.values
    ]
    settings.emit(found, table(("KEY", "GROUP", "AUTHOR", "VALUE"), rows, "", "VALUE", settings.width))


def _shown(value: values.GroupValue) -> str:
    if value.text is not None:
        return escape(value.text.removesuffix("\n"))
    return f"({size(value.size)})" if value.data is None else f"({value.size} bytes, not text)"
