"""What the daemon says on stderr: for a terminal or a file, for the journal, or one JSON object a line.

Every record passes `Redactor` as finished text, traceback included, and what came from elsewhere cannot
break a line or steer a terminal. Whatever Python itself would print on stderr (an exception nobody caught, in
a thread or in a destructor; a warning; a mistake in a log call) goes the same way.

Invariant: one record never leaves a line of another's form; in the journal every line carries its priority.
It does not rotate or write files (the journal and shells do) and never reads the time: a record knows its own.
A crash of the interpreter (SIGSEGV, the watchdog's SIGABRT) still leaves every thread's stack on stderr.
"""

from __future__ import annotations

import enum
import faulthandler
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from swarmd.core.terminal import escape
from swarmd.daemon.redaction import Redactor

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""syslog's, from sd-daemon(3): critical, error, warning, informational; whatever is less is 7, debug."""
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[1;31m"}
_NOISY = ("zeroconf", "asyncio")
"""Libraries whose info and debug are for their authors; with our level `debug` they may speak."""
_log = logging.getLogger(__name__)


class Format(enum.Enum):
    TERMINAL = "terminal"
    JOURNAL = "journal"
    JSON = "json"


def pick_format(wanted: str, environ: Mapping[str, str], stderr_fd: int) -> Format:
    """The format for `log.format`; `auto` asks whether stderr is the journal's own stream (systemd.exec(5))."""
    if wanted != "auto":
        return Format(wanted)
    try:
        status = os.fstat(stderr_fd)
    except OSError:
        return Format.TERMINAL
    is_journal = environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return Format.JOURNAL if is_journal else Format.TERMINAL


class _Formatter(logging.Formatter):
    """Redacts and escapes; the subclasses lay out."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def message_of(self, record: logging.LogRecord) -> str:
        return escape(self._redactor.redact(record.getMessage()))

    def trace_of(self, record: logging.LogRecord) -> list[str]:
        """Lines of the traceback and the stack, if there are any."""
        parts = [self.formatException(record.exc_info)] if record.exc_info else []
        if record.stack_info:
            parts.append(record.stack_info)
        return [escape(line) for line in self._redactor.redact("\n".join(parts)).splitlines()]


class TerminalFormatter(_Formatter):
    """`2025-03-01 14:03:22.123 WARNING net: what happened`, coloured on a terminal."""

    def __init__(self, redactor: Redactor, is_coloured: bool = False) -> None:
        super().__init__(redactor)
        self._is_coloured = is_coloured

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        level = f"{record.levelname:<7}"
        if self._is_coloured and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
        first = f"{moment} {level} {_short(record.name)}: {self.message_of(record)}"
        return "\n".join([first, *("    " + line for line in self.trace_of(record))])


class JournalFormatter(_Formatter):
    """`<4>net: what happened`: the journal has the time, the unit and the process itself."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        lines = [
            f"{_short(record.name)}: {self.message_of(record)}",
            *("    " + line for line in self.trace_of(record)),
        ]
        return "\n".join(f"<{priority}>{line}" for line in lines)


class JsonFormatter(_Formatter):
    """One object a line: `time` (UTC), `level`, `logger`, `message`, and `trace` (lines) where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        entry: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redactor.redact(record.getMessage()),
        }
        if trace := self.trace_of(record):
            entry["trace"] = trace
        return json.dumps(entry)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to stderr. A broken log call is reported without its arguments, which may be what must not be seen."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):  # stderr itself is gone: nowhere left to say so
            self.format_failure(record, error)

    def format_failure(self, record: logging.LogRecord, error: BaseException | None) -> None:
        place = f"{record.pathname}:{record.lineno}"
        failure = logging.LogRecord(
            __name__, logging.ERROR, place, 0, "a log call failed at %s: %s", (place, type(error).__name__), None
        )
        self.stream.write(self.format(failure) + self.terminator)


class Logs:
    """The installed logging of a process; `close` puts everything back as it was."""

    def __init__(self, level: str, layout: Format, stream: TextIO, redactor: Redactor | None = None) -> None:
        self.redactor = redactor or Redactor()
        self._handler = _Handler(stream)
        self._handler.setFormatter(_formatter(layout, self.redactor, stream))
        self._hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
        sys.excepthook, threading.excepthook, sys.unraisablehook = _uncaught, _uncaught_in_thread, _unraisable
        root = logging.getLogger()
        self._before = root.handlers[:], root.level, faulthandler.is_enabled()
        root.handlers[:] = [self._handler]
        logging.captureWarnings(True)
        self._enable_faulthandler(stream)
        self.level = ""
        self.set_level(level)

    def set_level(self, level: str) -> None:
        """`debug`, `info`, `warning` or `error`, from now on."""
        number = _LEVELS[level]
        logging.getLogger().setLevel(number)
        for name in _NOISY:
            logging.getLogger(name).setLevel(number if number == logging.DEBUG else max(number, logging.WARNING))
        self.level = level

    def close(self) -> None:
        handlers, level, was_enabled = self._before
        sys.excepthook, threading.excepthook, sys.unraisablehook = self._hooks
        logging.captureWarnings(False)
        if not was_enabled:
            faulthandler.disable()
        root = logging.getLogger()
        root.handlers[:] = handlers
        root.setLevel(level)
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.NOTSET)
        self._handler.close()

    def _enable_faulthandler(self, stream: TextIO) -> None:
        """Its stacks hold file names and functions, never values."""
        try:
            faulthandler.enable(stream)
        except (OSError, ValueError):  # not a real file, as in a test
            _log.debug("no stacks on a crash: the log has no file descriptor")


def _formatter(layout: Format, redactor: Redactor, stream: TextIO) -> _Formatter:
    if layout is Format.JOURNAL:
        return JournalFormatter(redactor)
    if layout is Format.JSON:
        return JsonFormatter(redactor)
    return TerminalFormatter(redactor, is_coloured=stream.isatty() and not os.environ.get("NO_COLOR"))


def _short(name: str) -> str:
    return name.removeprefix("swarmd.")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _log.critical("nobody caught this", exc_info=(kind, error, trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None:
        name = given.thread.name if given.thread else "?"
        _log.error("thread %s ended", name, exc_info=(given.exc_type, given.exc_value, given.exc_traceback))


def _unraisable(given: sys.UnraisableHookArgs) -> None:
    if given.exc_value is not None:
        exc_info = (given.exc_type, given.exc_value, given.exc_traceback)
        _log.error("%s", given.err_msg or "an exception that could not be raised", exc_info=exc_info)
