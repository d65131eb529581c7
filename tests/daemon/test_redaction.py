"""Redaction: tickets in any shape, keys, protected secrets in every written form; and it stays fast."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.rng import SeededRng
from swarmd.daemon.redaction import HIDDEN, MAX_SECRETS, Redactor

SECRET = "mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpi"
PARTS = [SECRET[i : i + 6] for i in range(0, len(SECRET), 6)]


@pytest.mark.parametrize(
    "text",
    [
        f"swarm:{SECRET}",
        f"SWARM:{SECRET.upper()}",
        f"bad ticket 'swarm:{SECRET}'",
        f"swarm: {SECRET}",
        "swarm:" + "-".join(PARTS),
        "swarm:" + " ".join(PARTS),
        "swarm:" + "\n  ".join(PARTS),
        "swarm:" + "\r\n".join(PARTS),
        repr("swarm:" + "\n".join(PARTS)),
        repr(["get", f"swarm:{SECRET}"]),
        "swarm:" + SECRET.replace("z", "0").replace("w", "1"),  # mistyped
        "swarm:" + SECRET[:8] + "#" + SECRET[8:],  # mistyped worse
        f'{{"ticket":"swarm:{SECRET}"}}',
        f"xswarm:{SECRET}",
    ],
)
def test_no_part_of_a_ticket_is_left(text: str) -> None:
    redacted = Redactor().redact(text)
    assert HIDDEN in redacted
    assert not [part for part in PARTS if part in redacted.lower()]


def test_what_stands_around_a_ticket_stays() -> None:
    text = f"get failed for 'swarm:{SECRET}' (from uid 1000)"
    assert Redactor().redact(text) == f"get failed for 'swarm:{HIDDEN}' (from uid 1000)"


def test_a_traceback_after_a_ticket_stays_readable() -> None:
    text = f'ValueError: swarm:{SECRET}\n\nDuring handling of the above exception, another occurred:\n  File "x.py"'
    assert 'exception, another occurred:\n  File "x.py"' in Redactor().redact(text)


def test_a_private_key_in_pem_form() -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"
    redactor = Redactor()
    assert redactor.redact(f"a\n{key}\nb") == f"a\n{HIDDEN}\nb"
    assert "MC4C" not in redactor.redact(key[:40]), "cut off"


@given(st.binary(min_size=8, max_size=40), st.text(max_size=20))
def test_protected_secrets_in_every_written_form(secret: bytes, around: str) -> None:
    redactor = Redactor()
    redactor.protect(secret)
    written = [
        secret.hex(),
        secret.hex().upper(),
        base64.b32encode(secret).decode().rstrip("=").lower(),
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode(),
        repr(secret),
        repr(bytearray(secret)),
        repr({"key": secret}),
    ]
    for text in written:
        assert HIDDEN in redactor.redact(f"{around} {text} {around}"), text


def test_several_secrets_at_once_and_added_later() -> None:
    redactor = Redactor()
    redactor.protect(b"A" * 32, b"B" * 32)
    redactor.protect(b"C" * 32)
    text = " ".join((letter * 32).encode().hex() for letter in "ABCD")
    assert redactor.redact(text) == f"{HIDDEN} {HIDDEN} {HIDDEN} " + "44" * 32


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 bytes"):
        Redactor().protect(b"short")


def test_secrets_that_begin_alike() -> None:
    redactor = Redactor()
    long, short = b"same start, longer", b"same start"
    redactor.protect(short, long)
    for secret in (short, long):
        assert redactor.redact(f"<{secret.hex()}>") == f"<{HIDDEN}>"
    assert redactor.redact("İ" * 9 + short.hex() + "İ") == "İ" * 9 + HIDDEN + "İ", "letters that fold to two"


def test_the_number_of_secrets_is_bounded_and_the_newest_stay() -> None:
    redactor, rng = Redactor(), SeededRng(1)
    secrets = [rng.bytes(32) for _ in range(MAX_SECRETS + 1)]
    redactor.protect(*secrets)
    assert redactor.redact(secrets[-1].hex()) == HIDDEN
    assert redactor.redact(secrets[1].hex()) == HIDDEN
    assert redactor.redact(secrets[0].hex()) == secrets[0].hex()


@given(st.text())
def test_any_text_is_taken_and_twice_is_as_once(text: str) -> None:
    redactor = Redactor()
    once = redactor.redact(text)
    assert redactor.redact(once) == once


def test_ordinary_text_is_left_alone() -> None:
    text = "peer mfrggzdf joined group films from 192.0.2.1:7927: a swarm of 5, PRIVATE notes"
    assert Redactor().redact(text) == text
