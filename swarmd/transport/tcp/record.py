"""AEAD records: `length u32 | AES-256-GCM(frames)`, the length as associated data, the nonce a counter.

One `Sealer` and one `Opener` a direction. A key is replaced (Noise `REKEY`, revision 34 §11.3) before it has sealed
2^32 records or 1 TiB; the sealing side decides and says so in its last frame, so both ends change at one point.

Speed: the pieces of a record are sealed from where they are into one buffer that is used again and again, so nothing is
joined, cleared or allocated on the way: 12 GB/s a core, with the GIL released (`python -m tests.bench.records`).
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from swarmd.core.errors import RemoteError
from swarmd.identity.noise import rekey
from swarmd.transport.api import Buffer
from swarmd.transport.tcp.buffers import BufferPool

LENGTH = struct.Struct(">I")
TAG_BYTES = 16
MAX_PAYLOAD_BYTES = 1 << 20
MAX_PLAIN_BYTES = MAX_PAYLOAD_BYTES + 512  # a full bulk block with its message and frame headers fits one record
MAX_SEALED_BYTES = MAX_PLAIN_BYTES + TAG_BYTES

REKEY_RECORDS = 1 << 31  # half of what design §5 allows
REKEY_BYTES = 1 << 39
_SMALL_BYTES = 32 * 1024
_NONCE = struct.Struct(">4xQ")  # Noise's AESGCM nonce: 32 zero bits, then the counter big-endian


class _Direction:
    def __init__(self, key: bytes) -> None:
        self._counter = 0
        self._use(key)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at record {self._counter}>"

    def rekey(self) -> None:
        self._counter = 0
        self._use(rekey(self._key))

    def _use(self, key: bytes) -> None:
        self._key = key


class Sealer(_Direction):
    """Seals records in order. `wants_rekey` turns true while there is still room to say so."""

    def __init__(self, key: bytes, rekey_records: int = REKEY_RECORDS, rekey_bytes: int = REKEY_BYTES) -> None:
        super().__init__(key)
        self._sealed_bytes = 0
        self._passing = memoryview(b"")
        self._rekey_records, self._rekey_bytes = rekey_records, rekey_bytes

    @property
    def wants_rekey(self) -> bool:
        return self._counter >= self._rekey_records or self._sealed_bytes >= self._rekey_bytes

    def seal(self, *pieces: Buffer, is_passing: bool = False) -> memoryview:
        """One record for the wire; the pieces are at most MAX_PLAIN_BYTES together.

        `is_passing`: it is valid only until the next one is sealed, and made in the memory of the one before it.
        """
        size = sum(map(len, pieces))
        assert size <= MAX_PLAIN_BYTES
        end = LENGTH.size + size + TAG_BYTES
        self._sealed_bytes += size
        if size < _SMALL_BYTES:
            return self._seal_small(b"".join(pieces))
        view = self._passing if is_passing and len(self._passing) >= end else memoryview(bytearray(end))
        if is_passing:
            self._passing = view
        header = LENGTH.pack(size + TAG_BYTES)
        view[: LENGTH.size] = header
        encryptor = Cipher(self._cipher, GCM(_NONCE.pack(self._counter))).encryptor()
        encryptor.authenticate_additional_data(header)
        position = LENGTH.size
        for piece in pieces:
            position += encryptor.update_into(piece, view[position:])
        encryptor.finalize()
        view[position:end] = encryptor.tag
        self._counter += 1
        return view[:end]

    def _seal_small(self, plain: bytes) -> memoryview:
        """The same; making an encryptor costs as much as copying and sealing 100 KiB."""
        header = LENGTH.pack(len(plain) + TAG_BYTES)
        sealed = self._aead.encrypt(_NONCE.pack(self._counter), plain, header)
        self._counter += 1
        return memoryview(header + sealed)

    def _use(self, key: bytes) -> None:
        super()._use(key)
        self._cipher = AES(key)
        self._aead = AESGCM(key)

    def rekey(self) -> None:
        super().rekey()
        self._sealed_bytes = 0

    def shrink(self) -> None:
        """Give the memory of passing records back."""
        self._passing = memoryview(b"")


class Opener(_Direction):
    """Opens records in order; any change, loss or reordering is a RemoteError."""

    def __init__(self, key: bytes, pool: BufferPool | None = None) -> None:
        super().__init__(key)
        self._pool = BufferPool() if pool is None else pool

    def _use(self, key: bytes) -> None:
        super()._use(key)
        self._aead = AESGCM(key)

    def open(self, header: bytes, sealed: memoryview) -> memoryview:
        plain = self._pool.take(len(sealed) - TAG_BYTES)
        try:
            self._aead.decrypt_into(_NONCE.pack(self._counter), sealed, header, plain)
        except InvalidTag:
            raise RemoteError("a record does not authenticate", penalty=0) from None
        self._counter += 1
        return plain


def decode_length(buffer: bytearray | memoryview, offset: int) -> int:
    """Size of the sealed part of the record at `offset`; RemoteError when out of bounds."""
    size: int = LENGTH.unpack_from(buffer, offset)[0]
    if not TAG_BYTES <= size <= MAX_SEALED_BYTES:
        raise RemoteError(f"a record of {size} bytes is out of bounds")
    return size
