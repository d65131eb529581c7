"""`python -m tests.sim NAME [--nodes N] [--seed S] [--json] ...`: run one simulation and print its figures."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

from tests.sim import dht, group, path, post, providers, route, swarm, whole

SIMULATIONS = {
    "dht": dht,
    "group": group,
    "path": path,
    "post": post,
    "providers": providers,
    "route": route,
    "swarm": swarm,
    "whole": whole,
}


_COUNTS = ("nodes", "members", "posts", "routes", "objects", "holders", "searches", "items", "lookups", "bytes")
_SHARES = ("loss", "hostile")
_AMOUNTS = ("mib", "rate")
_SPANS = ("churn", "hours", "interval", "period", "join_period", "settle_period", "churn_period", "split_period")


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True)
    for name, module in SIMULATIONS.items():
        one = names.add_parser(name, description=module.__doc__)
        one.add_argument("--json", action="store_true", help="one JSON object")
        module.add_arguments(one)
    arguments = parser.parse_args(given)
    if wrong := _out_of_range(arguments):
        parser.error(wrong)
    SIMULATIONS[arguments.name].main(arguments)


def _out_of_range(arguments: argparse.Namespace) -> str | None:
    """What no simulation could end with, or only with a trace. None of it is "not a number", either."""
    for name, value in vars(arguments).items():
        if name in _COUNTS and value < 1:
            return f"--{name} is 1 or more"
        if name in _SHARES and not 0 <= value < 1:
            return f"--{name} is a share: 0, or more and below 1"
        if name in _AMOUNTS and not 0 < value < math.inf:
            return f"--{name} is a number above 0"
        if name in _SPANS and value is not None and not 0 <= value < math.inf:
            return f"--{name.replace('_', '-')} is a number, 0 or more"
    return "a DHT has 2 nodes or more" if arguments.name == "dht" and arguments.nodes < 2 else None


if __name__ == "__main__":
    main()
