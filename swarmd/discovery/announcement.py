"""What a node says of itself on the local network, as the strings of a DNS TXT record.

    txtvers=1       version of this layout; another one is not understood
    n=<nonce>       16 random bytes, new in every announcement
    t0=<tags> ...   up to 64 tags of 10 bytes, 25 to a string (a string of a TXT record has at most 255 bytes)

A tag stands for one group, or is random filling. It is a keyed hash of the nonce with a key that only members
have, made above this layer (`groups.beacon`), which sees opaque bytes.

Invariant: what `encode` gives fits one multicast packet of 1,500 bytes with all other records; `decode`
accepts what `encode` gives, and raises RemoteError for everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from swarmd.core.errors import RemoteError

VERSION = b"1"
NONCE_BYTES = 16
TAG_BYTES = 10
MAX_TAGS = 64
"""680 bytes of text. RFC 6763 §6.2 wants a TXT record far below 1,300; more groups take turns (`announcer`)."""
_TAGS_IN_STRING = (255 - len("t0=")) // TAG_BYTES
_TAG_KEYS = tuple(f"t{i}".encode() for i in range(-(-MAX_TAGS // _TAGS_IN_STRING)))
MAX_STRINGS = 16
"""Strings of a TXT record that are looked at; we make at most five, and a later version may add some."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """A nonce and the tags made with it."""

    nonce: bytes
    tags: tuple[bytes, ...]

    def __post_init__(self) -> None:
        assert len(self.nonce) == NONCE_BYTES, "the nonce has another size"
        assert len(self.tags) <= MAX_TAGS, "more tags than fit one announcement"
        assert all(len(tag) == TAG_BYTES for tag in self.tags), "a tag has another size"


def encode(announcement: Announcement) -> dict[bytes, bytes]:
    """The strings of the TXT record, by their keys and in their order."""
    strings = {b"txtvers": VERSION, b"n": announcement.nonce}
    tags = announcement.tags
    for i, key in enumerate(_TAG_KEYS[: -(-len(tags) // _TAGS_IN_STRING)]):
        strings[key] = b"".join(tags[i * _TAGS_IN_STRING : (i + 1) * _TAGS_IN_STRING])
    return strings


def decode(strings: Mapping[bytes, bytes | None]) -> Announcement:
    """From a TXT record; RemoteError when it is not one of ours."""
    if len(strings) > MAX_STRINGS:
        raise RemoteError(f"an announcement has {len(strings)} strings; {MAX_STRINGS} are too many already")
    if strings.get(b"txtvers") != VERSION:
        raise RemoteError(f"an announcement of version {strings.get(b'txtvers')!r} is not understood")
    nonce = strings.get(b"n") or b""
    if len(nonce) != NONCE_BYTES:
        raise RemoteError(f"an announcement's nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    packed = b"".join(strings.get(key) or b"" for key in _TAG_KEYS)
    if len(packed) % TAG_BYTES or len(packed) > MAX_TAGS * TAG_BYTES:
        raise RemoteError(f"an announcement's tags have {len(packed)} bytes")
    tags = tuple(packed[i : i + TAG_BYTES] for i in range(0, len(packed), TAG_BYTES))
    return Announcement(bytes(nonce), tags)
