"""Objects of programs: what is had, wanted, asked, answered and denied, between replicators in virtual time."""

from __future__ import annotations

import pytest

from swarmd.core.ranges import RangeSet
from swarmd.replication.fetch import DENY_PERIOD
from swarmd.replication.limits import Rates
from swarmd.replication.loose import LOOSE_START, LOOSE_WINDOW
from swarmd.replication.pickers import Order
from swarmd.replication.shape import LOOSE_CHUNK_BYTES, LOOSE_CHUNKS
from swarmd.replication.uploads import ANSWER_PERIOD
from tests.replication.mesh import GROUP, LINE_RATE, Content, Mesh, assert_clean, assert_fetched_once
from tests.replication.programs import OBJECT, Program, assert_idle, pair, samples


def test_chunks_of_any_length() -> None:
    mesh, giver, getter = pair()
    chunks = {0: b"a", 1: bytes(LOOSE_CHUNK_BYTES), LOOSE_CHUNKS - 1: b"the last", **samples(50)}
    giver.give(chunks)
    getter.want(0, LOOSE_CHUNKS)
    assert mesh.run_until(lambda: len(getter.got) == len(chunks))
    mesh.run(1)
    assert dict(getter.got) == chunks
    assert sorted(getter.fetching) == sorted(giver.asked_for) == sorted(chunks)
    assert getter.failed == []
    assert_idle(mesh)
    assert_clean(mesh)


def test_what_is_had_after_it_was_wanted_and_wanted_after_it_was_had() -> None:
    mesh, giver, getter = pair()
    getter.want(0, 10)
    mesh.run(1)
    giver.have(_3=b"three", _20=b"twenty")
    assert mesh.run_until(lambda: bool(getter.got), 1)
    getter.want(20, 21)
    assert mesh.run_until(lambda: len(getter.got) == 2, 1)
    assert getter.got == [(3, b"three"), (20, b"twenty")]


def test_a_chunk_comes_once_and_is_not_given_on() -> None:
    mesh = Mesh(3)
    giver, getter, third = (Program(mesh, member) for member in mesh.members)
    mesh.join(giver.member, getter.member)
    mesh.join(getter.member, third.member)
    giver.have(_0=b"x")
    getter.want(0, 1)
    third.want(0, 1)
    mesh.run(5)
    assert getter.got == [(0, b"x")]
    assert third.got == [], "receiving is not having"
    getter.have(_0=b"x")
    assert mesh.run_until(lambda: third.got == [(0, b"x")], 1)
    mesh.run(5)
    assert getter.got == [(0, b"x")]


def test_a_bad_chunk_is_wanted_again_even_before_it_is_taken() -> None:
    mesh, giver, getter = pair()
    getter.is_greedy = False
    giver.have(_0=b"x")
    getter.want(0, 1)
    assert mesh.run_until(lambda: bool(getter.got), 1)
    getter.want(0, 1)
    mesh.run(1)
    assert len(getter.got) == 1
    getter.take(0)
    assert mesh.run_until(lambda: len(getter.got) == 2, 1)
    getter.take(0)
    mesh.run(1)
    assert_idle(mesh)


@pytest.mark.parametrize("order", Order)
def test_the_order_is_the_programs(order: Order) -> None:
    mesh, giver, getter = pair()
    getter.calls.set_order(OBJECT, order, mesh.now)
    giver.give(samples(200, 100))
    mesh.run(1)
    getter.want(0, 100)
    getter.calls.set_order(OBJECT, Order.LOWEST, mesh.now)
    getter.want(100, 200)
    assert mesh.run_until(lambda: len(getter.got) == 200)
    assert giver.asked_for == list(range(200))
    getter.calls.set_order(OBJECT, Order.RAREST, mesh.now)
    getter.want(0, 200)
    assert mesh.run_until(lambda: len(getter.got) == 400)
    assert giver.asked_for[200:] != list(range(200))


def test_a_denied_chunk_is_asked_for_again_and_nobody_is_at_fault() -> None:
    mesh, giver, getter = pair()
    giver.denies = {1}
    giver.have(_0=b"0", _1=b"1", _2=b"2")
    getter.want(0, 3)
    mesh.run(DENY_PERIOD / 2)
    assert sorted(index for index, _ in getter.got) == [0, 2]
    assert getter.failed == [1]
    assert all(not link.channels[OBJECT].strikes for link in getter.member.replicator._objects.links.values())
    giver.denies = set()
    assert mesh.run_until(lambda: len(getter.got) == 3, 2 * DENY_PERIOD)
    mesh.run(1)
    assert_idle(mesh)
    assert_clean(mesh)


