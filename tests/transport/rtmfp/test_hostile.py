"""What strangers, and peers that mean ill, can send: it is parsed, ignored, or ends the session with PROTOCOL."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity
from swarmd.transport.api import MAX_FLOWS, Closed, CloseReason, Priority, State
from swarmd.transport.rtmfp import receiving
from swarmd.transport.rtmfp.chunks import (
    AckRanges,
    BufferProbe,
    Chunk,
    CloseAck,
    CloseRequest,
    FlowException,
    ForwardedIHello,
    Fragment,
    IHello,
    PacketFragment,
    Ping,
    PingReply,
    UserData,
    encode_chunk,
)
from swarmd.transport.rtmfp.options import Option
from swarmd.transport.rtmfp.packet import ECHO, TIMESTAMP, Mode, encode_header, scramble
from tests.transport.rtmfp.network import Network
from tests.transport.rtmfp.scenes import Scene, inject, inject_chunks, packet, plain_scene, scene

STRANGER = Address("198.51.100.9", 4000)
ABOUT = (Option(0, b"about"),)


@pytest.fixture(scope="module")
def victim() -> Network:
    """One node, and nobody else."""
    network = Network(1)
    network.add("victim", Identity.generate())
    return network


def of_kind(kind: int, data: bytes) -> bytes:
    return bytes((kind,)) + len(data).to_bytes(2, "big") + data


@given(
    st.binary(max_size=200) | st.builds(of_kind, st.sampled_from(range(256)), st.binary(max_size=200)),
    st.booleans(),
    st.integers(0, 90),
)
@settings(max_examples=500)
def test_any_bytes_as_datagrams(data: bytes, is_startup: bool, segment: int) -> None:
    it = _any_scene(scene)
    if is_startup:
        segment = 0
        sealed = it.far.endpoint._profile.startup.seal(b"\x03" + data)
        data = scramble(0, sealed) + sealed
    it.far.endpoint.receive(memoryview(data), segment, STRANGER, it.network.now)
    for each in it.far.endpoint.datagrams_to_send():
        assert len(each.data) <= len(data)
    assert it.other.state is State.OPEN and len(it.far.endpoint) == 1


_scenes: dict[Callable[[], Scene], Scene] = {}


def _any_scene(make: Callable[[], Scene]) -> Scene:
    """An open session; one for as many examples as it survives."""
    if make not in _scenes or _scenes[make].other.state is not State.OPEN:
        _scenes[make] = make()
    return _scenes[make]


numbers = st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1))
chunks: st.SearchStrategy[Chunk] = st.one_of(
    st.builds(
        UserData,
        st.integers(0, 5),
        numbers,
        st.just(0),
        st.binary(max_size=40),
        options=st.sampled_from(((), ABOUT)),
        is_abandoned=st.booleans(),
        is_final=st.booleans(),
    ),
    st.builds(AckRanges, st.integers(0, 3), numbers, numbers.filter(lambda each: each < 2**63)),
    st.builds(Ping, st.binary(max_size=1100)),
    st.builds(PingReply, st.binary(max_size=40)),
    st.builds(BufferProbe, st.integers(0, 5)),
    st.builds(FlowException, st.integers(0, 3), numbers),
    st.builds(PacketFragment, st.booleans(), st.integers(0, 3), st.integers(0, 20), st.binary(max_size=80)),
    st.builds(CloseAck),
    st.builds(CloseRequest, st.binary(max_size=4)),
    st.builds(ForwardedIHello, st.binary(max_size=4), st.just(STRANGER), st.binary(max_size=4)),
)


@given(st.integers(0, 255), st.lists(st.one_of(st.binary(max_size=30), chunks.map(encode_chunk)), max_size=6))
@settings(max_examples=500)
def test_any_bytes_in_an_authentic_packet(flags: int, pieces: list[bytes]) -> None:
    it = _any_scene(plain_scene)
    flow = it.other.open_flow(b"ours", Priority.DATA)
    it.other.send(flow, [bytes(5000)])
    it.network.collect()
    it.other.accepts_introductions = True
    inject(it, bytes((flags & 0xFC | Mode.INITIATOR,)) + b"".join(pieces))
    it.network.run_for(0.05)
    if it.other.state is State.CLOSED:
        last = it.far.events[it.other][-1]
        assert isinstance(last, Closed)
        assert last.by_peer or last.reason is CloseReason.PROTOCOL


@pytest.mark.parametrize("header", [b"\x01", bytes((0x01 | TIMESTAMP | ECHO,)) + b"\0\1\0\2"])
@pytest.mark.parametrize("size", range(40))
def test_user_data_that_ends_anywhere(header: bytes, size: int) -> None:
    """Sealed by our own profile, whose packets have nothing behind what they carry."""
    it = scene()
    inject(it, header + (b"\x10\x00" + bytes((size,)) + b"\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f" * 4)[: 3 + size])
    assert it.other.state is State.OPEN or isinstance(it.far.events[it.other][-1], Closed)


def test_parts_within_parts_within_parts() -> None:
    it = scene()
    plain = b"\x01"
    for _ in range(2000):
        plain = b"\x01" + encode_chunk(PacketFragment(False, 1, 0, plain))
    for number, start in enumerate(range(0, len(plain), 1100)):
        inject_chunks(it, PacketFragment(start + 1100 < len(plain), 9, number, plain[start : start + 1100]))
    last = it.far.events[it.other][-1]
    assert isinstance(last, Closed) and last.reason is CloseReason.PROTOCOL


def test_a_replayed_packet_is_dropped() -> None:
    it = scene()
    recorded: list[bytes] = []

    def record(source: Address, target: Address, data: bytes) -> bool:
        if source == it.near.address:
            recorded.append(data)
        return False

    it.network.lose = record
    flow = it.one.open_flow(b"once", Priority.DATA)
    it.one.send(flow, [b"once"])
    assert it.until(lambda: it.received(flow) == [b"once"])
    it.network.run_for(2)
    forged, events, sent = it.other.forged_packets, len(it.far.events[it.other]), len(it.far.sent)
    for data in recorded:
        it.far.endpoint.receive(memoryview(data), len(data), STRANGER, it.network.now)
    it.network.collect()
    assert it.other.forged_packets == forged + len(recorded) > forged
    assert (len(it.far.events[it.other]), len(it.far.sent)) == (events, sent)


def test_our_own_packets_come_back() -> None:
    """Session IDs are chosen by each end: with luck, or by one that is taken on purpose, they are the same."""
    it = plain_scene()
    flow = it.one.open_flow(b"about", Priority.DATA)
    it.one.send(flow, [b"message"])
    it.network.collect()
    before = len(it.far.events[it.other])
    for mode in (Mode.RESPONDER, Mode.STARTUP, 0):
        inject(it, bytes((mode,)) + encode_chunk(UserData(3, 1, 0, b"x", options=ABOUT)) + encode_chunk(Ping(b"x")))
    assert len(it.far.events[it.other]) == before
    for _, data in list(it.near.sent):
        it.near.endpoint.receive(memoryview(data), len(data), it.far.address, it.network.now)
    it.network.collect()
    assert it.one.state is State.OPEN and it.until(lambda: it.received(flow) == [b"message"])


def test_packets_of_a_session_that_is_over() -> None:
    it = scene()
    flow = it.one.open_flow(b"about", Priority.DATA)
    it.one.send(flow, [b"first"])
    assert it.until(lambda: it.received(flow) == [b"first"])
    late = [packet(it.one, b"\x01" + encode_chunk(UserData(flow, 2, 1, b"late"))) for _ in range(2)]
    it.other.close()
    assert it.until(lambda: it.one.state is State.CLOSED)
    events = len(it.far.events[it.other])
    it.far.endpoint.receive(memoryview(late[0]), len(late[0]), it.near.address, it.network.now)
    it.network.run_for(100)
    assert len(it.far.endpoint) == len(it.near.endpoint) == 0  # both have forgotten it
    it.far.endpoint.receive(memoryview(late[1]), len(late[1]), it.near.address, it.network.now)
    it.network.collect()
    assert len(it.far.events[it.other]) == events


def test_forged_hellos_by_the_thousand_leave_memory_flat(victim: Network) -> None:
    (node,) = victim.nodes.values()
    rng = SeededRng(1)
    profile = node.endpoint._profile
    hellos = []
    for _ in range(10_000):
        sealed = profile.startup.seal(
            encode_header(Mode.STARTUP, timestamp=None, echo=None)
            + encode_chunk(IHello(b"\x21\x0f" + rng.bytes(200), rng.bytes(16)))
        )
        hellos.append(scramble(0, sealed) + sealed)

    def flood() -> int:
        before = tracemalloc.get_traced_memory()[0]
        for number, data in enumerate(hellos):
            asker = Address(f"198.51.{number >> 8 & 0xFF}.{number & 0xFF}", 5000)
            node.endpoint.receive(memoryview(data), len(data), asker, victim.now + number / 10_000)
            for answer in node.endpoint.datagrams_to_send():
                assert len(answer.data) <= len(data)
        return tracemalloc.get_traced_memory()[0] - before

    tracemalloc.start()
    try:
        flood()
        assert flood() < 50_000
    finally:
        tracemalloc.stop()
    assert len(node.endpoint) == 0


def test_messages_begun_and_never_ended_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "MAX_PARTIAL_BYTES", 100_000)
    it = scene()
    for number in range(1, 200):
        inject_chunks(it, UserData(number, 1, 0, bytes(1000), fragment=Fragment.BEGIN, options=ABOUT))
        if it.other.state is State.CLOSED:
            break
    last = it.far.events[it.other][-1]
    assert isinstance(last, Closed) and last.reason is CloseReason.OVERLOADED and 95 < number < 110


def test_more_flows_than_there_may_be() -> None:
    it = scene()
    for start in range(1, MAX_FLOWS + 40, 50):
        inject_chunks(it, *(UserData(start + each, 1, 0, b"", options=ABOUT) for each in range(50)))
    last = it.far.events[it.other][-1]
    assert isinstance(last, Closed) and last.reason is CloseReason.PROTOCOL
