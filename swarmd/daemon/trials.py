"""Groups that this node has joined for something that may come to nothing: a `get` with the ticket of a share.

Such a group is on trial until a visit of it has ended well, or something else uses it. A trial that came to nothing is
due: the group is to be left. Where that fails (a full disk), it is due again `RETRY_PERIOD` later.

Not here: joining and leaving (`memberships`). A crash forgets the trials: the groups are kept then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from swarmd.core.ids import GroupId

RETRY_PERIOD = 30.0

IsUsed = Callable[[GroupId], bool]


class Trials:
    def __init__(self) -> None:
        self._visits: Counter[GroupId] = Counter()
        self._on_trial: dict[GroupId, IsUsed] = {}
        self._retry_at = math.inf

    def begin(self, group: GroupId, is_known: bool, is_used: IsUsed) -> None:
        """A visit begins. One that was known before is not on trial."""
        if not is_known:
            self._on_trial[group] = is_used
        self._visits[group] += 1

    def end(self, group: GroupId, *, well: bool) -> None:
        self._visits.subtract([group])
        if well:
            self.settle(group)

    def settle(self, group: GroupId) -> None:
        """It stays, or is left already."""
        self._on_trial.pop(group, None)

    def due(self, group: GroupId) -> IsUsed | None:
        """What says whether it is used, if it is to be left unless it is: None where it is not on trial, or visited."""
        return self._on_trial.get(group) if self._visits[group] <= 0 else None

    def failed(self, now: float) -> None:
        """It could not be left."""
        self._retry_at = now + RETRY_PERIOD

    def handle_timer(self, now: float) -> list[GroupId]:
        """Those to be tried again."""
        if now < self._retry_at:
            return []
        self._retry_at = math.inf
        return list(self._on_trial)

    def next_deadline(self) -> float:
        return self._retry_at
