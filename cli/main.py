"""Entry point of `swarm`: answers `--help` at once, leaves everything else to `app`.

Invariant: the exit code is one of those that `overview.EPILOG` lists.
"""

import sys
from collections.abc import Sequence

from cli import streams
from cli.overview import EXIT_INTERRUPTED, overview


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    streams.open_missing()
    try:
        if list(arguments) in (["--help"], ["-h"]) and _show_overview():
            return 0
        from cli.app import invoke  # click alone takes four times as long to load as Python does

        return invoke(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    finally:
        streams.settle()


def _show_overview() -> bool:
    """Whether it could be written; if not, `app` tries again and says why."""
    try:
        print(overview(), flush=True)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
