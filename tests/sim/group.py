"""A large group that forms through one bootstrap peer, lives with loss and churn, is split and heals.

All members come within the join period, each with a ticket that names the first, and later ones with one that names any
honest member. Then, in order: the time until the
ring is right for all, the rest of the settling time, churn, a minute in which traffic is measured, the split and its
healing.
"""

from __future__ import annotations

import argparse
import gc
import json
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from tests.sim.crowd import Crowd, Node
from tests.sim.inventions import Inventions

CHURN_PERIOD = 600.0
"""Seconds in which the share of `--churn` is replaced."""
MEASURED_PERIOD = 60.0
SETTLE_PERIOD, SHORT_SETTLE_PERIOD = 120.0, 30.0
MANY = 3000
"""Members from which on the shorter one is the rule: 5,000 take four seconds of CPU for each of the group's."""
RING_LIMIT = 300.0
STEP = 1.0


@dataclass(frozen=True)
class Setting:
    members: int
    seed: int = 1
    join_period: float = 10.0
    settle_period: float | None = None
    """Seconds from the start; None: what suits the number of members."""
    loss: float = 0.0
    churn: float = 0.0
    churn_period: float = CHURN_PERIOD
    hostile: float = 0.0
    split_period: float = 0.0
    measured_period: float = MEASURED_PERIOD


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--members", "--nodes", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--join-period", type=float, default=10.0, help="seconds in which all come; 0: at once")
    parser.add_argument(
        "--settle-period",
        type=float,
        help=f"seconds from the start: {SETTLE_PERIOD:g}, or {SHORT_SETTLE_PERIOD:g} for {MANY} members and more",
    )
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets that are lost")
    parser.add_argument("--churn", type=float, default=0.0, help="share of members that is replaced every ten minutes")
    parser.add_argument("--churn-period", type=float, default=CHURN_PERIOD, help="seconds for which this goes on")
    parser.add_argument("--hostile", type=float, default=0.0, help="share of members that name invented ones")
    parser.add_argument("--split-period", type=float, default=0.0, help="seconds for which two halves are cut off")


def main(arguments: argparse.Namespace) -> None:
    gc.disable()  # some hundred thousand entries live as long as the run
    names = Setting.__dataclass_fields__
    figures = run(Setting(**{name: value for name, value in vars(arguments).items() if name in names}))
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:28} {value}")


def run(setting: Setting) -> dict[str, Any]:
    crowd = Crowd(setting.seed, setting.loss)
    figures: dict[str, Any] = {"members": setting.members, "seed": setting.seed}
    if setting.hostile:
        crowd.invent()
    inventions = Inventions(crowd) if setting.hostile else None
    _join(crowd, setting)
    figures["ring_right_after_s"] = _until_right(crowd, 0.0)
    figures["join_bytes_per_member"] = round(mean(node.sent_bytes for node in crowd.nodes))
    if (settle_period := setting.settle_period) is None:
        settle_period = SETTLE_PERIOD if setting.members < MANY else SHORT_SETTLE_PERIOD
    crowd.run(max(0.0, settle_period - crowd.now))
    figures["settled_until_s"] = round(crowd.now, 1)
    if setting.churn:
        figures["ring_wrong_in_churn"] = _churn(crowd, setting)
        figures["ring_right_after_churn_s"] = _until_right(crowd, crowd.now)
    figures |= _measure(crowd, setting.measured_period)
    if setting.split_period:
        crowd.split()
        crowd.run(setting.split_period)
        crowd.heal()
        figures["healed_after_s"] = _until_right(crowd, crowd.now)
    if inventions is not None:
        figures |= inventions.figures()
    figures["faults"] = len(crowd.faults)
    return figures


def _join(crowd: Crowd, setting: Setting) -> None:
    crowd.add()
    for number in range(1, setting.members):
        is_hostile = crowd.rng.random() < setting.hostile
        crowd.clock.at(number * setting.join_period / setting.members, _add, crowd, is_hostile)
    crowd.run(setting.join_period)


def _add(crowd: Crowd, is_hostile: bool) -> None:
    crowd.add(0, is_hostile=is_hostile)


def _until_right(crowd: Crowd, begin: float) -> float | None:
    """Seconds from `begin` until the ring is right for all. None: it never was."""
    while crowd.ring_errors():
        if crowd.now - begin > RING_LIMIT:
            return None
        crowd.run(STEP)
    return round(crowd.now - begin, 1)


def _churn(crowd: Crowd, setting: Setting) -> float:
    """One leaves or crashes and another one comes, again and again. The share of members beside whom the ring is wrong,
    on average."""
    period = CHURN_PERIOD / (setting.churn * setting.members)
    end, wrong, checked_at = crowd.now + setting.churn_period, [], crowd.now
    while crowd.now < end:
        crowd.run(period)
        gone = crowd.rng.choice([node.number for node in crowd.up() if node.number])
        (crowd.leave if crowd.rng.random() < 0.5 else crowd.crash)(gone)
        crowd.add(
            crowd.rng.choice([node.number for node in crowd.up() if not node.is_hostile]),
            is_hostile=crowd.rng.random() < setting.hostile,
        )
        if crowd.now >= checked_at + 10.0:
            checked_at = crowd.now
            wrong.append(crowd.ring_errors() / len(crowd.up()))
    return round(mean(wrong), 4)


def _measure(crowd: Crowd, period: float) -> dict[str, Any]:
    before = {node.number: node.sent_bytes for node in crowd.nodes}
    crowd.run(period)
    up = crowd.up()
    rates = [(node.sent_bytes - before.get(node.number, 0)) / period for node in up]
    links = [len(node.links) for node in up]
    ratios = sorted(node.group.estimated_member_count / len(up) for node in up if not node.is_hostile)
    known = [node.group.n_members for node in up]
    return {
        "control_bytes_per_s": round(mean(rates)),
        "control_bytes_per_s_most": round(max(rates)),
        "links": round(mean(links), 1),
        "links_most": max(links),
        "links_of_bootstrap": links[0],
        "links_of_bootstrap_most": crowd.nodes[0].most_links,
        "known": round(mean(known)),
        "known_most": max(known),
        "listed_share": _listed(crowd, up),
        "estimate_median": round(median(ratios), 3),
        "estimate_p5_p95": (round(ratios[len(ratios) // 20], 3), round(ratios[-1 - len(ratios) // 20], 3)),
        "estimate_within_20_percent": round(mean(abs(ratio - 1) <= 0.2 for ratio in ratios), 4),
    }


def _listed(crowd: Crowd, up: list[Node]) -> float:
    """The share of all others that honest members list, on average."""
    there = {node.peer_id for node in up}
    honest = [node for node in up if not node.is_hostile]
    listed = [sum(each.peer_id in there for each in node.group.members(crowd.now)) for node in honest]
    return round(mean(listed) / max(1, len(up) - 1), 4)
