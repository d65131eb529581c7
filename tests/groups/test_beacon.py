"""Tags for announcements: recognised by members, worth nothing to others."""

from __future__ import annotations

import hmac
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import SeededRng
from swarmd.groups.beacon import EPOCH_PERIOD, MAX_TAGS, beacon_tag, epoch_at, match, plan_tags

from .builders import WALL, spec

NONCE = bytes(range(16))
KEY = spec().discovery_key
KEYS = {spec().group_id: KEY, GroupId(bytes(32)): bytes(32)}
EPOCH = epoch_at(WALL)


def test_vector() -> None:
    assert EPOCH == 1_888_888
    message = b"swarmd beacon" + EPOCH.to_bytes(8, "big") + NONCE
    assert beacon_tag(KEY, EPOCH, NONCE) == hmac.digest(KEY, message, sha256)[:10]


def test_a_member_recognises_its_groups_and_no_others() -> None:
    tags = plan_tags([KEY, b"\x09" * 32], EPOCH, NONCE, SeededRng(1))
    assert match(tags, NONCE, KEYS, WALL) == {spec().group_id}


@pytest.mark.parametrize(
    ("shift", "is_found"),
    [(-2 * EPOCH_PERIOD, False), (-EPOCH_PERIOD, True), (0, True), (EPOCH_PERIOD, True), (2 * EPOCH_PERIOD, False)],
)
def test_clocks_may_differ_by_an_epoch(shift: int, is_found: bool) -> None:
    tags = plan_tags([KEY], EPOCH, NONCE, SeededRng(1))
    assert bool(match(tags, NONCE, KEYS, WALL + shift)) is is_found


def test_another_nonce_gives_other_tags_so_announcements_cannot_be_linked() -> None:
    rng = SeededRng(1)
    one = plan_tags([KEY], EPOCH, NONCE, rng)
    other = plan_tags([KEY], EPOCH, NONCE[::-1], rng)
    assert not set(one) & set(other)
    assert match(one, NONCE[::-1], KEYS, WALL) == frozenset()


@pytest.mark.parametrize(("count", "listed"), [(0, 4), (1, 4), (4, 4), (5, 8), (64, 64), (65, 64), (200, 64)])
def test_the_number_of_groups_is_hidden(count: int, listed: int) -> None:
    keys = [number.to_bytes(32, "big") for number in range(count)]
    assert len(set(plan_tags(keys, EPOCH, NONCE, SeededRng(1)))) == listed


def test_with_too_many_groups_each_has_its_turn() -> None:
    keys = [number.to_bytes(32, "big") for number in range(MAX_TAGS * 2)]
    rng, told = SeededRng(1), set()
    for epoch in range(40):
        tags = plan_tags(keys, epoch, NONCE, rng)
        told |= {key for key in keys if beacon_tag(key, epoch, NONCE) in tags}
    assert len(told) == len(keys)


@pytest.mark.parametrize(("tags", "nonce"), [([b"short"], NONCE), ([bytes(10)] * 65, NONCE), ([], b"short")])
def test_an_announcement_that_is_none(tags: list[bytes], nonce: bytes) -> None:
    with pytest.raises(RemoteError):
        match(tags, nonce, KEYS, WALL)


@given(st.lists(st.binary(min_size=10, max_size=10), max_size=70), st.binary(min_size=16, max_size=16))
def test_any_announcement_names_nothing_of_ours(tags: list[bytes], nonce: bytes) -> None:
    try:
        assert match(tags, nonce, KEYS, WALL) == frozenset()
    except RemoteError:
        assert len(tags) > MAX_TAGS
