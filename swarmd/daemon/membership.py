"""One group of ours: the machine that runs it, what gives us rights in it, and how all that is written down."""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.groups.authorisation import Authorisations, Authority
from swarmd.groups.contacts import encode_addresses
from swarmd.groups.group import Group
from swarmd.groups.groupspec import GroupSpec
from swarmd.store.tables.groups import GroupRow, MemberRow


@dataclass(slots=True)
class Membership:
    group: Group
    joined_at: float
    authorisations: Authorisations
    authority: Authority | None
    is_open: bool = False
    """Whether members are let in: its catalogue has been read, and nobody can tell us of a record that we have."""

    @property
    def spec(self) -> GroupSpec:
        return self.group.spec

    def row(self, authorisations: Authorisations | None = None) -> GroupRow:
        """As it is, or will be with those authorisations."""
        authorisations = authorisations or self.authorisations
        return GroupRow(
            self.spec.group_id,
            self.spec.encode(),
            self.joined_at,
            self.spec.is_listed,
            authorisations.encode(),
            self.authority.private_key if self.authority else b"",
        )

    def member_rows(self, now: float, wall: float) -> list[MemberRow]:
        """Whom to call after a restart."""
        return [
            MemberRow(contact.peer_id, encode_addresses(contact.addresses), wall - age)
            for contact, age in self.group.remembered(now)
            if contact.peer_id is not None
        ]
