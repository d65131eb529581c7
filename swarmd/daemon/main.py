"""`swarmd`: reads the configuration, sets the process up, runs the node until it is told to stop.

Exit status: 0 after SIGTERM or SIGINT, 1 when it could not start or had to give up, 2 for a wrong command line or
configuration (as `swarm` has it).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

from swarmd import __version__
from swarmd.core.clock import SystemClock
from swarmd.core.errors import LocalError
from swarmd.core.rng import SystemRng
from swarmd.daemon.config import ConfigError, Loaded, Surroundings, load
from swarmd.daemon.effective import USAGE_STATUS, check_config
from swarmd.daemon.logs import Logs, pick_format
from swarmd.daemon.memory import keep_freed_memory, leave_out_of_collection
from swarmd.daemon.node import Node
from swarmd.daemon.options import Options, parse_options
from swarmd.daemon.settings import changed_keys
from swarmd.daemon.supervisor import Supervisor
from swarmd.daemon.systemd import Notifier, take_control_socket, watchdog_period
from swarmd.net.coalescing import CoalescingSelector

log = logging.getLogger(__name__)

_FAILURE_STATUS = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script; ends the process."""
    options = parse_options(sys.argv[1:] if arguments is None else arguments)
    around = Surroundings.of_process()
    if options.check_config:
        sys.exit(check_config(options, around, sys.stdout, sys.stderr))
    try:
        loaded = load(options, around)
    except ConfigError as error:
        for problem in error.problems:
            print(f"swarmd: {problem}", file=sys.stderr)
        sys.exit(USAGE_STATUS)
    sys.exit(_run(options, loaded, around))


def _run(options: Options, loaded: Loaded, around: Surroundings) -> int:
    settings = loaded.config.log
    layout = pick_format(settings.format, os.environ, sys.stderr.fileno())
    logs = Logs(settings.level, layout, sys.stderr)
    keep_freed_memory()
    try:
        selector = CoalescingSelector(SystemClock())
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
            return runner.run(_Daemon(options, loaded, around, logs, selector).run())
    except LocalError as error:
        log.critical("%s", error)
        return _FAILURE_STATUS
    finally:
        logs.close()


class _Daemon:
    """The process around a node: signals, systemd, reload."""

    def __init__(
        self, options: Options, loaded: Loaded, around: Surroundings, logs: Logs, selector: CoalescingSelector
    ) -> None:
        self._selector = selector
        self._options, self._loaded, self._around, self._logs = options, loaded, around, logs
        self._clock, self._rng = SystemClock(), SystemRng()
        self._inherited = take_control_socket(os.environ, os.getpid())
        self._watchdog = watchdog_period(os.environ, os.getpid())
        self._notifier = Notifier.from_environ(os.environ)

    async def run(self) -> int:
        """Until a signal or a fault; the exit status."""
        supervisor = Supervisor(self._clock, self._rng)
        node = Node(
            self._loaded, self._clock, self._rng, supervisor, self._notifier, self._logs.redactor, self._selector.moved
        )
        node.hurry = self._selector.hurry
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, supervisor.request_stop, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self._reload, node)
        try:
            await node.start(self._inherited, self._watchdog)
            leave_out_of_collection()
            log.info("swarmd %s is ready: peer %s, %s", __version__, node.peer_id, node.where)
            self._notifier.ready(node.summary())
            stop = await supervisor.wait_for_stop()
            log.info("swarmd stops: %s", stop.reason)
            self._notifier.stopping("stopping")
        finally:
            await node.stop()
            self._notifier.close()
        return _FAILURE_STATUS if stop.error is not None else 0

    def _reload(self, node: Node) -> None:
        """SIGHUP: limits and the log level of the file are applied, everything else waits for a restart."""
        self._notifier.reloading(self._clock.monotonic())
        try:
            loaded = load(self._options, self._around)
        except ConfigError as error:
            for problem in error.problems:
                log.error("not reloaded: %s", problem)
        else:
            live, waiting = changed_keys(self._loaded.config, loaded.config)
            self._loaded = loaded
            self._logs.set_level(loaded.config.log.level)
            node.apply_limits(loaded.config.limits)
            log.info("reloaded: %s", ", ".join(live) or "nothing has changed")
            if waiting:
                log.warning("these changes need a restart: %s", ", ".join(waiting))
            node.notice("reloaded", ", ".join(live) or "nothing has changed")
        self._notifier.ready(node.summary())
