"""Proving membership on a session, and finding out in the same step which groups two peers share.

For each of its groups a side sends

    tag = HMAC-SHA256(join key, "swarmd join" + role (1 initiator, 2 responder) + handshake hash)

The other side computes what it expects for its own groups: an equal tag proves that the sender knows the
group's secret, and names the group. Since the handshake hash belongs to this session alone and the role to
one direction, a tag can neither be replayed on another session, nor relayed, nor sent back.

What the peer does not learn: any group it is not in itself. To it such a tag is random, it is sent in a
random place, and the list is filled up with random tags to a power of two (at least 4), so that not even the
number shows. Later changes are filled up to 4 as well; that there was a change does show.

In: groups with their join keys, the peer's messages, the time. Out: messages; events Joined, Left, Denied.
    u8 1 (announce) | varint n | n x 32 bytes     I am in the groups of these tags
    u8 2 (withdraw) | varint n | n x 32 bytes     no longer; tags that are not known are ignored

States: waiting until a group is joined; joined; waiting again when the last one is left; denied for good
after `PROOF_TIMEOUT` of waiting. Joined(g) comes when both sides have announced g, on each side for itself.

Invariant: `joined` holds exactly the groups of ours whose expected tag the peer has announced and not
withdrawn. Not here: what members then say to each other (`groups.group`), and closing the session.
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from swarmd.core.codec import Reader, Writer
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import Rng

TAG_BYTES = 32
PROOF_TIMEOUT = 10.0
"""Seconds until a session that has proved nothing is denied (design §5)."""
MAX_TAGS = 4096
"""Of each side on one session: 128 KiB kept for what may become a match when we join a further group."""
TAGS_PER_MESSAGE = 1024
"""32 KiB: well inside a control message."""
MIN_TAGS = 4
"""What a list is filled up to at least."""
_ANNOUNCE = 1
_WITHDRAW = 2
_INITIATOR = b"\x01"
_RESPONDER = b"\x02"


@dataclass(frozen=True, slots=True)
class Joined:
    """Both sides have proved that they are in this group."""

    group_id: GroupId


@dataclass(frozen=True, slots=True)
class Left:
    """The peer, or this node, is no longer in this group."""

    group_id: GroupId


@dataclass(frozen=True, slots=True)
class Denied:
    """Nothing was proved in time: the driver closes the session. Comes once."""


Event = Joined | Left | Denied


@dataclass(frozen=True, slots=True)
class _Tags:
    """One group's: what we announce, and what the peer would."""

    own: bytes
    expected: bytes


