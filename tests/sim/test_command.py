"""`python -m tests.sim`: the same words for every simulation, and none that it could not end with."""

from __future__ import annotations

import argparse
import json

import pytest

from tests.sim.__main__ import SIMULATIONS, main

OF_MANY = sorted(SIMULATIONS.keys() - {"path"})
"""All but `path`, which is about one line."""


@pytest.mark.parametrize("name", OF_MANY)
def test_each_takes_nodes_and_a_seed(name: str) -> None:
    parser = argparse.ArgumentParser()
    SIMULATIONS[name].add_arguments(parser)
    arguments = parser.parse_args(["--nodes", "7", "--seed", "3"])
    assert vars(arguments).get("nodes", vars(arguments).get("members")) == 7
    assert arguments.seed == 3


@pytest.mark.parametrize(
    "words",
    [
        "dht --nodes 0",
        "group --nodes -3",
        "post --loss 1",
        "route --hostile 1.5",
        "whole --loss nan",
        "post --churn -1",
    ],
)
def test_what_cannot_be_simulated_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert ": error: --" in capsys.readouterr().err


def test_the_smallest_group_is_simulated(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("route --nodes 2 --routes 3 --period 5", "providers --nodes 3 --searches 3 --period 5"):
        main([*words.split(), "--json"])
    assert [json.loads(line)["members"] for line in capsys.readouterr().out.splitlines()] == [2, 3]
