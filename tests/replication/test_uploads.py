"""How much is handed over to whom, and how many buffers that may take."""

from __future__ import annotations

import pytest

from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.replication.commands import ReadChunk, SendBulk
from swarmd.replication.context import Context
from swarmd.replication.link import Link
from swarmd.replication.messages import Wish
from swarmd.replication.pacing import MAX_PATH_BYTES, MIN_PATH_BYTES, MIN_WINDOW_BYTES
from swarmd.replication.uploads import MAX_SLOT_BYTES, MAX_SLOTS, Uploads
from tests.replication.mesh import GROUP

CONTENT_ID = ContentId(bytes(32))
BLOCK_BYTES = 64 << 10
SLACK_BYTES = BLOCK_BYTES + 1000
"""A window is not full before the last block is in it; and blocks have headers."""


class Server:
    """Uploads to members on whose lines nothing has been measured.

    What they ask for is read at once; what is handed over leaves at once, and does not arrive.
    """

    def __init__(self, members: int, window: float) -> None:
        self.context = Context(SeededRng(1), 0.0)
        self.context.uplink.rate.add(1e6, 0.0)
        self.context.uplink.delay = window / 1e6  # so that our line takes so much
        self.uploads = Uploads(self.context)
        self.links = [
            Link(GROUP, PeerId(number.to_bytes(32, "big")), self.context.uplink, 0.0) for number in range(members)
        ]

    def ask(self, link: Link, chunks: int, length: int) -> None:
        channel = link.channels.get(CONTENT_ID)
        if channel is None:
            channel = link.channel_for(CONTENT_ID)
            link.open_near(channel, Wish.NOTHING)
            link.open_far(1, CONTENT_ID, Wish.CHUNKS)
        for chunk in range(chunks):
            self.uploads.request(channel, chunk, length)

    def serve(self) -> int:
        """Until nothing more happens; how many bytes were read."""
        count = 0
        self.uploads.pump()
        while self.context.commands:
            command = self.context.commands.popleft()
            if isinstance(command, ReadChunk):
                count += command.length
                self.uploads.chunk_read(command.read_id, memoryview(bytes(command.length)))
                self.uploads.pump()
            elif isinstance(command, SendBulk):
                link = next(link for link in self.links if link.peer == command.peer)
                self.uploads.drained(link, sum(map(len, command.parts)))
                self.uploads.pump()
        return count

    def under_way(self) -> list[int]:
        return [link.path.under_way for link in self.links]


def test_a_peer_gets_little_at_a_time_as_long_as_others_wait() -> None:
    server = Server(members=8, window=4 * MIN_PATH_BYTES)
    for link in server.links:
        server.ask(link, 4, 1 << 20)
    server.serve()
    assert max(server.under_way()) <= MIN_PATH_BYTES + SLACK_BYTES
    assert sum(size > 0 for size in server.under_way()) >= 4


def test_a_line_that_takes_more_is_not_left_idle_when_nobody_else_waits() -> None:
    server = Server(members=3, window=1e9)
    one, other, _ = server.links
    server.ask(one, 4, 1 << 20)
    server.ask(other, 4, 1 << 20)
    server.serve()
    most, *_ = under_way = server.under_way()
    assert under_way[:2] == [most, most]
    assert MAX_PATH_BYTES <= most <= MAX_PATH_BYTES + SLACK_BYTES
    assert under_way[2] == 0


def test_nobody_gets_more_than_our_line_takes() -> None:
    server = Server(members=1, window=MIN_WINDOW_BYTES)
    server.ask(server.links[0], 4, 1 << 20)
    server.serve()
    assert sum(server.under_way()) <= server.context.uplink.window + SLACK_BYTES


@pytest.mark.parametrize("length", [512 << 10, 1 << 20, 4 << 20])
def test_the_buffers_of_many_slow_peers_are_bounded(length: int) -> None:
    server = Server(members=3 * MAX_SLOTS, window=1e9)
    for link in server.links:
        server.ask(link, 2, length)
    count = server.serve()
    assert 0 < count <= min(MAX_SLOTS * length, MAX_SLOT_BYTES)
    assert count >= min(MAX_SLOTS, MAX_SLOT_BYTES // length) * length


def test_blocks_give_way_where_the_asker_or_we_want_it() -> None:
    server = Server(2, 1e6)
    for link in server.links:
        server.ask(link, 1, BLOCK_BYTES)
    asker, other = (link.channels[CONTENT_ID] for link in server.links)
    asker.is_background = True
    assert handed(server) == {asker.link.peer: True, other.link.peer: False}
    server.context.background = frozenset({CONTENT_ID})
    for channel in (asker, other):
        server.uploads.request(channel, 1, BLOCK_BYTES)
    assert handed(server) == {asker.link.peer: True, other.link.peer: True}


def handed(server: Server) -> dict[PeerId, bool]:
    """One round: to whom a block went, and whether it may give way."""
    found: dict[PeerId, bool] = {}
    server.uploads.pump()
    while server.context.commands:
        command = server.context.commands.popleft()
        if isinstance(command, ReadChunk):
            server.uploads.chunk_read(command.read_id, memoryview(bytes(command.length)))
            server.uploads.pump()
        elif isinstance(command, SendBulk):
            found[command.peer] = command.is_background
    return found
