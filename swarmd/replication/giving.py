"""What a node shows to whom of an object it has: first to each what nobody else has.

The first copy of every chunk must come from its only holder, whose uplink is what a new swarm waits for. So as long as
several members want the object and not every chunk is with one of them, the only holder shows each of them a few fresh
chunks, different ones, topped up as they are sent; the members get the rest from each other. A chunk goes to a member
to which nothing of ours is on its way, and among those to the one that has passed on best what it was given, so those
with the fastest lines get most. What was shown and not fetched for OFFER_TIMEOUT is offered again; earlier when we have
nothing else to give. When every chunk is out, everything is shown to everybody.

Everything is shown at once to a single wanter, to those that want it in order (they cannot wait for luck), and by
nodes that have not got everything themselves (what they have, they have from somebody).

Invariant: `_owned` is the chunks in `_gifts`; each was shown to exactly one wanter in turn, its owner, and was had by
nobody when it was; `channel.given` counts the gifts that a channel owns, `channel.offered` those of them that are
not sent yet.
"""

from __future__ import annotations

from swarmd.replication import bits, messages
from swarmd.replication.context import Context
from swarmd.replication.link import Channel
from swarmd.replication.messages import Wish
from swarmd.replication.swarm import Swarm

MIN_OFFERS = 3
"""Shown and not sent yet: what a slow uplink is busy with for the time a member needs to ask."""
OFFER_PERIOD = 0.8
"""Seconds of our uplink that are on offer; on a fast one that is many chunks. An offer is asked for
only after a while: with 0.3 s, in a swarm of 16 on 20 Mbit/s, nothing was waiting in half of the looks."""
OFFER_TIMEOUT = 8.0
LAST_OFFER_TIMEOUT = 1.0
LAST_OFFER_CHUNKS = 8
"""With nothing else to give: a second, and the time that our uplink needs for so many chunks. Two chunks that were left
to one slow member kept fifteen others waiting for 2.8 s, and our line idle."""


class Gift:
    """A chunk shown to one member only, until another has it too."""

    __slots__ = ("channel", "given_at", "is_sent")

    def __init__(self, channel: Channel, now: float) -> None:
        self.channel = channel
        self.given_at = now
        self.is_sent = False


