"""What others say our address is (BEP 42's `ip`), and whether our node ID still fits: one vote for each /24, /64 or
private host, its latest of the last PERIOD.

So whoever holds one network has one vote. An ID that fits what some say is kept until TO_MOVE times as many say
something else: who is asked in a lookup may be hostile by half, and a node that has followed them is nobody's
neighbour any more. A node whose address comes back takes the ID that it had there.

Bounded: MAX_VOTERS of a family, those that voted last; MAX_FORMER IDs.
"""

from __future__ import annotations

from collections import Counter, deque

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng
from swarmd.dht.contact import bound_id, is_bound, region_of

PERIOD = 900.0
"""In which everybody in the table is asked once."""
MAX_VOTERS = 256
TO_MOVE = 2
MAX_FORMER = 8


class Sightings:
    def __init__(self) -> None:
        self._votes: dict[bool, dict[str, tuple[Address, float]]] = {False: {}, True: {}}
        self._counts: dict[bool, Counter[Address]] = {False: Counter(), True: Counter()}
        self._former: deque[bytes] = deque(maxlen=MAX_FORMER)

    def heard(self, voter: Address, seen: Address, now: float) -> None:
        if voter.is_ipv6 != seen.is_ipv6:
            return
        votes, region = self._votes[seen.is_ipv6], region_of(voter.host)
        if region in votes:
            self._forget(region, seen.is_ipv6)
        while votes and (len(votes) >= MAX_VOTERS or now - next(iter(votes.values()))[1] >= PERIOD):
            self._forget(next(iter(votes)), seen.is_ipv6)
        votes[region] = seen, now
        self._counts[seen.is_ipv6][seen] += 1

    def address(self, *, ipv6: bool) -> Address | None:
        """What most say; of the public internet, if anybody has seen us there."""
        counts = self._counts[ipv6]
        hosts = self._hosts(ipv6)
        if not hosts:
            return None
        host = max(hosts, key=lambda host: hosts[host])
        return max((address for address in counts if address.host == host), key=lambda address: counts[address])

    def fitting_id(self, own_id: bytes, rng: Rng, *, ipv6: bool) -> bytes:
        """Ours, or the one to take in its place."""
        address = self.address(ipv6=ipv6)
        if address is None or is_bound(own_id, address.host):
            return own_id
        hosts = self._hosts(ipv6)
        n_fitting = sum(count for host, count in hosts.items() if is_bound(own_id, host))
        if hosts[address.host] <= TO_MOVE * n_fitting:
            return own_id
        self._former.append(own_id)
        return next((old for old in self._former if is_bound(old, address.host)), None) or bound_id(address, rng)

    def _hosts(self, ipv6: bool) -> Counter[str]:
        counts = self._counts[ipv6]
        hosts: Counter[str] = Counter()
        for address in [address for address in counts if not address.is_private] or counts:
            hosts[address.host] += counts[address]
        return hosts

    def _forget(self, region: str, ipv6: bool) -> None:
        seen, _ = self._votes[ipv6].pop(region)
        counts = self._counts[ipv6]
        counts[seen] -= 1
        if not counts[seen]:
            del counts[seen]
