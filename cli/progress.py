"""What a waiting command shows: a bar on a terminal, lines of JSON with `--json`, else only why nothing moves.

Invariant: everything goes to stderr but the JSON; nothing is drawn before the daemon has told something, so
that a quick command neither flickers nor loads rich.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cli.context import Settings, as_json
from cli.wording import count, duration, rate, reading, size, standing, standing_for, transfer_label
from swarmd.control.records import ShareProgress, Transfer
from swarmd.core.terminal import escape

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One line with a bar, redrawn only when told something: no thread, no timer."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def draw(self, label: str, done: float, total: float | None, detail: str) -> None:
        """`label` and `detail` are escaped already; no total yet gives a bar that says so."""
        if self._progress is None or self._task is None:
            self._progress = _new_progress()
            self._task = self._progress.add_task(label, total=None, detail="")
            self._progress.start()
        self._progress.update(self._task, description=label, completed=done, total=total, detail=detail)
        self._progress.refresh()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _new_progress() -> Progress:
    from rich.console import Console  # 50 ms that only a terminal has to pay
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(file=sys.stderr),
        auto_refresh=False,
    )


class _Display:
    """Common to both: a bar that is closed whatever happens."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bar = Bar()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


class ShareDisplay(_Display):
    """Hashing: files and bytes, how much of all, how long still. With `--json` nothing, `share` gives one object."""

    def update(self, progress: ShareProgress) -> None:
        if self._settings.is_watched:
            self._bar.draw("reading", progress.bytes, progress.total_bytes, reading(progress))


class TransferDisplay(_Display):
    """A download: how much, how fast, from how many, how long still; and what it waits for when it stands."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._said: str | None = None

    def update(self, transfer: Transfer) -> None:
        if self._settings.json:
            self._settings.write(as_json({"progress": transfer}))
        elif self._settings.is_watched:
            self._bar.draw(transfer_label(transfer), transfer.have_bytes, transfer.size, _detail(transfer))
        else:
            self.mention(transfer)

    def mention(self, transfer: Transfer) -> None:
        """Where there is no bar: one line when it stands still, and again when the reason changes."""
        reason = standing(transfer)
        if reason != self._said and reason is not None:
            self._settings.say(f"swarm: {transfer_label(transfer)} waits: {reason}")
        self._said = reason


def _detail(transfer: Transfer) -> str:
    of = f" of {size(transfer.size)}" if transfer.size is not None else ""
    parts = [f"{size(transfer.have_bytes)}{of}"]
    if reason := standing_for(transfer):
        return f"{parts[0]}  {reason}"
    if transfer.state == "metadata":
        parts.append("fetching the list of files")
    elif transfer.state == "finishing":
        parts.append("finishing")
    else:
        parts.append(rate(transfer.rate))
    parts.append(count(transfer.peers, "peer"))
    if transfer.eta_s is not None and transfer.state == "downloading":
        parts.append(f"{duration(transfer.eta_s)} left")
    return escape("  ".join(parts))
