"""`python -m tests.sim NAME [--nodes N] [--seed S] [--json] ...`: run one simulation and print its figures."""

from __future__ import annotations

import argparse

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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    names = parser.add_subparsers(dest="name", required=True)
    for name, module in SIMULATIONS.items():
        one = names.add_parser(name, description=module.__doc__)
        one.add_argument("--json", action="store_true", help="one JSON object")
        module.add_arguments(one)
    arguments = parser.parse_args()
    SIMULATIONS[arguments.name].main(arguments)


if __name__ == "__main__":
    main()