def test_an_answer_may_take_its_time() -> None:
    mesh, giver, getter = pair()
    giver.is_mute = True
    giver.have(_0=b"0")
    getter.want(0, 1)
    mesh.run(ANSWER_PERIOD - 2)
    ((read_id, _),) = giver.requests.items()
    assert giver.calls.write(read_id, b"0", mesh.now)
    assert mesh.run_until(lambda: getter.got == [(0, b"0")], 1)
    assert giver.asked_for == [0]
    assert getter.failed == []
    assert not giver.calls.write(read_id, b"0", mesh.now), "answered already"


def test_a_program_that_never_answers_is_taken_to_deny_and_keeps_no_file_waiting() -> None:
    mesh, giver, getter = pair(LINE_RATE)
    giver.is_mute = True
    giver.give(samples(500, 10))
    getter.want(0, 500)
    mesh.run(1)
    assert len(giver.requests) == LOOSE_START
    content = Content(1, n_chunks=50, chunk_size=64 << 10)
    giver.member.seed(content)
    getter.member.fetch(content)
    assert mesh.run_until(lambda: getter.member.has(content), 1.0), "as fast as without"
    mesh.run(ANSWER_PERIOD)
    assert len(getter.failed) == LOOSE_START
    assert len(giver.requests) == LOOSE_START
    for read_id in range(1, 200):
        if read_id not in giver.requests:
            assert not giver.calls.write(read_id, b"late", mesh.now)
    giver.is_mute = False
    for read_id in list(giver.requests):
        giver.calls.deny(read_id, mesh.now)
    assert mesh.run_until(lambda: len(getter.got) == 500, 2 * DENY_PERIOD)
    mesh.run(1)
    assert_idle(mesh)
    assert_fetched_once(getter.member, content)
    assert_clean(mesh)


def test_who_thinks_for_long_is_passed_by() -> None:
    mesh = Mesh(3)
    slow, quick, getter = (Program(mesh, member) for member in mesh.members)
    mesh.join(slow.member, getter.member)
    slow.is_mute = True
    slow.have(_0=b"0")
    getter.want(0, 1)
    assert mesh.run_until(lambda: bool(slow.requests), 1)
    mesh.join(quick.member, getter.member)
    quick.have(_0=b"0")
    assert mesh.run_until(lambda: getter.got == [(0, b"0")], 5)
    mesh.run(1)
    assert slow.requests == {}, "it is told that nobody waits any more"
    assert_idle(mesh)


def test_a_program_that_never_answers_does_not_hold_up_the_others() -> None:
    """Also when more is wanted than anybody has, so that nobody is ever idle."""
    mesh = Mesh(3)
    mute, giver, getter = (Program(mesh, member) for member in mesh.members)
    mesh.join()
    mute.is_mute = True
    for program in (mute, giver):
        program.give(samples(400, 100))
    getter.want(0, LOOSE_CHUNKS)
    assert mesh.run_until(lambda: len(getter.got) >= 400 - LOOSE_START, 1)
    giver.is_mute = True  # one that was quick once has the window for one time
    giver.give(dict.fromkeys(range(400, 600), b"x"))
    mesh.run(2 * ANSWER_PERIOD)
    mute.is_mute = False
    for read_id in list(mute.requests):
        mute.calls.deny(read_id, mesh.now)
    mute.give(dict.fromkeys(range(400, 600), b"x"))
    assert mesh.run_until(lambda: len(getter.got) == 600, 4 * DENY_PERIOD)


def test_what_is_not_taken_stops_that_object_and_nothing_else() -> None:
    mesh, giver, getter = pair()
    getter.is_greedy = False
    giver.give(samples(100, 100))
    getter.want(0, 100)
    mesh.run(5)
    assert len(getter.got) == LOOSE_WINDOW
    content = Content(1)
    assert giver.calls.is_free(content.content_id)
    giver.member.seed(content)
    assert not giver.calls.is_free(content.content_id), "a file is no object of a program"
    getter.member.fetch(content)
    assert mesh.run_until(lambda: getter.member.has(content), 1)
    getter.is_greedy = True
    for index, _ in list(getter.got):
        getter.take(index)
    assert mesh.run_until(lambda: len(getter.got) == 100, 5)
    mesh.run(1)
    assert_idle(mesh)


def test_a_want_taken_back() -> None:
    mesh, giver, getter = pair()
    giver.is_mute = True
    giver.give(samples(60, 100))
    getter.want(0, 60)
    mesh.run(1)
    getter.unwant(0, 60)
    mesh.run(1)
    assert giver.requests == {}, "the requests are taken back"
    assert getter.failed == []
    giver.is_mute = False
    mesh.run(10)
    assert getter.got == []
    assert_idle(mesh)


