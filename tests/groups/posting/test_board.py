"""The board itself: what it has judged once it knows, whoever asked for it again and why."""

from __future__ import annotations

import pytest

from swarmd.core.errors import RemoteError
from swarmd.groups.posting.board import KNOWN_PERIOD, Board, Verdict

from ..builders import WALL
from .builders import authorised, post, posting_spec, restricted_spec


def test_what_was_judged_is_known() -> None:
    board = Board(posting_spec())
    taken, early = post(5), post(5, wall=WALL + 500)
    assert [board.take(taken.encoded, now, WALL)[0] for now in (0.0, 1.0)] == [Verdict.NEWS, Verdict.KNOWN]
    assert [board.take(early.encoded, now, WALL)[0] for now in (0.0, 1.0)] == [Verdict.AHEAD, Verdict.KNOWN]
    assert board.posts() == [taken]
    board.expire(KNOWN_PERIOD, WALL + KNOWN_PERIOD)
    assert board.take(taken.encoded, KNOWN_PERIOD, WALL + KNOWN_PERIOD)[0] is Verdict.EXPIRED


def test_a_forgery_is_told_of_once() -> None:
    board = Board(restricted_spec())
    false = post(5, group_id=restricted_spec().group_id, authorisation=authorised(6))
    with pytest.raises(RemoteError, match="authorisation of another"):
        board.take(false.encoded, 0.0, WALL)
    assert board.take(false.encoded, 1.0, WALL)[0] is Verdict.KNOWN
    assert board.posts() == []
