"""How the node stands in the DHT, for `dht.status`, `status` and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

from swarmd.control.dht import DhtStatus
from swarmd.control.records import DhtGlance
from swarmd.daemon.advice import clock_apart
from swarmd.groups.rendezvous.values import AHEAD_LIMIT

if TYPE_CHECKING:
    from swarmd.daemon.dht import DhtService


Mode = Literal["private", "public", "off"]


def dht_glance(service: DhtService) -> DhtGlance:
    return DhtGlance(mode=cast(Mode, service.mode), on=service.is_on, nodes=service.n_nodes)


def dht_status(service: DhtService) -> DhtStatus:
    status = service.status
    is_on = status is not None
    why = service.why_off or ((service.lack or _clock_note(service)) if is_on else "it has not started yet")
    return DhtStatus(
        mode=cast(Mode, service.mode),
        on=is_on,
        why=why or None,
        network=service.network_name if service.is_on else None,
        node_id=status.node_id.hex() if status is not None else None,
        nodes=status.n_nodes if status is not None else 0,
        bootstrap=service.places,
        seen_as=str(status.seen_as) if status is not None and status.seen_as is not None else None,
        read_only=service.is_read_only,
        reached=service.reached if is_on else None,
        items=status.n_items if status is not None else 0,
        item_bytes=status.n_item_bytes if status is not None else 0,
        announced=status.n_info_hashes if status is not None else 0,
        kept=sum(len(kept.targets) for kept in service.own.all()),
        searching=status.n_operations if status is not None else 0,
        queries=dict(sorted(status.counts.items())) if status is not None else {},
    )


def _clock_note(service: DhtService) -> str:
    """Empty when values of groups are not refused for their dates."""
    ahead = service.clock_ahead
    if ahead is None or abs(ahead) <= AHEAD_LIMIT:
        return ""
    return f"{clock_apart(ahead)}; set the one that is wrong (`timedatectl` shows it)"
