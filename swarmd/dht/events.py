"""What a node tells its owner. `operation` is the number that the command returned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from swarmd.core.addresses import Address
from swarmd.dht.items import Item


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """The first search for our own place ended; `n_nodes` are in the tables. 0: nobody answered, it is tried again."""

    n_nodes: int


@dataclass(frozen=True, slots=True)
class GetDone:
    """`item` is None when nobody had it. Of a mutable one, the newest that anybody near the key has."""

    operation: int
    target: bytes
    item: Item | None
    rounds: int


@dataclass(frozen=True, slots=True)
class PutDone:
    """On `n_copies` nodes; with none it is nowhere. `newer` stood in the way: of a higher seq, or not the cas."""

    operation: int
    target: bytes
    n_copies: int
    newer: Item | None = None


@dataclass(frozen=True, slots=True)
class PeersFound:
    """Some more of them, as they come."""

    operation: int
    info_hash: bytes
    peers: tuple[Address, ...]


@dataclass(frozen=True, slots=True)
class PeersDone:
    """The search ended; `n_copies` nodes took the announcement, if it was one."""

    operation: int
    info_hash: bytes
    n_peers: int
    n_copies: int
    rounds: int


@dataclass(frozen=True, slots=True)
class NodesDone:
    """The closest that answered, closest first: those that something put there would go to."""

    operation: int
    target: bytes
    node_ids: tuple[bytes, ...]
    rounds: int


Event: TypeAlias = "Bootstrapped | GetDone | PutDone | PeersFound | PeersDone | NodesDone"
