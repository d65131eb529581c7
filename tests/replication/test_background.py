"""A wish in the background reaches those who give, whenever it is made, and is taken back likewise."""

from __future__ import annotations

from swarmd.core.ids import ContentId
from swarmd.replication import messages
from swarmd.replication.messages import Wish
from tests.replication.attacker import WANTED, Victim

NONE: frozenset[ContentId] = frozenset()


def wishes(victim: Victim) -> list[tuple[Wish, bool]]:
    """Of Opens and Wants about what is fetched, since the last call."""
    found = [
        (said.wish, said.is_background)
        for said in victim.heard
        if isinstance(said, messages.Want) or (isinstance(said, messages.Open) and said.content_id == WANTED.content_id)
    ]
    victim.heard.clear()
    return found


def test_what_is_wished_for_is_said_again_when_it_changes() -> None:
    victim = Victim()
    assert wishes(victim) == [(Wish.CHUNKS, False)]
    for objects, is_background in ((frozenset({WANTED.content_id}), True), (NONE, False)):
        victim.replicator.set_background(objects, victim.now)
        victim.drain()
        assert wishes(victim) == [(Wish.CHUNKS, is_background)]
        victim.replicator.set_background(objects, victim.now)
        victim.drain()
        assert wishes(victim) == [], "said once"


def test_who_comes_later_is_told_at_once() -> None:
    victim = Victim()
    victim.replicator.set_background(frozenset({WANTED.content_id}), victim.now)
    victim.drain()
    victim.heard.clear()
    victim.replicator.cancel(WANTED.content_id, victim.now)
    victim.fetch()
    victim.drain()
    assert wishes(victim) == [(Wish.CHUNKS, True)]
