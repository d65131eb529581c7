"""The building blocks of every message: `Writer` puts them down, `Reader` takes them up again.

Fixed integers are big-endian. A varint is LEB128 (7 bits a byte, low ones first) in its shortest form, at
most 64 bits, so each number has one encoding and equal messages have equal bytes. A blob is a varint length
and the bytes; a text is a blob of UTF-8.

Invariant: `Reader` never looks past its data, never allocates more than the data holds, and raises
`RemoteError` only. Every length that the peer chooses is checked against a limit that the caller names. A
decoder ends with `end()`, which refuses trailing bytes.
"""

from __future__ import annotations

from typing import Self

from swarmd.core.errors import RemoteError

VARINT_LIMIT = 2**64 - 1
VARINT_BYTES = 10
"""ceil(64 / 7)."""
Octets = bytes
"""`bytes` under another name, since `Writer.bytes` hides it inside the class."""


class Writer:
    """Chainable: `Writer().u8(1).text("a").bytes()`. A number out of range raises OverflowError: our bug."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def u8(self, value: int) -> Self:
        return self._fixed(value, 1)

    def u16(self, value: int) -> Self:
        return self._fixed(value, 2)

    def u32(self, value: int) -> Self:
        return self._fixed(value, 4)

    def u64(self, value: int) -> Self:
        return self._fixed(value, 8)

    def varint(self, value: int) -> Self:
        if not 0 <= value <= VARINT_LIMIT:
            raise OverflowError(f"a varint holds 0 to 2^64 - 1, not {value}")
        while value > 0x7F:
            self._buffer.append(value & 0x7F | 0x80)
            value >>= 7
        self._buffer.append(value)
        return self

    def raw(self, data: Octets | bytearray | memoryview) -> Self:
        """The bytes with no length: the reader has to know how many."""
        self._buffer += data
        return self

    def blob(self, data: Octets | bytearray | memoryview) -> Self:
        return self.varint(memoryview(data).nbytes).raw(data)

    def text(self, text: str) -> Self:
        return self.blob(text.encode())

    def __len__(self) -> int:
        return len(self._buffer)

    def bytes(self) -> Octets:
        return Octets(self._buffer)

    def _fixed(self, value: int, size: int) -> Self:
        self._buffer += value.to_bytes(size, "big")
        return self


class Reader:
    """Takes the same things up in the same order. Only views point into the data that was given."""

    __slots__ = ("_position", "_view")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self._position = 0

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return len(self._view) - self._position

    def u8(self) -> int:
        try:
            value = self._view[self._position]
        except IndexError:
            raise RemoteError("the message ends early: 1 byte wanted, none left") from None
        self._position += 1
        return value

    def u16(self) -> int:
        return int.from_bytes(self.view(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.view(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.view(8), "big")

    def varint(self, limit: int = VARINT_LIMIT) -> int:
        """A number of at most `limit`."""
        view, start = self._view, self._position
        if start < len(view) and view[start] < 0x80 and view[start] <= limit:  # nearly all
            self._position = start + 1
            return view[start]
        value = 0
        try:
            for index in range(VARINT_BYTES):
                byte = view[start + index]
                value |= (byte & 0x7F) << 7 * index
                if byte < 0x80:
                    break
            else:
                raise RemoteError("a varint is longer than 64 bits")
        except IndexError:
            raise RemoteError("the message ends early: 1 byte wanted, none left") from None
        if byte == 0 and index:
            raise RemoteError("a varint is not in its shortest form")
        if value > limit:
            raise RemoteError(f"{value} is over the limit of {limit}")
        self._position = start + index + 1
        return value

    def raw(self, n: int) -> bytes:
        """The next `n` bytes, copied."""
        return bytes(self.view(n))

    def view(self, n: int) -> memoryview:
        """The next `n` bytes, not copied: valid for as long as the data is."""
        start = self._position
        stop = start + n
        if not start <= stop <= len(self._view):
            raise RemoteError(f"the message ends early: {n} bytes wanted, {self.remaining} left")
        self._position = stop
        return self._view[start:stop]

    def rest(self) -> memoryview:
        """Everything that is left, not copied."""
        return self.view(self.remaining)

    def blob(self, limit: int) -> bytes:
        """A blob of at most `limit` bytes."""
        return self.raw(self.varint(limit))

    def text(self, limit: int) -> str:
        """A text of at most `limit` bytes of UTF-8 (which has no surrogates)."""
        try:
            return self.blob(limit).decode()
        except UnicodeDecodeError:
            raise RemoteError("a text is not UTF-8") from None

    def end(self) -> None:
        """Refuse bytes that are left over."""
        if self.remaining:
            raise RemoteError(f"{self.remaining} bytes too many after the message")
