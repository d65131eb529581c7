"""Runs the benchmarks of this folder: `python -m tests.bench [NAME...]`, all of them without a name."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path


def main(wanted: list[str]) -> int:
    present = [module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)])]
    runnable = [name for name in present if not name.startswith("_")]
    if unknown := set(wanted) - set(runnable):
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(runnable)}", file=sys.stderr)
        return 2
    for name in wanted or runnable:
        print(f"== {name}")
        importlib.import_module(f"tests.bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
