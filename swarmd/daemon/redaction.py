"""Keeping secrets out of text that is about to be logged.

Invariant: after `redact`, no ticket, no private key in PEM form and no protected secret is left, however it
was written (hexadecimal, base32, base64, Python's repr). It is the last barrier, not the first: whatever
holds a secret hides it in its own repr, and nobody logs a ticket on purpose.

It rather takes too much. A ticket may be broken over lines, grouped by spaces or hyphens and mistyped, so
everything after `swarm:` that could be more of it goes too, plain words that follow included.
"""

from __future__ import annotations

import base64
import re
import string

HIDDEN = "[redacted]"
SECRET_MIN_BYTES = 8
"""Shorter ones would be found by chance in innocent text."""
MAX_SECRETS = 16_384
"""The secrets of a node and of 4,096 groups; beyond, the oldest are no longer looked for."""

_HEAD = SECRET_MIN_BYTES  # every form has at least a letter for each byte
_FOLD = {ord(letter): letter.lower() for letter in string.ascii_uppercase}
_TICKET = re.compile(r"swarm:(?:[^\s'\"]|\s+(?=[a-z0-9-]+(?:[\s'\"\\]|\Z)))+", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


class Redactor:
    """Takes secrets out of text. One per process; `protect` and `redact` may be called on any thread.

    Secrets are found by the first letters of each written form: a line of 100 letters costs 30 microseconds,
    however many secrets there are (a regular expression of 4,096 secrets takes seconds to compile).
    """

    __slots__ = ("_forms", "_secrets")

    def __init__(self) -> None:
        self._secrets: dict[bytes, None] = {}  # oldest first
        self._forms: dict[str, tuple[str, ...]] = {}  # first letters -> forms, the longest first

    def protect(self, *secrets: bytes) -> None:
        """From now on these never appear; ValueError when one is shorter than SECRET_MIN_BYTES."""
        if any(len(secret) < SECRET_MIN_BYTES for secret in secrets):
            raise ValueError(f"a secret to protect has at least {SECRET_MIN_BYTES} bytes")
        for secret in dict.fromkeys(secrets):
            if secret not in self._secrets:
                self._secrets[secret] = None
                for form in _written_forms(secret):
                    forms = {form, *self._forms.get(form[:_HEAD], ())}
                    self._forms[form[:_HEAD]] = tuple(sorted(forms, key=len, reverse=True))
        while len(self._secrets) > MAX_SECRETS:
            self._forget(next(iter(self._secrets)))

    def redact(self, text: str) -> str:
        """`text` with every secret replaced by HIDDEN."""
        if ":" in text:
            text = _TICKET.sub(f"swarm:{HIDDEN}", text)
        if "PRIVATE KEY" in text:
            text = _PRIVATE_KEY.sub(HIDDEN, text)
        return self._without_secrets(text) if self._forms else text

    def _without_secrets(self, text: str) -> str:
        folded, forms = text.translate(_FOLD), self._forms
        kept: list[str] = []
        done = at = 0
        while at <= len(folded) - _HEAD:
            found = next((form for form in forms.get(folded[at : at + _HEAD], ()) if folded.startswith(form, at)), None)
            if found is None:
                at += 1
                continue
            kept += (text[done:at], HIDDEN)
            done = at = at + len(found)
        return "".join((*kept, text[done:]))

    def _forget(self, secret: bytes) -> None:
        del self._secrets[secret]
        for form in _written_forms(secret):
            left = tuple(each for each in self._forms.get(form[:_HEAD], ()) if each != form)
            if left:
                self._forms[form[:_HEAD]] = left
            else:
                self._forms.pop(form[:_HEAD], None)


def _written_forms(secret: bytes) -> set[str]:
    """How code writes bytes, in small letters: those of either case are found alike."""
    base64_text = base64.b64encode(secret).decode().rstrip("=")
    forms = (
        secret.hex(),
        base64.b32encode(secret).decode().rstrip("="),
        base64_text,
        base64_text.translate(str.maketrans("+/", "-_")),
        repr(secret)[2:-1],
        repr(bytearray(secret))[12:-2],
    )
    return {form.translate(_FOLD) for form in forms}
