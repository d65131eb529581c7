"""The 32-byte names of peers, groups and objects.

Invariant: an `Id` is always exactly 32 bytes, and has exactly one text form: 52 letters of lower-case
base32 without padding (RFC 4648 §6). `Id.parse` also takes upper case, since people retype these.

An `Id` is a `bytes`: it goes into messages, dict keys and SQL parameters as it is. Two ids of different
kinds with the same bytes are equal at run time; the type checker is what keeps the kinds apart.
"""

from __future__ import annotations

import base64
import binascii
from typing import ClassVar, Self

from swarmd.core.errors import InvalidArgument

ID_BYTES = 32
TEXT_LETTERS = 52
"""ceil(256 / 5): the last letter carries one bit, its other four are zero."""
SHORT_LETTERS = 8
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
"""Two letters for each ten bits: twice as fast as `base64`, which a list of 100,000 shares asks for as often."""
_SHIFTS = range(5 * (TEXT_LETTERS - 2), -1, -10)


class Id(bytes):
    """32 bytes that name something. ValueError for any other length."""

    __slots__ = ()
    _NAME: ClassVar[str] = "ID"
    """What users call it."""

    def __new__(cls, value: bytes | bytearray | memoryview) -> Self:
        self = super().__new__(cls, value)
        if len(self) != ID_BYTES:
            raise ValueError(f"{cls.__name__} takes {ID_BYTES} bytes, not {len(self)}")
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """The id that `text` (52 base32 letters) names; InvalidArgument when it names none."""
        if len(text) != TEXT_LETTERS or not text.isascii():
            raise InvalidArgument(f"not a {cls._NAME}: it takes {TEXT_LETTERS} letters of base32 (a-z, 2-7)")
        try:
            value = base64.b32decode(text.upper() + "=" * 4)
        except binascii.Error:
            raise InvalidArgument(f"not a {cls._NAME}: base32 has only the letters a-z and 2-7") from None
        parsed = cls(value)
        if str(parsed) != text.lower():
            raise InvalidArgument(f"not a {cls._NAME}: the last letter is mistyped")
        return parsed

    @property
    def short(self) -> str:
        """The first 8 letters: enough for people to tell peers apart, never enough to trust."""
        return str(self)[:SHORT_LETTERS]

    def __str__(self) -> str:
        number = int.from_bytes(self, "big") << 4
        return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.short})"


class PeerId(Id):
    """SHA-256 of a node's certificate."""

    __slots__ = ()
    _NAME = "peer ID"


class GroupId(Id):
    """SHA-256 of a groupspec's identity part."""

    __slots__ = ()
    _NAME = "group ID"


class ContentId(Id):
    """BLAKE3 of a manifest's root."""

    __slots__ = ()
    _NAME = "content ID"
