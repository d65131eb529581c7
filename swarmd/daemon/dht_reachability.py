"""Whether this node's UDP port can be reached from outside: BEP 43 asks who cannot be to say so, and to ask only.

The one proof is a query from a host that this node has sent nothing to for OPEN_PERIOD: no NAT or firewall had a way
open for it. Who takes part in a network of many nodes gets such queries all the time, for those it asks name it to
others. So where OUTSIDE nodes of the public internet are known all along, and for TRIAL_PERIOD none has come, nobody
can reach us, and we take no place in others' tables any more. Nodes that have none in mind do not ask, either; so this
is tried again after a while, ever more rarely, and at once when others see us at another address.

Nodes on private addresses prove nothing in either way: a home, a laboratory and loopback are never read-only.

In: hosts that were sent to, hosts that have asked, how many are known, time. Out: `is_read_only`, and why. Bounded by
MAX_HOSTS; where more are sent to, queries prove nothing until those that were forgotten are too old to matter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import Enum

from swarmd.core.addresses import Address

OPEN_PERIOD = 600.0
"""Seconds for which a NAT may let in whom we have sent to: RFC 4787 wants 120 at least and advises 300."""
OUTSIDE = 32
"""Hosts of the public internet in our tables. Where fewer are known, all may have spoken with us of late."""
TRIAL_PERIOD = 1800.0
PROVED_PERIOD = 6 * 3600.0
"""A proof holds that long, and the trial begins anew after it."""
REST_PERIOD, LONGEST_REST_PERIOD = 3600.0, 6 * 3600.0
"""Read-only until the next trial; twice as long each time."""
LOOK_PERIOD = 30.0
MAX_HOSTS = 8_192
"""1 MB. A value of 1 MiB is put to more; a day's lookups are fewer."""


class Reach(Enum):
    """What is known of it."""

    UNKNOWN = "unknown"
    REACHED = "reached"
    UNREACHED = "unreached"


class Reachability:
    def __init__(self, now: float, exempt: Callable[[], Collection[str]] = tuple) -> None:
        """exempt: hosts that other protocols of ours send to from the same port."""
        self._exempt = exempt
        self.reach = Reach.UNKNOWN
        self.since = now
        """When that became known, or the trial began."""
        self._is_trying = True
        self._has_many = False
        self._rest = REST_PERIOD
        self._look_at = now
        self._blind_until = now
        self._seen_at: str | None = None
        self._sent: dict[str, float] = {}
        """The latest last."""

    @property
    def is_read_only(self) -> bool:
        return self.reach is Reach.UNREACHED and not self._is_trying

    @property
    def is_counting(self) -> bool:
        """Whether enough nodes are known for a trial."""
        return self._is_trying and self._has_many

    def sent(self, host: str, now: float) -> None:
        """Something has left for there."""
        self._sent.pop(host, None)
        self._sent[host] = now
        if len(self._sent) > MAX_HOSTS:
            self._blind_until = max(self._blind_until, self._sent.pop(next(iter(self._sent))) + OPEN_PERIOD)

    def asked(self, hosts: Iterable[str], now: float) -> None:
        """Queries have come from there, and are not answered yet."""
        is_settled = self.reach is Reach.REACHED and not self._is_trying
        if not is_settled and any(self._is_proof(host, now) for host in hosts):
            self.reach, self.since, self._rest = Reach.REACHED, now, REST_PERIOD
            self._is_trying = False

    def is_look_due(self, now: float) -> bool:
        return now >= self._look_at

    def look(self, known: Collection[Address], seen_as: Address | None, now: float) -> None:
        """Every LOOK_PERIOD. known: where the nodes of our tables are."""
        self._look_at = now + LOOK_PERIOD
        self._follow(seen_as, now)
        self._has_many = _is_many(known)
        if self.reach is not Reach.REACHED and not self._has_many:
            self.reach = Reach.UNKNOWN
            self._try(now)  # time has to pass while many are known
        elif now - self.since >= self._period:
            (self._conclude if self._is_trying else self._try)(now)

    def _is_proof(self, host: str, now: float) -> bool:
        sent_at = self._sent.get(host)
        if sent_at is not None and now - sent_at < OPEN_PERIOD:
            return False
        return now >= self._blind_until and not Address(host, 1).is_private and host not in self._exempt()

    def _follow(self, seen_as: Address | None, now: float) -> None:
        """Behind another address nothing holds that was known."""
        seen_at = None if seen_as is None else seen_as.host
        if seen_at is None or seen_at == self._seen_at:
            return
        if self._seen_at is not None:
            self.reach, self._rest = Reach.UNKNOWN, REST_PERIOD
            self._try(now)
        self._seen_at = seen_at

    @property
    def _period(self) -> float:
        """How long it stays as it is."""
        if self._is_trying:
            return TRIAL_PERIOD
        return self._rest if self.reach is Reach.UNREACHED else PROVED_PERIOD

    def _try(self, now: float) -> None:
        self._is_trying, self.since = True, now

    def _conclude(self, now: float) -> None:
        """Nobody has come."""
        self.since = now
        if self._has_many:
            self._rest = min(2 * self._rest, LONGEST_REST_PERIOD) if self.reach is Reach.UNREACHED else REST_PERIOD
            self.reach, self._is_trying = Reach.UNREACHED, False


def reason_of(reachability: Reachability, now: float) -> str:
    """For people: how it stands, and why."""
    minutes = f"{max(1, round((now - reachability.since) / 60)):,} min"
    if reachability.reach is Reach.REACHED:
        return f"reached from outside: a node that this one had not sent to has asked it ({minutes} ago)"
    if reachability.is_read_only:
        return (
            f"read-only: in {TRIAL_PERIOD / 60:.0f} min, with {OUTSIDE} nodes or more known, none that this one had not"
            f" sent to has asked it. A NAT or a firewall seems to be in the way ({minutes} ago)"
        )
    if reachability.is_counting:
        return f"not known yet: no node that this one had not sent to has asked it, in {minutes}"
    return "not known: fewer nodes of the public internet are known than it takes to tell"


def _is_many(known: Collection[Address]) -> bool:
    if len(known) < OUTSIDE:
        return False
    return len({address.host for address in known if not address.is_private}) >= OUTSIDE
