"""What a member gives when it has sent more than its part already."""

from __future__ import annotations

from swarmd.groups.posting.rate import DEEP, SHARE, Budget

SIZE = 400


def owing(posts: float) -> Budget:
    budget = Budget()
    budget.earn(SIZE)
    budget.spend(round((SHARE + posts) * SIZE))
    return budget


def test_who_owes_more_gives_less() -> None:
    for usual in (1, 2):
        assert owing(DEEP - 0.5).copies(usual, SIZE) == usual
        assert owing(DEEP + 0.5).copies(usual, SIZE) == 1
        assert owing(4 * DEEP - 0.5).copies(usual, SIZE) == 1
        assert owing(4 * DEEP + 0.5).copies(usual, SIZE) == usual - 1, "every second one only to who insists"
        assert owing(8 * DEEP + 0.5).copies(usual, SIZE) == 0


def test_what_is_much_for_small_posts_is_little_for_a_large_one() -> None:
    assert owing(5 * DEEP).copies(2, SIZE) == 1
    assert owing(5 * DEEP).copies(2, 100 * SIZE) == 2


def test_what_was_earned_pays_it_back() -> None:
    budget = owing(4 * DEEP + 1)
    for _ in range(4 * DEEP):
        budget.earn(SIZE)
    assert budget.is_left