def test_a_want_taken_back_and_given_again_at_once() -> None:
    mesh, giver, getter = pair()
    giver.is_mute = True
    giver.have(_0=b"0")
    getter.want(0, 1)
    mesh.run(1)
    getter.unwant(0, 1)
    getter.want(0, 1)
    giver.is_mute = False
    assert mesh.run_until(lambda: getter.got == [(0, b"0")], 1)
    mesh.run(1)
    assert_idle(mesh)


def test_a_have_taken_back() -> None:
    mesh, giver, getter = pair()
    giver.is_mute = True
    giver.have(_0=b"0", _1=b"1")
    getter.want(0, 1)
    mesh.run(1)
    giver.calls.remove_have(OBJECT, RangeSet.single(0, 2), mesh.now)
    mesh.run(0.1)
    getter.want(1, 2)
    mesh.run(2 * DENY_PERIOD)
    assert (giver.requests, giver.asked_for, getter.failed) == ({}, [0], [0])
    giver.is_mute = False
    giver.have(_0=b"0", _1=b"1")
    assert mesh.run_until(lambda: len(getter.got) == 2, DENY_PERIOD)
    assert_clean(mesh)


@pytest.mark.parametrize("who", [0, 1])
def test_an_object_closed_while_it_runs(who: int) -> None:
    mesh, giver, getter = pair(LINE_RATE)
    giver.give(samples(400))
    getter.want(0, 400)
    assert mesh.run_until(lambda: len(getter.got) > 20)
    (giver, getter)[who].calls.close(OBJECT, mesh.now)
    n_got = len(getter.got)
    mesh.run(5)
    assert n_got <= len(getter.got) <= n_got + LOOSE_WINDOW
    assert_idle(mesh)
    assert_clean(mesh)
    program = (giver, getter)[who]
    program.calls.open(GROUP, OBJECT, Order.LOWEST, mesh.now)
    if who == 0:
        giver.give(giver.chunks)
    else:
        getter.want(0, 400)
    assert mesh.run_until(lambda: {index for index, _ in getter.got} == set(range(400)))
    mesh.run(1)
    assert_idle(mesh)
    assert_clean(mesh)


def test_a_link_lost_while_it_runs() -> None:
    mesh, giver, getter = pair(LINE_RATE)
    giver.give(samples(200))
    getter.want(0, 200)
    assert mesh.run_until(lambda: len(getter.got) > 20)
    n_under_way = len(getter.fetching) - len(getter.got)
    mesh.part(giver.member, getter.member)
    mesh.run(1)
    assert len(getter.failed) == n_under_way > 0
    assert_idle(mesh)
    mesh.join()
    assert mesh.run_until(lambda: len(getter.got) == 200)
    assert sorted(index for index, _ in getter.got) == list(range(200))


def test_a_swarm_of_programs_that_pass_on_what_they_get() -> None:
    mesh = Mesh(5, LINE_RATE)
    programs = [Program(mesh, member) for member in mesh.members]
    mesh.join()
    chunks = samples(100)
    programs[0].give(chunks)
    for program in programs[1:]:
        program.want(0, 100)

    def pass_on() -> bool:
        for program in programs[1:]:
            new = dict(program.got).keys() - program.chunks.keys()
            if new:
                program.give({index: dict(program.got)[index] for index in new})
        return all(len(program.got) == 100 for program in programs[1:])

    assert mesh.run_until(pass_on)
    assert all(dict(program.got) == chunks for program in programs[1:])
    assert len(programs[0].asked_for) < 300, "others gave, too"
    mesh.run(1)
    assert_idle(mesh)
    assert_clean(mesh)


def test_nothing_is_said_when_nothing_happens() -> None:
    mesh, giver, getter = pair()
    giver.give(samples(10, 10))
    getter.want(0, 5)
    assert mesh.run_until(lambda: len(getter.got) == 5)
    mesh.run(5)
    said = [len(program.member.said) for program in (giver, getter)]
    mesh.run(600)
    assert [len(program.member.said) for program in (giver, getter)] == said


def test_a_download_limit_holds_for_programs_too() -> None:
    mesh, giver, getter = pair()
    getter.member.replicator.set_limits(Rates(download=50_000), {}, mesh.now)
    giver.give({index: bytes(10_000) for index in range(100)})
    getter.want(0, 100)
    began_at = mesh.now
    assert mesh.run_until(lambda: len(getter.got) == 100, 100)
    assert 0.6 * 20 < mesh.now - began_at < 25
