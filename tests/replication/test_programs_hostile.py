"""Objects of programs: peers that break the rules, and programs that do anything in any order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ranges import RangeSet
from swarmd.replication import blocks, commands, messages
from swarmd.replication.blocks import BulkType
from swarmd.replication.exchange import MAX_HAVE_BYTES
from swarmd.replication.fetch import DENY_PERIOD
from swarmd.replication.link import MAX_LOOSE_REQUESTS
from swarmd.replication.pickers import Order
from swarmd.replication.shape import LOOSE_CHUNK_BYTES, LOOSE_CHUNKS, MetaKind
from swarmd.replication.uploads import ANSWER_PERIOD
from tests.replication.mesh import GROUP, LINE_RATE, Mesh, assert_clean
from tests.replication.programs import OBJECT, Program, assert_idle, pair


def block(handle: int, chunk: int, offset: int, length: int) -> list[bytes]:
    return [blocks.encode_header(BulkType.BLOCK, handle, chunk, offset, 0), bytes(length)]


@pytest.mark.parametrize(
    ("chunk", "offset", "length"), [(0, 1, 10), (0, 0, LOOSE_CHUNK_BYTES + 1), (7, 0, 10)], ids=("torn", "long", "else")
)
def test_a_block_that_cannot_be(chunk: int, offset: int, length: int) -> None:
    mesh, giver, getter = pair()
    giver.is_mute = True
    giver.have(_0=b"0")
    getter.want(0, 1)
    mesh.run(1)
    (link,) = getter.member.replicator._objects.links.values()
    mesh.forge(giver.member, getter.member, block(link.channels[OBJECT].handle, chunk, offset, length))
    mesh.run(1)
    ((culprit, error),) = mesh.faults
    assert (culprit, error.penalty) == (giver.member.peer, 5)
    assert getter.got == []
    assert_idle(mesh)


def test_a_flood_of_requests_is_denied_and_then_a_fault() -> None:
    mesh, giver, getter = pair()
    giver.is_mute = True
    giver.give(dict.fromkeys(range(2000), b"x"))
    getter.want(LOOSE_CHUNKS - 1, LOOSE_CHUNKS)
    mesh.run(1)
    (link,) = getter.member.replicator._objects.links.values()
    handle = link.channels[OBJECT].handle
    for first in range(0, 1000, 100):
        said = b"".join(messages.encode(messages.Request(handle, chunk)) for chunk in range(first, first + 100))
        mesh.forge(getter.member, giver.member, said)
    assert mesh.run_until(lambda: bool(mesh.faults), 5)
    assert len(giver.asked_for) == MAX_LOOSE_REQUESTS
    assert isinstance(mesh.faults[0][1], RemoteError)
    assert giver.requests == {}


def test_haves_that_are_taken_back_are_not_counted_for_ever() -> None:
    """A program that has now this and now that, for days: nobody is at fault."""
    mesh, giver, getter = pair()
    getter.want(0, LOOSE_CHUNKS)
    last = LOOSE_CHUNKS - 1
    for _ in range(MAX_HAVE_BYTES // (LOOSE_CHUNKS >> 3) + 2):
        giver.chunks[last] = b"x"
        giver.calls.add_have(giver.content_id, RangeSet.single(last, last + 1), mesh.now)
        mesh.run(0.1)
        giver.calls.remove_have(giver.content_id, RangeSet.single(last, last + 1), mesh.now)
        mesh.run(0.1)
    giver.have(_0=b"0")
    mesh.run(1)
    assert (0, b"0") in getter.got
    assert_clean(mesh)


def test_metadata_of_it_is_denied() -> None:
    mesh, giver, getter = pair()
    giver.have(_0=b"0")
    getter.want(1, 2)
    mesh.run(1)
    replicator = giver.member.replicator
    (link,) = getter.member.replicator._objects.links.values()
    asked = messages.AskMeta(link.channels[OBJECT].handle, MetaKind.ROOT, 0)
    mesh.now += 1
    replicator.receive_control(GROUP, getter.member.peer, messages.encode(asked), mesh.now)
    assert any(isinstance(command := replicator.next_command(), commands.ReadMeta) for _ in range(5)), command


def piece(index: int) -> bytes:
    return bytes([index]) * (index * 700 + 1)


def act(mesh: Mesh, programs: list[Program], data: st.DataObject) -> None:
    """One of them does something."""
    program = data.draw(st.sampled_from(programs))
    start = data.draw(st.integers(0, 40))
    stop = start + data.draw(st.integers(1, 40))
    match data.draw(st.sampled_from(["have", "unhave", "want", "unwant", "deny", "mute", "answer", "part", "close"])):
        case "have":
            program.give({index: piece(index) for index in range(start, stop)})
        case "unhave":
            program.calls.remove_have(OBJECT, RangeSet.single(start, stop), mesh.now)
        case "want":
            program.want(start, stop)
        case "unwant":
            program.unwant(start, stop)
        case "deny":
            program.denies = set(range(start, stop))
        case "mute":
            program.is_mute = True
        case "answer":
            program.is_mute = False
            for read_id in list(program.requests):
                program.calls.deny(read_id, mesh.now)
        case "part":
            mesh.isolate(program.member)
            for other in programs:
                if other is not program:
                    mesh.join(program.member, other.member)
        case "close":
            program.calls.close(OBJECT, mesh.now)
            program.calls.open(GROUP, OBJECT, data.draw(st.sampled_from(Order)), mesh.now)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_programs_do_nothing_is_left_over(data: st.DataObject) -> None:
    """Any calls in any order, links that come and go: at the end what is wanted and had has come, and all is quiet."""
    mesh = Mesh(3, LINE_RATE)
    programs = [Program(mesh, member) for member in mesh.members]
    mesh.join()
    for _ in range(data.draw(st.integers(1, 15))):
        act(mesh, programs, data)
        mesh.run(data.draw(st.sampled_from([0.0, 0.0005, 0.01, 1.0])))
    for program in programs:
        program.is_mute, program.denies = False, set()
        program.give({index: piece(index) for index in range(80)})
        program.want(0, 80)
    mesh.run(ANSWER_PERIOD + 2 * DENY_PERIOD)
    for program in programs:
        assert set(range(80)) <= {index for index, _ in program.got}
        assert all(chunk == piece(index) for index, chunk in program.got)
    assert_idle(mesh)
    assert_clean(mesh)
