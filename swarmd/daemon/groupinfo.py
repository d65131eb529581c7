"""What `swarm group show` and `swarm metrics` say of a group beyond what it is: its neighbours and why, this node's
place on the ring, what goes through it. It is NetGroupInfo, and more.

Changes nothing but the rates that it measures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmd.control import records
from swarmd.core.ids import GroupId
from swarmd.daemon.membership import Membership
from swarmd.daemon.traffic import Bytes, Meter
from swarmd.groups.authorisation import Right
from swarmd.groups.catalogue import Catalogue, Refusal
from swarmd.groups.neighbourhood import NeighbourInfo
from swarmd.groups.ring import GroupAddress, coverage, group_address

if TYPE_CHECKING:
    from swarmd.daemon.node import Node


_REFUSED_SHOWN = 8  # publishers


class GroupInfo:
    def __init__(self, node: Node) -> None:
        self._node = node
        self._meters: dict[tuple[GroupId, str], Meter] = {}

    def measure(self) -> None:
        """Often, so that rates are of the last seconds whenever somebody asks."""
        present = self._node.memberships.all()
        for key in [key for key in self._meters if key[0] not in present]:
            del self._meters[key]
        for membership in present.values():
            self.traffic(membership)

    def show(self, group: GroupId) -> records.GroupInfo:
        node = self._node
        membership = node.memberships.get(group)
        spec, machine = membership.spec, membership.group
        own = group_address(node.peer_id)
        covered = coverage(own, (GroupAddress.at(number) for number, _ in machine.ring))
        routing = machine.routing
        return records.GroupInfo(
            **node.reports.group_fields(group),
            joined_at=int(membership.joined_at * 1000),
            restrict_post=Right.POST in spec.restricted,
            may_post=node.messaging.may_post(group),
            address=str(own),
            coverage_from=str(covered.start),
            coverage_to=str(covered.end),
            estimated_members=machine.estimated_member_count,
            receive_mode=None if routing is None else "nearest" if routing.receive_mode.value == "nearest" else "exact",
            neighbours=[self._neighbour(each) for each in machine.neighbour_info(node.now)],
            traffic=self.traffic(membership),
            refused=refused(machine.catalogue),
            refused_of={str(peer): count for peer, count in machine.catalogue.refused.most_common(_REFUSED_SHOWN)},
            notes=[note] if (note := node.messaging.clock_note(group)) is not None else [],
        )

    def _neighbour(self, info: NeighbourInfo) -> records.Neighbour:
        connection = self._node.peers.connection(info.peer_id)
        link = connection.link if connection is not None else None
        latency = info.latency if info.latency is not None else link.rtt if link is not None else None
        return records.Neighbour(
            peer_id=str(info.peer_id),
            address=str(group_address(info.peer_id)),
            path=f"{link.kind.value} {link.remote}" if link is not None else None,
            latency_s=latency,
            linked_s=round(info.linked_period, 3),
            reason=info.reason.value if info.reason is not None else None,
        )

    def traffic(self, membership: Membership) -> dict[str, records.Traffic]:
        """By what the group is for."""
        group, now = membership.spec.group_id, self._node.now
        found = {}
        for service, counted in self._counted(membership).items():
            meter = self._meters.setdefault((group, service), Meter(now))
            rates = meter.rates(counted, now)
            found[service] = records.Traffic(
                data_received_bytes=counted.data_received,
                data_sent_bytes=counted.data_sent,
                control_received_bytes=counted.control_received,
                control_sent_bytes=counted.control_sent,
                data_received_rate=rates.data_received,
                data_sent_rate=rates.data_sent,
                control_received_rate=rates.control_received,
                control_sent_rate=rates.control_sent,
            )
        return found

    def _counted(self, membership: Membership) -> dict[str, Bytes]:
        node, group, machine = self._node, membership.spec.group_id, membership.group
        counted = {}
        if node.memberships.is_replicating(group):
            counted["replication"] = node.exchange.traffic(group)
        if machine.posting is not None:
            posting = machine.posting.traffic
            counted["posting"] = Bytes(
                posting.data_received, posting.data_sent, posting.control_received, posting.control_sent
            )
        if machine.routing is not None:
            info = machine.routing.info
            counted["routing"] = Bytes(data_received=info.received_bytes, data_sent=info.sent_bytes)
        if machine.providers is not None:
            found = machine.providers.info
            counted["providers"] = Bytes(control_received=found.received_bytes, control_sent=found.sent_bytes)
        return counted


def refused(catalogue: Catalogue) -> dict[str, int]:
    """How many records were not taken, by why; every reason is there."""
    return {why.value: catalogue.refusals[why] for why in Refusal}
