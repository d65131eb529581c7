"""What the providers of a group leave to the DHT: what is announced there, and what is looked for there."""

from __future__ import annotations

from dataclasses import replace

from swarmd.daemon.providers import CHECK_PERIOD, DIAL_PERIOD, LOOK_PERIOD
from swarmd.groups.providers.events import Found
from tests.daemon.test_providers import OBJECT, SPEC, STUCK, Transfer, contact, node
from tests.groups.builders import content_id

WANTED = [(SPEC.group_id, OBJECT)]


def test_in_a_large_group_all_that_is_given_is_to_be_announced() -> None:
    providing, around = node()
    around.served = {content_id(1), content_id(2)}
    providing.handle_timer(0.0)
    assert list(providing.announced()) == [(SPEC.group_id, around.served)]
    assert around.group.providers is not None
    around.group.providers.set_member_count(2, LOOK_PERIOD)
    assert list(providing.announced()) == [], "in a small one the neighbours know"


def test_the_dht_is_asked_when_the_ring_knows_nobody() -> None:
    providing, around = node()
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    assert list(providing.lacking()) == [], "it is being asked"
    providing.hear(SPEC.group_id, Found(1, OBJECT, (), True))
    providing.handle_timer(1.0)
    assert list(providing.lacking()) == WANTED


def test_it_is_not_asked_while_somebody_who_was_found_is_called_nor_when_somebody_has_it() -> None:
    providing, around = node()
    around.transfers.append(Transfer())
    providing.handle_timer(0.0)
    providing.hear(SPEC.group_id, Found(1, OBJECT, (contact(5),), True))
    providing.handle_timer(1.0)
    assert list(providing.lacking()) == []
    providing.handle_timer(DIAL_PERIOD + 2 * CHECK_PERIOD)
    assert list(providing.lacking()) == WANTED, "it was called in vain"
    around.standing = replace(STUCK, peers=1)
    assert list(providing.lacking()) == []
    around.standing = STUCK
    around.transfers.clear()
    providing.handle_timer(60.0)
    assert list(providing.lacking()) == [], "nobody wants it any more"
