"""Group tags for announcements on a LAN, which members recognise and which tell others nothing.

    tag = HMAC-SHA256(discovery key, "swarmd beacon" + u64 epoch + nonce)[:10]

An announcement carries a fresh random nonce and a list of tags: one for each group, in random order, filled
up with random ones to a power of two (at least 4). To somebody without a group's discovery key all of it is
random, and new in every announcement, so that two announcements cannot be linked by it. (The announcing
address and port can; mDNS shows them.) The epoch, 15 minutes of wall time, bounds how long an announcement
that somebody recorded can be replayed; a replay gains a connection attempt and nothing more, since
membership is proved on the session.

Pure functions: no state, no clock. Not here: DNS records, sockets (`swarmd.discovery`).
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256

from swarmd.core.codec import Writer
from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import Rng

EPOCH_PERIOD = 900
"""Seconds. Clocks on a LAN may differ by as much and still find each other."""
NONCE_BYTES = 16
TAG_BYTES = 10
"""16 letters of base32; a chance match (2^-80 for each tag) would cost one connection attempt."""
MIN_TAGS = 4
MAX_TAGS = 64
"""640 bytes: with the nonce, base32 and DNS overhead one announcement still fits a packet of 1,400 bytes."""


def epoch_at(wall: float) -> int:
    """The number of the epoch that wall time, in seconds, lies in."""
    return max(0, int(wall // EPOCH_PERIOD))


def beacon_tag(discovery_key: bytes, epoch: int, nonce: bytes) -> bytes:
    """The tag of the group with this key, in this epoch, in the announcement with this nonce."""
    message = Writer().raw(b"swarmd beacon").u64(epoch).raw(nonce).bytes()
    return hmac.digest(discovery_key, message, sha256)[:TAG_BYTES]


def plan_tags(keys: Collection[bytes], epoch: int, nonce: bytes, rng: Rng) -> list[bytes]:
    """The tags to announce for groups with these discovery keys. Beyond `MAX_TAGS` a random choice of them:
    another one in the next epoch, so that every group has its turn."""
    chosen = rng.sample(sorted(keys), min(len(keys), MAX_TAGS))
    tags = [beacon_tag(key, epoch, nonce) for key in chosen]
    count = max(MIN_TAGS, 1 << (len(tags) - 1).bit_length()) if tags else MIN_TAGS
    tags += [rng.bytes(TAG_BYTES) for _ in range(count - len(tags))]
    rng.shuffle(tags)
    return tags


def match(tags: Iterable[bytes], nonce: bytes, keys: Mapping[GroupId, bytes], wall: float) -> frozenset[GroupId]:
    """The groups of ours (with their discovery keys) that an announcement names, now or an epoch to either side.

    RemoteError for an announcement that is none: wrong sizes, or more than `MAX_TAGS`.
    """
    announced = set()
    for number, tag in enumerate(tags):
        if number >= MAX_TAGS or len(tag) != TAG_BYTES:
            raise RemoteError(f"an announcement has at most {MAX_TAGS} tags of {TAG_BYTES} bytes")
        announced.add(bytes(tag))
    if len(nonce) != NONCE_BYTES:
        raise RemoteError(f"an announcement's nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    epoch = epoch_at(wall)
    epochs = range(max(0, epoch - 1), epoch + 2)
    return frozenset(
        group_id
        for group_id, key in keys.items()
        if any(beacon_tag(key, number, nonce) in announced for number in epochs)
    )
