"""What becomes of a session that somebody opens while there is, or is to be, another one with him: decisions only.

*Glare* (RFC 7016 §3.5.1.3): both ends call each other at once, and one of the two calls has to go on. Both decide alike
from the two certificates, by the profile: one call prevails, the other end yields to it.

We yield also when we have asked only, and not yet keyed (HELLO): nothing of ours can then be open at the far end, while
the far end knows by its keyed call that packets pass. So only two keyed calls are ever compared. A keyed call that has
lost may still be under way when ours has opened, so ours prevails for GLARE_PERIOD more.

A call whose initiator has not yet been heard under the session's own keys may be a replay (see `profile`). So whoever
yields answers the call and holds its own opening for HOLD_PERIOD, but drops it only once the session of that call has
received its first packet; and an old session is given up for a newer one only then too. On a bad path two sessions can
still come about: `transport.sessions` then keeps the one that both ends would choose.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from swarmd.core.addresses import Address
from swarmd.identity.certificate import Certificate
from swarmd.transport.rtmfp.opening import Opening, Stage
from swarmd.transport.rtmfp.profile import Profile
from swarmd.transport.sessions import GLARE_PERIOD

HOLD_PERIOD = 10.0
"""Seconds: four questions of the other end's, so nearly always enough for it to be heard."""


class Glare(Enum):
    NONE = "nothing of ours is in the way: accept the call"
    PREVAIL = "ours goes on: leave the call alone"
    YIELD = "accept the call, hold our opening, and drop it once the call's session has received a packet"


def find_rival(openings: Iterable[Opening], far: Certificate, address: Address) -> Opening | None:
    """The opening of ours that leads, as far as can be known, to the holder of `far`, who calls from `address`."""
    return next((opening for opening in openings if _leads_to(opening, far, address)), None)


def decide_glare(
    profile: Profile, rival: Opening | None, far: Certificate, *, opened_ago: float | None = None
) -> Glare:
    """What to do with a call from the holder of `far`, `rival` being what `find_rival` found.

    `opened_ago`: seconds since a session with the same peer, that we have called for and that is still there, opened.
    """
    is_keyed = rival is not None and rival.stage is Stage.KEYING
    is_recent = opened_ago is not None and opened_ago < GLARE_PERIOD
    if (is_keyed or is_recent) and profile.has_precedence(far):
        return Glare.PREVAIL
    return Glare.NONE if rival is None else Glare.YIELD


def is_overridden(old: Certificate, newer: Certificate) -> bool:
    """Whether an open session with the holder of `old` is stale once one with the holder of `newer` has been heard.

    The same node has called again: it has lost the older session (a restart, another address). Sessions of two nodes
    from one address do not touch each other, since packets are told apart by session ID (the RFC, which looks sessions
    up by address, refuses the second one).
    """
    return old == newer


def _leads_to(opening: Opening, far: Certificate, address: Address) -> bool:
    if opening.stage is Stage.DONE:
        return False
    if opening.far_certificate is not None:
        return opening.far_certificate == far
    if opening.wanted is not None:
        return opening.wanted == far.peer_id
    return address in opening.addresses
