"""What the daemon answers and tells: the results, progress and events of the control protocol.

Invariant: JSON keys are the field names; sizes are bytes, rates bytes a second, spans seconds (`_s`), moments
milliseconds since 1970 (`_at`), IDs base32 text. Names come from strangers: whoever prints one escapes it
(`schema.escape`). Unknown keys are ignored when decoding, so that a daemon may grow.
What it does not do: say which method gives what; that is the table in `schema`, which re-exports all of this.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["file", "folder"]
Order = Literal["rarest", "lowest"]
Topic = Literal["transfers", "shares", "groups", "members", "peers", "daemon", "posts", "messages", "coverage"]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything the daemon answers or tells."""


# --- the node ---------------------------------------------------------------------------------------------


class Version(Result, frozen=True, kw_only=True):
    """`version`: the daemon's release."""

    version: str


class NodeId(Result, frozen=True, kw_only=True):
    """`id`: who this node is to others."""

    peer_id: str


class DhtGlance(Result, frozen=True, kw_only=True):
    """Of `status`: whether the node takes part in a DHT, in which kind, and how many nodes it knows there."""

    mode: Literal["private", "public", "off"]
    on: bool
    nodes: int


class Status(Result, frozen=True, kw_only=True):
    """`status`: the node at a glance. `sessions`, `groups`, `shares`, `transfers` are counts.

    `active`: every transfer that is not done, each with what it waits for. `background`: the IDs of the groups that are
    configured to give way to all other traffic; `yielding`: how many sessions have sent nothing but background data
    lately (those over TCP give way only where the kernel helps). `notes`: what the user should know and may mend (mDNS
    could not start, a shared file changed), one sentence each.
    """

    peer_id: str
    version: str
    pid: int
    uptime_s: float
    state_dir: str
    socket: str
    listen: list[str]
    mdns: bool
    sessions: int
    groups: int
    shares: int
    transfers: int
    download_rate: float
    upload_rate: float
    received_bytes: int
    sent_bytes: int
    download_limit: float | None
    upload_limit: float | None
    active: list[Transfer]
    notes: list[str]
    background: list[str] = []
    yielding: int = 0
    dht: DhtGlance | None = None


# --- sharing ----------------------------------------------------------------------------------------------


class Share(Result, frozen=True, kw_only=True):
    """`share`: what was published. With a group of its own the ticket is a secret that lets its reader in."""

    ticket: str
    content_id: str
    name: str
    size: int
    kind: Kind
    files: int
    path: str
    group_id: str
    group_name: str | None
    """None for the unlisted group of a single share."""


class ShareProgress(Result, frozen=True, kw_only=True):
    """How far a `share` is; at most 10 a second. Totals are None until the folder has been walked."""

    files: int
    total_files: int | None
    bytes: int
    total_bytes: int | None
    eta_s: float | None = None
    """To the end at the present pace; None while there is no telling."""


class Unshared(Result, frozen=True, kw_only=True):
    """`unshare`: what is no longer published."""

    name: str
    content_id: str
    group_id: str


class Listing(Result, frozen=True, kw_only=True):
    """One share of a group's catalogue. `path`: where it lies complete on this machine, if it does.

    `own` without a `path` is a share that this node does not serve as it was: its files have changed or are gone.
    """

    name: str
    content_id: str
    size: int
    kind: Kind
    group_id: str
    group_name: str | None
    publisher: str
    own: bool
    created_at: int
    path: str | None


class Listings(Result, frozen=True, kw_only=True, omit_defaults=True):
    """`ls`. All of it, oldest first in each group; or, where `next` says so, a part in no order."""

    shares: list[Listing]
    next: str | None = None
    """To be given as `after` for the part that follows."""


# --- transfers --------------------------------------------------------------------------------------------


TransferState = Literal["metadata", "downloading", "finishing", "done", "paused", "failed"]
"""metadata: the list of files is not complete yet. downloading: data may flow. finishing: all there, being
synced and named. paused: by the user or, with `waiting.code` disk_full, until there is room. failed: see
`error`."""


