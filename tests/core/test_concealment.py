"""Tickets do not come back in what is shown."""

from __future__ import annotations

import pytest

from swarmd.core.concealment import conceal

LETTERS = "aebcmaiaaeaaaaejua4j7za7" * 8


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"no group 'swarm:{LETTERS}': look", "no group 'swarm:[hidden]': look"),
        (f"no group '{LETTERS.upper()}'", "no group '[hidden]'"),
        (f"unexpected extra argument (swarm:{LETTERS})", "unexpected extra argument (swarm:[hidden])"),
        (f"{LETTERS[:60]}\n{LETTERS[60:120]}", "[hidden]\n[hidden]"),
        ("swarm:aebc is cut short", "swarm:[hidden] is cut short"),
    ],
)
def test_a_ticket_is_hidden(text: str, shown: str) -> None:
    assert conceal(text) == shown
    assert conceal(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "swarm: there is no such file",
        "a ticket begins with 'swarm:'; this text does not",
        f"this authorisation is for the node {'a2' * 26}",
        "/srv/" + "0189abcdef" * 12 + ".iso is not a file",
        "swarm:// is no address",
    ],
)
def test_what_is_no_ticket_stays(text: str) -> None:
    assert conceal(text) == text
