"""`swarm post`, `swarm listen`, `swarm route`: messages in a group, to all and to one.

What comes from others is escaped before it reaches a terminal; with `--json` each message is one line, so that
`swarm listen G --json | jq` works.
"""

from __future__ import annotations

import click

from cli import streams
from cli.complete import group_names
from cli.context import Settings, json_option, pass_settings, read_bytes
from cli.spans import Span
from cli.wording import group_label, short
from swarmd.control import messaging, schema
from swarmd.control.records import Event, Lost, Topic
from swarmd.core.errors import InvalidArgument, NotAllowed, NotFound
from swarmd.core.terminal import escape

_group_argument = click.argument("group", metavar="G", shell_complete=group_names)
_message_argument = click.argument("message", required=True)


@click.command("post")
@_group_argument
@_message_argument
@json_option
@pass_settings
def post_command(settings: Settings, group: str, message: str) -> None:
    """Tell all members of group G something, at most 64 KiB; `-` reads it from stdin.

    Members who are away hear of it when they come back within some minutes.
    """
    text, data = _read(message, messaging.MAX_POST_BYTES)
    with settings.connect() as client:
        posted = client.call(messaging.POST, messaging.PostParams(group=group, text=text, data=data))
    settings.emit(posted, posted.message_id)
    if posted.warning is not None:
        settings.say(f"swarm: {posted.warning}")


@click.command("listen")
@_group_argument
@click.option("--recent", is_flag=True, help="First what was posted in the last minutes.")
@json_option
@pass_settings
def listen_command(settings: Settings, group: str, recent: bool) -> None:
    """Print what is posted in group G, and what is sent to this node in it, until you interrupt it."""
    topics: list[Topic] = ["posts", "messages", "groups"]
    with settings.connect() as client, settings.connect() as feed:
        found = client.call(schema.GROUP_SHOW, schema.GroupParams(group=group))
        if not {"posting", "routing"} & set(found.capabilities):
            raise NotAllowed(
                "this group is for neither posting nor routing, so there is nothing to hear in it: that is chosen when"
                " it is created (group create --posting --routing)"
            )
        group_id = found.group_id
        events = feed.events(topics, streams.stdout_descriptor())
        known = client.call(messaging.POSTS, messaging.PostsParams(group=group_id)).posts if recent else []
        for post in known:
            _show(settings, "post", post)
        if settings.is_watched:
            settings.say("listening; Ctrl-C ends it")
        shown = {post.message_id for post in known}
        for event in events:
            if isinstance(event, Lost):
                settings.say(f"swarm: {event.count} messages came faster than they could be shown, and are lost here")
            elif event.topic == "groups":
                if event.name == "left" and event.data.group_id == group_id:
                    raise NotFound(f"this node is not in group {group_label(group_id, found.name)} any more")
            elif event.data.group_id == group_id and getattr(event.data, "message_id", None) not in shown:
                _show(settings, _kind(event), event.data)


@click.command("route")
@_group_argument
@click.argument("address")
@_message_argument
@click.option("--reply", is_flag=True, help="Wait for the answer of a program there, and print it.")
@click.option("--timeout", metavar="SECONDS", type=Span(min=0.1), default=10.0, show_default=True)
@json_option
@pass_settings
def route_command(settings: Settings, group: str, address: str, message: str, reply: bool, timeout: float) -> None:
    """Send a message to one member of group G, at most 32 KiB; `-` reads it from stdin.

    ADDRESS is a peer ID, or an address on the group's ring (64 hexadecimal digits), which stands for the member that
    is nearest to it. The message goes from member to member, and only the one that it is for can read it.
    """
    text, data = _read(message, messaging.MAX_MESSAGE_BYTES)
    params = messaging.RouteParams(
        group=group,
        address=address,
        text=text,
        data=data,
        reply=reply,
        timeout_s=timeout,
    )
    with settings.connect() as client:
        routed = client.call(messaging.ROUTE, params)
    hops = "1 hop" if routed.hops == 1 else f"{routed.hops} hops"
    done = f"delivered to {routed.peer_id} ({hops}, {routed.rtt_s * 1000:.0f} ms)"
    settings.emit(routed, _content(routed) if routed.replied else done)


def _read(message: str, limit: int) -> tuple[str | None, bytes | None]:
    """As `text`, or as `data` where it is no text. Refused here when it is too long, before all of it is read."""
    if message != "-":
        given = message.encode(errors="surrogateescape")
    else:
        given = read_bytes(limit)
    if len(given) > limit:
        raise InvalidArgument(f"the message is longer than {limit >> 10} KiB: share a file instead (swarm share)")
    try:
        return given.decode(), None
    except UnicodeDecodeError:
        return None, given


def _kind(event: Event) -> str:
    return "post" if event.topic == "posts" else "message"


def _show(settings: Settings, kind: str, message: messaging.Post | messaging.Message) -> None:
    if settings.json:
        settings.emit({"kind": kind, **_fields(message)}, "")
        return
    sender = short(message.author) if isinstance(message, messaging.Post) else f"{short(message.sender)} (to you)"
    settings.emit(message, f"{sender}: {_content(message)}")


def _fields(message: messaging.Post | messaging.Message) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


def _content(message: messaging.Post | messaging.Message | messaging.Routed) -> str:
    if message.text is not None:
        return escape(message.text.removesuffix("\n"))
    return f"({len(message.data or b'')} bytes, not text)"
