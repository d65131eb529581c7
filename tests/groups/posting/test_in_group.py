"""Posting as a part of a group: on its links and among its messages, where the groupspec turns it on."""

from __future__ import annotations

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.rng import SeededRng
from swarmd.groups.group import Group
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.posting.messages import Announce
from swarmd.groups.posting.post import Posted

from ..builders import WALL, identity, spec
from .builders import posting_spec

ADDRESS = Address("192.0.2.1", 7927)


def pair(group_spec: GroupSpec) -> tuple[Group, Group]:
    """Linked, and nothing said yet."""
    one, other = (Group(group_spec, identity(number), SeededRng(number), 0.0) for number in (1, 2))
    assert one.open_link(identity(2).peer_id, ADDRESS, 0.0)
    assert other.open_link(identity(1).peer_id, ADDRESS, 0.0)
    return one, other


def exchange(one: Group, other: Group, now: float) -> None:
    for _ in range(20):
        for sender, number, receiver in ((one, 1, other), (other, 2, one)):
            for _, data in sender.messages_to_send():
                receiver.receive_message(identity(number).peer_id, data, now, WALL + now)


def posted(group: Group) -> list[bytes]:
    found = []
    while (event := group.next_event()) is not None:
        if isinstance(event, Posted):
            found.append(event.post.message)
    return found


def test_a_post_goes_over_the_links_of_the_group() -> None:
    one, other = pair(posting_spec())
    exchange(one, other, 0.0)
    assert one.posting is not None
    one.posting.post(b"hello", 1.0, WALL + 1.0)
    assert one.next_deadline() <= 1.1
    one.handle_timer(1.1, WALL + 1.1)
    exchange(one, other, 1.1)
    assert posted(one) == posted(other) == [b"hello"]
    one.close_link(identity(2).peer_id, 2.0)
    one.posting.post(b"alone", 2.0, WALL + 2.0)
    one.handle_timer(2.1, WALL + 2.1)
    assert one.messages_to_send() == []


def test_a_group_without_posting_does_not_know_its_messages() -> None:
    one, other = pair(spec())
    exchange(one, other, 0.0)
    assert one.posting is None
    with pytest.raises(RemoteError, match="unknown type 16"):
        one.receive_message(identity(2).peer_id, Announce((bytes(12),), is_news=True).encode(), 1.0, WALL)


def test_posts_before_the_hello_are_refused() -> None:
    one, _ = pair(posting_spec())
    with pytest.raises(RemoteError):
        one.receive_message(identity(2).peer_id, Announce((bytes(12),), is_news=True).encode(), 1.0, WALL)
