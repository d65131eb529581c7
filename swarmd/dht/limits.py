"""How much a node answers: a rate for each /24 and /64, one in all, and which addresses have proved themselves.

Who answers a ping is proved, though the question may have been forged: any node of the DHT answers pings. So where
`is_counting_bytes`, on the public network, an answer of more than ANSWER_BYTES counts as several: a network gets no
more than that many bytes for each question it may ask, proved or not.

Of the rate in all, strangers have STRANGERS at most: who forges addresses in thousands of networks uses up that, and
those who are known go on being answered.

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
STRANGERS = 0.8
ANSWER_BYTES = 300
"""Three times a question of the usual size."""
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
    def __init__(self, rates: Rates, now: float, *, is_counting_bytes: bool = False) -> None:
        self._rates = rates
        self._is_counting_bytes = is_counting_bytes
        self._all = TokenBucket(rates.in_all, rates.in_all, now)
        self._strangers = TokenBucket(rates.in_all * STRANGERS, rates.in_all * STRANGERS, now)
        self._networks: dict[str, TokenBucket] = {}
        self._proved: dict[Address, float] = {}

    def may_read(self, address: Address, now: float) -> bool:
        """Whether it is worth reading what comes from there. It takes up to 0.4 ms, when somebody means it."""
        bucket = self._networks.get(network_of(address.host))
        return bucket is None or bucket.available(now) >= 1

    def wasted(self, address: Address, now: float) -> None:
        """What came from there was nothing: that counts as a question."""
        self._bucket(address, now).take(1, now)

    def may_answer(self, address: Address, now: float) -> bool:
        bucket = self._bucket(address, now)
        if not bucket.take(1, now) or not (self.is_proved(address, now) or self._strangers.take(1, now)):
            return False
        return self._all.take(1, now)

    def answered(self, address: Address, n_bytes: int, now: float) -> None:
        """An answer has gone there."""
        bucket = self._networks.get(network_of(address.host))
        if self._is_counting_bytes and n_bytes > ANSWER_BYTES and bucket is not None:
            bucket.charge(n_bytes / ANSWER_BYTES - 1, now)

    def prove(self, address: Address, now: float) -> None:
        self._proved.pop(address, None)
        if len(self._proved) >= MAX_PROVED:
            del self._proved[next(iter(self._proved))]
        self._proved[address] = now

    def is_proved(self, address: Address, now: float) -> bool:
        proved_at = self._proved.get(address)
        return proved_at is not None and now - proved_at < PROVED_PERIOD

    def _bucket(self, address: Address, now: float) -> TokenBucket:
        network = network_of(address.host)
        bucket = self._networks.pop(network, None)
        if bucket is None:
            if len(self._networks) >= MAX_NETWORKS:
                del self._networks[next(iter(self._networks))]
            bucket = TokenBucket(self._rates.of_network, self._rates.of_network_burst, now)
        self._networks[network] = bucket
        return bucket
