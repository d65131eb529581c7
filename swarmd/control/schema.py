"""The control protocol: every method, what goes in, what comes out. The server, the clients and `swarm`
read this table.

What it is: frozen structs for parameters, results, progress and events, and `METHODS`, the table that joins
them to names. JSON keys are the field names; sizes are bytes, rates bytes a second, spans seconds (`_s`),
moments milliseconds since 1970 (`_at`), IDs base32 text.
Invariant: whatever decodes as a `Params` is within its bounds; an unknown parameter is refused, so that a
typing error is never taken for consent. Unknown keys in a result are ignored, so that a daemon may grow.
What it does not do: read, write or decide anything.

Errors: JSON-RPC error objects whose `data.code` is a code of `swarmd.core.errors`; each method's docstring
says which ones it has of its own. Any method may fail with `invalid`, `error` or `not_allowed`.
A call ends with its connection: when the caller goes away, the handler's task is cancelled. What the handler
had set going (a transfer) lives on; what only it was doing (hashing for `share`) stops.
A *reference* to a group is its name or its ID (or a prefix of the ID of 8 letters or more); to a transfer
its ID.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from swarmd.control import dht, messaging, objects, values
from swarmd.control.method import AbsolutePath, Method, NoParams, Params, Seconds, Text, TicketText
from swarmd.control.records import (
    Coverage,
    Data,
    DhtGlance,
    Event,
    Failure,
    Group,
    GroupCreated,
    GroupInfo,
    GroupJoined,
    GroupLeft,
    Groups,
    Invitation,
    Kind,
    Listing,
    Listings,
    Lost,
    Member,
    MemberChange,
    Members,
    Met,
    Metrics,
    Neighbour,
    NodeId,
    Notice,
    Order,
    Peer,
    PeerRemoved,
    Peers,
    Removed,
    Result,
    Share,
    ShareProgress,
    Source,
    Status,
    Subscribed,
    Topic,
    Traffic,
    Transfer,
    Transfers,
    TransferState,
    Unshared,
    Version,
    Waiting,
)

__all__ = [
    "Coverage",
    "Data",
    "DhtGlance",
    "Event",
    "Failure",
    "Group",
    "GroupCreated",
    "GroupInfo",
    "GroupJoined",
    "GroupLeft",
    "Groups",
    "Invitation",
    "Kind",
    "Listing",
    "Listings",
    "Lost",
    "Member",
    "MemberChange",
    "Members",
    "Method",
    "Met",
    "Metrics",
    "Neighbour",
    "NoParams",
    "NodeId",
    "Notice",
    "Order",
    "Params",
    "Peer",
    "PeerRemoved",
    "Peers",
    "Removed",
    "Result",
    "Share",
    "ShareProgress",
    "Source",
    "Status",
    "Subscribed",
    "Topic",
    "Traffic",
    "Transfer",
    "TransferState",
    "Transfers",
    "Unshared",
    "Version",
    "Waiting",
]
"""What of `records` belongs to this module too, so that who uses the protocol needs one import."""

MAX_REQUEST_BYTES = 1536 << 10
"""Longest line to the server: a value for the DHT, 1 MiB in base64; a path or a ticket many times over."""
MAX_RESPONSE_BYTES = 16 << 20
"""Longest line to a client: 10,000 shares of `ls` with long names, or a `transfer.read` of a MiB in
base64."""
LS_SHARES = 5_000
"""Most that one `ls` lists: 2 MB, and 2 ms to encode."""
MAX_READ_BYTES = 1 << 20
"""Most that one `transfer.read` returns."""

# --- the node ---------------------------------------------------------------------------------------------


# --- sharing ----------------------------------------------------------------------------------------------


class ShareParams(Params, frozen=True, kw_only=True):
    """`share`: publish a file or folder where it is.

    group: a reference; None makes a new unlisted group for this one share. name: what others see, by default
    the last part of the path. Progress: `ShareProgress`. Errors: not_found (path, group), not_allowed (path
    not readable; publishing is restricted), exists (another object has this name here), invalid (a name that
    cannot travel, a socket or device, a link out of the folder).
    """

    path: AbsolutePath
    group: Text | None = None
    name: Text | None = None


class UnshareParams(Params, frozen=True, kw_only=True):
    """`unshare`: stop publishing and serving `name` (or a content ID). The files stay.

    Errors: not_found; not_allowed when another peer shares it; conflict when the name is shared in several groups
    and `group` is None.
    """

    name: Text
    group: Text | None = None


class LsParams(Params, frozen=True, kw_only=True):
    """`ls`: the catalogue of one group (a reference) or of all; at most LS_SHARES shares in one answer.

    after: the `next` of another answer, to go on there. name: only names like this, in which `*` stands for any letters
    and `?` for one, upper or lower case alike. publisher: only what this peer shares (`you`, a peer ID, or its first 8
    letters or more). Errors: not_found.
    """

    group: Text | None = None
    after: Text | None = None
    name: Text | None = None
    publisher: Text | None = None


# --- transfers --------------------------------------------------------------------------------------------


class GetParams(Params, frozen=True, kw_only=True):
    """`get`: fetch an object; returns as soon as the transfer stands, `transfer.wait` waits for it.

    source: a ticket, a name in a catalogue, or a content ID. group: where to look for a name or content ID.
    target_dir: the folder that will hold NAME; None for a transfer that is only read with `transfer.read`:
    it belongs to its connection and goes, with its data, when that closes (or with `rm`).
    overwrite: replace an existing target at the end. background: what is sent for it, here and by those who give it,
    gives way to all other traffic; None: not, or as it is when it is there already. Asking again for
    what is on its way to the same place gives the same transfer (resumed when it was paused); so does asking for what
    a transfer has put there, if it is there unchanged.
    Errors: invalid (ticket), not_found (no such name, group, or target_dir), conflict (the name is ambiguous:
    the message lists the content IDs), exists (target, or on its way to elsewhere: the message says what to do),
    not_allowed (folder not writable, not a member), disk_full (known to be too small up front).
    """

    source: TicketText
    target_dir: AbsolutePath | None
    order: Order = "rarest"
    group: Text | None = None
    overwrite: bool = False
    background: bool | None = None


class WaitParams(Params, frozen=True, kw_only=True):
    """`transfer.wait`: until the transfer is done. Progress: `Transfer`, at once and then at most 5 a second.

    idle_timeout_s: give up when nothing has arrived for that long; None waits for ever. The transfer itself
    goes on. Errors: not_found (no such transfer); incomplete (paused by the user, or removed meanwhile);
    disk_full (it stands for want of room); integrity or another code when it failed; after idle_timeout_s
    no_peers when no peer that has any of it is connected, otherwise timed_out.
    """

    id: Text
    idle_timeout_s: Seconds | None = None


class ReadParams(Params, frozen=True, kw_only=True):
    """`transfer.read`: bytes of a single-file object, in order, as they arrive. Progress: `Transfer`.

    Waits until at least one byte at `offset` is there. Errors: as `transfer.wait`; invalid for a folder.
    """

    id: Text
    offset: Annotated[int, msgspec.Meta(ge=0, le=1 << 62, description="a whole number of bytes from 0 on")]
    length: Annotated[
        int, msgspec.Meta(ge=1, le=MAX_READ_BYTES, description="a whole number of bytes from 1 to 1,048,576")
    ] = MAX_READ_BYTES
    idle_timeout_s: Seconds | None = None


class TransfersParams(Params, frozen=True, kw_only=True):
    """`transfers`: all, or one (with its ID; error not_found), or those of a group."""

    id: Text | None = None
    group: Text | None = None


class TransferParams(Params, frozen=True, kw_only=True):
    """`pause` and `resume` (both idempotent). Errors: not_found; resume: exists or disk_full where it still
    stands."""

    id: Text


class RmParams(Params, frozen=True, kw_only=True):
    """`rm`: forget a transfer. delete_data: also delete what it has written (`.part`, or the finished
    object)."""

    id: Text
    delete_data: bool = False


# --- groups -----------------------------------------------------------------------------------------------


class GroupParams(Params, frozen=True, kw_only=True):
    """`group.show`, `group.members`: a reference. Errors: not_found."""

    group: Text


class GroupLeaveParams(Params, frozen=True, kw_only=True):
    """`group.leave`: stops sharing and fetching in the group and forgets its secret. Errors: not_found.

    Files stay; delete_data: but for what is half fetched in this group alone.
    """

    group: Text
    delete_data: bool = False


class GroupCreateParams(Params, frozen=True, kw_only=True):
    """`group.create`: a new group.

    replication, posting, routing: what it may be used for; all else is refused by its members. lan: members find each
    other on a local network. peers: members link with one another, and not only with those whom their tickets name.
    restrict_publish, restrict_post: only who holds an authorisation of this node may share, or post, in it.
    """

    name: Text
    restrict_publish: bool = False
    restrict_post: bool = False
    replication: bool = True
    posting: bool = False
    routing: bool = False
    lan: bool = True
    peers: bool = True


class GroupJoinParams(Params, frozen=True, kw_only=True):
    """`group.join`: with the ticket of a group or of a share in an unlisted one; joining twice is no
    error."""

    ticket: TicketText


class GroupListParams(Params, frozen=True, kw_only=True):
    """`group.list`. unlisted: also the groups of single shares."""

    unlisted: bool = False


class GroupInviteParams(Params, frozen=True, kw_only=True):
    """`group.invite`: a ticket that lets its reader in.

    publisher, poster: a peer ID; the ticket then also authorises that peer to publish, or to post, in a group where
    that is restricted, for `valid_s`. Errors: not_found; not_allowed when this node is not the group's authority;
    invalid when they are two peers.
    """

    group: Text
    publisher: Text | None = None
    poster: Text | None = None
    valid_s: Seconds | None = None


Places = Annotated[list[Text], msgspec.Meta(max_length=8, description="a list of at most 8 addresses")]


class GroupMeetParams(Params, frozen=True, kw_only=True):
    """`group.meet`: somebody is said to be a member, and at these addresses; without any, where the group knows, or
    finds it in the DHT. As with everybody, only its proof makes it one.

    connect: call it now, and wait for its proof; later it may be let go, as a neighbour that is not needed. Otherwise
    it is called when the group wants it. Errors: not_found (the group); invalid; unreachable; no_peers (who answers is
    not in the group).
    """

    group: Text
    peer_id: Text
    addresses: Places = []  # noqa: RUF012 msgspec makes a new one each time
    connect: bool = True


# --- peers ------------------------------------------------------------------------------------------------


class PeerAddParams(Params, frozen=True, kw_only=True):
    """`peer.add`: dial HOST:PORT and remember it. The first attempt is awaited; later ones go on in the
    background. HOST is an address or a name; of a name, its addresses are tried one after the other, and those
    that were tried are remembered.

    Errors: invalid (address); not_found (there is no such name); unreachable when the first attempt failed, or
    the name cannot be looked up; no_peers when nobody there shares a group.
    """

    address: Text


class PeerRmParams(Params, frozen=True, kw_only=True):
    """`peer.rm`: forget HOST:PORT as `peer.add` remembers it, all addresses of a name. A session that stands goes on.

    Errors: invalid (address); not_found (it is not remembered, or there is no such name); unreachable (the name cannot
    be looked up); not_allowed (it is in the configuration).
    """

    address: Text


# --- events -----------------------------------------------------------------------------------------------


class SubscribeParams(Params, frozen=True, kw_only=True):
    """`subscribe`: this connection also carries events of these topics from now on. Again: replaces the
    topics.

    Each event is a notification `event` {topic, name, data}. Who reads too slowly loses the oldest ones and
    is told by a notification `lost` {count} in their place. Answered by the server itself, there is no
    handler.
    """

    topics: Annotated[
        list[Topic],
        msgspec.Meta(
            min_length=1,
            max_length=16,
            description="a list of 1 to 16 topics: transfers, shares, groups, members, peers, daemon, posts, messages, "
            "coverage",
        ),
    ]


EVENTS: dict[Topic, type[Result]] = {
    "transfers": Transfer,  # added, changed, done, paused, failed, removed
    "shares": Listing,  # added, removed
    "groups": Group,  # joined, left
    "members": MemberChange,  # joined, left
    "peers": Peer,  # connected, disconnected
    "daemon": Notice,  # reloaded, stopping, warning
    "posts": messaging.Post,  # posted
    "messages": messaging.Message,  # sent, routed
    "coverage": Coverage,  # changed
}
"""What `data` of an event of a topic is."""


# --- the table --------------------------------------------------------------------------------------------

STATUS = Method("status", NoParams, Status)
ID = Method("id", NoParams, NodeId)
VERSION = Method("version", NoParams, Version)
SHARE = Method("share", ShareParams, Share, ShareProgress)
UNSHARE = Method("unshare", UnshareParams, Unshared)
LS = Method("ls", LsParams, Listings)
GET = Method("get", GetParams, Transfer)
WAIT = Method("transfer.wait", WaitParams, Transfer, Transfer)
READ = Method("transfer.read", ReadParams, Data, Transfer)
TRANSFERS = Method("transfers", TransfersParams, Transfers)
PAUSE = Method("pause", TransferParams, Transfer)
RESUME = Method("resume", TransferParams, Transfer)
RM = Method("rm", RmParams, Removed)
GROUP_CREATE = Method("group.create", GroupCreateParams, GroupCreated)
GROUP_JOIN = Method("group.join", GroupJoinParams, GroupJoined)
GROUP_LIST = Method("group.list", GroupListParams, Groups)
GROUP_SHOW = Method("group.show", GroupParams, GroupInfo)
GROUP_MEMBERS = Method("group.members", GroupParams, Members)
GROUP_INVITE = Method("group.invite", GroupInviteParams, Invitation)
GROUP_MEET = Method("group.meet", GroupMeetParams, Met)
GROUP_LEAVE = Method("group.leave", GroupLeaveParams, GroupLeft)
PEER_ADD = Method("peer.add", PeerAddParams, Peer)
PEER_RM = Method("peer.rm", PeerRmParams, PeerRemoved)
PEER_LIST = Method("peer.list", NoParams, Peers)
SUBSCRIBE = Method("subscribe", SubscribeParams, Subscribed)
METRICS = Method("metrics", NoParams, Metrics)

METHODS: dict[str, Method[Any, Any]] = {
    method.name: method
    for method in (
        *(STATUS, ID, VERSION),
        *(SHARE, UNSHARE, LS),
        *(GET, WAIT, READ, TRANSFERS, PAUSE, RESUME, RM),
        *(GROUP_CREATE, GROUP_JOIN, GROUP_LIST, GROUP_SHOW, GROUP_MEMBERS, GROUP_INVITE, GROUP_MEET, GROUP_LEAVE),
        *(PEER_ADD, PEER_RM, PEER_LIST, SUBSCRIBE, METRICS),
        *messaging.METHODS,
        *values.METHODS,
        *dht.METHODS,
        *objects.METHODS,
    )
}
"""Every method there is."""
