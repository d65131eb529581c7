"""Which record is asked of whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.groups import fetch
from swarmd.groups.fetch import ANSWER_TIMEOUT, WINDOW, Fetcher

from .builders import peer_id

A, B, C = peer_id(1), peer_id(2), peer_id(3)


def digests(*numbers: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in numbers]


def test_each_digest_is_asked_of_one_neighbour() -> None:
    fetcher = Fetcher()
    assert fetcher.offer(A, digests(1, 2), 100)
    assert fetcher.requests(0.0) == [(A, digests(1, 2))]
    assert fetcher.offer(B, digests(2, 3), 100)
    assert fetcher.requests(0.0) == [(B, digests(3))]
    assert fetcher.requests(0.0) == []


def test_what_came_is_not_wanted_any_more() -> None:
    fetcher = Fetcher()
    fetcher.offer(A, digests(1), 100)
    fetcher.requests(0.0)
    assert fetcher.resolve(digests(1)[0], 1.0)
    assert not fetcher.resolve(digests(1)[0], 1.0)
    assert fetcher.n_wanted == 0
    assert fetcher.next_deadline() is None


def test_who_denies_or_closes_or_sleeps_is_followed_by_the_next() -> None:
    fetcher = Fetcher()
    for peer in (A, B, C):
        fetcher.offer(peer, digests(1), 100)
    assert fetcher.requests(0.0) == [(A, digests(1))]
    fetcher.deny(A, digests(1))
    assert fetcher.requests(1.0) == [(B, digests(1))]
    fetcher.close(B)
    assert fetcher.requests(2.0) == [(C, digests(1))]
    assert fetcher.next_deadline() == 2.0 + ANSWER_TIMEOUT
    assert fetcher.handle_timer(2.0 + ANSWER_TIMEOUT - 0.1) == []
    assert fetcher.handle_timer(2.0 + ANSWER_TIMEOUT) == [C]
    assert fetcher.n_wanted == 0
    assert fetcher.requests(20.0) == []


def test_a_denial_counts_only_from_who_was_asked() -> None:
    fetcher = Fetcher()
    fetcher.offer(A, digests(1), 100)
    fetcher.requests(0.0)
    fetcher.deny(B, digests(1))
    fetcher.deny(A, digests(9))
    assert fetcher.n_wanted == 1


def test_a_window_for_each_neighbour() -> None:
    fetcher = Fetcher()
    many = digests(*range(WINDOW + 10))
    fetcher.offer(A, many, 10_000)
    assert fetcher.requests(0.0) == [(A, many[:WINDOW])]
    fetcher.resolve(many[0], 0.0)
    fetcher.resolve(many[1], 0.0)
    assert fetcher.requests(0.0) == [(A, many[WINDOW : WINDOW + 2])]


def test_slow_but_steady_answers_are_no_time_out() -> None:
    fetcher = Fetcher()
    fetcher.offer(A, digests(1, 2), 100)
    fetcher.requests(0.0)
    fetcher.resolve(digests(1)[0], 9.0)
    assert fetcher.handle_timer(12.0) == []
    assert fetcher.next_deadline() == 19.0


def test_an_answer_that_comes_too_late_is_still_an_answer() -> None:
    fetcher = Fetcher()
    fetcher.offer(A, digests(1), 100)
    fetcher.requests(0.0)
    fetcher.offer(B, digests(1), 100)
    fetcher.handle_timer(10.0)
    assert fetcher.requests(10.0) == [(B, digests(1))]
    assert fetcher.resolve(digests(1)[0], 11.0)
    assert fetcher.n_wanted == 0


def test_offers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MAX_WANTED", 5)
    fetcher = Fetcher()
    assert not fetcher.offer(A, digests(1, 2, 3, 4), 3)
    assert fetcher.n_wanted == 3
    assert not fetcher.offer(B, digests(10, 11, 12), 3)
    assert fetcher.n_wanted == 5


def test_few_offerers_are_remembered() -> None:
    fetcher = Fetcher()
    for number in range(10):
        assert fetcher.offer(peer_id(number), digests(1), 100)
    for asked in range(4):
        assert fetcher.requests(0.0) == [(peer_id(asked), digests(1))]
        fetcher.close(peer_id(asked))
    assert fetcher.requests(0.0) == []
    assert fetcher.n_wanted == 0


def test_who_was_passed_over_and_has_gone_is_not_asked_when_the_other_fails() -> None:
    """A second offerer's turn comes while the first one is asked, and it goes: the first one's end was a KeyError."""
    for end in ("close", "deny"):
        fetcher = Fetcher()
        wanted = digests(1)
        assert fetcher.offer(A, wanted, 100) and fetcher.offer(B, wanted, 100)
        assert fetcher.requests(0.0) == [(A, wanted)]
        fetcher.close(B)
        fetcher.close(A) if end == "close" else fetcher.deny(A, wanted)
        assert fetcher.n_wanted == 0


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "resolve", "deny", "close", "ask", "timer"]), st.integers(0, 2), st.integers(0, 5)
    ),
    max_size=60,
)


@given(ACTIONS)
def test_whatever_happens_a_wanted_digest_is_asked_of_one_who_offers_it(actions: list[tuple[str, int, int]]) -> None:
    fetcher, peers, now = Fetcher(), (A, B, C), 0.0
    offered: dict[bytes, set[int]] = {}
    for action, who, what in actions:
        now += 1.0
        digest = digests(what)[0]
        match action:
            case "offer":
                fetcher.offer(peers[who], [digest], 100)
                offered.setdefault(digest, set()).add(who)
            case "resolve":
                assert fetcher.resolve(digest, now) == (digest in offered)
                offered.pop(digest, None)
            case "deny":
                fetcher.deny(peers[who], [digest])
            case "close":
                fetcher.close(peers[who])
                for known in list(offered):
                    offered[known].discard(who)
                    if not offered[known]:
                        del offered[known]
            case "ask":
                for peer, asked in fetcher.requests(now):
                    assert all(peers.index(peer) in offered[each] for each in asked)
            case "timer":
                fetcher.handle_timer(now)
        offered = {known: who_has for known, who_has in offered.items() if known in fetcher._wants}
    asked = [each for source in fetcher._sources.values() for each in source.asked]
    assert len(asked) == len(set(asked))
    fetcher.requests(now)
    unasked = [digest for digest, want in fetcher._wants.items() if want.asked is None]
    assert unasked == []
