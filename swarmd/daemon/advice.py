"""What somebody who joins a group or posts in it is told beside that it has worked: that it is perhaps another one than
they think, or that members' clocks differ."""

from __future__ import annotations

from collections.abc import Iterable

from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.posting.clocks import Misdated


def near_miss(spec: GroupSpec, ours: Iterable[GroupSpec]) -> str | None:
    """A group of ours that has the same name, or the same secret, and is another one: two people may think that they
    are in one group."""
    for each in ours:
        is_alike = each.name == spec.name or each.secret == spec.secret
        if spec.is_listed and each.is_listed and is_alike and each.group_id != spec.group_id:
            why = "; ".join(each.differences(spec))
            return f"this node is in another group named {each.name!r} already ({each.group_id.short}): {why}"
    return None


def wrong_clock(misdated: Misdated, name: str) -> str:
    """Whose clock is wrong is not known; where most neighbours agree, it is probably this one's."""
    side = "ahead of" if misdated.ahead > 0 else "behind"
    is_ours = misdated.n_givers > 1 and 2 * misdated.n_givers > misdated.n_links
    where = "the clock here is probably wrong: set it" if is_ours else "set the clock that is wrong, here or there"
    return (
        f"group {name}: the clocks of {misdated.n_givers} of {misdated.n_links} neighbours are"
        f" {_span(abs(misdated.ahead))} {side} this machine's, so their posts are dropped here and ours there; {where}"
        " (`timedatectl` shows it)"
    )


def clock_apart(ahead: float) -> str:
    """Of this machine's clock and those of the DHT's nodes; the end is left to whom it concerns."""
    side = "earlier" if ahead > 0 else "later"
    return f"by the clocks of the other nodes of the DHT it is {_span(abs(ahead))} {side} than by this machine's"


def _span(seconds: float) -> str:
    """About how long: what is told of clocks is a post's age at least from the truth."""
    for size, unit in ((86_400, "days"), (3600, "h")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds / 60:.0f} min"
