"""What this node counts, in the text format of Prometheus (version 0.0.4), for `swarm metrics`.

Names follow the conventions of that project: base units, `_total` for what only grows. Labels carry IDs and the names
of groups, escaped: never a ticket, an address or a path, for who collects metrics shows them to others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from swarmd import __version__
from swarmd.control.records import Traffic
from swarmd.daemon.groupinfo import refused

if TYPE_CHECKING:
    from swarmd.daemon.node import Node

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

Labels = Mapping[str, str]


@dataclass(slots=True)
class Family:
    """One metric: what it is, and its samples."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> Family:
        self.samples.append((labels, value))
        return self

    def lines(self) -> Iterable[str]:
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for labels, value in self.samples:
            inside = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
            yield f"{self.name}{{{inside}}} {value:.17g}" if inside else f"{self.name} {value:.17g}"


def metrics_text(node: Node) -> str:
    """All of it, as it is now."""
    families = [*_of_node(node), *_of_transfers(node), *_of_groups(node), *_of_dht(node), *_of_found(node)]
    return "".join(f"{line}\n" for family in families if family.samples for line in family.lines())


def _of_node(node: Node) -> list[Family]:
    received, sent = node.peers.traffic
    sessions = Family("swarmd_sessions", "gauge", "Sessions with peers, by transport.")
    kinds = Counter(connection.link.kind.value for connection in node.peers.connections())
    for kind in ("tcp", "udp"):
        sessions.add(kinds[kind], transport=kind)
    return [
        Family("swarmd_info", "gauge", "The daemon.").add(1, version=__version__, peer_id=str(node.peer_id)),
        Family("swarmd_uptime_seconds", "gauge", "Since the daemon started.").add(node.now - node.started_at),
        Family("swarmd_received_bytes_total", "counter", "Received from peers.").add(received),
        Family("swarmd_sent_bytes_total", "counter", "Sent to peers.").add(sent),
        sessions,
    ]


def _of_transfers(node: Node) -> list[Family]:
    states = Counter(transfer.state.value for transfer in node.transfers.all())
    family = Family("swarmd_transfers", "gauge", "Downloads, by state.")
    for state, count in sorted(states.items()):
        family.add(count, state=state)
    return [family]


def _of_dht(node: Node) -> list[Family]:
    status = node.dht.status
    if status is None:
        return []
    queries = Family("swarmd_dht_queries_total", "counter", "Messages of others, by what became of them.")
    for what, count in sorted(status.counts.items()):
        queries.add(count, result=what)
    return [
        Family("swarmd_dht_nodes", "gauge", "Nodes of the DHT that this one knows.").add(status.n_nodes),
        Family("swarmd_dht_items", "gauge", "Items kept for others.").add(status.n_items),
        Family("swarmd_dht_item_bytes", "gauge", "Their bytes.").add(status.n_item_bytes),
        queries,
    ]


def _of_found(node: Node) -> list[Family]:
    found = Family("swarmd_rendezvous_found_total", "counter", "What the DHT has brought for the groups, by kind.")
    for kind, count in sorted(node.rendezvous.found.items()):
        found.add(count, kind=kind)
    providers = Family(
        "swarmd_providers_found_total", "counter", "Who was called for what a transfer lacked, by what has named them."
    )
    providers.add(node.providing.n_found, by="ring").add(node.rendezvous.found.get("provider", 0), by="dht")
    return [found, providers]


def _of_groups(node: Node) -> list[Family]:
    members = Family(
        "swarmd_group_members", "gauge", "Members of the group, this node included, as far as it is known."
    )
    neighbours = Family("swarmd_group_neighbours", "gauge", "Members with whom there is a link.")
    shares = Family("swarmd_group_shares", "gauge", "What is shared in the group.")
    not_taken = Family(
        "swarmd_group_records_refused_total", "counter", "Catalogue records of members that were not taken, by why."
    )
    traffic = Family("swarmd_group_bytes_total", "counter", "What went through the group, by what it was for.")
    for membership in node.memberships.all().values():
        if membership.spec.is_listed:
            machine = membership.group
            labels = {"group_id": str(membership.spec.group_id), "group": membership.spec.name}
            members.add(machine.estimated_member_count, **labels)
            neighbours.add(len(machine.neighbours), **labels)
            shares.add(machine.catalogue.n_shares, **labels)
            for why, count in refused(machine.catalogue).items():
                not_taken.add(count, **labels, reason=why)
            for service, flow in node.group_info.traffic(membership).items():
                _add_traffic(traffic, {**labels, "service": service}, flow)
    return [members, neighbours, shares, not_taken, traffic]


def _add_traffic(family: Family, labels: Labels, flow: Traffic) -> None:
    family.add(flow.data_received_bytes, **labels, kind="data", direction="received")
    family.add(flow.data_sent_bytes, **labels, kind="data", direction="sent")
    family.add(flow.control_received_bytes, **labels, kind="control", direction="received")
    family.add(flow.control_sent_bytes, **labels, kind="control", direction="sent")
