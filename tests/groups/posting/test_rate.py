"""What a member gives when it has sent more than its part already."""

from __future__ import annotations

from swarmd.groups.posting.messages import ANNOUNCE_BYTES, Announce
from swarmd.groups.posting.post import KEY_BYTES
from swarmd.groups.posting.rate import DEEP, LATE_BURST, LATE_RATE, SHARE, TOO_DEEP, Budget

SIZE = 400


def owing(posts: float) -> Budget:
    budget = Budget(0.0)
    budget.earn(SIZE, 0)
    budget.spend(round((SHARE + posts) * SIZE))
    return budget


def test_who_owes_more_gives_less() -> None:
    for usual in (1, 2):
        assert owing(DEEP - 0.5).copies(usual, SIZE) == usual
        assert owing(DEEP + 0.5).copies(usual, SIZE) == 1
        assert owing(TOO_DEEP - 0.5).copies(usual, SIZE) == 1
        assert owing(TOO_DEEP + 0.5).copies(usual, SIZE) == 0


def test_what_is_much_for_small_posts_is_little_for_a_large_one() -> None:
    assert owing(2 * DEEP).copies(2, SIZE) == 1
    assert owing(2 * DEEP).copies(2, 100 * SIZE) == 2


def test_what_was_earned_pays_it_back() -> None:
    budget = owing(4 * DEEP + 1)
    for _ in range(4 * DEEP):
        budget.earn(SIZE, 0)
    assert budget.is_left


def test_telling_many_of_a_small_post_leaves_something_for_giving_it() -> None:
    budget = Budget(0.0)
    for _ in range(100):
        budget.earn(200, 29)
        budget.spend(29 * ANNOUNCE_BYTES + 250)
    assert budget.is_left


def test_who_owes_much_gives_older_posts_slowly_to_who_insists() -> None:
    assert all(owing(DEEP - 0.5).take_late(SIZE, 0.0) for _ in range(3 * LATE_BURST))
    budget = owing(DEEP + 0.5)
    assert sum(budget.take_late(SIZE, 0.0) for _ in range(3 * LATE_BURST)) == LATE_BURST
    assert budget.take_late(SIZE, 1.01 / LATE_RATE)
    assert not budget.take_late(SIZE, 1.02 / LATE_RATE)


def test_an_announcement_has_the_length_that_is_reckoned_with() -> None:
    assert len(Announce((bytes(KEY_BYTES),), is_news=True).encode()) == ANNOUNCE_BYTES
