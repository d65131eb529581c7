"""Lets many threads in at once, makes them wait while the owner holds it, and turns them away once it is shut.

Invariant: while the owner is inside `held`, and from `shut` on, nobody else is inside. The owner must not be inside
itself when it takes either.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from swarmd.core.errors import Conflict


class Gate:
    def __init__(self, name: str, is_open: bool = True) -> None:
        """`name`: what is behind the gate, for the message of who is turned away."""
        self._name = name
        self._changed = threading.Condition()
        self._inside = 0
        self._is_held = False
        self._is_open = is_open

    def __enter__(self) -> None:
        """Conflict when it is shut."""
        with self._changed:
            while self._is_held:
                self._changed.wait()
            if not self._is_open:
                raise Conflict(f"{self._name} is closed")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    @property
    def is_open(self) -> bool:
        return self._is_open

    def open(self) -> None:
        with self._changed:
            self._is_open = True

    def shut(self) -> None:
        """From now on nobody comes in; returns when the last one has left."""
        with self.held():
            self._is_open = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Alone inside; the others wait until the block is left."""
        with self._changed:
            while self._is_held:
                self._changed.wait()
            self._is_held = True
            while self._inside:
                self._changed.wait()
        try:
            yield
        finally:
            with self._changed:
                self._is_held = False
                self._changed.notify_all()
