"""How much of what honest members list was invented: looked at every few seconds, so that no moment is left out."""

from __future__ import annotations

from typing import Any

from tests.sim.crowd import Crowd, Node

LOOK_PERIOD = 5.0


class Inventions:
    """From now on. `worst`: the largest share of anybody's list at any look."""

    def __init__(self, crowd: Crowd) -> None:
        self.worst = 0.0
        self._crowd = crowd
        self._shares: list[float] = []
        self._look()

    @property
    def mean(self) -> float:
        return sum(self._shares) / max(1, len(self._shares))

    def figures(self) -> dict[str, Any]:
        return {"invented_share": round(self.mean, 4), "invented_share_most": round(self.worst, 4)}

    def _look(self) -> None:
        shares = [self._share(node) for node in self._crowd.up() if not node.is_hostile]
        self._shares.append(sum(shares) / max(1, len(shares)))
        self.worst = max(self.worst, *shares, 0.0)
        self._crowd.clock.after(LOOK_PERIOD, self._look)

    def _share(self, node: Node) -> float:
        members = node.group.members(self._crowd.now)
        return sum(each.peer_id in self._crowd.invented for each in members) / max(1, len(members))
