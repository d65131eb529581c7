"""Tickets in text that is about to be shown: an error that repeats what was given must not repeat a secret.

Invariant: in what `conceal` returns there is no ticket, with its beginning `swarm:` or without it, that was written in
one piece or broken over lines as mail programs do. IDs (52 letters) and hexadecimal digests stay as they are.

It does not find a ticket that is split into short groups by spaces: whoever repeats such text cuts it short. The log
has a stronger barrier (`daemon.redaction`), which knows the secrets themselves.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
_ID_LETTERS = 52
_TICKET = re.compile(r"swarm:[a-z2-7-]{2,}", re.IGNORECASE)
_BARE = re.compile(rf"(?<![a-z0-9])[a-z2-7-]{{{_ID_LETTERS + 1},}}(?![a-z0-9])", re.IGNORECASE)
"""Longer than any ID, and of base32 letters only; a hexadecimal digest has other digits as well."""


def conceal(text: str) -> str:
    """`text` with every ticket replaced by HIDDEN."""
    if len(text) <= _ID_LETTERS and ":" not in text:
        return text
    return _BARE.sub(HIDDEN, _TICKET.sub(f"swarm:{HIDDEN}", text))
