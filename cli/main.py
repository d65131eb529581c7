"""Entry point of `swarm`: answers `--help` at once, leaves everything else to `app`.

Invariant: the exit code is one of those that `overview.EPILOG` lists.
"""

import sys
from collections.abc import Sequence

from cli.overview import EXIT_INTERRUPTED, overview


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code."""
    try:
        if list(arguments) in (["--help"], ["-h"]):
            print(overview())
            return 0
        from cli.app import invoke  # click alone takes four times as long to load as Python does

        return invoke(arguments)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    main()
