"""Options and lists of them (RFC 7016 §2.1.3): how a flow says what it is, and how a profile may say more.

    option   length VLU | type VLU | value          the length counts type and value
    marker   00                                     ends a list

Invariant: `decode_options` gives at most `MAX_OPTIONS`, copies their values, and raises RemoteError only. What a
type means is its reader's: of the options in user data, a receiver that does not know one has to reject the flow if
`is_mandatory`, and ignores it otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarmd.core.errors import RemoteError
from swarmd.transport.api import Buffer
from swarmd.transport.rtmfp.vlu import decode_vlu, encode_vlu, vlu_bytes

METADATA = 0x00
"""User data (§2.3.11.1.1): what the flow is for."""
RETURN_FLOW = 0x0A
"""User data (§2.3.11.1.2): its value is a VLU, the number of the other side's flow that this one answers."""
FIRST_IGNORABLE = 8192
"""Types from here on may be ignored by who does not know them."""
MAX_OPTIONS = 64
"""In one list. A flow has two; the rest is room for newer versions, and makes a packet of nothing else cheap."""


@dataclass(frozen=True, slots=True)
class Option:
    """`kind` is what the RFC calls the type."""

    kind: int
    value: bytes = b""

    @property
    def is_mandatory(self) -> bool:
        return self.kind < FIRST_IGNORABLE


def encode_option(kind: int, value: Buffer = b"") -> bytes:
    return encode_vlu(vlu_bytes(kind) + len(value)) + encode_vlu(kind) + value


def encode_options(options: Iterable[Option]) -> bytes:
    """With the marker at the end."""
    return b"".join([encode_option(option.kind, option.value) for option in options] + [b"\0"])


def decode_options(data: Buffer, offset: int) -> tuple[list[Option], int]:
    """The options up to the marker, which must be there, and the offset behind it."""
    options: list[Option] = []
    while True:
        length, offset = decode_vlu(data, offset)
        if not length:
            return options, offset
        stop = offset + length
        if stop > len(data):
            raise RemoteError(f"an option of {length} bytes goes beyond the end")
        if len(options) == MAX_OPTIONS:
            raise RemoteError(f"more than {MAX_OPTIONS} options")
        kind, start = decode_vlu(data, offset)
        if start > stop:
            raise RemoteError("the type of an option is longer than the option")
        options.append(Option(kind, bytes(data[start:stop])))
        offset = stop
