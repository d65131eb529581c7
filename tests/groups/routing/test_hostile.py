"""What neighbours may try: loops, replays, forgeries, floods, lies. Each is refused, and charged to whom it came from
where that can be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing import links as links_module
from swarmd.groups.routing.events import ReceiveMode, RouteResult
from swarmd.groups.routing.messages import (
    HOP_LIMIT,
    Answer,
    Directed,
    Envelope,
    Failed,
    Locate,
    Located,
    Message,
    Mode,
    Way,
    decode,
)
from swarmd.groups.routing.paths import ENVELOPE_PERIOD, LOCATE_PERIOD, MAX_PATHS_OF_ONE
from swarmd.groups.routing.sealing import sign_located
from tests.groups.builders import identity

from .members import SPEC, Members

PATH = b"p" * 16


def changing(members: Members, kind: type, change: Callable[[Message], Message | None], sender: int) -> None:
    """`sender` changes every message of that kind which it passes on."""

    def tap(one: PeerId, other: PeerId, data: bytes) -> bytes | None:
        message = decode(data)
        if one != members.peer(sender) or not isinstance(message, kind):
            return data
        changed = change(message)
        return None if changed is None else changed.encode()

    members.tap = tap


def penalties(members: Members, number: int) -> int:
    return sum(error.penalty for peer, error in members.faults if peer == members.peer(number))


# loops and limits


def test_a_path_that_comes_round_is_refused() -> None:
    members = Members(4).line()
    way = Way(PATH, members.address(3))
    members.send(0, Locate(way), 1)
    n_before = len(members.messages(1, 2))
    members.tap = lambda one, other, data: None if other == members.peer(3) else data
    members.send(0, Locate(Way(b"q" * 16, members.address(3))), 1)
    members.send(2, Locate(Way(b"q" * 16, members.address(3), 5)), 1)
    assert members.messages(1, 2)[-1] == Failed(b"q" * 16), "the same question came back: a loop"
    members.send(0, Locate(Way(b"q" * 16, members.address(3))), 1)
    assert members.messages(1, 0)[-1] == Failed(b"q" * 16), "and again from the same one: a replay"
    assert len([each for each in members.messages(1, 2) if isinstance(each, Locate)]) == n_before + 1
    assert not members.faults


def test_hops_are_counted_down_to_nothing() -> None:
    members = Members(6).line()
    members.send(0, Locate(Way(PATH, members.address(4), 2)), 1)
    assert members.messages(1, 0)[-1] == Failed(PATH)
    assert [each.way.n_hops_left for each in members.messages(2, 3) if isinstance(each, Locate)] == [0]
    assert not [each for each in members.messages(3, 4) if isinstance(each, Locate)]


def test_more_hops_than_there_may_be() -> None:
    members = Members(3).line()
    members.send(0, Locate(Way(PATH, members.address(2), HOP_LIMIT + 1)), 1)
    assert penalties(members, 0) == 10
    assert members.messages(1, 2) == []


def test_nobody_passes_away_from_the_target() -> None:
    """Whatever is asked, wherever it begins: each hop is nearer, so it ends, and at one who knows nobody nearer."""
    members = Members(12)
    for number in range(12):
        for step in (1, 3):
            if (number + step) % 12 not in (number, (number - 3) % 12):
                members.link(number, (number + step) % 12)
    members.settled()
    for number in range(12):
        for turn in (0, 1, 7):
            members.carried.clear()
            target = GroupAddress.at(members.address(number).number + 5)
            path = bytes([number, turn]) * 8
            members.send(0, Locate(Way(path, target, turn=turn)), 1)
            hops = [other for _, other, data in members.carried if isinstance(decode(data), Locate)]
            assert len(hops) == len(set(hops)), "nobody twice"
            assert isinstance(members.messages(1, 0)[-1], Located | Failed)


# floods


def test_a_flood_of_questions_is_refused_and_others_are_served() -> None:
    members = Members(4)
    for number in (0, 1, 3):
        members.link(number, 2)
    members.settled()
    for index in range(1000):
        members[0]._links.send(members.peer(2), Locate(Way(index.to_bytes(16, "big"), members.address(3))))
    members.pump()
    asked = [each for each in members.messages(2, 3) if isinstance(each, Locate)]
    assert len(asked) == links_module.TRANSIT_BURST
    assert members[2].info.n_refused == 1000 - len(asked)
    members[1].route(members.address(3), b"x", 0.0)
    members.pump()
    assert [event.result for event in members.routed(1)] == [RouteResult.DELIVERED]


def test_a_flood_of_questions_that_end_here_is_refused() -> None:
    members = Members(2).line()
    for index in range(1000):
        members.send(0, Locate(Way(index.to_bytes(16, "big"), members.address(1))), 1)
    answers = members.messages(1, 0)
    assert sum(isinstance(each, Located) for each in answers) == links_module.QUESTIONS_BURST
    assert len(answers) == 1000, "the others are refused, in so many words"


def test_what_is_held_for_one_neighbour_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QUESTIONS_BURST", "TRANSIT_BURST"):
        monkeypatch.setattr(links_module, name, 1e6)
    members = Members(3).line()
    members.tap = lambda one, other, data: None if one == members.peer(2) else data
    for index in range(MAX_PATHS_OF_ONE + 100):
        members.send(0, Locate(Way(index.to_bytes(16, "big"), members.address(2))), 1)
    assert len(members[1]._paths) == MAX_PATHS_OF_ONE
    assert len(members.messages(1, 0)) == 100
    members.run(LOCATE_PERIOD + ENVELOPE_PERIOD)
    assert len(members[1]._paths) == 0


# answers nobody asked for


def test_answers_on_unknown_paths_are_ignored() -> None:
    members = Members(3).line()
    located = sign_located(identity(1), SPEC.group_id, PATH, members.address(2), b"e" * 32)
    for message in (Answer(PATH, False, b""), Failed(PATH), located):
        members.send(0, message, 1)
    assert not members.faults
    assert members.messages(1, 2) == members.messages(1, 0) == []


def test_only_who_was_asked_may_answer() -> None:
    members = Members(5).mesh()
    members.tap = lambda one, other, data: None if other == members.peer(3) else data
    members[0].route(members.address(3), b"x", 0.0)
    members.pump()
    (question,) = [each for each in members.messages(0, 3) if isinstance(each, Locate)]
    members.tap = lambda one, other, data: data
    members.send(2, Failed(question.way.path), 0)
    assert [each for each in members.messages(0, 1) if isinstance(each, Locate)] == [], "it is not believed"


def test_an_acknowledgement_where_nothing_was_sent() -> None:
    members = Members(3).line()
    members.tap = lambda one, other, data: None if other == members.peer(2) else data
    members.send(0, Locate(Way(PATH, members.address(2))), 1)
    members.send(2, Answer(PATH, False, bytes(49)), 1)
    assert penalties(members, 2) == 10
    assert members.messages(1, 0) == [Failed(PATH)]


# forgeries


@pytest.mark.parametrize("change", ["signature", "certificate", "epoch", "path of another"])
def test_false_statements_are_charged_to_who_passes_them_on(change: str) -> None:
    members = Members(4).line()

    def forge(message: Message) -> Message:
        assert isinstance(message, Located)
        if change == "path of another":
            return sign_located(members.identities[2], SPEC.group_id, b"o" * 16, members.address(3), b"e" * 32)
        return replace(message, **{change: bytes(len(getattr(message, change)))})

    changing(members, Located, forge, sender=2)
    members[0].route(members.address(3), b"x", 0.0, is_exact=True, timeout=3.0)
    members.run(3.0)
    assert not members.arrived(3)
    if change != "path of another":
        assert penalties(members, 2) > 0
    assert penalties(members, 1) == 0, "who verifies before it passes on has nothing to fear"


def test_a_certificate_of_somebody_far_away() -> None:
    """A member may say that itself is nearest; not that somebody is who stands further away than it does."""
    members = Members(4).line()

    def misname(message: Message) -> Message:
        assert isinstance(message, Located)
        return sign_located(members.identities[0], SPEC.group_id, message.path, members.address(3), b"e" * 32)

    changing(members, Located, misname, sender=2)
    members[0].route(members.address(3), b"x", 0.0, is_exact=True, timeout=3.0)
    members.run(3.0)
    assert penalties(members, 2) >= 10
    assert not members.arrived(3)


def test_who_says_that_it_is_somebody_else_gets_nothing() -> None:
    """An exact address is the hash of one certificate."""
    members = Members(4).line()

    def claim(message: Message) -> Message:
        assert isinstance(message, Located)
        return sign_located(members.identities[2], SPEC.group_id, message.path, members.address(3), b"e" * 32)

    changing(members, Located, claim, sender=2)
    members[0].route(members.address(3), b"x", 0.0, is_exact=True)
    members.run(31.0)
    assert [event.result for event in members.routed(0)] == [RouteResult.NOT_FOUND]
    assert not [each for each in members.messages(0, 1) if isinstance(each, Envelope)], "nothing was sealed to it"


def test_one_liar_does_not_take_what_is_for_the_nearest() -> None:
    """Number 1 says of every key that it is nearest; the others know better."""
    members = Members(12).mesh()
    liar = members.peer(1)
    members.cut(0, 6)
    target = GroupAddress.at(members.address(6).number + 1)

    def tap(one: PeerId, other: PeerId, data: bytes) -> bytes | None:
        message = decode(data)
        if other == liar and isinstance(message, Locate):
            lie = sign_located(members.identities[1], SPEC.group_id, message.way.path, message.way.target, b"e" * 32)
            members[members.number(one)].receive(liar, lie.encode(), members.now, members.now)
            return None
        return data

    members.tap = tap
    members[0].route(target, b"x", 0.0)
    members.run(5.0)
    assert [event.peer_id for event in members.routed(0)] == [members.peer(6)]
    assert len(members.arrived(6)) == 1


@pytest.mark.parametrize("kind", [Envelope, Answer])
def test_tampering_on_the_way(kind: type) -> None:
    """What was changed does not open; over another way it arrives."""
    members = Members(5)
    for one, other in ((0, 1), (1, 3), (0, 2), (2, 3)):
        members.link(one, other)
    members.settled()

    def tamper(message: Message) -> Message:
        assert isinstance(message, Envelope | Answer)
        return replace(message, sealed=message.sealed[:-1] + bytes([message.sealed[-1] ^ 1]))

    n_changed = 0

    def tap(one: PeerId, other: PeerId, data: bytes) -> bytes:
        nonlocal n_changed
        message = decode(data)
        if isinstance(message, kind) and not n_changed and one in (members.peer(1), members.peer(2)):
            n_changed += 1
            return tamper(message).encode()
        return data

    members.tap = tap
    members[0].route(members.address(3), b"x", 0.0, is_exact=True)
    members.run(5.0)
    assert n_changed == 1
    assert [event.result for event in members.routed(0)] == [RouteResult.DELIVERED]
    assert len(members.arrived(3)) == 1
    assert not members.faults, "who changed it cannot be told"


# replays


def test_an_envelope_that_is_replayed_is_not_delivered_again() -> None:
    members = Members(4).line()
    members[0].route(members.address(3), b"pay 5", 0.0)
    members.pump()
    (envelope,) = [each for each in members.messages(2, 3) if isinstance(each, Envelope)]
    for index, seconds in enumerate((0.0, 30.0, 100.0, 300.0)):
        members.run(seconds)
        members.send(2, replace(envelope, way=replace(envelope.way, path=bytes([index]) * 16)), 3)
    assert len(members.arrived(3)) == 1


def test_a_statement_that_is_replayed_is_refused() -> None:
    members = Members(3).line()
    members[0].route(members.address(2), b"1", 0.0)
    members.pump()
    (old,) = [each for each in members.messages(2, 1) if isinstance(each, Located)]
    members.tap = lambda one, other, data: None if other == members.peer(2) else data
    members.send(0, Locate(Way(PATH, members.address(2))), 1)
    members.send(2, replace(old, path=PATH), 1)
    assert penalties(members, 2) == 10
    assert members.messages(1, 0)[-1] == Failed(PATH)


def test_a_receiver_that_changes_its_key_without_end() -> None:
    members = Members(2).mesh()

    def stale(message: Message) -> Message:
        assert isinstance(message, Answer)
        epoch = (len(members.carried) * b"e").ljust(32, b"e")[:31] + bytes([len(members.carried) % 128])
        return sign_located(members.identities[1], SPEC.group_id, message.path, members.address(1), epoch)

    changing(members, Answer, stale, sender=1)
    members[0].route(members.address(1), b"x", 0.0, is_exact=True)
    members.run(31.0)
    assert [event.result for event in members.routed(0)] == [RouteResult.TIMED_OUT]
    assert len(members.carried) < 100


def test_a_key_that_nothing_can_be_sealed_to() -> None:
    members = Members(2).mesh()

    def zero(message: Message) -> Message:
        assert isinstance(message, Located)
        return sign_located(members.identities[1], SPEC.group_id, message.path, members.address(1), bytes(32))

    changing(members, Located, zero, sender=1)
    members[0].route(members.address(1), b"x", 0.0, is_exact=True)
    members.run(31.0)
    assert [event.result for event in members.routed(0)] == [RouteResult.TIMED_OUT]


POOL = [bytes([index]) * 16 for index in range(4)]
"""So few paths that messages meet each other."""
BYTES = st.binary(max_size=200)


def messages(members: Members) -> st.SearchStrategy[Message]:
    paths, turns = st.sampled_from(POOL), st.integers(0, 255)
    targets = st.sampled_from([members.address(number) for number in range(4)] + [GroupAddress.at(1)])
    ways = st.builds(Way, paths, targets, st.integers(0, HOP_LIMIT), turns)
    signers, keys = st.sampled_from(members.identities), st.binary(min_size=32, max_size=32)
    return st.one_of(
        st.builds(Mode, st.sampled_from(ReceiveMode)),
        st.builds(Directed, st.none() | targets, BYTES),
        st.builds(Locate, ways),
        st.builds(Envelope, ways, keys, paths, BYTES),
        st.builds(sign_located, signers, st.just(SPEC.group_id), paths, targets, keys),
        st.builds(Answer, paths, st.booleans(), BYTES),
        st.builds(Failed, paths),
    )


@given(st.data())
@settings(max_examples=12)
def test_any_messages_in_any_order(data: st.DataObject) -> None:
    """Nothing but a RemoteError comes of them, and what honest members send each other gets through."""
    members = Members(4).mesh()
    for number in (1, 2):
        members[0].route(members.address(3), b"x", 0.0, is_exact=True, reply_wanted=number == 2)
        for _ in range(data.draw(st.integers(0, 12))):
            members.send(1, data.draw(messages(members)), data.draw(st.sampled_from([0, 2, 3])))
        members.run(3.0)
        assert len(members.arrived(3)) == number


def test_any_message_is_refused_or_understood() -> None:
    members = Members(2).mesh()
    for data in (b"", b"\x22", b"\x2f" + bytes(40), b"\x24" + bytes(240)):
        with pytest.raises(RemoteError):
            members[0].receive(members.peer(1), data, 0.0, 0.0)
