"""What a hostile member may try: refused, penalised where it is at fault, and nothing else disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.groups.authorisation import Right
from swarmd.groups.posting import board as board_module
from swarmd.groups.posting import fetch as fetch_module
from swarmd.groups.posting import link as link_module
from swarmd.groups.posting import posting as module
from swarmd.groups.posting.messages import Announce, Have, Part, Request, split
from swarmd.groups.posting.post import Post, post_id_of

from ..builders import WALL, authority, identity, spec
from .builders import Net, authorised, forged, post, restricted_spec

HOSTILE = 9
"""Says what a test says, and nothing of its own."""
HONEST = 2


@pytest.fixture
def net() -> Iterator[Net]:
    """1 is the member under attack. Afterwards it still takes posts from its other neighbour."""
    made = Net(1, HONEST, HOSTILE)
    made.link(1, HONEST)
    made.link(1, HOSTILE)
    made.silent = {HOSTILE}
    made.run(1.0)
    yield made
    made.post(HONEST, b"and still it works")
    made.run(10.0)
    assert made.texts(1)[-1:] == [b"and still it works"]


def say(net: Net, *said: Announce | Request | Part | Have) -> None:
    for message in said:
        net[1].receive(identity(HOSTILE).peer_id, message.encode(), net.now, net.wall)


def give(net: Net, *posts: Post) -> None:
    """Announced, asked for, and given."""
    for each in posts:
        encoded = each.encoded
        key = post_id_of(encoded).key
        say(net, Announce((key,), is_news=True))
        net.pump()
        say(net, *split(key, encoded))
        net.pump()


def shown(net: Net) -> list[bytes]:
    net.run(2.0)
    return net.texts(HONEST)


def test_what_is_good_is_passed_on_whoever_gave_it(net: Net) -> None:
    give(net, post(5))
    assert shown(net) == [b"hello"]


@pytest.mark.parametrize(
    ("false", "told"),
    [
        (forged(5), "does not hold"),
        (post(5, group_id=spec().group_id), "another group"),
        (post(5, authorisation=authorised(5)), "does not ask for"),
    ],
)
def test_a_false_post_is_its_givers_fault(net: Net, false: Post, told: str) -> None:
    with pytest.raises(RemoteError, match=told):
        give(net, false)
    assert shown(net) == net.texts(1) == []
    net.sent.clear()
    say(net, Announce((false.key,), is_news=True))
    net.pump()
    assert not any(isinstance(message, Request) for _, _, message in net.sent), "it is not fetched again"


@pytest.mark.parametrize(
    "false",
    [
        post(5, group_id=restricted_spec().group_id),
        post(5, group_id=restricted_spec().group_id, authorisation=authorised(6)),
        post(5, group_id=restricted_spec().group_id, authorisation=authorised(5, Right.PUBLISH)),
        post(
            5,
            group_id=restricted_spec().group_id,
            authorisation=authority().authorise(spec().group_id, identity(5).peer_id, Right.POST),
        ),
    ],
)
def test_who_is_not_authorised_is_not_heard(false: Post) -> None:
    net = Net(1, HOSTILE, spec=restricted_spec())
    net.link(1, HOSTILE)
    net.silent = {HOSTILE}
    with pytest.raises(RemoteError, match="authori") as caught:
        give(net, false)
    assert caught.value.penalty == 10
    assert net.texts(1) == []
    give(net, post(5, group_id=restricted_spec().group_id, authorisation=authorised(5)))
    assert net.texts(1) == [b"hello"]


def test_an_authorisation_that_has_expired_is_nobodys_fault() -> None:
    net = Net(1, HOSTILE, spec=restricted_spec())
    net.link(1, HOSTILE)
    net.silent = {HOSTILE}
    for until in (WALL, WALL + 60):
        given = authorised(5, expires_at=int(until * 1000))
        give(net, post(5, b"%d" % until, group_id=restricted_spec().group_id, authorisation=given))
    assert net.texts(1) == [b"%d" % (WALL + 60)]
    assert net.faults == []


def test_other_bytes_than_were_asked_for(net: Net) -> None:
    wanted = post(5)
    say(net, Announce((wanted.key,), is_news=True))
    net.pump()
    with pytest.raises(RemoteError, match="another post") as caught:
        say(net, *split(wanted.key, post(6).encoded))
    assert caught.value.penalty == 10
    net.cut(1, HOSTILE)
    net.link(1, HOSTILE)
    give(net, wanted)
    assert shown(net) == [b"hello"]


def test_a_post_that_is_too_long(net: Net) -> None:
    encoded = bytes(5 << 14)
    key = post_id_of(encoded).key
    say(net, Announce((key,), is_news=True))
    net.pump()
    with pytest.raises(RemoteError, match="81920 bytes") as caught:
        say(net, *split(key, encoded))
    assert caught.value.penalty == 10


def test_what_is_replayed_is_dropped(net: Net) -> None:
    old = post(5, wall=WALL)
    give(net, old)
    assert shown(net) == [b"hello"]
    for seconds in (10.0, 290.0, 200.0, 400.0):
        net.run(seconds)
        give(net, old)
    assert shown(net) == net.texts(1) == [b"hello"]
    assert net.faults == []


def test_what_is_replayed_to_one_who_has_just_come_is_dropped() -> None:
    net = Net(1, HOSTILE)
    net.link(1, HOSTILE)
    net.silent = {HOSTILE}
    give(net, post(5, b"old", wall=WALL - 301), post(5, b"late", wall=WALL - 290))
    assert net.texts(1) == [b"late"]
    assert net.faults == []


def test_a_clock_that_is_set_back_by_minutes_shows_nothing_twice(net: Net) -> None:
    old = post(5, wall=WALL)
    give(net, old)
    net.run(320.0)
    said: list[Announce | Part] = [Announce((old.key,), is_news=True), *split(old.key, old.encoded)]
    for part in said:
        net[1].receive(identity(HOSTILE).peer_id, part.encode(), net.now, net.wall - 240)
        net.pump()
    assert shown(net) == [b"hello"]


def test_posts_from_the_future(net: Net) -> None:
    give(net, post(5, b"a clock may differ", wall=net.wall + 100))
    assert shown(net) == [b"a clock may differ"]
    give(net, post(5, b"early", wall=net.wall + 500))
    assert net.faults == []
    give(net, post(5, b"far", wall=net.wall + 3600))
    assert net.faults == [(HOSTILE, "passes on posts from the future", 1)]
    assert len(shown(net)) == 1


def test_if_all_posts_are_from_the_future_it_is_our_clock() -> None:
    net = Net(1, *range(20, 30))
    for number in range(20, 30):
        net.link(1, number)
    net.run(1.0)
    for number in range(20, 30):
        far = post(number, b"%d" % number, wall=net.wall + 3600)
        said: list[Announce | Part] = [Announce((far.key,), is_news=True), *split(far.key, far.encoded)]
        for part in said:
            net[1].receive(identity(number).peer_id, part.encode(), net.now, net.wall)
            net[1].messages_to_send()
    net.run(1.0)
    assert len(net.faults) == module.MAX_DOUBTS - 1


def test_an_author_that_posts_too_much_is_cut_short_and_its_neighbour_is_not_at_fault(net: Net) -> None:
    give(net, *(post(5, b"%d" % number, wall=net.wall + number / 1000) for number in range(150)))
    assert len(shown(net)) == board_module.SLOT_POSTS
    give(net, *(post(6, bytes(60_000), wall=net.wall + number) for number in range(30)))
    taken = sum(len(message) for message in shown(net) if len(message) == 60_000)
    assert taken <= 4 * board_module.SLOT_BYTES
    assert net.faults == []


def test_the_board_is_bounded_and_everybody_has_a_share(net: Net) -> None:
    for number in range(100):
        give(net, post(10 + number % 20, b"small %d" % number, wall=net.wall + number / 1000))
    for number in range(30):
        give(net, *(post(5, bytes(60_000), wall=net.wall - 10 * number + each) for each in range(8)))
        net.run(5.0)
    kept = net[1].recent()
    assert sum(len(each.encoded) for each in kept) <= board_module.MAX_BYTES
    assert sum(each.message.startswith(b"small") for each in kept) == 100, "the one that fills most goes first"
    assert sum(len(each.message) == 60_000 for each in kept) > 40


def keys(count: int, seed: int = 1) -> tuple[bytes, ...]:
    rng = SeededRng(seed)
    return tuple(rng.bytes(12) for _ in range(count))


def test_invented_keys_are_bounded_and_hinder_nobody(net: Net) -> None:
    for seed in range(20):
        say(net, Announce(keys(1024, seed), is_news=True))
        net.pump()
    assert net[1].n_wanted <= fetch_module.MAX_WANTED
    asked = sum(len(message.keys) for _, _, message in net.sent if isinstance(message, Request))
    assert asked == fetch_module.WINDOW
    net.post(HONEST, b"meanwhile")
    assert net.run(1.0, lambda: b"meanwhile" in net.texts(1)) < 0.5
    net.run(fetch_module.WANT_PERIOD + 10.0)
    assert net[1].n_wanted == 0


def test_who_announces_and_never_answers_is_at_fault(net: Net) -> None:
    for seed in range(10):
        say(net, Announce(keys(8, seed), is_news=True))
        net.run(30.0)
    assert (HOSTILE, "announces posts and does not give them", 1) in net.faults
    assert all(number == HOSTILE for number, _, _ in net.faults)


def has(net: Net, message: bytes) -> bool:
    return message in net.texts(1)


def test_a_liar_that_is_first_costs_a_second_and_then_is_asked_last(net: Net) -> None:
    waits = []
    for number in range(5):
        made = net.post(HONEST, b"%d" % number)
        say(net, Announce((made.key,), is_news=True))
        waits.append(net.run(5.0, partial(has, net, made.message)))
        net.run(1.0)
    assert waits[0] == pytest.approx(fetch_module.ANSWER_TIMEOUT, abs=0.1)
    assert max(waits[1:]) < 0.1


def test_a_flood_is_a_fault(net: Net) -> None:
    with pytest.raises(RemoteError, match="floods"):
        for seed in range(200):
            say(net, Announce(keys(1024, seed), is_news=True))
    with pytest.raises(RemoteError, match="floods"):
        for _ in range(200):
            say(net, Part(bytes(12), 0, 1, bytes(10_000)))


def test_who_asks_for_all_over_and_over_is_given_a_board_twice(net: Net) -> None:
    made = [net.post(1, bytes(60_000)) for _ in range(4)]
    net.run(10.0)
    before = net[1].traffic.data_sent
    for _ in range(100):
        say(net, Request(tuple(each.key for each in made), insists=True))
        net.pump()
    assert net[1].traffic.data_sent - before < link_module.GIVE_BURST + 100_000


def test_comparisons_without_end_are_not_answered(net: Net) -> None:
    net.post(1)
    net.run(5.0)
    net.sent.clear()
    for _ in range(100):
        say(net, Have(False, 300, 0, (b"abcd",)))
        net.pump()
    assert (
        len([1 for sender, receiver, _ in net.sent if (sender, receiver) == (1, HOSTILE)])
        <= 2 * link_module.COMPARISONS_BURST
    )


def test_parts_out_of_order_are_nothing(net: Net) -> None:
    large = post(5, bytes(40_000))
    parts = split(large.key, large.encoded)
    say(net, Announce((large.key,), is_news=True))
    net.pump()
    say(net, parts[1], parts[0], parts[0], parts[2], parts[1])
    assert net.texts(1) == []
    say(net, parts[2])
    assert shown(net) == [large.message]
