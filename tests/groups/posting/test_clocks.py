"""What members are told when clocks differ so much that posts are dropped."""

from __future__ import annotations

import pytest

from swarmd.groups.posting.clocks import KEEP_PERIOD, Clocks, Misdated

from ..builders import WALL, identity
from .builders import Net, post

HOUR = 3600.0


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_who_drops_posts_for_their_dates_is_told_once(ahead: float) -> None:
    net = Net(1, 2)
    net.link(1, 2)
    net.run(1.0)
    now = net.now
    for number in range(3):  # its author takes them for good
        made = net[2].post(b"%d" % number, now, net.wall + ahead)
        assert made.created_at == pytest.approx((net.wall + ahead) * 1000, abs=1000)
        net.run(1.0)
    assert net.texts(1) == []
    (told,) = net.misdated[1]
    assert told.ahead == pytest.approx(ahead, abs=5)
    assert net[1].misdated(net.now) == Misdated(1, 1, pytest.approx(ahead, abs=5))  # type: ignore[arg-type]
    net[1].close_link(identity(2).peer_id, net.now)
    assert net[1].misdated(net.now) is None


def test_a_post_that_is_just_too_late_says_nothing() -> None:
    clocks = Clocks()
    giver = identity(2).peer_id
    for wall in (WALL - 119, WALL, WALL + 300, WALL + 419):
        assert not clocks.hear(giver, post(2), 0.0, wall)
    assert clocks.misdated(1, 0.0) is None


def test_a_clock_that_is_right_again_is_not_told_of() -> None:
    clocks, givers = Clocks(), [identity(number).peer_id for number in (2, 3, 4)]
    firsts = [clocks.hear(giver, post(2), float(index), WALL + HOUR) for index, giver in enumerate(givers)]
    assert firsts == [True, False, False]
    assert clocks.misdated(5, 3.0) == Misdated(3, 5, -HOUR)
    clocks.hear(givers[0], post(2), 4.0, WALL)
    assert clocks.misdated(5, 5.0) == Misdated(2, 5, -HOUR)
    assert clocks.misdated(5, 2.0 + KEEP_PERIOD) is None
