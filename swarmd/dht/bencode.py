"""Bencode (BEP 3), strict: what is decoded has one encoding, and encoding it again gives the same bytes.

That is what makes hashes and signatures over re-encoded values right (BEP 44). So keys stand in order and once, numbers
have no leading zero, and nothing may follow the value. Bounded: bytes by the caller, depth and integers here; a string
is cut out of what is there, so memory never exceeds the input's by more than a small factor.

`outline` reads less strictly and less far: enough of a message that is refused to know whom to tell.

Not here: what the values mean (`krpc`).
"""

from __future__ import annotations

from typing import TypeAlias

from swarmd.core.errors import InvalidArgument, RemoteError

Value: TypeAlias = "int | bytes | list[Value] | dict[bytes, Value]"

MAX_DEPTH = 16
"""Far more than KRPC nests (4, and what a stored value adds); far less than Python's stack."""
MAX_INTEGER = 2**63 - 1
"""BEP 44's seq is 64 bits with a sign; so are all numbers in use."""
MAX_OUTLINED = 1_000
"""Strings, numbers and brackets that `outline` goes past: no more time than a proper message takes."""
_MAX_NUMBER_LETTERS = 20
_MAX_LENGTH_DIGITS = 7


def decode(data: bytes) -> Value:
    """The one value that `data` is; RemoteError when it is none in canonical form."""
    value, end = _value(data, 0, MAX_DEPTH)
    if end != len(data):
        raise RemoteError("bytes after a bencoded value")
    return value


def outline(data: bytes) -> dict[bytes, bytes]:
    """The keys of the dictionary that `data` is, and the bytes of their values, which may be what `decode` refuses:
    deep, out of order, with numbers of any length. RemoteError where not even that is there."""
    if data[:1] != b"d":
        raise RemoteError("no bencoded dictionary")
    fields: dict[bytes, bytes] = {}
    at, budget = 1, MAX_OUTLINED
    while data[at : at + 1] != b"e":
        start = _past_string(data, at)
        key = data[data.index(b":", at) + 1 : start]
        at, budget = _skip(data, start, budget - 1)
        fields[key] = data[start:at]
    return fields


def encode(value: Value) -> bytes:
    """Canonical bytes; InvalidArgument for what has none, a number beyond 64 bits or deeper than MAX_DEPTH."""
    parts: list[bytes] = []
    _write(value, parts, MAX_DEPTH)
    return b"".join(parts)


def _value(data: bytes, at: int, depth: int) -> tuple[Value, int]:
    kind = data[at : at + 1]
    if kind.isdigit():
        return _string(data, at)
    if kind == b"i":
        return _integer(data, at + 1)
    if not depth:
        raise RemoteError("bencode nested too deep", penalty=5)
    if kind == b"d":
        return _dictionary(data, at + 1, depth - 1)
    if kind == b"l":
        return _list(data, at + 1, depth - 1)
    raise RemoteError("not bencode")


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    if data[at + 1 : at + 2] == b":":  # nearly all keys
        start = at + 2
        length = data[at] - 48
        if not 0 <= length <= 9:
            raise RemoteError("a bencoded string has no proper length")
    else:
        colon = data.find(b":", at, at + _MAX_LENGTH_DIGITS + 1)
        digits = data[at:colon]
        if colon < 0 or not digits.isdigit() or digits[0] == 48:
            raise RemoteError("a bencoded string has no proper length")
        start = colon + 1
        length = int(digits)
    end = start + length
    if end > len(data):
        raise RemoteError("a bencoded string is cut short")
    return data[start:end], end


def _integer(data: bytes, at: int) -> tuple[int, int]:
    end = data.find(b"e", at, at + _MAX_NUMBER_LETTERS + 1)
    digits = data[at:end]
    plain = digits[1:] if digits[:1] == b"-" else digits
    if end < 0 or not plain.isdigit() or (plain[0] == 48 and digits != b"0"):
        raise RemoteError("a bencoded integer has no proper form")
    number = int(digits)
    if not -MAX_INTEGER - 1 <= number <= MAX_INTEGER:
        raise RemoteError("a bencoded integer of more than 64 bits")
    return number, end + 1


def _list(data: bytes, at: int, depth: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    while data[at : at + 1] != b"e":
        item, at = _value(data, at, depth)
        items.append(item)
    return items, at + 1


def _dictionary(data: bytes, at: int, depth: int) -> tuple[dict[bytes, Value], int]:
    items: dict[bytes, Value] = {}
    previous = None
    while data[at : at + 1] != b"e":
        key, at = _string(data, at)
        if previous is not None and key <= previous:
            raise RemoteError("bencoded keys out of order")
        items[key], at = _value(data, at, depth)
        previous = key
    return items, at + 1


def _skip(data: bytes, at: int, budget: int) -> tuple[int, int]:
    """Where the value at `at` ends, and what is left of `budget`."""
    depth = 0
    while budget > 0:
        budget -= 1
        kind = data[at : at + 1]
        if kind.isdigit():
            at = _past_string(data, at)
        elif kind == b"i" and (end := data.find(b"e", at)) > 0:
            at = end + 1
        elif kind in (b"d", b"l"):
            depth, at = depth + 1, at + 1
            continue
        elif kind == b"e" and depth:
            depth, at = depth - 1, at + 1
        else:
            raise RemoteError("not bencode")
        if not depth:
            return at, budget
    raise RemoteError("bencode of too many parts")


def _past_string(data: bytes, at: int) -> int:
    colon = data.find(b":", at, at + _MAX_LENGTH_DIGITS + 1)
    digits = data[at:colon]
    if colon < 0 or not digits.isdigit():
        raise RemoteError("not bencode")
    return colon + 1 + int(digits)


def _write(value: Value, parts: list[bytes], depth: int) -> None:
    if isinstance(value, bytes):
        parts.append(b"%d:%b" % (len(value), value))
        return
    if isinstance(value, int):
        if not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            raise InvalidArgument("bencode takes integers of at most 64 bits")
        parts.append(b"i%de" % value)
        return
    if not depth:
        raise InvalidArgument(f"bencode nests at most {MAX_DEPTH} deep")
    if isinstance(value, dict):
        parts.append(b"d")
        for key in sorted(value):
            parts.append(b"%d:%b" % (len(key), key))
            _write(value[key], parts, depth - 1)
    elif isinstance(value, list):
        parts.append(b"l")
        for item in value:
            _write(item, parts, depth - 1)
    else:
        raise InvalidArgument(f"bencode has no {type(value).__name__}")
    parts.append(b"e")
