"""How much a node answers: a rate for each /24 and /64, one in all, and which addresses have proved themselves.

An address is proved when it has answered a query of ours (or shown a token) in the last ten minutes: nobody else could
have sent that from elsewhere. To the others an answer has at most GROWTH times the bytes of the question, so that this
node is no use to somebody who forges another's address. Bounded: the networks and the addresses that were heard of
last.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.core.addresses import Address
from swarmd.core.tokenbucket import TokenBucket
from swarmd.dht.contact import network_of

GROWTH = 3
PROVED_PERIOD = 600.0
MAX_PROVED = 20_000
MAX_NETWORKS = 5_000
"""When there are more, the ones heard of longest ago begin anew, with a full bucket: `rate` in all still holds."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Queries a second that are answered, and how many at once."""

    of_network: float = 50.0
    of_network_burst: float = 500.0
    in_all: float = 5_000.0


class Limits:
    def __init__(self, rates: Rates, now: float) -> None:
        self._rates = rates
        self._all = TokenBucket(rates.in_all, rates.in_all, now)
        self._networks: dict[str, TokenBucket] = {}
        self._proved: dict[Address, float] = {}

    def may_answer(self, address: Address, now: float) -> bool:
        network = network_of(address.host)
        bucket = self._networks.pop(network, None)
        if bucket is None:
            if len(self._networks) >= MAX_NETWORKS:
                del self._networks[next(iter(self._networks))]
            bucket = TokenBucket(self._rates.of_network, self._rates.of_network_burst, now)
        self._networks[network] = bucket
        return bucket.take(1, now) and self._all.take(1, now)

    def prove(self, address: Address, now: float) -> None:
        self._proved.pop(address, None)
        if len(self._proved) >= MAX_PROVED:
            del self._proved[next(iter(self._proved))]
        self._proved[address] = now

    def is_proved(self, address: Address, now: float) -> bool:
        proved_at = self._proved.get(address)
        return proved_at is not None and now - proved_at < PROVED_PERIOD
