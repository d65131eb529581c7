"""How a download stands, and why it stands still: plain data for `swarm status`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from swarmd.core.ids import GroupId, PeerId


class Waiting(Enum):
    """What a download waits for. The values are the words of the control interface."""

    NO_MEMBERS = "no_members"
    """Nobody of its groups is connected."""
    NOBODY_HAS_IT = "nobody_has_it"
    """Members are connected, and none has anything of it."""
    MISSING_CHUNKS = "missing_chunks"
    """What is still lacking, nobody connected has."""
    METADATA = "metadata"
    """The list of files or the hashes are on their way."""
    SLOW_PEERS = "slow_peers"
    """Everything useful has been asked for, and does not come."""
    RATE_LIMITED = "rate_limited"
    """Our own limit."""
    PAUSED = "paused"
    DISK = "disk_full"
    """The disk did not take what was to be written."""


@dataclass(frozen=True, slots=True)
class Source:
    """What one peer gave and took."""

    group: GroupId
    peer: PeerId
    received_bytes: int
    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Progress:
    """One object. Numbers of chunks and bytes are None before the root is here.

    have_*: verified and stored. open_bytes: asked for or received, not stored yet. received_bytes: payload that came,
    wasted_bytes the part of it that came twice or too late. members: connected members of its groups; peers: those of
    them that have some of it. missing: how many of the lacking chunks no connected peer has.
    """

    n_chunks: int | None
    total_bytes: int | None
    have_chunks: int
    have_bytes: int
    open_bytes: int
    received_bytes: int
    wasted_bytes: int
    sent_bytes: int
    rate: float
    members: int
    peers: int
    missing: int
    is_complete: bool
    waiting: Waiting | None
    sources: tuple[Source, ...]
