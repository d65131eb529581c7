"""Under which IDs addresses have answered: one for an address, MAX_OF_HOST for a host of the public internet.

A hostile host has eight places in the ID space for each of its ports (BEP 42), and so could be near each key that is
asked for, under another ID every time. Here it is known under few, and what comes with another one is not asked.

An ID counts for PERIOD after it was last heard, wherever on its host (NATs change ports). Bounded: MAX_HOSTS, those
that were heard last. Hosts that are not of the public internet are not counted: many nodes may be on one, and their
IDs are free anyway.
"""

from __future__ import annotations

from swarmd.core.addresses import Address
from swarmd.dht.contact import Contact

PERIOD = 3600.0
MAX_OF_HOST = 4
"""Nodes behind one address."""
MAX_HOSTS = 5_000


class Identities:
    def __init__(self) -> None:
        self._hosts: dict[str, dict[Address, tuple[bytes, float]]] = {}

    def heard(self, contact: Contact, now: float) -> None:
        """It has answered under this ID."""
        if contact.address.is_private or not self.is_credible(contact, now):
            return
        host = contact.address.host
        held = self._hosts.pop(host, {}).items()
        known = {at: one for at, one in held if now - one[1] < PERIOD and one[0] != contact.node_id}
        known[contact.address] = contact.node_id, now
        if len(self._hosts) >= MAX_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        self._hosts[host] = known

    def is_credible(self, contact: Contact, now: float) -> bool:
        """Whether it may be asked, as far as its host is known."""
        known = self._hosts.get(contact.address.host)
        if known is None:
            return True
        held = known.get(contact.address)
        if held is not None and now - held[1] < PERIOD:
            return held[0] == contact.node_id
        others = [at for node_id, at in known.values() if node_id != contact.node_id]
        return sum(now - at < PERIOD for at in others) < MAX_OF_HOST
