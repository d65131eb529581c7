"""`swarm group ...`: create, join, list, show, members, invite, leave."""

from __future__ import annotations

import click

from cli.complete import group_names
from cli.context import Settings, json_option, pass_settings, read_ticket
from cli.qr import show_ticket
from cli.spans import Span
from cli.wording import count, duration, group_label, rate, short, table
from swarmd.control import schema
from swarmd.control.records import Group, GroupInfo, Member, Neighbour
from swarmd.core.terminal import escape

_group_argument = click.argument("group", metavar="G", shell_complete=group_names)


@click.group("group")
@json_option
def group_command() -> None:
    """Create, join, show and leave groups. G is a group's name or its ID."""


@group_command.command("create")
@click.argument("name")
@click.option("--posting", is_flag=True, help="Members may post messages to all (swarm post, swarm listen).")
@click.option("--routing", is_flag=True, help="Members may send messages to one another (swarm route).")
@click.option("--no-lan", is_flag=True, help="Members do not announce themselves on their local networks.")
@click.option("--no-peers", is_flag=True, help="Members link only with those whom their tickets name.")
@click.option("--no-replication", is_flag=True, help="Nothing can be shared in it.")
@click.option("--restrict-publish", is_flag=True, help="Only those whom you authorise may share in it.")
@click.option("--restrict-post", is_flag=True, help="Only those whom you authorise may post in it.")
@json_option
@pass_settings
def create(
    settings: Settings,
    name: str,
    posting: bool,
    routing: bool,
    no_lan: bool,
    no_peers: bool,
    no_replication: bool,
    restrict_publish: bool,
    restrict_post: bool,
) -> None:
    """Make a new group and print the ticket that lets others in. What it is for is chosen now, and for good."""
    params = schema.GroupCreateParams(
        name=name,
        posting=posting,
        routing=routing,
        replication=not no_replication,
        lan=not no_lan,
        peers=not no_peers,
        restrict_publish=restrict_publish,
        restrict_post=restrict_post,
    )
    with settings.connect() as client:
        created = client.call(schema.GROUP_CREATE, params)
    settings.emit(created, created.ticket)
    _explain(settings, created.ticket)


@group_command.command("join")
@click.argument("ticket")
@json_option
@pass_settings
def join(settings: Settings, ticket: str) -> None:
    """Become a member with a ticket; `-` reads it from stdin."""
    params = schema.GroupJoinParams(ticket=read_ticket(ticket))
    with settings.connect() as client:
        group = client.call(schema.GROUP_JOIN, params)
    if group.warning is not None:
        settings.say(f"swarm: {group.warning}")
    settings.emit(group, f"joined {group_label(group.group_id, group.name)}")


@group_command.command("list")
@click.option("--unlisted", is_flag=True, help="Also the groups that were made for a single share.")
@json_option
@pass_settings
def list_groups(settings: Settings, unlisted: bool) -> None:
    """List your groups."""
    with settings.connect() as client:
        found = client.call(schema.GROUP_LIST, schema.GroupListParams(unlisted=unlisted))
    header = ("NAME", "ID", "MEMBERS", "CONNECTED", "SHARES")
    settings.emit(found, table(header, map(_row, found.groups), "MEMBERS CONNECTED SHARES", "NAME", settings.width))
    if not found.groups and settings.is_watched:
        settings.say("no groups")


def _row(group: Group) -> tuple[str, ...]:
    label = group_label(group.group_id, group.name)
    return label, short(group.group_id), str(group.members), str(group.connected), str(group.shares)


@group_command.command("show")
@_group_argument
@json_option
@pass_settings
def show(settings: Settings, group: str) -> None:
    """Show what a group is and how it stands."""
    with settings.connect() as client:
        found = client.call(schema.GROUP_SHOW, schema.GroupParams(group=group))
    settings.emit(found, _group_text(found))


def _neighbour_row(neighbour: Neighbour) -> tuple[str, ...]:
    latency = f"{neighbour.latency_s * 1000:.1f} ms" if neighbour.latency_s is not None else ""
    path = escape(neighbour.path or "")
    return short(neighbour.peer_id), neighbour.reason or "theirs", latency, duration(neighbour.linked_s), path