class Giving:
    __slots__ = ("_context", "_gifts", "_left", "_open_offers", "_owned", "is_released", "swarm")

    def __init__(self, context: Context, swarm: Swarm) -> None:
        self._context = context
        self._gifts: dict[int, Gift] = {}
        self._left: dict[int, Channel] = {}  # fresh again, and who was shown it in vain
        self._owned = 0
        self._open_offers = 0
        self.swarm = swarm
        self.is_released = False

    def wake(self) -> None:
        """There is something to plan."""
        self._context.planning[self] = None

    def plan(self) -> None:
        """Show what is due."""
        swarm = self.swarm
        wanters = [channel for channel in swarm.channels if channel.handle and channel.wish is not Wish.NOTHING]
        if self.is_released or len(wanters) < 2 or not swarm.is_whole:
            self.is_released = self.is_released and bool(wanters)
            self._show_all()
            return
        for channel in wanters:
            if channel.wish is Wish.IN_ORDER:
                self._show(channel, swarm.have)
        in_turn = [channel for channel in wanters if channel.wish is Wish.CHUNKS]
        lacking = bits.without(swarm.have, swarm.availability.held())
        if not lacking:
            self.is_released = True
            self._show_all()
        elif in_turn:
            fresh = bits.without(lacking, self._owned)
            for channel in in_turn:
                fresh = self._gather(channel, fresh)
            self._offer(in_turn, fresh)

    def _show_all(self) -> None:
        for channel in self.swarm.channels:
            if channel.handle:
                self._show(channel, self.swarm.have)

    def _show(self, channel: Channel, chunks: int) -> None:
        news = bits.without(chunks, channel.shown)
        if news:
            channel.link.announce(channel, news)
            self._context.speaking[channel.link] = None

    def _gather(self, channel: Channel, fresh: int) -> int:
        """Take back what was shown to the only wanter there was, except what it has asked for: that is its gift now.

        Returns what is still fresh.
        """
        excess = bits.without(channel.shown, channel.has)
        for chunk in bits.members(excess & self._owned):
            if self._gifts[chunk].channel is channel:
                excess ^= 1 << chunk
        for chunk in channel.uploads:
            if bits.has(excess, chunk):
                excess ^= 1 << chunk
                if bits.has(fresh, chunk):
                    fresh ^= 1 << chunk
                    self._give(channel, chunk)
        self.hide(channel, excess)
        return fresh

    def _give(self, channel: Channel, chunk: int) -> None:
        self._gifts[chunk] = Gift(channel, self._context.now)
        self._owned |= 1 << chunk
        self._open_offers += 1
        channel.given += 1
        channel.offered += 1

    def _offer(self, wanters: list[Channel], fresh: int) -> None:
        context = self._context
        shape = self.swarm.shape
        assert shape is not None
        room = max(MIN_OFFERS, int(context.uplink.bytes_per_second * OFFER_PERIOD / shape.chunk_size))
        while fresh and self._open_offers < room:
            chunk = bits.select(fresh, context.rng.randrange(fresh.bit_count()))
            fresh ^= 1 << chunk
            self._give(self._pick_wanter(wanters, chunk), chunk)
            self._show(self._gifts[chunk].channel, 1 << chunk)

    def _pick_wanter(self, wanters: list[Channel], chunk: int) -> Channel:
        """Who can begin at once, and not who was shown it in vain."""
        random = self._context.rng.random
        left_by = self._left.pop(chunk, None)
        others = [one for one in wanters if one is not left_by] or wanters
        return min(others, key=lambda one: (one.offered, one.link.path.under_way > 0, one.given, random()))

    # what becomes of the gifts

    def sent(self, channel: Channel, chunk: int) -> None:
        """The chunk has been handed over."""
        gift = self._gifts.get(chunk)
        if gift is not None and gift.channel is channel and not gift.is_sent:
            gift.is_sent = True
            self._open_offers -= 1
            channel.offered -= 1
            self.wake()

    def seen(self, channel: Channel, chunks: int) -> None:
        """A member has these now; those that came from another have been passed on."""
        self.wake()
        for chunk in bits.members(chunks & self._owned):
            if self._gifts[chunk].channel is not channel:
                self._forget(chunk)

    def close_channel(self, channel: Channel) -> None:
        """A member is gone, and what only it was given with it."""
        self.wake()
        for chunk in [chunk for chunk, gift in self._gifts.items() if gift.channel is channel]:
            self._forget(chunk)
        for chunk in [chunk for chunk, one in self._left.items() if one is channel]:
            del self._left[chunk]

    def gained(self, chunk: int) -> None:
        """We have one more."""
        if self.is_released or not self.swarm.is_whole:
            for channel in self.swarm.channels:
                channel.link.announce(channel, 1 << chunk)
                if channel.wish is Wish.NOTHING or not bits.has(channel.has, chunk):
                    self._context.muttering[channel.link] = None
        else:
            self.wake()

    def hide(self, channel: Channel, chunks: int) -> None:
        """We have these no more."""
        shown = chunks & channel.shown
        channel.shown ^= shown
        unsaid = channel.pending & shown
        channel.pending ^= unsaid
        said = bits.without(shown, unsaid)
        if said:
            channel.link.outbox.extend(messages.encode_set(messages.Withdraw, channel.handle, said))
            self._context.speaking[channel.link] = None

    def repair(self, now: float) -> bool:
        """What was shown and has not arrived for long is fresh again. False when there is nothing to look after."""
        if not self._gifts:
            return False
        held = self.swarm.availability.held()
        timeout = self._offer_timeout(held)
        for chunk, gift in list(self._gifts.items()):
            if now - gift.given_at > timeout and not bits.has(held, chunk):
                self._forget(chunk)
                self._left[chunk] = gift.channel
                self.wake()
        return True

    def _offer_timeout(self, held: int) -> float:
        """How long a gift is left to its owner: for less when we have nothing else to give."""
        rate, shape = self._context.uplink.bytes_per_second, self.swarm.shape
        if not rate or shape is None or bits.without(self.swarm.have, held | self._owned):
            return OFFER_TIMEOUT
        n_awaited = sum(not gift.is_sent and chunk in gift.channel.uploads for chunk, gift in self._gifts.items())
        if n_awaited >= MIN_OFFERS:
            return OFFER_TIMEOUT
        return min(OFFER_TIMEOUT, LAST_OFFER_TIMEOUT + LAST_OFFER_CHUNKS * shape.chunk_size / rate)

    def _forget(self, chunk: int) -> None:
        gift = self._gifts.pop(chunk)
        gift.channel.given -= 1
        self._owned ^= 1 << chunk
        if not gift.is_sent:
            self._open_offers -= 1
            gift.channel.offered -= 1
