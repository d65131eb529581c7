"""A ticket as a QR code on stderr, for a phone's camera or a screen across the room."""

from __future__ import annotations

import shutil
import sys

from cli.context import Settings

_BORDER = 2


def show_ticket(settings: Settings, ticket: str) -> None:
    """Print it if it fits. Upper case, which tickets allow, takes a third less room in a QR code."""
    import segno  # 10 ms that only a terminal has to pay

    try:
        code = segno.make_qr(ticket.upper(), error="l")
    except segno.DataOverflowError:
        return
    width = code.symbol_size(border=_BORDER)[0]
    if width > shutil.get_terminal_size().columns:
        settings.say(f"(a QR code of this ticket needs a terminal {width} columns wide)")
        return
    code.terminal(out=sys.stderr, border=_BORDER, compact=True)