def _group_text(group: GroupInfo) -> str:
    if "replication" not in group.capabilities:
        publishing = "nothing can be shared in it"
    elif not group.restrict_publish:
        publishing = "every member may share"
    elif group.authority:
        publishing = "only those whom you authorise may share (swarm group invite --publisher)"
    else:
        publishing = "restricted, you may share" if group.may_publish else "restricted, you may not share"
    return "\n".join(
        [
            f"name        {escape(group.name) if group.name is not None else '(of a single share)'}",
            f"ID          {group.group_id}",
            f"members     {count(group.members, 'other')} known, {group.connected} connected",
            f"shares      {group.shares}",
            f"offers      {escape(', '.join(group.capabilities)) or 'nothing'}",
            f"publishing  {publishing}",
            *_posting_lines(group),
            f"estimated   {count(group.estimated_members, 'member')}",
            f"address     {group.address}",
            *_refused_lines(group),
            *(f"note        {escape(note)}" for note in group.notes),
            *_traffic_lines(group),
            "",
            table(
                ("NEIGHBOUR", "REASON", "LATENCY", "LINKED", "PATH"),
                map(_neighbour_row, group.neighbours),
                "LATENCY LINKED",
                "PATH",
                None,
            ),
        ]
    ).rstrip()


def _posting_lines(group: GroupInfo) -> list[str]:
    if "posting" not in group.capabilities:
        return []
    if not group.restrict_post:
        who = "every member may post"
    elif group.authority:
        who = "only those whom you authorise may post (swarm group invite --poster)"
    else:
        who = "restricted, you may post" if group.may_post else "restricted, you may not post"
    return [f"posts       {who}"]


def _refused_lines(group: GroupInfo) -> list[str]:
    """Records of others that were not taken, if there were any."""
    reasons = [f"{number} {escape(why)}" for why, number in group.refused.items() if number]
    return (
        [f"refused     {count(sum(group.refused.values()), 'share record')}: {', '.join(reasons)}"] if reasons else []
    )


def _traffic_lines(group: GroupInfo) -> list[str]:
    return [
        f"{service:11} {rate(flow.data_received_rate)} in, {rate(flow.data_sent_rate)} out;"
        f" control {rate(flow.control_received_rate)} in, {rate(flow.control_sent_rate)} out"
        for service, flow in group.traffic.items()
    ]


@group_command.command("members")
@_group_argument
@json_option
@pass_settings
def members(settings: Settings, group: str) -> None:
    """List the known members of a group."""
    with settings.connect() as client:
        found = client.call(schema.GROUP_MEMBERS, schema.GroupParams(group=group))
    header = ("PEER", "STATE", "HEARD", "ADDRESSES")
    settings.emit(found, table(header, map(_member_row, found.members), "", "ADDRESSES", settings.width))


def _member_row(member: Member) -> tuple[str, ...]:
    state = "you" if member.own else "connected" if member.connected else "away"
    heard = f"{duration(member.heard_s)} ago" if member.heard_s is not None else ""
    return member.peer_id, state, heard, escape(" ".join(member.addresses))


@group_command.command("invite")
@_group_argument
@click.option("--publisher", metavar="PEER-ID", help="Also authorise this peer to share, where that is restricted.")
@click.option("--poster", metavar="PEER-ID", help="Also authorise this peer to post, where that is restricted.")
@click.option("--valid", metavar="DAYS", type=Span(min=0, min_open=True), help="How long the authorisation holds.")
@json_option
@pass_settings
def invite(settings: Settings, group: str, publisher: str | None, poster: str | None, valid: float | None) -> None:
    """Print a ticket that lets its reader into a group. It is a secret."""
    if valid is not None and publisher is poster is None:
        raise click.UsageError("--valid is of an authorisation (--publisher, --poster); a membership does not expire")
    seconds = valid * 86400 if valid is not None else None
    params = schema.GroupInviteParams(group=group, publisher=publisher, poster=poster, valid_s=seconds)
    with settings.connect() as client:
        invitation = client.call(schema.GROUP_INVITE, params)
    settings.emit(invitation, invitation.ticket)
    _explain(settings, invitation.ticket)


def _explain(settings: Settings, ticket: str) -> None:
    if settings.is_watched:
        show_ticket(settings, ticket)
        settings.say("Whoever has the ticket becomes a member with:", "", f"  swarm group join {ticket}", "")


@group_command.command("leave")
@_group_argument
@click.option("--delete-data", is_flag=True, help="Also delete what is half fetched in this group alone.")
@json_option
@pass_settings
def leave(settings: Settings, group: str, delete_data: bool) -> None:
    """Leave a group: stop sharing and fetching in it, forget its secret. Files stay."""
    with settings.connect() as client:
        left = client.call(schema.GROUP_LEAVE, schema.GroupLeaveParams(group=group, delete_data=delete_data))
    settings.emit(left, f"left {group_label(left.group_id, left.name)}")
    for path in left.left:
        settings.say(f"{escape(path)} is not complete and stays: delete it, or move it away before you get that again")
