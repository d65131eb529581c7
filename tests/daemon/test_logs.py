"""Logs: three layouts, levels, the journal's rules, and nothing secret or steering in any line, traceback included."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmd.daemon.logs import Format, Logs, pick_format

TICKET = "swarm:mfrggzdfmztwq2lknnwg23tpobyxe43uov3ho6dzpi"
SECRET = TICKET[6:]
log = logging.getLogger("swarmd.net.tcp")


class Installed:
    """Logs that write into memory."""

    def __init__(self, layout: Format) -> None:
        self.stream = io.StringIO()
        self.logs = Logs("info", layout, self.stream)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture(params=list(Format))
def installed(request: pytest.FixtureRequest) -> Iterator[Installed]:
    installed = Installed(request.param)
    yield installed
    installed.logs.close()


@pytest.fixture
def terminal() -> Iterator[Installed]:
    installed = Installed(Format.TERMINAL)
    yield installed
    installed.logs.close()


@pytest.fixture
def journal() -> Iterator[Installed]:
    installed = Installed(Format.JOURNAL)
    yield installed
    installed.logs.close()


@pytest.fixture
def as_json() -> Iterator[Installed]:
    installed = Installed(Format.JSON)
    yield installed
    installed.logs.close()


def fail_with(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        raise RuntimeError(f"because of {text}") from error


# --- layouts ---


def test_a_line_on_a_terminal(terminal: Installed) -> None:
    log.warning("port %d is taken", 7927)
    (line,) = terminal.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} WARNING net\.tcp: port 7927 is taken", line)


def test_lines_in_the_journal_carry_their_priority_and_no_time(journal: Installed) -> None:
    journal.logs.set_level("debug")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "x")
    assert journal.lines == [f"<{priority}>net.tcp: x" for priority in (7, 6, 4, 3, 2)]


def test_every_line_of_a_traceback_in_the_journal_carries_the_priority(journal: Installed) -> None:
    try:
        fail_with("x")
    except RuntimeError:
        log.exception("it failed")
    assert journal.lines[0] == "<3>net.tcp: it failed"
    assert len(journal.lines) > 8
    assert all(line.startswith("<3>    ") for line in journal.lines[1:])
    assert "because of x" in journal.lines[-1]


def test_json_has_one_object_a_line(as_json: Installed) -> None:
    log.info("a name: %s", "ann\n\x1b[31m😀")
    try:
        fail_with("x")
    except RuntimeError:
        log.exception("it failed")
    first, second = as_json.entries
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    assert first == {"level": "info", "logger": "swarmd.net.tcp", "message": "a name: ann\n\x1b[31m😀"}
    assert second["trace"][0] == "Traceback (most recent call last):"
    assert second["trace"][-1] == "RuntimeError: because of x"


def test_the_level_can_change_while_running(installed: Installed) -> None:
    log.debug("one")
    installed.logs.set_level("debug")
    log.debug("two")
    installed.logs.set_level("error")
    log.warning("three")
    assert len(installed.lines) == 1
    assert "two" in installed.lines[0]
    assert installed.logs.level == "error"


def test_libraries_are_quiet_until_debug(terminal: Installed) -> None:
    logging.getLogger("zeroconf").info("one")
    terminal.logs.set_level("debug")
    logging.getLogger("zeroconf").info("two")
    assert [line[-3:] for line in terminal.lines] == ["two"]


def test_a_record_cannot_forge_another(terminal: Installed) -> None:
    log.info("shared %s", "a\n2025-01-01 00:00:00.000 ERROR   net: forged\x1b[2K\u202e")
    (line,) = terminal.lines
    assert line.endswith(r"shared a\n2025-01-01 00:00:00.000 ERROR   net: forged\x1b[2K\u202e")


# --- secrets ---


def test_a_ticket_never_reaches_a_line(installed: Installed) -> None:
    log.info("got %s", TICKET)
    log.info("got %r", [TICKET.upper()])
    try:
        fail_with(TICKET)
    except RuntimeError:
        log.exception("failed with %s", TICKET)
        log.error("again", exc_info=True, stack_info=True)
    text = installed.stream.getvalue()
    assert text.count("because of swarm:[redacted]") == 2
    assert SECRET not in text.lower()


def test_a_protected_secret_never_reaches_a_line(installed: Installed) -> None:
    key = bytes(range(100, 132))
    installed.logs.redactor.protect(key)
    try:
        fail_with(f"key {key!r} {key.hex()}")
    except RuntimeError:
        log.exception("with %r", {"key": key})
    text = installed.stream.getvalue()
    assert key.hex() not in text
    assert "fghij" not in text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_python_itself_would_print_goes_the_same_way(journal: Installed) -> None:
    thread = threading.Thread(target=fail_with, args=(TICKET,), name="worker-1")
    thread.start()
    thread.join()
    try:
        fail_with(TICKET)
    except RuntimeError as error:
        sys.excepthook(RuntimeError, error, error.__traceback__)
        sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(TICKET, stacklevel=1)
    text = journal.stream.getvalue()
    assert all(re.match(r"<[2-7]>", line) for line in journal.lines)
    assert "<3>daemon.logs: thread worker-1 ended" in text
    assert "<2>daemon.logs: nobody caught this" in text
    assert "<4>py.warnings" in text
    assert SECRET not in text


def test_closing_puts_everything_back() -> None:
    before = sys.excepthook, threading.excepthook, sys.unraisablehook, logging.getLogger().handlers[:]
    Installed(Format.JSON).logs.close()
    assert (sys.excepthook, threading.excepthook, sys.unraisablehook, logging.getLogger().handlers) == before


# --- which layout ---


def test_the_journal_is_recognised_by_its_stream(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as file:
        status = os.fstat(file.fileno())
        ours = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert pick_format("auto", ours, file.fileno()) is Format.JOURNAL
        assert pick_format("terminal", ours, file.fileno()) is Format.TERMINAL
        # inherited by a child whose stderr goes elsewhere
        assert pick_format("auto", {"JOURNAL_STREAM": "1:2"}, file.fileno()) is Format.TERMINAL
        assert pick_format("auto", {}, file.fileno()) is Format.TERMINAL
    assert pick_format("auto", ours, 987) is Format.TERMINAL
    assert pick_format("json", {}, 2) is Format.JSON


PROGRAM = """
import logging, os, sys
from swarmd.daemon.logs import Logs, pick_format
logs = Logs("info", pick_format("auto", os.environ, 2), sys.stderr)
class Stuck:
    def __del__(self):
        raise ValueError("swarm:" + sys.argv[2])
if sys.argv[1] == "uncaught":
    raise ValueError("swarm:" + sys.argv[2])
if sys.argv[1] == "unraisable":
    Stuck()
if sys.argv[1] == "broken":
    logging.info("%d is no number", "swarm:" + sys.argv[2])
if sys.argv[1] == "abort":
    os.kill(os.getpid(), 6)
"""


def run(what: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, what, SECRET], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("what", "status"), [("uncaught", 1), ("unraisable", 0)])
def test_a_real_process_hides_the_secret_of_an_exception_nobody_caught(what: str, status: int) -> None:
    done = run(what)
    assert done.returncode == status
    assert "ValueError: swarm:[redacted]" in done.stderr
    assert SECRET not in done.stderr


def test_a_broken_log_call_is_reported_without_its_arguments() -> None:
    done = run("broken")
    (line,) = done.stderr.splitlines()
    assert "a log call failed at <string>:" in line
    assert line.endswith("TypeError")
    assert done.returncode == 0


def test_the_watchdogs_abort_leaves_the_stack() -> None:
    done = run("abort")
    assert done.returncode == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in done.stderr
    assert "<string>" in done.stderr
