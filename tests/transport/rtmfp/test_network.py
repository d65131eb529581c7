"""Sessions on a bad network: every reliable message arrives once, in order, unchanged."""

from __future__ import annotations

import pytest

from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import FlowClosed, MessageReceived, MessageSent, Priority, State
from swarmd.transport.rtmfp.session import RtmfpSession
from tests.transport.rtmfp.network import Network, Node, Weather

STORM = Weather(loss=0.2, duplication=0.1, corruption=0.05, jitter=0.05)


def opened(network: Network) -> tuple[Node, Node, RtmfpSession, RtmfpSession]:
    """Two nodes with an open session."""
    responder = Identity.generate()
    near, far = network.add("near"), network.add("far", responder)
    session = near.endpoint.connect(responder.peer_id, [far.address], network.now)
    assert network.run(lambda: session.state is not State.KEYING and bool(far.incoming), 95)
    assert session.state is State.OPEN
    return near, far, session, far.incoming[0]


def received(node: Node, session: RtmfpSession, flow: int) -> list[bytes]:
    events = node.events[session]
    return [event.joined() for event in events if isinstance(event, MessageReceived) and event.flow == flow]


@pytest.mark.parametrize("seed", range(100))
def test_messages_arrive_once_in_order_and_unchanged(seed: int) -> None:
    network = Network(seed, STORM)
    near, far, one, other = opened(network)
    rng = SeededRng(seed)
    sent: dict[tuple[RtmfpSession, int], list[bytes]] = {}
    for session in (one, other):
        for priority in (Priority.BULK, Priority.ROUTINE, Priority.BULK):
            flow = session.open_flow(b"about", priority, report_sent=True)
            messages = [rng.bytes(rng.choice((0, 1, 300, 5_000, 40_000))) for _ in range(8)]
            for message in messages:
                session.send(flow, [message[:7], message[7:]])
            session.close_flow(flow)
            sent[session, flow] = messages
    arrives_at = {one: (far, other), other: (near, one)}

    def is_done() -> bool:
        closed = [sum(isinstance(event, FlowClosed) for event in node.events[at]) for node, at in arrives_at.values()]
        told = sum(isinstance(e, MessageSent) for node, at in arrives_at.values() for e in node.events[at])
        return closed == [3, 3] and told == sum(map(len, sent.values()))

    assert network.run(is_done, 600)
    for (session, flow), messages in sent.items():
        node, at = arrives_at[session]
        assert received(node, at, flow) == messages
