"""Group values: written by members, read by members, the last writer wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.codec import Writer
from swarmd.core.errors import Conflict, InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht.items import Item
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous import values
from swarmd.groups.rendezvous.values import (
    AHEAD_LIMIT,
    MAX_REMEMBERED,
    SMALL_BYTES_LIMIT,
    Kind,
    Value,
    Values,
    checked_key,
    open_value,
    seal_value,
    slot_of,
)

from .builders import WALL, identity, spec

NOW = int(WALL * 1000)
OTHER_GROUP = GroupSpec.create("family", SeededRng(2)).spec


def sealed(data: bytes = b"hello", *, author: int = 1, time: int = NOW, key: str = "motd") -> Value:
    return seal_value(spec(), identity(author), key, data, time, SeededRng(time))


def opened(item: Item, key: str = "motd", wall: float = WALL) -> Value:
    return open_value(spec(), key, item, wall)


def test_there_and_back() -> None:
    made = sealed()
    assert opened(made.item) == made
    assert (made.content, made.author, made.time) == (b"hello", identity(1).peer_id, NOW)


@given(
    st.binary(max_size=SMALL_BYTES_LIMIT), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
)
def test_any_value_under_any_key(data: bytes, key: str) -> None:
    key = checked_key(key)
    assert opened(sealed(data, key=key).item, key).content == data


def test_what_is_too_long_is_refused_here() -> None:
    assert opened(sealed(b"x" * SMALL_BYTES_LIMIT).item).content == b"x" * SMALL_BYTES_LIMIT
    with pytest.raises(InvalidArgument, match="one item has room for 762 bytes"):
        sealed(b"x" * (SMALL_BYTES_LIMIT + 1))


@pytest.mark.parametrize("key", ["", "k" * 256, "é" * 128, "\ud800"])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(InvalidArgument):
        checked_key(key)


def test_keys_that_look_alike_are_one() -> None:
    assert checked_key("e\u0301") == checked_key("é") == "é"


def test_the_value_of_another_group_or_key_is_refused() -> None:
    with pytest.raises(RemoteError):
        open_value(OTHER_GROUP, "motd", sealed().item, WALL)
    with pytest.raises(RemoteError):
        opened(sealed(key="other").item)


def body(
    time: int = NOW,
    author: int = 1,
    signer: int = 1,
    data: bytes = b"hello",
    signed: Mapping[str, object] | None = None,
    kind: Kind = Kind.VALUE,
    signed_kind: Kind = Kind.VALUE,
) -> bytes:
    """As `seal_value` makes it; what is named in `signed` is what the signature is over instead."""
    statement = {"group": spec().group_id, "key": "motd", "time": time, "content": data, **(signed or {})}
    signature = identity(signer).sign(values._statement(**statement), signed_kind.domain)  # type: ignore[arg-type]
    certificate = identity(author).certificate.encode()
    return Writer().u8(kind).u64(time).raw(certificate).blob(data).raw(signature).bytes()


def item(made: bytes, time: int = NOW, author: int = 1, seq: int | None = None) -> Item:
    order = values._seq(time, identity(author).peer_id) if seq is None else seq
    return slot_of(spec(), "motd").item(made, order, SeededRng(1))


def test_the_forms_of_this_test_are_the_real_ones() -> None:
    assert opened(item(body())) == sealed()


def test_another_author_cannot_be_named() -> None:
    """A member that puts a value in another one's name, though it can write to the slot."""
    with pytest.raises(RemoteError, match="signature"):
        opened(item(body(author=1, signer=2)))


@pytest.mark.parametrize(
    "signed", [{"group": OTHER_GROUP.group_id}, {"key": "other"}, {"time": NOW - 1}, {"content": b"hullo"}]
)
def test_what_the_author_has_signed_elsewhere_is_refused_here(signed: dict[str, object]) -> None:
    with pytest.raises(RemoteError, match="signature"):
        opened(item(body(signed=signed)))


@pytest.mark.parametrize("kind", [Kind.GONE, Kind.LARGE])
def test_what_was_signed_as_a_value_is_no_removal(kind: Kind) -> None:
    with pytest.raises(RemoteError, match="signature"):
        opened(item(body(data=b"", kind=kind)))


