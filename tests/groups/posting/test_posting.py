"""Posting between a few members: who is told, how often, in which parts, and who may."""

from __future__ import annotations

import pytest

from swarmd.core.errors import InvalidArgument, NotAllowed
from swarmd.groups.authorisation import Right
from swarmd.groups.posting import posting as module
from swarmd.groups.posting.fetch import PATIENCE
from swarmd.groups.posting.messages import Announce, Busy, Have, Part
from swarmd.groups.posting.post import MESSAGE_LIMIT

from ..builders import WALL, identity, spec
from .builders import Net, authorised, restricted_spec


def test_a_post_reaches_all_along_a_line_and_is_shown_once() -> None:
    net = Net(1, 2, 3, 4)
    for one in (1, 2, 3):
        net.link(one, one + 1)
    made = net.post(1)
    assert net.run(1.0, net.have_all) < 0.2
    net.run(60.0)
    assert all(net.got[number] == [made] for number in (1, 2, 3, 4))
    assert sum(isinstance(message, Part) for _, _, message in net.sent) == 3
    assert net.faults == []


def test_the_same_message_twice_is_two_posts() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    first, second = net.post(1), net.post(1)
    net.run(1.0)
    assert first.id != second.id
    assert (first.seq, second.seq) == (1, 2)
    assert first.created_at < second.created_at
    assert net.got[2] == [first, second]


