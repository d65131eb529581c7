"""Numbers and tables as people read them. Pure functions; JSON never passes here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime

from swarmd.control.records import ShareProgress, Transfer
from swarmd.core.terminal import escape

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SPACE = "  "
_PADDED = 40
"""Columns up to which cells are aligned where no terminal gives a width."""
_NARROWEST = 12
"""Columns below which a name says nothing any more; a terminal narrower still folds the lines."""
STANDING_S = 3.0
"""A transfer that has stood still for less is only taking breath; no word about it."""


def size(count: float) -> str:
    """Bytes with a binary unit and about three digits: 999 B, 1.5 KiB, 64 MiB."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1024
        if count < 1000 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}" if count < 99.95 else f"{count:.0f} {unit}"


def rate(bytes_per_second: float) -> str:
    return f"{size(bytes_per_second)}/s"


def duration(seconds: float) -> str:
    """The two largest units: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    parts = [(total // 86400, "d"), (total // 3600 % 24, "h"), (total // 60 % 60, "min"), (total % 60, "s")]
    first = next(i for i, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def moment(created_at: int) -> str:
    """Milliseconds since 1970, in local time: 2026-11-22 17:51."""
    return f"{datetime.fromtimestamp(created_at / 1000):%Y-%m-%d %H:%M}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def short(identity: str) -> str:
    """The first letters of an ID, enough to tell one's peers apart."""
    return identity[:8]


def group_label(group_id: str, name: str | None) -> str:
    """A group's name; one without a name is that of a single share."""
    return escape(name) if name is not None else f"({short(group_id)})"


def transfer_label(transfer: Transfer) -> str:
    """Its name, or its content ID until the name is known."""
    return escape(transfer.name) if transfer.name is not None else short(transfer.content_id)


def portion(transfer: Transfer) -> float:
    """How much is there, 0 to 1; an empty object that is done is all there."""
    if transfer.state == "done":
        return 1.0
    return transfer.have_bytes / transfer.size if transfer.size else 0.0


def percentage(transfer: Transfer) -> str:
    """Rounded down: 100 % means that it is all there."""
    return f"{int(portion(transfer) * 100)} %"


def reading(progress: ShareProgress) -> str:
    """How far a share is read. Rounded down as `percentage` is, and never above 100: what changes is read twice."""
    if progress.total_bytes is None or progress.total_files is None:
        return f"{size(progress.bytes)}, {count(progress.files, 'file')}"
    parts = [f"{size(progress.bytes)} of {size(progress.total_bytes)}"]
    if progress.total_bytes:
        parts.insert(0, f"{min(100, progress.bytes * 100 // progress.total_bytes)} %")
    parts.append(f"{progress.files} of {count(progress.total_files, 'file')}")
    if progress.eta_s is not None:
        parts.append(f"{duration(progress.eta_s)} left")
    return "  ".join(parts)


def standing(transfer: Transfer) -> str | None:
    """What it waits for, when it has stood still long enough to speak of."""
    waiting = transfer.waiting
    if transfer.error is not None:
        return escape(transfer.error.message)
    if waiting is None or (waiting.since_s < STANDING_S and transfer.state != "paused"):
        return None
    return escape(waiting.text)


def standing_for(transfer: Transfer) -> str | None:
    """The same, with how long it has been so."""
    reason = standing(transfer)
    if reason is None or transfer.waiting is None:
        return reason
    return f"{reason} (for {duration(transfer.waiting.since_s)})"


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: str = "", crop: str = "", width: int | None = None
) -> str:
    """Aligned columns; `right` names those that are flush right. Cells are escaped already. No rows: empty.

    width: columns of the terminal; the longest cells of the columns that `crop` names are cut to fit. None: nothing is
    cut, and a cell longer than _PADDED moves the rest of its own line, instead of every line.
    """
    lines = [tuple(header), *map(tuple, rows)]
    if len(lines) == 1:
        return ""
    columns = list(zip(*lines, strict=True))
    if width is None:
        widths = [max((n for n in map(_cells, column) if n <= _PADDED), default=0) for column in columns]
    else:
        widths = [max(map(_cells, column)) for column in columns]
        _shrink(widths, [title in crop.split() for title in header], width)
        lines = [tuple(map(_cropped, line, widths)) for line in lines]
    flush = [title in right.split() for title in header]
    return "\n".join(_SPACE.join(map(_aligned, line, widths, flush)).rstrip() for line in lines)


def _shrink(widths: list[int], may_shrink: Sequence[bool], total: int) -> None:
    """Narrow the widest of the columns that may be, again and again, until all fit or none is wider than _NARROWEST."""
    excess = sum(widths) + len(_SPACE) * (len(widths) - 1) - total
    while excess > 0:
        widest = max((i for i, may in enumerate(may_shrink) if may), key=lambda i: widths[i], default=None)
        if widest is None or widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1
        excess -= 1


def _cropped(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    kept = ""
    for each in text:
        if _cells(kept + each) > width - 1:
            break
        kept += each
    return kept + "…"


def _aligned(text: str, width: int, is_flush_right: bool) -> str:
    space = " " * (width - _cells(text))
    return space + text if is_flush_right else text + space


def _cells(text: str) -> int:
    """Columns that a terminal gives to it: wide East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )
