"""What goes into one batch."""

from __future__ import annotations

from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import MessageReceived, Priority
from swarmd.transport.rtmfp.packet import scramble, scramble_into
from swarmd.transport.rtmfp.pathmtu import BASE_BYTES, ETHERNET_IPV4
from tests.transport.rtmfp.pair import RtmfpPair


def test_scrambling_in_place_is_scrambling() -> None:
    sealed = SeededRng(1).bytes(40)
    datagrams = bytearray(7 + 4) + sealed
    scramble_into(memoryview(datagrams), 7, 0xDEADBEEF)
    assert datagrams == bytes(7) + scramble(0xDEADBEEF, sealed) + sealed


def test_what_is_to_go_in_parts_goes_behind_the_packets_before_it() -> None:
    """Fragments of both sizes are lost, then the path takes the smaller one only."""
    pair = RtmfpPair(Identity.generate(), Identity.generate(), SeededRng(2))
    pair.pump(max_units=8)
    session = pair.initiator
    sending, path = session._sending, session._path
    flow = session.open_flow(b"x", Priority.BULK)
    message = SeededRng(3).bytes(20_000)
    session.send(flow, [message])
    for size in (BASE_BYTES, ETHERNET_IPV4):  # the first window's worth, and the rest
        path.probe_acknowledged(size, pair.now)
        while pair.near.output(pair.now):
            pass  # lost
        sending.controller.window = 1 << 20
    path.forget_path()
    for _ in range(3):  # two probes, then the time-out
        pair.now += 5
        sending.handle_timer(pair.now)
    assert path.packet_bytes == BASE_BYTES
    sending.controller.window = 1 << 20
    while pair._carry(pair.near, pair.far):
        pass  # no time for anything to be sent again
    received = []
    while (event := pair.responder.next_event()) is not None:
        if isinstance(event, MessageReceived):
            received.append(event.joined())
    assert received == [message]
