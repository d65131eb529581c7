"""Ctrl-C, SIGTERM and SIGHUP as KeyboardInterrupt, but never between the start of a process and the note of it.

An exception that a signal handler raises can come at any instruction, also inside `subprocess.Popen`, when the child
runs and nobody has its process id yet. Inside `held` the signal is noted, and raised when the block ends.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Takes the signals over when it is made. It raises once: what cleans up after that is left alone."""

    def __init__(self) -> None:
        self._is_held = False
        self._is_noted = False
        for number in _SIGNALS:
            signal.signal(number, self._take)

    def ignore(self) -> None:
        """From now on nothing is raised."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def held(self) -> Iterator[None]:
        """For blocks that take no time; KeyboardInterrupt at their end when a signal has come meanwhile."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._is_noted:
            self._raise()

    def _take(self, number: int, frame: object) -> None:
        if self._is_held:
            self._is_noted = True
        else:
            self._raise()

    def _raise(self) -> None:
        self.ignore()
        raise KeyboardInterrupt
