"""A process as a service manager starts it: takes the control socket, says it is ready, answers, reloads, stops.

`python -m tests.daemon.activated`: prints one JSON line about what it was given, answers each connection with
`hello`, and ends with SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import suppress

from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError
from swarmd.daemon.systemd import Notifier, socket_group, take_control_socket, watchdog_period


class Stopped(Exception):
    """SIGTERM came."""


def main() -> int:
    signal.signal(signal.SIGTERM, stop)
    period = watchdog_period(os.environ, os.getpid())
    notifier = Notifier.from_environ(os.environ)
    signal.signal(signal.SIGHUP, lambda *_: reload(notifier))
    try:
        control = take_control_socket(os.environ, os.getpid())
    except LocalError as error:
        print(error, file=sys.stderr)
        notifier.close()
        return 2
    left = sorted(name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_")))
    told = {"socket": control and control.getsockname(), "watchdog": period, "left": left}
    if control is not None:
        told |= {"inheritable": os.get_inheritable(control.fileno()), "blocking": control.getblocking()}
        told |= {"group": socket_group(control)}
    print(json.dumps(told), flush=True)
    with suppress(Stopped):
        serve(control, notifier)
    notifier.stopping("bye")
    notifier.close()
    return 0


def stop(*_: object) -> None:
    raise Stopped


def reload(notifier: Notifier) -> None:
    notifier.reloading(SystemClock().monotonic())
    notifier.ready("reloaded")


def serve(control: socket.socket | None, notifier: Notifier) -> None:
    notifier.ready("listening")
    notifier.watchdog()
    while control is None:
        signal.pause()  # comes back after each signal; SIGTERM raises
    with control:
        control.setblocking(True)
        while True:
            connection, _ = control.accept()
            with connection:
                connection.sendall(b"hello")


if __name__ == "__main__":
    sys.exit(main())
