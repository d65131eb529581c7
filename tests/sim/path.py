"""Congestion control of whole RTMFP endpoints on one line: filling it, sharing it, giving way, taking over.

Each scene runs on a line of its own. The queue is given in parts of rate x round-trip time.

fill      one transfer alone, random loss on the way: its share of the line
share     two transfers, the second 5 s later: the larger one's part of what both move in the next half minute
scavenge  a background transfer beside a foreground one, which then ends: what it takes, and when it has 80 %;
          and where the background was there first: what it takes from a second after the other came, for 19 seconds
critical  1 Mbit/s of time-critical messages in a session whose bulk fills the line: the 99th percentile of their delay

`--goals` runs each scene as its goal is stated (docs/figures.md, *UDP*), instead of on the line of the options.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from swarmd.transport.api import Priority
from tests.sim.wire import Transfer, Wire

CRITICAL_RATE = 125_000.0
SETTLED = 5
TAKEN_OVER = 0.8


@dataclass(frozen=True)
class Line:
    """Mbit/s, seconds, parts of the product of both, share lost."""

    rate: float = 100.0
    rtt: float = 0.05
    queue: float = 1.0
    loss: float = 0.0001
    seed: int = 1

    def wire(self) -> Wire:
        return Wire(self.rate * 125_000, self.rtt, self.queue, self.loss, self.seed)


@dataclass(frozen=True)
class Figure:
    scene: str
    line: Line
    name: str
    value: float
    goal: str = ""
    is_reached: bool = True


def fill(line: Line, goal: float = 0.85) -> list[Figure]:
    wire = line.wire()
    transfer = wire.transfer()
    wire.run(30)
    share = transfer.rate(0, 30) / wire.rate
    return [Figure("fill", line, "share of the line", round(share, 3), f">= {goal}", share >= goal)]


def share(line: Line) -> list[Figure]:
    wire = line.wire()
    first = wire.transfer()
    wire.run(5)
    second = wire.transfer()
    begin = round(wire.seconds) + 1
    wire.run(begin + 30)
    rates = [each.rate(begin, begin + 30) for each in (first, second)]
    larger = max(rates) / sum(rates)
    return [
        Figure("share", line, "the larger one's part", round(larger, 3), "<= 0.6", larger <= 0.6),
        Figure("share", line, "both, of the line", round(sum(rates) / wire.rate, 3)),
    ]


def scavenge(line: Line) -> list[Figure]:
    wire = line.wire()
    foreground = wire.transfer()
    wire.run(SETTLED)
    background = wire.transfer(Priority.BACKGROUND)
    wire.run(20)
    taken = background.rate(SETTLED + 1, 20) / wire.rate
    foreground.is_on = False
    while foreground.session.queued_bytes and wire.seconds < 25:
        wire.run(wire.seconds + 0.01)
    ended = round(wire.seconds)
    wire.run(ended + 8)
    after = taken_over(background, ended, wire.rate)
    return [
        Figure("scavenge", line, "taken beside the other", round(taken, 3), "< 0.1", taken < 0.1),
        Figure("scavenge", line, "seconds until it has 80 %", after, "<= 5", after <= 5),
        _kept(line),
    ]


def _kept(line: Line) -> Figure:
    """Of the line by a background transfer that was there first."""
    wire = line.wire()
    background = wire.transfer(Priority.BACKGROUND)
    wire.run(8)
    wire.transfer()
    wire.run(28)
    kept = background.rate(9, 28) / wire.rate
    return Figure("scavenge", line, "kept when it was there first", round(kept, 3), "< 0.1", kept < 0.1)


def taken_over(background: Transfer, ended: int, rate: float) -> float:
    """Whole seconds until a second in which it moved enough; 99: never in the eight looked at."""
    for second in range(8):
        if background.rate(ended + second, ended + second + 1) >= TAKEN_OVER * rate:
            return second + 1
    return 99


def critical(line: Line) -> list[Figure]:
    wire = line.wire()
    transfer = wire.transfer(critical_rate=CRITICAL_RATE)
    wire.run(SETTLED)
    transfer.begin_critical()
    wire.run(SETTLED + 15)
    waits = sorted(transfer.waits)
    p99, bound = waits[len(waits) * 99 // 100], line.rtt + 0.03
    bulk = transfer.rate(SETTLED, SETTLED + 15) / wire.rate
    return [
        Figure("critical", line, "p99 delay, s", round(p99, 4), f"<= {bound:.3f}", p99 <= bound),
        Figure("critical", line, "bulk meanwhile, of the line", round(bulk, 3), ">= 0.7", bulk >= 0.7),
    ]


SCENES: dict[str, Callable[[Line], list[Figure]]] = {
    "fill": fill,
    "share": share,
    "scavenge": scavenge,
    "critical": critical,
}


def goals(line: Line) -> list[Figure]:
    """On lines of 100 Mbit/s and 50 ms, and one of 200 ms."""
    return [
        *fill(line),
        *fill(replace(line, rtt=0.2), 0.75),
        *share(line),
        *scavenge(line),
        *critical(line),
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scene", choices=[*SCENES, "all"], default="all")
    parser.add_argument("--goals", action="store_true")
    for name, kind in (("rate", float), ("rtt", float), ("queue", float), ("loss", float), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Line, name))


def main(arguments: argparse.Namespace) -> None:
    line = Line(arguments.rate, arguments.rtt, arguments.queue, arguments.loss, arguments.seed)
    if arguments.goals:
        figures = goals(line)
    else:
        names = SCENES if arguments.scene == "all" else (arguments.scene,)
        figures = [figure for name in names for figure in SCENES[name](line)]
    if arguments.json:
        print(json.dumps([asdict(figure) for figure in figures]))
        return
    for each in figures:
        verdict = "" if not each.goal else f"  ({each.goal}: {'reached' if each.is_reached else 'NOT REACHED'})"
        print(f"{each.scene:9} {each.line.rtt * 1000:4.0f} ms  {each.name:28} {each.value:8}{verdict}")