class Waiting(Result, frozen=True, kw_only=True):
    """Why a transfer stands still. Set as soon as nothing arrives; `since_s` tells a hiccup from a halt.

    code: no_members, nobody_has_it, missing_chunks, metadata, slow_peers, rate_limited, paused, disk_full,
    or another short word. text: one sentence for a human, names the cause and, where there is one, the next
    step. reached: with no_members, some addresses at which nodes answered that are not in the group.
    """

    code: str
    text: str
    since_s: float
    reached: list[str] = []


class Failure(Result, frozen=True, kw_only=True):
    """An error as data: a code of `swarmd.core.errors` and its message."""

    code: str
    message: str


class Source(Result, frozen=True, kw_only=True):
    """What one peer gave to a transfer."""

    peer_id: str
    address: str | None
    received_bytes: int


class Transfer(Result, frozen=True, kw_only=True):
    """One download. Unknown values are None (name and size before the first metadata).

    peers: connected members that have some of it. members: connected members of its group.
    have_bytes: verified and stored, of which `reused_bytes` came from this machine; received_bytes: payload
    from peers. background: it gives way to all other traffic, by itself or as all of its groups do. sources: only in
    answers to `transfers` and `transfer.wait`, empty in progress and events.
    """

    id: str
    content_id: str
    name: str | None
    kind: Kind | None
    group_id: str
    group_name: str | None
    target: str | None
    state: TransferState
    order: Order
    size: int | None
    have_bytes: int
    reused_bytes: int
    received_bytes: int
    sent_bytes: int
    rate: float
    eta_s: float | None
    peers: int
    members: int
    created_at: int
    background: bool = False
    waiting: Waiting | None = None
    error: Failure | None = None
    sources: list[Source] = []


class Data(Result, frozen=True, kw_only=True):
    """`transfer.read`: up to `length` verified bytes (base64 in JSON); empty at the end of the file only."""

    data: bytes
    size: int


class Transfers(Result, frozen=True, kw_only=True):
    """`transfers`: oldest first."""

    transfers: list[Transfer]


class Removed(Result, frozen=True, kw_only=True):
    """`rm`: left: the path that stays on disk, if any."""

    id: str
    name: str | None
    left: str | None


# --- groups -----------------------------------------------------------------------------------------------


class Group(Result, frozen=True, kw_only=True):
    """One group of ours. members: known ones besides us; connected: those with a session now. background: what is sent
    in it gives way to all other traffic (`[limits.groups]`)."""

    group_id: str
    name: str | None
    unlisted: bool
    capabilities: list[str]
    restrict_publish: bool
    authority: bool
    """True when this node holds the key that authorises publishers."""
    may_publish: bool
    members: int
    connected: int
    shares: int
    joined_at: int
    background: bool = False


class Traffic(Result, frozen=True, kw_only=True):
    """What has gone through a group for one of the things that it is for: since it was joined or the daemon started,
    and a second, over the last seconds. Data is what users and programs send, control what it takes to bring it."""

    data_received_bytes: int
    data_sent_bytes: int
    control_received_bytes: int
    control_sent_bytes: int
    data_received_rate: float
    data_sent_rate: float
    control_received_rate: float
    control_sent_rate: float


class Neighbour(Result, frozen=True, kw_only=True):
    """A member with whom there is a link. reason: why this node keeps it; None when only the other one does. path:
    transport and address."""

    peer_id: str
    address: str
    path: str | None
    latency_s: float | None
    linked_s: float
    reason: str | None


