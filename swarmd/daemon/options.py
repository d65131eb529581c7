"""The command line of `swarmd`: what it accepts, and nothing of what it means.

Invariant: every option that is not given is None, False or empty, so that `config` can tell "not given" from
"given the default". argparse, not click: it starts in a third of the time and needs nothing installed.
Values are texts here; `config` checks them together with the file's, so all errors come at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from swarmd import __version__

_EPILOG = """\
Environment: SWARMD_CONFIG, SWARMD_STATE_DIR, SWARMD_SOCKET (the options of that name come first).
SIGHUP applies limits and the log level of the configuration file; SIGTERM and SIGINT end swarmd cleanly.
Commands to the running daemon are given with `swarm`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """One command line."""

    config: str | None = None
    state_dir: str | None = None
    socket: str | None = None
    listen: tuple[str, ...] = ()
    no_tcp: bool = False
    no_udp: bool = False
    no_mdns: bool = False
    no_dht: bool = False
    bootstrap: tuple[str, ...] = ()
    log_level: str | None = None
    log_format: str | None = None
    check_config: bool = False


def parse_options(arguments: Sequence[str]) -> Options:
    """`arguments` without the program's name. Ends the process for --help, --version and wrong usage (status 2)."""
    given = _parser().parse_args(arguments)
    return Options(
        config=given.config,
        state_dir=given.state_dir,
        socket=given.socket,
        listen=tuple(given.listen),
        no_tcp=given.no_tcp,
        no_udp=given.no_udp,
        no_mdns=given.no_mdns,
        no_dht=given.no_dht,
        bootstrap=tuple(given.bootstrap),
        log_level=given.log_level,
        log_format=given.log_format,
        check_config=given.check_config,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="swarmd",
        description="Shares large files in groups of machines. Runs in the foreground.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"swarmd {__version__}")
    add("--config", metavar="FILE", help="configuration in TOML; see --check-config for the default")
    add("--state-dir", metavar="DIR", help="where identity, catalogue and transfers are kept")
    add("--socket", metavar="PATH", help="control socket")
    add(
        "--listen",
        metavar="IP:PORT",
        action="append",
        default=[],
        help="listen on this numeric address (repeatable; port 0: any)",
    )
    add("--no-tcp", action="store_true", help="carry sessions over UDP only")
    add("--no-udp", action="store_true", help="carry sessions over TCP only")
    add("--no-mdns", action="store_true", help="neither announce nor look for peers on the local network")
    add("--no-dht", action="store_true", help="take no part in a DHT")
    add(
        "--bootstrap",
        metavar="HOST:PORT",
        action="append",
        default=[],
        help="dial this peer, and enter the DHT there (repeatable)",
    )
    add("--log-level", metavar="L", help="debug, info, warning or error")
    add("--log-format", metavar="F", help="auto, terminal, journal or json")
    add("--check-config", action="store_true", help="print the configuration in force and exit")
    return parser
