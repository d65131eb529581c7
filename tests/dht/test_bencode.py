"""Bencode: one encoding for a value, any bytes are a value or the peer's error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.dht import bencode
from swarmd.dht.bencode import MAX_DEPTH, MAX_INTEGER, MAX_OUTLINED

VALUES = st.recursive(
    st.integers(-MAX_INTEGER - 1, MAX_INTEGER) | st.binary(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"4:spam", b"spam"),
        (b"0:", b""),
        (b"i-3e", -3),
        (b"i0e", 0),
        (b"l4:spami7ee", [b"spam", 7]),
        (b"d3:cow3:moo4:spaml1:aee", {b"cow": b"moo", b"spam": [b"a"]}),
        (b"le", []),
        (b"de", {}),
    ],
)
def test_vectors(data: bytes, value: bencode.Value) -> None:
    assert bencode.decode(data) == value
    assert bencode.encode(value) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"i-0e",
        b"i03e",
        b"ie",
        b"i-e",
        b"i 1e",
        b"i+1e",
        b"i9223372036854775808e",
        b"i" + b"9" * 1_000_000 + b"e",
        b"01:a",
        b"5:abcd",
        b"99999999999:a",
        b"-1:a",
        b"d1:b0:1:a0:e",
        b"d1:a0:1:a0:e",
        b"di1e0:e",
        b"d1:a",
        b"l",
        b"i1ei2e",
        b"l" * 1_000_000,
        b"d1:a" * (MAX_DEPTH + 1) + b"0:" + b"e" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_no_canonical_bencode(data: bytes) -> None:
    with pytest.raises(RemoteError):
        bencode.decode(data)


def test_as_deep_as_it_may_be() -> None:
    data = b"l" * MAX_DEPTH + b"e" * MAX_DEPTH
    assert bencode.encode(bencode.decode(data)) == data
    with pytest.raises(InvalidArgument):
        bencode.encode([bencode.decode(data)])


def test_numbers_that_are_too_large_are_the_callers_mistake() -> None:
    with pytest.raises(InvalidArgument):
        bencode.encode(MAX_INTEGER + 1)


@given(VALUES)
def test_what_is_encoded_is_decoded(value: bencode.Value) -> None:
    assert bencode.decode(bencode.encode(value)) == value


@given(st.binary(max_size=60) | st.text("0123456789:deil-abc", max_size=60).map(str.encode))
def test_any_bytes(data: bytes) -> None:
    try:
        value = bencode.decode(data)
    except RemoteError:
        return
    assert bencode.encode(value) == data


def test_an_outline_takes_no_more_time_than_a_proper_message() -> None:
    proper = b"d1:al" + b"le" * (MAX_OUTLINED // 2 - 5) + b"ee"
    assert bencode.outline(proper)[b"a"] == proper[4:-1]
    with pytest.raises(RemoteError, match="too many parts"):
        bencode.outline(b"d1:al" + b"le" * MAX_OUTLINED + b"ee")
    with pytest.raises(RemoteError, match="too many parts"):
        bencode.outline(b"d1:a" + b"l" * 60_000)
