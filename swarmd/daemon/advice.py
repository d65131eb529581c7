"""What somebody who joins a group or posts in it is told beside that it has worked: that it is perhaps another one than
they think, that the ticket's authorisation does less than they expect, or that members' clocks differ."""

from __future__ import annotations

from collections.abc import Iterable

from swarmd.core.ids import PeerId
from swarmd.groups.authorisation import Authorisation, Right
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.posting.clocks import Misdated

_RIGHTS = ((Right.PUBLISH, "share", "--publisher"), (Right.POST, "post", "--poster"))


def near_miss(spec: GroupSpec, ours: Iterable[GroupSpec]) -> str | None:
    """A group of ours that has the same name, or the same secret, and is another one: two people may think that they
    are in one group."""
    for each in ours:
        is_alike = each.name == spec.name or each.secret == spec.secret
        if spec.is_listed and each.is_listed and is_alike and each.group_id != spec.group_id:
            why = "; ".join(each.differences(spec))
            return f"this node is in another group named {each.name!r} already ({each.group_id.short}): {why}"
    return None


def of_authorisation(given: Authorisation, own: PeerId, former: Authorisation | None) -> str | None:
    """`given` comes with the ticket, `former` is what this node has in that group."""
    if given.peer_id != own:
        return "the ticket's authorisation is for another node"
    lost = [each for each in _RIGHTS if former is not None and each[0] in former.rights and each[0] not in given.rights]
    if not lost:
        return None
    (_, verb, _), options = lost[0], " ".join(f"{option} {own}" for right, _, option in _RIGHTS)
    return (
        f"this authorisation takes the place of one that let this node {verb} here as well; for both ask for the ticket"
        f" of `swarm group invite {options}`"
    )


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


def _span(seconds: float) -> str:
    """About how long: what is told of clocks is a post's age at least from the truth."""
    for size, unit in ((86_400, "days"), (3600, "h")):
        if seconds >= 2 * size:
            return f"about {seconds / size:.0f} {unit}"
    return f"about {seconds / 60:.0f} min"
