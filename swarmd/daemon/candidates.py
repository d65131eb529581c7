"""All groups of this node, as the dialer sees them: whom they want called, and what they are told of it.

What is learned of an address is told to every group, since several may have members there. It decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from swarmd.core.addresses import Address
from swarmd.core.ids import GroupId, PeerId
from swarmd.daemon.memberships import Memberships
from swarmd.groups.dialer import Candidate
from swarmd.groups.group import Group


class Candidates:
    """A `daemon.dialer.CandidateSource`."""

    def __init__(self, memberships: Memberships) -> None:
        self._memberships = memberships

    def candidates(self, now: float) -> list[Candidate]:
        return self._memberships.candidates(now)

    def addresses(self, peer: PeerId, groups: Iterable[GroupId]) -> list[Address]:
        """Where a member of these groups is said to be."""
        known = [self._memberships.get(group).group for group in groups if group in self._memberships]
        return list(dict.fromkeys(address for group in known for address in group.addresses(peer)))

    def dial_succeeded(self, address: Address, peer: PeerId, now: float) -> None:
        for group in self._groups():
            group.dial_succeeded(address, peer, now)

    def dial_failed(self, address: Address, now: float, reason: str) -> None:
        for group in self._groups():
            group.dial_failed(address, now, reason)

    def dial_called_off(self, address: Address, now: float) -> None:
        for group in self._groups():
            group.dial_called_off(address, now)

    def address_is_own(self, address: Address) -> None:
        for group in self._groups():
            group.forget_address(address)

    def _groups(self) -> Iterator[Group]:
        return (membership.group for membership in self._memberships.all().values())
