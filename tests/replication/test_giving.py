"""What the only holder shows to whom, and what it does when somebody does not fetch it."""

from __future__ import annotations

from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.replication.context import Context
from swarmd.replication.giving import MIN_OFFERS, OFFER_TIMEOUT, Giving
from swarmd.replication.link import Channel, Link
from swarmd.replication.messages import Wish
from swarmd.replication.shape import uniform
from swarmd.replication.swarm import Swarm
from tests.replication.mesh import GROUP, Content, Mesh, assert_clean, assert_fetched_once

SHAPE = uniform(100 * 1000, 1000, 1)


class Holder:
    """A node that has everything, and members that want it and have nothing."""

    def __init__(self, members: int) -> None:
        self.context = Context(SeededRng(1), 0.0)
        self.swarm = Swarm(ContentId(bytes(32)))
        self.swarm.shape = SHAPE
        self.swarm.have = SHAPE.everything
        self.giving = Giving(self.context, self.swarm)
        self.channels = [self._open(number) for number in range(members)]

    def _open(self, number: int) -> Channel:
        link = Link(GROUP, PeerId(number.to_bytes(32, "big")), self.context.uplink, 0.0)
        channel = link.channel_for(self.swarm.content_id)
        link.open_near(channel, Wish.NOTHING)
        link.open_far(1, self.swarm.content_id, Wish.CHUNKS)
        self.swarm.attach(channel)
        return channel

    def shown(self) -> list[int]:
        """How many chunks each member was shown."""
        return [channel.shown.bit_count() for channel in self.channels]

    def hand_over(self, channel: Channel) -> None:
        """All that the member was shown is on its way to it, and passed on by it when it was there."""
        for chunk in range(SHAPE.n_chunks):
            if channel.shown >> chunk & 1 and not channel.has >> chunk & 1:
                self.giving.sent(channel, chunk)
                for one in self.channels:
                    self.giving.seen(one, self.swarm.learn(one, 1 << chunk))


def test_each_is_shown_something_else() -> None:
    holder = Holder(MIN_OFFERS)
    holder.giving.plan()
    assert holder.shown() == [1] * MIN_OFFERS
    assert sum(channel.shown for channel in holder.channels).bit_count() == MIN_OFFERS


def test_who_has_an_offer_that_it_has_not_fetched_gets_no_second_one_before_the_others() -> None:
    holder = Holder(MIN_OFFERS + 2)
    slow, *others = holder.channels
    for _ in range(20):
        holder.giving.plan()
        for channel in others:
            holder.hand_over(channel)
    assert slow.shown.bit_count() == 1
    assert min(channel.shown.bit_count() for channel in others) > 5


def test_who_still_waits_for_the_last_one_gets_the_next_after_the_others() -> None:
    """It may have passed on everything that it got, and be the best giver of all."""
    holder = Holder(MIN_OFFERS + 1)
    busy, *others = holder.channels
    busy.link.path.sent(1000, 0.0)
    for channel in others:
        channel.given = 5
    holder.giving.plan()
    assert holder.shown() == [0, *[1] * MIN_OFFERS]
    holder.context.uplink.rate.add(1e6, 0.0)  # now there is more on offer than there are others
    holder.giving.plan()
    assert busy.shown.bit_count() > 0


def test_the_last_chunks_do_not_wait_for_one_who_does_not_fetch_them() -> None:
    mesh = Mesh(3)
    seeder, stuck, leecher = mesh.members
    content = Content(1, n_chunks=40)
    seeder.seed(content)
    mesh.join()
    stuck.faults.is_disk_full = True
    stuck.fetch(content)
    leecher.fetch(content)
    assert mesh.run_until(lambda: leecher.has(content), OFFER_TIMEOUT / 2)
    stuck.faults.is_disk_full = False
    assert mesh.run_until(lambda: stuck.has(content))
    mesh.run(1.0)
    assert_fetched_once(leecher, content)
    assert_clean(mesh)
