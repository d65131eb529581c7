"""Points and bans: they add up, they end, and no number of identities makes them grow without end."""

from __future__ import annotations

from swarmd.core.ids import PeerId
from swarmd.daemon.bans import BAN_PERIOD, BAN_POINTS, FORGIVE_PERIOD, MAX_BANS, MAX_MARKED, Bans


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(32, "big"))


def test_points_add_up_to_a_ban_which_ends() -> None:
    bans = Bans(now=0.0)
    assert not bans.add(peer(1), BAN_POINTS - 1, now=1.0)
    assert peer(1) not in bans
    assert bans.add(peer(1), 1, now=2.0)
    assert peer(1) in bans and peer(2) not in bans
    bans.handle_timer(2.0 + BAN_PERIOD - 0.1)
    assert peer(1) in bans
    bans.handle_timer(2.0 + BAN_PERIOD)
    assert peer(1) not in bans
    assert not bans.add(peer(1), 1, now=400.0), "it begins anew"


def test_points_are_forgotten() -> None:
    bans = Bans(now=0.0)
    bans.add(peer(1), BAN_POINTS - 1, now=0.0)
    bans.handle_timer(FORGIVE_PERIOD)
    assert bans.marked == 0
    assert not bans.add(peer(1), BAN_POINTS - 1, now=FORGIVE_PERIOD)


def test_ever_new_identities_cost_a_fixed_amount_and_free_nobody_who_was_late() -> None:
    bans = Bans(now=0.0)
    for number in range(MAX_MARKED + 100):
        bans.add(peer(number), 1, now=0.0)
    assert bans.marked == MAX_MARKED
    for number in range(MAX_BANS + 100):
        bans.add(peer(number), BAN_POINTS, now=0.0)
    banned = [number for number in range(MAX_BANS + 100) if peer(number) in bans]
    assert len(banned) == MAX_BANS and banned[0] == 100
