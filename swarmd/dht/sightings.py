"""What others say our address is (BEP 42's `ip`): one vote for each /24, /64 or private host, the latest.

So whoever holds one network has one vote. Bounded: MAX_VOTERS of a family, those that voted last.
"""

from __future__ import annotations

from collections import Counter

from swarmd.core.addresses import Address
from swarmd.dht.contact import region_of

MAX_VOTERS = 40


class Sightings:
    def __init__(self) -> None:
        self._votes: dict[bool, dict[str, Address]] = {False: {}, True: {}}

    def heard(self, voter: Address, seen: Address) -> None:
        if voter.is_ipv6 != seen.is_ipv6:
            return
        votes = self._votes[seen.is_ipv6]
        region = region_of(voter.host)
        votes.pop(region, None)
        if len(votes) >= MAX_VOTERS:
            del votes[next(iter(votes))]
        votes[region] = seen

    def address(self, *, ipv6: bool) -> Address | None:
        """What most say; of the public internet, if anybody has seen us there."""
        seen = list(self._votes[ipv6].values())
        outside = [address for address in seen if not address.is_private] or seen
        hosts = Counter(address.host for address in outside)
        if not hosts:
            return None
        host = hosts.most_common(1)[0][0]
        return Counter(address for address in outside if address.host == host).most_common(1)[0][0]