def test_the_largest_post_travels_in_parts() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    message = bytes(range(256)) * (MESSAGE_LIMIT // 256)
    net.post(1, message)
    net.run(1.0)
    assert net.texts(2) == [message]
    assert sum(isinstance(each, Part) for _, _, each in net.sent) == 5


def test_each_fetches_it_once_although_all_announce_it() -> None:
    net = Net(*range(10))
    net.link(*range(10))
    net.run(1.0)
    net.sent.clear()
    net.post(0, bytes(20_000))
    net.run(5.0, lambda: net.have_all(bytes(20_000)))
    assert sum(isinstance(message, Part) and message.index == 0 for _, _, message in net.sent) == 9
    given = [sender for sender, _, message in net.sent if isinstance(message, Part) and message.index == 0]
    assert given.count(0) == module.COPIES
    announced = [(sender, receiver) for sender, receiver, message in net.sent if isinstance(message, Announce)]
    assert len(announced) == len(set(announced))


def test_who_has_only_one_neighbour_gets_a_large_post_at_once() -> None:
    net = Net(*range(8))
    for number in range(1, 8):
        net.link(0, number)
    net.post(0, bytes(20_000))
    assert net.run(10.0, lambda: net.have_all(bytes(20_000))) < PATIENCE
    assert not any(isinstance(message, Busy) for _, _, message in net.sent)
    assert net.faults == []


def test_who_finds_nobody_else_to_ask_gets_a_large_post_all_the_same() -> None:
    net = Net(*range(15))
    for number in range(1, 8):
        net.link(0, number)
        net.link(number, 7 + number)
    net.post(0, bytes(20_000))
    assert net.run(10.0, lambda: net.have_all(bytes(20_000))) < PATIENCE + 1.0
    assert any(isinstance(message, Busy) for _, _, message in net.sent)
    assert net.faults == []


def test_who_comes_later_gets_the_last_minutes_and_nobody_else_is_told_again() -> None:
    net = Net(1, 2, 3, 4)
    net.link(1, 2, 3)
    for number in range(20):
        net.post(1 + number % 3, b"%d" % number)
        net.run(5.0)
    net.run(10.0)
    net.sent.clear()
    for number in (1, 2, 3):
        net.link(4, number)
    net.run(1.0)
    assert sorted(net.texts(4)) == sorted(b"%d" % number for number in range(20))
    assert [post.message for post in net[4].recent()] == [b"%d" % number for number in range(20)]
    assert not any(sender == 4 and isinstance(message, Announce) for sender, _, message in net.sent)


def test_what_is_older_than_its_lifetime_is_gone() -> None:
    net = Net(1, 2)
    net[1].post(b"short", net.now, net.wall, lifetime=20)
    net.post(1, b"long")
    net.run(30.0)
    net.link(1, 2)
    net.run(1.0)
    assert net.texts(2) == [b"long"]
    assert [post.message for post in net[1].recent()] == [b"long"]
    net.run(300.0)
    assert net[1].recent() == net[2].recent() == []


def test_two_halves_that_meet_again_tell_each_other() -> None:
    net = Net(*range(8))
    net.link(0, 1, 2, 3)
    net.link(4, 5, 6, 7)
    net.run(100.0)
    net.post(0, b"left")
    net.post(7, b"right")
    net.run(150.0)
    assert net.texts(3) == [b"left"]
    net.link(3, 4)
    assert net.run(60.0, lambda: net.have_all(b"left") and net.have_all(b"right")) < 1.0
    assert net.faults == []


def test_a_post_made_without_neighbours_goes_to_the_first_one_that_comes() -> None:
    net = Net(1, 2)
    net.post(1)
    net.run(100.0)
    net.link(1, 2)
    net.run(1.0)
    assert net.texts(2) == [b"hello"]


def test_what_a_closed_link_kept_is_asked_of_another() -> None:
    net = Net(1, 2, 3)
    net.link(1, 2, 3)
    net.silent.add(1)
    announce = Announce((net.post(2).key,), is_news=True)
    net.silent = {2}
    net[3].receive(identity(2).peer_id, announce.encode(), net.now, net.wall)
    net.pump()
    net.silent = set()
    net.cut(2, 3)
    net.run(2.0)
    assert net.texts(3) == [b"hello"]


def test_comparisons_end_and_cost_little() -> None:
    net = Net(*range(5))
    net.link(*range(5))
    net.run(600.0)
    haves = [message for _, _, message in net.sent if isinstance(message, Have)]
    assert len(haves) == len(net.sent)
    assert len(haves) < 5 * (60 * 1.3 + module.BEGIN_BURST)


def test_what_it_costs_is_counted() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    made = net.post(1)
    net.run(60.0)
    one, other = net[1].traffic, net[2].traffic
    assert one.data_sent == other.data_received == len(made.encoded) + 15
    assert one.data_received == other.data_sent == 0
    assert one.control_sent == other.control_received > 0
    assert other.control_sent == one.control_received > 0


def test_who_may_post() -> None:
    alone = Net(1, spec=spec())
    with pytest.raises(NotAllowed, match="without posting"):
        alone.post(1)
    net = Net(1, 2, spec=restricted_spec())
    net.link(1, 2)
    for authorisation, told in [
        (None, "ask whoever made the group"),
        (authorised(2), "of another"),
        (authorised(1, Right.PUBLISH), "not to post"),
        (authorised(1, expires_at=int(WALL * 1000)), "has expired"),
    ]:
        with pytest.raises(NotAllowed, match=told):
            net.post(1, b"no", authorisation)
    net.post(1, b"yes", authorised(1))
    net.run(1.0)
    assert net.texts(2) == [b"yes"]


def test_what_cannot_be_posted() -> None:
    net = Net(1)
    with pytest.raises(InvalidArgument, match="65536"):
        net.post(1, bytes(MESSAGE_LIMIT + 1))
    for lifetime in (0, 301):
        with pytest.raises(InvalidArgument, match="lives"):
            net[1].post(b"", net.now, net.wall, lifetime=lifetime)


def test_an_honest_author_is_held_to_what_others_take_of_it() -> None:
    net = Net(1, 2)
    net.link(1, 2)
    n_posted = 0
    for _ in range(400):
        try:
            net.post(1, b"%d" % n_posted)
            n_posted += 1
        except NotAllowed as error:
            assert "wait 1 s" in str(error)
        net.run(0.1)
    assert 150 < n_posted < 200
    assert net.texts(2) == [b"%d" % number for number in range(n_posted)]
    net.run(60.0)
    size = 0
    for _ in range(200):
        try:
            size += len(net.post(1, bytes(50_000)).encoded)
        except NotAllowed:
            pass
        net.run(0.1)
    assert 900_000 < size < 1_200_000
    assert sum(len(post.encoded) for post in net.got[2] if len(post.message) == 50_000) == size
    assert net.faults == []
