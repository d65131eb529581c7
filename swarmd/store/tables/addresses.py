"""Addresses that belong to no group yet: the ones a user named (`peer add`), tried again after a restart.

At most `MAX_ADDRESSES` are kept: the list is made by hand, and a runaway script must not make every start slow.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.core.errors import LocalError
from swarmd.core.ids import PeerId
from swarmd.store.database import Database

MAX_ADDRESSES = 1024


@dataclass(frozen=True, slots=True)
class AddressRow:
    address: str
    """As `core.addresses.Address` prints it."""
    peer_id: PeerId | None
    """Who answered there last, if anybody did."""
    last_seen: float
    """Wall clock, seconds; 0 when nobody ever answered."""


class AddressesTable:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, row: AddressRow) -> None:
        """Add or replace. LocalError when the table is full."""
        with self._database.transaction():
            others = self._database.query("SELECT COUNT(*) FROM addresses WHERE address != ?", (row.address,))
            if others[0][0] >= MAX_ADDRESSES:
                raise LocalError(f"{MAX_ADDRESSES} addresses are remembered already: remove some first")
            self._database.execute(
                "INSERT OR REPLACE INTO addresses (address, peer_id, last_seen) VALUES (?, ?, ?)",
                (row.address, row.peer_id, row.last_seen),
            )

    def rows(self) -> list[AddressRow]:
        return [
            AddressRow(address, None if peer is None else PeerId(peer), last_seen)
            for address, peer, last_seen in self._database.query(
                "SELECT address, peer_id, last_seen FROM addresses ORDER BY last_seen DESC, address"
            )
        ]

    def delete(self, address: str) -> bool:
        return self._database.execute("DELETE FROM addresses WHERE address = ?", (address,)) > 0
