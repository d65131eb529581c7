"""This node's own secret keys, and the file that keeps them across restarts.

The file is text: a first line with the version, then `signing HEX` and `static HEX`, the two private keys
(Ed25519 seed, X25519 scalar). Losing it makes this a new node; giving it away lets another node be this
one.

Invariant: the file is only ever made whole (written aside, synced, linked into place), with mode 0600, and
is never overwritten: a damaged one is an error that says so, not a reason for a new identity. A crash while
making it leaves either no identity or a complete one, and perhaps a stray `.identity-*` beside it. No
secret is in a repr or a message.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from swarmd.core.errors import IntegrityError, LocalError, NotAllowed
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng, SystemRng
from swarmd.identity.certificate import CERTIFICATE_DOMAIN, KEY_BYTES, Certificate, certified, to_be_signed

_FILE_FORM = re.compile(r"swarmd identity 1\nsigning ([0-9a-f]{64})\nstatic ([0-9a-f]{64})\n")
_FILE_BYTES_LIMIT = 4096
"""More than any version of the file has; a wrong file may have any size."""


class Identity:
    """The keys of one node. Immutable."""

    __slots__ = ("_signing", "_static", "certificate")

    def __init__(self, signing_private: bytes, static_private: bytes) -> None:
        self._signing = Ed25519PrivateKey.from_private_bytes(signing_private)
        self._static = X25519PrivateKey.from_private_bytes(static_private)
        signing_key = self._signing.public_key().public_bytes_raw()
        static_key = self._static.public_key().public_bytes_raw()
        signature = self.sign(certified(signing_key, static_key), CERTIFICATE_DOMAIN)
        self.certificate = Certificate(signing_key, static_key, signature)

    @classmethod
    def generate(cls, rng: Rng | None = None) -> Identity:
        """A new identity; an `rng` is for tests that need the same one again."""
        rng = rng or SystemRng()
        return cls(rng.bytes(KEY_BYTES), rng.bytes(KEY_BYTES))

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """The identity in the file `path`, made there first if there is none. Blocks.

        NotAllowed when others could read the file, IntegrityError when it is damaged, LocalError when it can
        neither be read nor made.
        """
        try:
            if not path.exists():
                cls.generate()._save(path)
            return cls._load(path)
        except OSError as error:
            raise LocalError(f"cannot read or make the identity file {path}: {error.strerror}") from error

    @classmethod
    def _load(cls, path: Path) -> Identity:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_FILE_BYTES_LIMIT)
        if not stat.S_ISREG(mode):
            raise IntegrityError(f"the identity file {path} is not a regular file")
        if mode & 0o077:
            raise NotAllowed(
                f"other users may read or change the identity file {path} (mode {mode & 0o777:o}), "
                f"which holds this node's secret keys; run: chmod 600 {path}"
            )
        match = _FILE_FORM.fullmatch(content.decode("latin-1"))
        if match is None:
            raise IntegrityError(
                f"the identity file {path} is damaged; restore it, or move it away to become a new node"
            )
        return cls(bytes.fromhex(match[1]), bytes.fromhex(match[2]))

    def _save(self, path: Path) -> None:
        """Make the file, whole and synced; when somebody else was first, theirs stays."""
        secrets = self._signing.private_bytes_raw().hex(), self._static.private_bytes_raw().hex()
        descriptor, aside = tempfile.mkstemp(prefix=".identity-", dir=path.parent)
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write("swarmd identity 1\nsigning {}\nstatic {}\n".format(*secrets))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        finally:
            os.unlink(aside)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @property
    def peer_id(self) -> PeerId:
        return self.certificate.peer_id

    @property
    def static_private(self) -> X25519PrivateKey:
        """For the handshake (`identity.noise`)."""
        return self._static

    def secrets(self) -> tuple[bytes, bytes]:
        """The private keys, for whoever keeps them out of logs."""
        return self._signing.private_bytes_raw(), self._static.private_bytes_raw()

    def sign(self, data: bytes, domain: bytes) -> bytes:
        """64 bytes that `Certificate.verify` accepts for the same data and domain only."""
        return self._signing.sign(to_be_signed(data, domain))

    def __repr__(self) -> str:
        return f"Identity({self.peer_id.short})"
