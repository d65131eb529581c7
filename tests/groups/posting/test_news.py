"""Who is told of a post."""

from __future__ import annotations

from swarmd.core.ids import PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.posting.messages import ANNOUNCE_BYTES
from swarmd.groups.posting.news import ANNOUNCE_DELAY, MAX_FRESH, TOLD_LIMITS, TOLD_SHARE, News, told_limit

PEERS = [PeerId(bytes([number]) * 32) for number in range(60)]
KEY = bytes(12)


def told(n_links: int, post_bytes: int, n_others: int = 0, n_fresh: int = 0) -> list[PeerId]:
    news = News(SeededRng(7))
    news.add(KEY, post_bytes, frozenset(PEERS[:n_others]), 1.0)
    assert news.due_at == 1.0 + ANNOUNCE_DELAY
    links = PEERS[:n_links]
    telling = news.tell(links, links[n_links - n_fresh :])
    assert all(keys == [KEY] for keys in telling.values())
    assert news.due_at is None and not news.tell(links, [])
    return list(telling)


def test_in_a_small_neighbourhood_all_are_told_but_those_who_have_told() -> None:
    assert told(8, 100) == PEERS[:8]
    assert told(11, 100, n_others=3) == PEERS[3:11]
    assert told(32, 10_000, n_fresh=20) == PEERS[:32]


def test_in_a_large_one_some_are_and_besides_those_linked_last() -> None:
    for post_bytes in (100, 300, 450, 60_000):
        for n_others in (0, 5, 20):
            for n_fresh in (0, 1, 30):
                some = told(60, post_bytes, n_others, n_fresh)
                n_most = told_limit(post_bytes) + min(n_fresh, MAX_FRESH)
                assert told_limit(post_bytes) <= len(set(some)) == len(some) <= n_most
                assert set(PEERS[60 - min(n_fresh, MAX_FRESH) :]) <= set(some)
                assert not set(some) & set(PEERS[:n_others])


def test_whom_one_does_not_tell_others_do() -> None:
    """Thirty that are all linked, in one order, tell one after the other: nobody is left out."""
    rng, members = SeededRng(9), PEERS[:30]
    for _ in range(50):
        heard: dict[PeerId, set[PeerId]] = {members[0]: set()}
        waiting = [members[0]]
        while waiting:
            teller = waiting.pop(0)
            news = News(rng)
            news.add(KEY, 250, frozenset(heard[teller]), 0.0)
            for peer in news.tell([peer for peer in members if peer is not teller], []):
                if peer not in heard:
                    heard[peer] = set()
                    waiting.append(peer)
                heard[peer].add(teller)
        assert len(heard) == len(members)


def test_telling_takes_a_part_of_what_the_post_takes() -> None:
    for post_bytes in range(100, 1000, 50):
        assert TOLD_LIMITS[0] <= told_limit(post_bytes) <= TOLD_LIMITS[1]
        if told_limit(post_bytes) > TOLD_LIMITS[0]:
            assert told_limit(post_bytes) * ANNOUNCE_BYTES <= TOLD_SHARE * post_bytes


def test_who_announces_it_meanwhile_is_not_told() -> None:
    news = News(SeededRng(7))
    news.add(KEY, 400, frozenset(), 0.0)
    news.hear(PEERS[1], [KEY, bytes(range(12))])
    assert list(news.tell(PEERS[:3], [])) == [PEERS[0], PEERS[2]]