class GroupInfo(Group, frozen=True, kw_only=True):
    """`group.show`: how a group stands. address: this node's place on the ring (64 hexadecimal digits); coverage: the
    addresses it is nearest to among its neighbours. traffic: by `replication`, `posting`, `routing`,
    `providers`. refused: how many catalogue records of members were not taken since the start, by why: `quota` (of one
    publisher), `full`, `expired`, `rolled_back`, `false` (forged or broken). refused_of: of whom most were beyond a
    bound. notes: what its user should know, as that clocks differ."""

    restrict_post: bool
    may_post: bool = False
    address: str
    coverage_from: str
    coverage_to: str
    estimated_members: int
    receive_mode: Literal["exact", "nearest"] | None
    neighbours: list[Neighbour]
    traffic: dict[str, Traffic]
    refused: dict[str, int] = {}
    refused_of: dict[str, int] = {}
    notes: list[str] = []


class GroupCreated(Group, frozen=True, kw_only=True):
    """`group.create`: the group and the ticket that lets others in (a secret)."""

    ticket: str


class GroupJoined(Group, frozen=True, kw_only=True):
    """`group.join`. warning: what may not be as its user thinks: it is another group than one of the same name, and in
    what; or the ticket's authorisation does less than expected."""

    warning: str | None = None


class Groups(Result, frozen=True, kw_only=True):
    """`group.list`."""

    groups: list[Group]


class Member(Result, frozen=True, kw_only=True):
    """One member of a group. `own` is this node. heard_s: how long ago it was last heard of."""

    peer_id: str
    own: bool
    connected: bool
    addresses: list[str]
    heard_s: float | None


class Members(Result, frozen=True, kw_only=True):
    """`group.members`."""

    members: list[Member]


class Invitation(Result, frozen=True, kw_only=True):
    """`group.invite`: the ticket is a secret."""

    ticket: str
    group_id: str
    name: str | None


class Met(Result, frozen=True, kw_only=True):
    """`group.meet`: whether that member is a neighbour now."""

    connected: bool


class GroupLeft(Result, frozen=True, kw_only=True):
    """`group.leave`. left: paths of what was half fetched in it alone, and stays on the disk."""

    group_id: str
    name: str | None
    left: list[str] = []


# --- peers ------------------------------------------------------------------------------------------------


class Peer(Result, frozen=True, kw_only=True):
    """A node we have a session with or dial. Group names are None-free: an unlisted group shows its short
    ID. error: why the last call led to nothing; with state connected, that no group is shared with it."""

    peer_id: str | None
    address: str
    state: Literal["connected", "dialing", "waiting"]
    transport: str | None = None
    inbound: bool = False
    groups: list[str] = []
    connected_s: float | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    rtt_s: float | None = None
    redial_s: float | None = None
    error: str | None = None


class PeerRemoved(Result, frozen=True, kw_only=True):
    """`peer.rm`: the addresses that are called no more."""

    addresses: list[str]


class Peers(Result, frozen=True, kw_only=True):
    """`peer.list`."""

    peers: list[Peer]


# --- events -----------------------------------------------------------------------------------------------


class Subscribed(Result, frozen=True, kw_only=True):
    """`subscribe`."""

    topics: list[Topic]


class MemberChange(Result, frozen=True, kw_only=True):
    """Events `members`: joined, left (the link to that member, not its membership)."""

    group_id: str
    peer_id: str
    address: str | None


class Coverage(Result, frozen=True, kw_only=True):
    """Events `coverage`: changed. The addresses of the ring that this node is nearest to among its neighbours, in a
    group for routing: from one to the other, upwards."""

    group_id: str
    coverage_from: str
    coverage_to: str


class Metrics(Result, frozen=True, kw_only=True):
    """`metrics`: counters and gauges in the text format of Prometheus."""

    text: str


class Notice(Result, frozen=True, kw_only=True):
    """Events `daemon`: reloaded, stopping, warning."""

    text: str


class Event(Result, frozen=True, kw_only=True):
    """One event as a client sees it: `data` is of the type that EVENTS has for the topic."""

    topic: Topic
    name: str
    data: Any


class Lost(Result, frozen=True, kw_only=True):
    """In the place of `count` events that were dropped because they were not read in time."""

    count: int
