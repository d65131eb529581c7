"""Announcements: the TXT strings byte by byte, their size, and any strings are decoded or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import RemoteError
from swarmd.discovery.announcement import MAX_TAGS, NONCE_BYTES, TAG_BYTES, Announcement, decode, encode

NONCE = bytes(range(NONCE_BYTES))
announcements = st.builds(
    Announcement,
    st.binary(min_size=NONCE_BYTES, max_size=NONCE_BYTES),
    st.lists(st.binary(min_size=TAG_BYTES, max_size=TAG_BYTES), max_size=MAX_TAGS).map(tuple),
)


def tags(count: int) -> tuple[bytes, ...]:
    return tuple(i.to_bytes(TAG_BYTES, "big") for i in range(count))


def test_the_strings_of_a_small_one() -> None:
    strings = encode(Announcement(NONCE, tags(4)))
    assert strings == {b"txtvers": b"1", b"n": NONCE, b"t0": b"".join(tags(4))}
    assert next(iter(strings)) == b"txtvers", "RFC 6763 §6.7: first"


def test_a_full_one_keeps_the_bounds_of_dns() -> None:
    strings = encode(Announcement(NONCE, tags(MAX_TAGS)))
    assert list(strings) == [b"txtvers", b"n", b"t0", b"t1", b"t2"]
    sizes = [1 + len(key) + 1 + len(value) for key, value in strings.items()]
    assert max(sizes) <= 256
    assert sum(sizes) <= 700
    assert max(map(len, strings)) <= 9, "RFC 6763 §6.4: short keys"


@given(announcements)
def test_there_and_back(announcement: Announcement) -> None:
    assert decode(encode(announcement)) == announcement


def test_strings_of_a_later_version_are_ignored_but_not_its_number() -> None:
    strings = encode(Announcement(NONCE, tags(4)))
    assert decode({**strings, b"new": b"x", b"flag": None}) == Announcement(NONCE, tags(4))
    with pytest.raises(RemoteError, match="version b'2' is not understood"):
        decode({**strings, b"txtvers": b"2"})


@pytest.mark.parametrize(
    "change",
    [
        {b"txtvers": None},
        {b"n": None},
        {b"n": NONCE[1:]},
        {b"n": NONCE + b"x"},
        {b"t0": b"x" * (TAG_BYTES - 1)},
        {f"t{i}".encode(): b"x" * 250 for i in range(3)},
        {f"k{i}".encode(): b"" for i in range(20)},
    ],
)
def test_what_no_swarmd_says(change: dict[bytes, bytes | None]) -> None:
    with pytest.raises(RemoteError):
        decode({**encode(Announcement(NONCE, tags(4))), **change})


KEYS = st.sampled_from([b"txtvers", b"n", b"t0", b"t1", b"t2", b"t3"]) | st.binary(max_size=9)


@given(st.dictionaries(KEYS, st.none() | st.just(b"1") | st.binary(max_size=255), max_size=20))
def test_any_strings_are_decoded_or_refused(strings: dict[bytes, bytes | None]) -> None:
    try:
        announcement = decode(strings)
    except RemoteError:
        return
    assert len(announcement.tags) <= MAX_TAGS