class JoinExchange:
    """One side of one session. `handshake_hash` is the session's channel binding."""

    def __init__(
        self, handshake_hash: bytes, is_initiator: bool, groups: Mapping[GroupId, bytes], rng: Rng, now: float
    ) -> None:
        self._handshake_hash = handshake_hash
        self._own_role, self._peer_role = (_INITIATOR, _RESPONDER) if is_initiator else (_RESPONDER, _INITIATOR)
        self._rng = rng
        self._tags: dict[GroupId, _Tags] = {}
        self._expected: dict[bytes, GroupId] = {}
        self._padding: list[bytes] = []
        self._announced_by_peer: set[bytes] = set()
        self._joined: set[GroupId] = set()
        self._messages: deque[bytes] = deque()
        self._events: deque[Event] = deque()
        self._deny_at: float | None = now + PROOF_TIMEOUT
        self._is_denied = False
        for group_id, key in groups.items():
            self._know(group_id, key)
        own = [tags.own for tags in self._tags.values()]
        self._say(_ANNOUNCE, own + self._pad(max(MIN_TAGS, 1 << (len(own) - 1).bit_length()) - len(own)))

    @property
    def joined(self) -> frozenset[GroupId]:
        """The groups that both sides have proved."""
        return frozenset(self._joined)

    def add_group(self, group_id: GroupId, join_key: bytes, now: float) -> None:
        """This node joined a group: tell the peer. InvalidArgument beyond `MAX_TAGS` groups."""
        if group_id in self._tags:
            return
        tags = self._know(group_id, join_key)
        room = MAX_TAGS - len(self._tags) - len(self._padding)
        if room < 0:
            self._say(_WITHDRAW, [self._padding.pop()])
        self._say(_ANNOUNCE, [tags.own, *self._pad(min(MIN_TAGS - 1, max(room, 0)))])
        if tags.expected in self._announced_by_peer:
            self._join(group_id, now)

    def remove_group(self, group_id: GroupId, now: float) -> None:
        """This node left a group: tell the peer, one true tag among random ones."""
        tags = self._tags.pop(group_id, None)
        if tags is None:
            return
        del self._expected[tags.expected]
        decoys = [self._padding.pop() for _ in range(min(MIN_TAGS - 1, len(self._padding)))]
        decoys += [self._rng.bytes(TAG_BYTES) for _ in range(MIN_TAGS - 1 - len(decoys))]
        self._say(_WITHDRAW, [tags.own, *decoys])
        self._leave(group_id, now)

    def receive_message(self, data: bytes | memoryview, now: float) -> None:
        """One message of the peer's; RemoteError when it is malformed or says too much."""
        reader = Reader(data)
        kind = reader.u8()
        tags = [reader.raw(TAG_BYTES) for _ in range(reader.varint(TAGS_PER_MESSAGE))]
        reader.end()
        if kind == _ANNOUNCE:
            self._receive_announced(tags, now)
        elif kind == _WITHDRAW:
            self._receive_withdrawn(tags, now)
        else:
            raise RemoteError(f"a join message of the unknown kind {kind}")

    def messages_to_send(self) -> list[bytes]:
        """What the peer must be sent, in this order."""
        messages = list(self._messages)
        self._messages.clear()
        return messages

    def next_event(self) -> Event | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        return self._deny_at

    def handle_timer(self, now: float) -> None:
        if self._deny_at is not None and now >= self._deny_at:
            self._deny_at = None
            self._is_denied = True
            self._events.append(Denied())

    def _receive_announced(self, tags: list[bytes], now: float) -> None:
        before = len(self._announced_by_peer)
        if before + len(tags) > MAX_TAGS:
            raise RemoteError(f"a peer announces more than {MAX_TAGS} groups on one session")
        self._announced_by_peer.update(tags)
        if len(self._announced_by_peer) != before + len(tags):
            raise RemoteError("a peer announces a group twice")
        for tag in tags:
            if (group_id := self._expected.get(tag)) is not None:
                self._join(group_id, now)

    def _receive_withdrawn(self, tags: list[bytes], now: float) -> None:
        self._announced_by_peer.difference_update(tags)
        for tag in tags:
            if (group_id := self._expected.get(tag)) is not None:
                self._leave(group_id, now)

    def _join(self, group_id: GroupId, now: float) -> None:
        if self._is_denied:
            return
        self._joined.add(group_id)
        self._deny_at = None
        self._events.append(Joined(group_id))

    def _leave(self, group_id: GroupId, now: float) -> None:
        if group_id not in self._joined:
            return
        self._joined.discard(group_id)
        self._events.append(Left(group_id))
        if not self._joined:
            self._deny_at = now + PROOF_TIMEOUT

    def _know(self, group_id: GroupId, join_key: bytes) -> _Tags:
        if len(self._tags) >= MAX_TAGS:
            raise InvalidArgument(f"a node can be in at most {MAX_TAGS} groups")
        tags = _Tags(self._tag(join_key, self._own_role), self._tag(join_key, self._peer_role))
        self._tags[group_id] = tags
        self._expected[tags.expected] = group_id
        return tags

    def _tag(self, join_key: bytes, role: bytes) -> bytes:
        return hmac.digest(join_key, b"swarmd join" + role + self._handshake_hash, sha256)

    def _pad(self, count: int) -> list[bytes]:
        """Random tags, remembered so that they can be withdrawn beside a true one."""
        padding = [self._rng.bytes(TAG_BYTES) for _ in range(count)]
        self._padding += padding
        return padding

    def _say(self, kind: int, tags: Iterable[bytes]) -> None:
        """Queue the tags in a random order, in as many messages as they need."""
        shuffled = list(tags)
        self._rng.shuffle(shuffled)
        for start in range(0, len(shuffled), TAGS_PER_MESSAGE):
            part = shuffled[start : start + TAGS_PER_MESSAGE]
            self._messages.append(Writer().u8(kind).varint(len(part)).raw(b"".join(part)).bytes())
