"""How the demo looks: bars and a framed table on a terminal, plain lines everywhere else. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from cli.wording import count, percentage, portion, rate, size, table
from swarmd.core.clock import SystemClock
from swarmd.core.terminal import escape
from tests.demo.fetch import Fetch

_LINE_PERIOD = 1.0

Rows = Sequence[Sequence[str]]


class Plain:
    """For a file or a pipe: every line stands for itself, a second lies between two about the same download."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._clock = SystemClock()
        self._said_at = 0.0
        self._ended: set[str] = set()

    def say(self, text: str) -> None:
        print(escape(text), file=self._output, flush=True)

    @contextmanager
    def progress(self, fetches: Sequence[Fetch]) -> Iterator[None]:
        self._said_at = self._clock.monotonic()
        yield

    def update(self, fetches: Sequence[Fetch]) -> None:
        now = self._clock.monotonic()
        is_time = now - self._said_at >= _LINE_PERIOD
        if is_time:
            self._said_at = now
        for fetch in fetches:
            if fetch.name not in self._ended and (is_time or fetch.has_ended):
                self.say(f"  {fetch.name}  {_share_of(fetch):>5}  {_detail(fetch)}")
            if fetch.has_ended:
                self._ended.add(fetch.name)

    def table(self, title: str, header: Sequence[str], rows: Rows) -> None:
        self.say(f"{title}:")
        for line in table(header, rows, right=" ".join(header[1:])).splitlines():
            self.say(f"  {line}")


class Terminal:
    """For people: one bar for each download, redrawn when `update` is called."""

    def __init__(self, output: IO[str]) -> None:
        self._console = Console(file=output, highlight=False)
        self._progress = Progress()
        self._tasks: dict[str, TaskID] = {}

    def say(self, text: str) -> None:
        self._console.print(escape(text), markup=False)

    @contextmanager
    def progress(self, fetches: Sequence[Fetch]) -> Iterator[None]:
        self._progress = Progress(
            TextColumn("  [bold]{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[portion]:>5}  {task.fields[detail]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._tasks = {each.name: self._progress.add_task(each.name, portion="", detail="") for each in fetches}
        with self._progress:
            yield

    def update(self, fetches: Sequence[Fetch]) -> None:
        for fetch in fetches:
            done = 100 * portion(fetch.progress) if fetch.progress is not None else 0.0
            task = self._tasks[fetch.name]
            self._progress.update(task, completed=done, portion=_share_of(fetch), detail=_detail(fetch))
        self._progress.refresh()

    def table(self, title: str, header: Sequence[str], rows: Rows) -> None:
        framed = Table(title=title, title_justify="left", title_style="bold", box=box.ROUNDED)
        for number, each in enumerate(header):
            framed.add_column(each, justify="right" if number else "left")
        for row in rows:
            framed.add_row(*row)
        self._console.print(framed)


Display = Plain | Terminal


def display_for(output: IO[str]) -> Display:
    return Terminal(output) if output.isatty() else Plain(output)


def _share_of(fetch: Fetch) -> str:
    return percentage(fetch.progress) if fetch.progress is not None else "0 %"


def _detail(fetch: Fetch) -> str:
    """How it goes, or how it went."""
    transfer = fetch.progress
    if transfer is None:
        return "starting"
    if fetch.has_ended and fetch.result is not None and transfer.size is not None:
        return f"{size(transfer.size)} in {fetch.took:.2f} s, {rate(transfer.size / fetch.took)}"
    if transfer.state == "metadata":
        return "fetching the list of files"
    if transfer.state == "finishing" or transfer.have_bytes == transfer.size:
        return "all here, waiting for the disk to have it"
    of = f" of {size(transfer.size)}" if transfer.size is not None else ""
    return f"{size(transfer.have_bytes)}{of}, {rate(transfer.rate)}, {count(transfer.peers, 'peer')}"
