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
    net.early[2] = ahead
    for number in range(3):  # its author takes them for good
        made = net[2].post(b"%d" % number, net.now, net.wall_of(2))
        assert made.created_at == pytest.approx((net.wall + ahead) * 1000, abs=1000)
        net.run(1.0)
    assert net.texts(1) == []
    (told,) = net.misdated[1]
    assert told.ahead == pytest.approx(ahead, abs=5)
    assert net[1].misdated(net.now, net.wall) == Misdated(1, 1, pytest.approx(ahead, abs=5))  # type: ignore[arg-type]
    net[1].close_link(identity(2).peer_id, net.now)
    assert net[1].misdated(net.now, net.wall) is None


def test_a_post_that_is_just_too_late_says_nothing() -> None:
    clocks = Clocks()
    giver = identity(2).peer_id
    for wall in (WALL - 119, WALL, WALL + 300, WALL + 419):
        assert not clocks.hear(giver, post(2), 0.0, wall)
    assert clocks.misdated(1, 0.0, WALL) is None


def test_a_clock_that_is_right_again_is_not_told_of() -> None:
    clocks, givers = Clocks(), [identity(number).peer_id for number in (2, 3, 4)]
    late = WALL + HOUR  # at 0; here it is so
    firsts = [clocks.hear(giver, post(2), float(n), late + n) for n, giver in enumerate(givers)]
    assert firsts == [True, False, False]
    assert clocks.misdated(5, 3.0, late + 3) == Misdated(3, 5, -HOUR - 1)
    clocks.hear(givers[0], post(2), 4.0, WALL)
    assert clocks.misdated(5, 5.0, late + 5) == Misdated(2, 5, -HOUR - 1.5)
    assert clocks.misdated(5, 5.0, WALL + 5) is None, "it is ours that is right again"
    assert clocks.misdated(5, 2.0 + KEEP_PERIOD, late + 2.0 + KEEP_PERIOD) is None


def test_whose_clock_is_wrong_is_told_of_it_by_its_first_post() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    net.run(100.0)
    net.early[2] = -HOUR
    net[2].post(b"nobody hears this", net.now, net.wall_of(2))
    net.run(1.0)
    assert net.texts(1) == []
    assert [len(net.misdated[number]) for number in (1, 2)] == [1, 1]
    assert net[2].misdated(net.now, net.wall_of(2)) == Misdated(1, 1, pytest.approx(HOUR, abs=2))  # type: ignore[arg-type]
    assert not net.faults
    assert net[2].misdated(net.now, net.wall) is None, "as soon as it is set"
