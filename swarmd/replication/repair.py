"""What is done, a few times a second, about requests that were a good idea when they were made.

    recall   a chunk waits in a long queue while another holder has nothing to do for us: it is asked back (Cancel),
             and asked of the other when the Deny comes, or taken if it comes first: nothing is sent twice
    double   there is nothing left to ask for, and a peer needs far longer for what it holds than another would for the
             whole chunk: that one is asked too, and the slower of both is cancelled
    stall    a peer owes us something and sends nothing for long: what others have too is asked of them

Each is a pure question (`is_stalled`, `recall_gain`, `double_gain`) and a loop that acts on the answer.
"""

from __future__ import annotations

from swarmd.replication.blocks import MAX_BLOCK_BYTES
from swarmd.replication.fetch import STRIKE_PERIOD, Fetch
from swarmd.replication.link import Channel, Link, Request

DOUBLES = 4
"""Chunks that are on their way twice at a time."""
DOUBLE_GAIN = 0.5
"""Seconds that a second request must save, beyond half of what is left."""
MIN_TRANSFER_PERIOD = 0.05
STALL_PERIOD = 3.0
"""Silence of a peer that owes us something, beyond what it said of its queue."""
UNKNOWN_RATE = 250e3
"""Bytes a second that a peer is taken to deliver before it has."""


def is_stalled(link: Link, asked_at: float, now: float, extra: float = 0.0) -> bool:
    """Whether a peer that owes us something since `asked_at` has been silent for too long.

    It may say that its queue is long; then it is silent for good reason, for twice as long as it said. `extra`: what
    is to be granted besides.
    """
    rate = link.down.rate(now) or UNKNOWN_RATE
    patience = STALL_PERIOD + 2 * link.wait(now) + min(4 * MAX_BLOCK_BYTES / rate, 4 * STALL_PERIOD)
    return now - max(link.last_block_at, asked_at) > patience + extra


def time_left(request: Request, now: float) -> float:
    """Seconds until a chunk will be here, at the pace of its own blocks, or when its turn comes."""
    if request.received:
        return request.left * max(now - request.began_at, MIN_TRANSFER_PERIOD) / request.received
    link = request.channel.link
    wait = max(link.wait(now), now - request.expected_at)
    return wait + request.length / (link.heard_rate or UNKNOWN_RATE)


def double_gain(request: Request, other: Link, now: float) -> float:
    """Seconds saved by asking `other` too; what it costs all of us is why it must be half of what is left."""
    return time_left(request, now) / 2 - other.wait(now) - request.length / (other.heard_rate or UNKNOWN_RATE)


def repair(fetch: Fetch, now: float) -> None:
    fetch.forgive()
    _give_up_stalled(fetch, now)
    if fetch.candidates:
        return
    idle = [
        channel
        for channel in fetch.swarm.channels
        if fetch.is_ready(channel, now) and not channel.link.outstanding and fetch.has_room(channel.link, now)
    ]
    if idle:
        for channel in idle:
            fetch.beckoned(channel)
        if not fetch.chunks.wanted and not fetch.is_line_busy:
            _double(fetch, idle, now)


def _give_up_stalled(fetch: Fetch, now: float) -> None:
    for channel in fetch.swarm.channels:
        active = [request for request in channel.requests.values() if request.is_active]
        if not active or now < channel.retry_at:
            continue
        if not is_stalled(channel.link, min(request.asked_at for request in active), now, fetch.patience):
            continue
        channel.strike(now, STRIKE_PERIOD)
        for request in active:
            if _has_other_source(fetch, request, now):
                fetch.abandon(request)


def _has_other_source(fetch: Fetch, request: Request, now: float) -> bool:
    return any(
        channel is not request.channel and fetch.is_ready(channel, now) and fetch.may_ask(channel, request.chunk)
        for channel in fetch.swarm.channels
    )


def _double(fetch: Fetch, idle: list[Channel], now: float) -> None:
    left = DOUBLES - sum(len(requests) > 1 for requests in fetch.chunks.requested.values())
    for channel in idle:
        best, best_gain = None, DOUBLE_GAIN
        for chunk, requests in fetch.chunks.requested.items():
            if len(requests) > 1 or not fetch.may_ask(channel, chunk):
                continue
            requests[0].revise()
            gain = double_gain(requests[0], channel.link, now)
            if gain > best_gain:
                best, best_gain = chunk, gain
        if best is not None and left > 0:
            fetch.double(channel, best)
            left -= 1
