r"""Making text from elsewhere safe to print.

A name chosen by a stranger may hold escape sequences that recolour, retitle or rewrite a terminal, line
breaks that fake a further row, or direction overrides that show `gpj.exe` as `exe.jpg`. `escape` makes each
of them visible as `\x1b` or `\u202e`.

Invariant: what `escape` returns is printable and on one line; applied twice it changes nothing more. It is
for eyes: since a backslash stays one, the result cannot be turned back.
"""

from __future__ import annotations

import unicodedata

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS = "\u200c\u200d"
"""Zero-width joiner and non-joiner: Persian, Indic scripts and emoji need them, and they move nothing."""

_FIRST_BYTE = 0xDC00
_BYTES = frozenset(map(chr, range(_FIRST_BYTE + 0x80, _FIRST_BYTE + 0x100)))
"""How Python writes a byte of a file name that is not UTF-8 (`surrogateescape`): shown as the byte that it is."""


def escape(text: str) -> str:
    """`text` with everything that is not plainly visible written out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    if character in _BYTES:
        return f"\\x{ord(character) - _FIRST_BYTE:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
