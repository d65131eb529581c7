"""The join proof between two sides, and against those who have no business there."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.codec import Reader
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import SeededRng
from swarmd.groups.join import MAX_TAGS, PROOF_TIMEOUT, Denied, Event, Joined, JoinExchange, Left

HASH = b"h" * 32


def key(number: int) -> bytes:
    return number.to_bytes(32, "little")


def group(number: int) -> GroupId:
    return GroupId(number.to_bytes(32, "big"))


def groups(*numbers: int) -> dict[GroupId, bytes]:
    return {group(number): key(number) for number in numbers}


def side(is_initiator: bool, *numbers: int, handshake_hash: bytes = HASH, seed: int = 1) -> JoinExchange:
    return JoinExchange(handshake_hash, is_initiator, groups(*numbers), SeededRng(seed + is_initiator), 0.0)


def tags_of(message: bytes) -> tuple[int, list[bytes]]:
    reader = Reader(message)
    kind = reader.u8()
    tags = [reader.raw(32) for _ in range(reader.varint())]
    reader.end()
    return kind, tags


def events(exchange: JoinExchange) -> list[Event]:
    found = []
    while (event := exchange.next_event()) is not None:
        found.append(event)
    return found


def converse(one: JoinExchange, other: JoinExchange, now: float = 1.0) -> None:
    for sender, receiver in ((one, other), (other, one)) * 2:
        for message in sender.messages_to_send():
            receiver.receive_message(message, now)


def test_vector() -> None:
    (message,) = side(True, 7).messages_to_send()
    kind, tags = tags_of(message)
    assert message[:2] == b"\x01\x04"
    assert kind == 1
    assert hmac.digest(key(7), b"swarmd join\x01" + HASH, sha256) in tags
    (message,) = side(False, 7).messages_to_send()
    assert hmac.digest(key(7), b"swarmd join\x02" + HASH, sha256) in tags_of(message)[1]


def test_both_sides_join_exactly_what_they_share() -> None:
    one, other = side(True, 1, 2, 3), side(False, 2, 3, 4)
    converse(one, other)
    for exchange in (one, other):
        assert set(events(exchange)) == {Joined(group(2)), Joined(group(3))}
        assert exchange.joined == {group(2), group(3)}
        assert exchange.next_deadline() is None


def test_nothing_in_common_is_denied_after_the_time_out_and_once() -> None:
    one, other = side(True, 1), side(False, 2)
    converse(one, other)
    assert one.next_deadline() == PROOF_TIMEOUT
    one.handle_timer(PROOF_TIMEOUT - 0.01)
    assert events(one) == []
    one.handle_timer(PROOF_TIMEOUT)
    one.handle_timer(PROOF_TIMEOUT + 1)
    assert events(one) == [Denied()]
    assert one.next_deadline() is None


def test_a_proof_after_the_denial_changes_nothing() -> None:
    one, other = side(True, 1), side(False, 1)
    one.handle_timer(PROOF_TIMEOUT)
    converse(one, other)
    assert events(one) == [Denied()]
    assert one.joined == frozenset()


def test_who_knows_the_group_id_only_does_not_get_in() -> None:
    one = side(True, 1)
    impostor = JoinExchange(HASH, False, {group(1): group(1)}, SeededRng(5), 0.0)
    converse(one, impostor)
    assert one.joined == impostor.joined == frozenset()


def test_a_tag_sent_back_proves_nothing() -> None:
    one = side(True, 1)
    for message in one.messages_to_send():
        one.receive_message(message, 1.0)
    assert one.joined == frozenset()


def test_a_tag_of_another_session_proves_nothing() -> None:
    recorded = side(False, 1, handshake_hash=b"g" * 32).messages_to_send()
    one = side(True, 1)
    for message in recorded:
        one.receive_message(message, 1.0)
    assert one.joined == frozenset()


@pytest.mark.parametrize(
    ("count", "listed"), [(0, 4), (1, 4), (3, 4), (4, 4), (5, 8), (8, 8), (9, 16), (1025, 2048), (4096, 4096)]
)
def test_the_number_of_groups_is_hidden(count: int, listed: int) -> None:
    messages = side(True, *range(count)).messages_to_send()
    tags = [tag for message in messages for tag in tags_of(message)[1]]
    assert len(tags) == len(set(tags)) == listed
    assert max(map(len, messages)) <= 1 << 16


def test_the_place_in_the_list_tells_nothing() -> None:
    own = hmac.digest(key(1), b"swarmd join\x01" + HASH, sha256)
    places = {tags_of(side(True, 1, seed=seed).messages_to_send()[0])[1].index(own) for seed in range(60)}
    assert places == {0, 1, 2, 3}


def test_a_group_joined_later_on_either_side() -> None:
    one, other = side(True, 1), side(False, 1, 2)
    converse(one, other)
    events(one), events(other)
    one.add_group(group(2), key(2), 3.0)
    assert events(one) == [Joined(group(2))]
    converse(one, other)
    assert events(other) == [Joined(group(2))]
    assert one.joined == other.joined == {group(1), group(2)}


def test_an_added_group_comes_among_four_tags() -> None:
    one = side(True, 1)
    one.messages_to_send()
    one.add_group(group(2), key(2), 3.0)
    one.add_group(group(2), key(2), 3.0)
    (message,) = one.messages_to_send()
    kind, tags = tags_of(message)
    assert (kind, len(tags)) == (1, 4)


def test_leaving_and_joining_again() -> None:
    one, other = side(True, 1, 2), side(False, 1, 2)
    converse(one, other)
    events(one), events(other)
    one.remove_group(group(2), 3.0)
    assert events(one) == [Left(group(2))]
    converse(one, other)
    assert events(other) == [Left(group(2))]
    assert one.joined == other.joined == {group(1)}
    one.add_group(group(2), key(2), 4.0)
    converse(one, other)
    assert events(one) == events(other) == [Joined(group(2))]


def test_a_withdrawal_is_hidden_among_four_tags_that_were_announced() -> None:
    one = side(True, 1)
    announced = set(tags_of(one.messages_to_send()[0])[1])
    one.remove_group(group(1), 1.0)
    kind, tags = tags_of(one.messages_to_send()[0])
    assert kind == 2
    assert set(tags) == announced
    one.remove_group(group(1), 1.0)
    assert one.messages_to_send() == []


def test_leaving_the_last_group_gives_ten_seconds_more() -> None:
    one, other = side(True, 1), side(False, 1)
    converse(one, other)
    one.remove_group(group(1), 50.0)
    assert one.next_deadline() == 50.0 + PROOF_TIMEOUT
    one.handle_timer(60.0)
    assert events(one) == [Joined(group(1)), Left(group(1)), Denied()]


def test_a_peer_that_left_is_not_taken_for_a_member_when_we_join_later() -> None:
    one, other = side(True, 1, 2), side(False, 1)
    converse(one, other)
    one.remove_group(group(2), 1.0)
    converse(one, other)
    other.add_group(group(2), key(2), 2.0)
    converse(one, other)
    assert group(2) not in other.joined


def test_at_most_4096_tags_of_a_peer_are_kept() -> None:
    one = side(True, 1)
    for number in range(4):
        tags = b"".join((number * 1024 + place).to_bytes(32, "big") for place in range(1024))
        one.receive_message(b"\x01\x80\x08" + tags, 1.0)
    with pytest.raises(RemoteError, match="more than 4096"):
        one.receive_message(b"\x01\x01" + b"\xff" * 32, 1.0)
    assert events(one) == []


def test_a_node_may_be_in_4096_groups_and_join_and_leave_within_the_peers_bound() -> None:
    last = MAX_TAGS - 1
    one, other = side(True, *range(last)), side(False, last)
    one.add_group(group(last), key(last), 1.0)
    converse(one, other)
    assert other.joined == {group(last)}
    with pytest.raises(InvalidArgument, match="at most 4096"):
        one.add_group(group(MAX_TAGS), key(1), 1.0)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"", "ends early"),
        (b"\x03\x00", "unknown kind"),
        (b"\x01\x02" + bytes(32), "ends early"),
        (b"\x01\x00\x00", "too many"),
        (b"\x01\x81\x08" + bytes(32 * 1025), "over the limit"),
        (b"\x01\x02" + bytes(64), "twice"),
    ],
)
def test_false_messages(message: bytes, told: str) -> None:
    one, other = side(True, 1), side(False, 1)
    with pytest.raises(RemoteError, match=told):
        one.receive_message(message, 1.0)
    converse(one, other)
    assert one.joined == {group(1)}


@given(st.binary(max_size=200))
def test_any_bytes_join_nothing(data: bytes) -> None:
    one = side(True, 1)
    try:
        one.receive_message(data, 1.0)
    except RemoteError:
        pass
    assert one.joined == frozenset()
    assert events(one) == []
