"""The control socket as any program may use it: JSON lines, written out here so that the project's client is not
tested against itself.

A `Control` waits no longer than its time-out for one line.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT_TIMEOUT = 30.0


class CallError(AssertionError):
    """An error object; an AssertionError, for most tests expect none."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Event:
    topic: str
    name: str
    data: dict[str, Any]


class Control:
    def __init__(self, path: Path, timeout: float = WAIT_TIMEOUT) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._lines = self.socket.makefile("rb")
        self._events: deque[Event] = deque()
        self._last_id = 0

    def __enter__(self) -> Control:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self.socket.close()

    def call(
        self, method: str, progress: Callable[[dict[str, Any]], object] = lambda _: None, /, **params: Any
    ) -> dict[str, Any]:
        """The result; events that come meanwhile are kept."""
        request_id = self.ask(method, **params)
        while True:
            message = self.receive()
            if message.get("id") == request_id and "method" not in message:
                break
            if message.get("method") == "progress" and message["params"]["id"] == request_id:
                progress(message["params"]["value"])
            elif message.get("method") == "event":
                self._events.append(Event(**message["params"]))
        if "error" in message:
            raise CallError(message["error"]["data"]["code"], message["error"]["message"])
        result: dict[str, Any] = message["result"]
        return result

    def ask(self, method: str, **params: Any) -> int:
        """Send a call and leave its answer for `receive`; its ID."""
        self._last_id += 1
        self.send(json.dumps({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}).encode())
        return self._last_id

    def send(self, line: bytes) -> None:
        self.socket.sendall(line + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next line; EOFError when the daemon has closed the connection."""
        line = self._lines.readline()
        if not line:
            raise EOFError("the daemon closed the connection")
        message: dict[str, Any] = json.loads(line)
        return message

    def subscribe(self, *topics: str) -> None:
        self.call("subscribe", topics=topics)

    def next_event(self) -> Event:
        while not self._events:
            message = self.receive()
            if message.get("method") == "event":
                self._events.append(Event(**message["params"]))
        return self._events.popleft()

    def wait_for(self, topic: str, name: str) -> dict[str, Any]:
        """The data of the next such event; others are dropped."""
        while True:
            event = self.next_event()
            if (event.topic, event.name) == (topic, name):
                return event.data
