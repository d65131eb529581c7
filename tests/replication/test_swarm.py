"""Small swarms in virtual time: whatever happens, everybody who stays ends with everything, once; and how fast.

The seeds are fixed: a failure here is found again by `python -m tests.sim swarm` with the same plan.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from swarmd.replication.pickers import Order
from tests.sim.node import Node
from tests.sim.swarm import Plan, Result, Swarm

SMALL = Plan(nodes=4, mib=1, chunk_kib=64, rate=20, down_period=0.3)
TROUBLED = Plan(nodes=6, mib=1, chunk_kib=64, rate=20, down_period=0.3, limit=200)
BATCHES = 10
SEEDS_OF_A_BATCH = 10
MAX_RATIO = 1.25
MAX_COPIES = 1.2


def honest(swarm: Swarm) -> list[Node]:
    """The leechers that do no wrong."""
    return swarm.leechers[swarm.plan.liars + swarm.plan.stallers :]


def assert_everything_once(swarm: Swarm, nodes: list[Node]) -> None:
    n_chunks = swarm.content.shape.n_chunks
    for node in nodes:
        assert node.is_done, f"node {node.number} of seed {swarm.plan.seed} has {len(node.have)} of {n_chunks}"
        assert node.tally.stored == dict.fromkeys(range(n_chunks), 1), f"seed {swarm.plan.seed}"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_hundred_seeds_with_churn_stalls_liars_and_full_disks(batch: int) -> None:
    for number in range(SEEDS_OF_A_BATCH):
        seed = batch * SEEDS_OF_A_BATCH + number
        plan = replace(
            TROUBLED,
            seed=seed,
            liars=seed % 2,
            stallers=seed // 2 % 2,
            churn=(0, 0.5, 2)[seed % 3],
            fails=(0, 0.05)[seed % 5 == 0],
            slow=(0, 0.3)[seed % 7 == 0 and seed % 3 < 2],  # or they are killed faster than a chunk comes
            order=(Order.RAREST, Order.LOWEST)[seed % 4 == 3],
        )
        swarm = Swarm(plan)
        result = swarm.run()
        assert_everything_once(swarm, honest(swarm))
        assert result.faults == []
        if not plan.liars:
            assert (result.rejected, result.penalties) == (0, 0)


@pytest.mark.parametrize("order", Order)
def test_without_trouble_nothing_is_wasted(order: Order) -> None:
    swarm = Swarm(replace(SMALL, order=order))
    result = swarm.run()
    assert_everything_once(swarm, swarm.leechers)
    assert (result.rejected, result.penalties, result.faults) == (0, 0, [])
    assert result.wasted_copies <= 0.05


def test_one_seed_gives_one_run() -> None:
    plan = replace(TROUBLED, churn=1, liars=1, stallers=1, seed=5)
    assert Swarm(plan).run() == Swarm(plan).run()


def test_sixteen_leechers_at_once_are_nearly_as_fast_as_the_line() -> None:
    """The figure of the README, and its 256 chunks, in small; `python -m tests.sim swarm` gives it for 64 MiB."""
    result = Swarm(Plan(nodes=16, mib=24, chunk_kib=96, rate=20)).run()
    assert result.is_complete
    assert result.ratio <= MAX_RATIO
    assert result.seeder_copies <= MAX_COPIES
    assert result.faults == []


def test_the_command_line_prints_its_figures_as_json() -> None:
    small = ["--nodes", "3", "--mib", "0.5", "--chunk-kib", "64"]
    command = [sys.executable, "-m", "tests.sim", "swarm", *small, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures.keys() == {field.name for field in fields(Result)}
    assert figures["is_complete"] is True
    assert figures["ratio"] > 1
    assert figures["seeder_copies"] > 0.9
    assert done.stderr == ""