@pytest.mark.parametrize(("kind", "data"), [(Kind.GONE, b"x"), (Kind.LARGE, b""), (Kind.LARGE, b"\xff" * 90)])
def test_a_content_that_its_kind_cannot_have(kind: Kind, data: bytes) -> None:
    with pytest.raises(RemoteError):
        opened(item(body(data=data, kind=kind, signed_kind=kind)))


def test_a_removal_holds_like_a_value() -> None:
    gone = seal_value(spec(), identity(2), "motd", b"", NOW + 1, SeededRng(1), Kind.GONE)
    assert opened(gone.item) == gone and gone.is_gone and gone.size == 0
    assert gone.supersedes(sealed()) and not sealed().supersedes(gone)
    assert sealed(time=NOW + 2).supersedes(gone)


def test_the_order_cannot_be_turned_round() -> None:
    """An old value under a new seq, by a member that wants it back."""
    with pytest.raises(RemoteError, match="order"):
        opened(item(body(), seq=values._seq(NOW + 1, identity(1).peer_id)))


def test_the_future_is_refused_beyond_a_bound() -> None:
    near, far = NOW + int(AHEAD_LIMIT * 1000), NOW + int(AHEAD_LIMIT * 1000) + 1
    assert opened(sealed(time=near).item).time == near
    with pytest.raises(RemoteError, match="future"):
        opened(sealed(time=far).item)
    with pytest.raises(RemoteError):
        opened(item(body(time=2**63), seq=2**63 - 1))


@given(st.binary(max_size=900))
def test_any_bytes(made: bytes) -> None:
    with pytest.raises(RemoteError):
        opened(item(made))


@given(st.integers(0, 500), st.integers(1, 255))
def test_a_byte_that_was_changed(place: int, change: int) -> None:
    made = bytearray(body())
    made[place % len(made)] ^= change
    with pytest.raises(RemoteError):
        opened(item(bytes(made)))


@given(st.integers(0, values.TIME_LIMIT), st.integers(0, values.TIME_LIMIT), st.sampled_from([1, 2, 3]), st.just(4))
def test_nodes_order_values_as_members_do(time: int, later: int, author: int, other: int) -> None:
    """But for two authors with the same first bits in the same millisecond, which the nodes keep in the order they
    came."""
    one, two = values._seq(time, identity(author).peer_id), values._seq(later, identity(other).peer_id)
    assert (one < two) == ((time, identity(author).peer_id) < (later, identity(other).peer_id))
    assert 0 <= one < 2**63


def test_what_was_newest_stays() -> None:
    """A node hands out an older value: rolled back is nobody who knows the newer one."""
    held = Values()
    old, new = sealed(b"old"), sealed(b"new", time=NOW + 1)
    assert held.take(new) is new
    assert held.take(old) is new
    assert held.newest(spec().group_id, "motd") is new


def test_of_two_at_once_the_author_decides() -> None:
    one, two = sealed(author=1), sealed(author=2)
    winner = max(one, two, key=lambda value: value.author)
    for order in ((one, two), (two, one)):
        held = Values()
        for value in order:
            held.take(value)
        assert held.newest(spec().group_id, "motd") is winner


def test_who_writes_comes_after_what_is_known() -> None:
    held = Values()
    assert held.next_time(spec().group_id, "motd", WALL) == NOW
    held.take(sealed(time=NOW + 5000))
    assert held.next_time(spec().group_id, "motd", WALL) == NOW + 5001
    with pytest.raises(Conflict, match="clock"):
        held.next_time(spec().group_id, "motd", WALL - AHEAD_LIMIT)


def test_what_is_remembered_is_bounded_and_goes_with_the_group() -> None:
    held, made = Values(), sealed()
    for number in range(MAX_REMEMBERED + 10):
        held.take(replace(made, key=str(number)))
    assert len(held) == MAX_REMEMBERED
    assert held.newest(spec().group_id, "0") is None
    held.forget_group(OTHER_GROUP.group_id)
    assert len(held) == MAX_REMEMBERED
    held.forget_group(spec().group_id)
    assert not len(held)
