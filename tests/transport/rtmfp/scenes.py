"""What tests of whole sessions begin with, and look at in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from swarmd.core.ids import PeerId
from swarmd.identity.identity import Identity
from swarmd.transport.api import Event, MessageReceived, State
from swarmd.transport.rtmfp.chunks import Chunk, decode_chunks, encode_chunk
from swarmd.transport.rtmfp.packet import Mode, decode_header, scramble, session_id_of
from swarmd.transport.rtmfp.profile import PacketCipher
from swarmd.transport.rtmfp.session import RtmfpSession
from tests.transport.rtmfp.network import Network, Node, Weather
from tests.transport.rtmfp.plain import PlainProfile, peer_id_of


class Scene(NamedTuple):
    """Two nodes with an open session; `near` has called."""

    network: Network
    near: Node
    far: Node
    one: RtmfpSession
    other: RtmfpSession

    def until(self, condition: Callable[[], bool], timeout: float = 60.0) -> bool:
        is_true = self.network.run(condition, timeout)
        self.network.collect()
        return is_true

    def received(self, flow: int) -> list[bytes]:
        """By the far end."""
        return received(self.far, self.other, flow)

    def answered(self, flow: int) -> list[bytes]:
        """By the near end."""
        return received(self.near, self.one, flow)

    def happened(self, kind: type[Event]) -> list[Event]:
        """At the far end."""
        return [event for event in self.far.events[self.other] if isinstance(event, kind)]


def scene(seed: int = 1, weather: Weather | None = None) -> Scene:
    network = Network(seed, weather)
    responder = Identity.generate()
    near, far = network.add("near"), network.add("far", responder)
    return _joined(network, near, far, responder.peer_id)


def plain_scene(seed: int = 1, weather: Weather | None = None) -> Scene:
    """With packets that a test can read."""
    network = Network(seed, weather)
    near = network.add("near", profile=PlainProfile(b"near", network.rng))
    far = network.add("far", profile=PlainProfile(b"far", network.rng))
    return _joined(network, near, far, peer_id_of(b"far"))


def _joined(network: Network, near: Node, far: Node, wanted: PeerId) -> Scene:
    session = near.endpoint.connect(wanted, [far.address], network.now)
    assert network.run(lambda: session.state is not State.KEYING and bool(far.incoming), 95)
    assert session.state is State.OPEN
    return Scene(network, near, far, session, far.incoming[0])


def received(node: Node, session: RtmfpSession, flow: int) -> list[bytes]:
    events = node.events[session]
    return [event.joined() for event in events if isinstance(event, MessageReceived) and event.flow == flow]


def cipher_of(session: RtmfpSession) -> PacketCipher:
    assert session._keyed is not None
    return session._keyed.cipher


def packet(session: RtmfpSession, plain: bytes) -> bytes:
    """A datagram as this end of a session would send it, with `plain` inside."""
    sealed = cipher_of(session).seal(plain)
    return scramble(session.far_id, sealed) + sealed


def inject(target: Scene, plain: bytes) -> None:
    """To the far end, as if the near one had sent it; behind all that is under way."""
    target.far.endpoint.receive(
        memoryview(data := packet(target.one, plain)), len(data), target.near.address, target.network.now
    )
    target.network.collect()


def inject_chunks(target: Scene, *chunks: Chunk) -> None:
    inject(target, bytes((Mode.INITIATOR,)) + b"".join(map(encode_chunk, chunks)))


def chunks_sent(node: Node, near_ids: set[int]) -> Iterator[Chunk]:
    """Of plain sessions: what a node has sent to sessions of these numbers."""
    return chain.from_iterable(
        decode_chunks(memoryview(data)[4 + decode_header(memoryview(data)[4:]).size : -18])
        for _, data in node.sent
        if session_id_of(memoryview(data)) in near_ids
    )
