"""Which attempt to reach a peer starts when, and which one has won: happy eyeballs (RFC 8305) over addresses and
transports.

In:  the peer's addresses, best first; the kinds of transport that may be used; how each attempt ends.
Out: the paths to try now (`paths_to_start`), when to look again (`next_deadline`), which addresses are over
     (`is_over`), whom to call off (`attempt_succeeded`, `give_up`).

Addresses take turns by family; that of the best address begins (§4: one that has answered before should be the first).
Steps are ATTEMPT_DELAY apart (§5); a step comes at once when nothing is under way any more. Step n tries the preferred
kind of the n-th address, and beside it the other kind of the one before:

    step         0       1       2       3              (two addresses, elsewhere than on the local network)
    IPv6       UDP     TCP
    IPv4               UDP     TCP

So a broken IPv6 and a blocked UDP cost one delay each, and what is preferred has a head start of one delay, in which it
opens on all but the longest lines: two sessions at once are rare (and `transport.sessions` keeps one of them).

So a dead first address, whatever the reason, costs one delay, and no address waits longer for its turn than its place
in the list.

States of a path: waiting -> running -> failed, won, or called off. Invariant: a path is tried once; when one has won
nothing starts any more. The machine starts and cancels nothing itself, and cannot tell why an attempt failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, zip_longest

from swarmd.core.addresses import Address
from swarmd.transport.paths import Kind, Path, is_better, is_near, preferred_kind

ATTEMPT_DELAY = 0.25  # RFC 8305 §8
MAX_ADDRESSES = (
    24  # of one peer in one race: what an introducer may name at the most in the RFC author's implementation
)


class Race:
    """One peer, to be reached once, by the paths of these steps; none is empty, and no path comes twice."""

    def __init__(self, steps: Iterable[Sequence[Path]], now: float) -> None:
        self._steps = deque(list(step) for step in steps)
        self._next_step_at = now
        self._running: dict[Path, None] = {}
        self._winner: Path | None = None

    @property
    def winner(self) -> Path | None:
        return self._winner

    @property
    def is_lost(self) -> bool:
        """All attempts have failed."""
        return self._winner is None and not self._steps and not self._running

    def paths_to_start(self, now: float) -> list[Path]:
        """Those whose time has come; they are under way from now on."""
        due: list[Path] = []
        while self._steps and (now >= self._next_step_at or not self._running):
            due += self._steps[0]
            self._running.update(dict.fromkeys(self._steps.popleft()))
            self._next_step_at = now + ATTEMPT_DELAY
        return due

    def next_deadline(self) -> float | None:
        """When `paths_to_start` has something if nothing happens before; None when it will not have any more."""
        return self._next_step_at if self._steps else None

    def attempt_failed(self, path: Path, now: float) -> None:
        """It has ended, and no session came of it."""
        self._running.pop(path, None)
        if not self._running:
            self._next_step_at = now

    def is_over(self, address: Address) -> bool:
        """Nothing is under way to this address, and nothing will be."""
        return not any(path.address == address for path in chain(self._running, *self._steps))

    def give_up(self, address: Address, now: float) -> list[Path]:
        """Who answers there is of no use: try nothing more there. The attempts to be called off."""
        losers = [path for path in self._running if path.address == address]
        kept = ([path for path in step if path.address != address] for step in self._steps)
        self._steps = deque(step for step in kept if step)
        for path in losers:
            del self._running[path]
        if not self._running:
            self._next_step_at = now
        return losers

    def attempt_succeeded(self, path: Path) -> list[Path]:
        """A session is open there; the attempts to be called off. Nothing when another one was faster."""
        if self._winner is not None:
            return []
        self._winner = path
        losers = [other for other in self._running if other != path]
        self._running.clear()
        self._steps.clear()
        return losers


def plan_steps(
    addresses: Iterable[Address], kinds: Collection[Kind], own: Collection[Address] = ()
) -> list[list[Path]]:
    """The paths of each step, as said above; none twice, and no step is empty. `own`: this node's addresses, which tell
    what is near.
    """
    ordered = _by_turns(list(dict.fromkeys(addresses))[:MAX_ADDRESSES])
    steps: list[list[Path]] = [[] for _ in range(len(ordered) + len(kinds))]
    for number, address in enumerate(ordered):
        preferred = preferred_kind(address, own)
        usable = sorted(kinds, key=lambda kind: (kind is not preferred, kind.value))
        for rank, kind in enumerate(usable):
            steps[number + rank].append(Path(kind, address))
    return [step for step in steps if step]


def plan_improvement(
    now_by: Path, addresses: Iterable[Address], kinds: Collection[Kind], own: Collection[Address] = ()
) -> list[list[Path]]:
    """The same with those paths only that are better than the one there is, near ones first; perhaps none."""
    ordered = sorted(addresses, key=lambda address: not is_near(address, own))
    steps = plan_steps(ordered, kinds, own)
    better = ([path for path in step if is_better(path, now_by, own)] for step in steps)
    return [step for step in better if step]


def _by_turns(addresses: Sequence[Address]) -> list[Address]:
    """IPv6 and IPv4 in turn, each in the order given; the first stays the first (RFC 8305 §4)."""
    families = [
        [address for address in addresses if address.is_ipv6 is is_ipv6]
        for is_ipv6 in dict.fromkeys(address.is_ipv6 for address in addresses)
    ]
    return [address for address in chain.from_iterable(zip_longest(*families)) if address is not None]
