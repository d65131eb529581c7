"""This member in its group: what all parts of routing are given."""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.core.ids import GroupId, PeerId
from swarmd.core.rng import Rng
from swarmd.groups.ring import GroupAddress, group_address
from swarmd.identity.identity import Identity


@dataclass(frozen=True, slots=True)
class Own:
    group_id: GroupId
    identity: Identity
    rng: Rng
    """For choices that need not be secret."""
    secrets: Rng
    """For keys and IDs."""

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def address(self) -> GroupAddress:
        return group_address(self.identity.peer_id)
