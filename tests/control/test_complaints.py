"""Which parameter is wrong, and what it must be, without the decoder's own words."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.control import schema
from swarmd.control.complaints import complaint, description
from swarmd.control.dispatch import Dispatcher
from swarmd.control.wire import Request
from swarmd.core.errors import InvalidArgument

JARGON = re.compile(r"`|\$|regex|str\b|bool\b|dict\b|int\b|float\b|array|Expected|length|\\x00|\^|struct|msgspec")
FIELDS = [
    (method, field)
    for method in schema.METHODS.values()
    for field in msgspec.structs.fields(method.params)  # every parameter that there is
]


def refusal(method: str, raw: bytes) -> str:
    with pytest.raises(InvalidArgument) as refused:
        Dispatcher({}).decode_params(Request(jsonrpc="2.0", method=method, params=msgspec.Raw(raw)))
    return str(refused.value)


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("group.create", {"name": ""}, "name must be a text of 1 to 1,024 characters, not an empty one"),
        ("share", {"path": ""}, "path must be an absolute path (it begins with /) of at most 4,096 characters"),
        ("share", {"path": "x"}, "path must be an absolute path"),
        ("share", {}, "path is missing: it must be an absolute path"),
        (
            "share",
            {"path": "/x", "name": ""},
            "name must be a text of 1 to 1,024 characters, not an empty one (or null)",
        ),
        ("share", {"path": "/x", "nmae": "y"}, "there is no parameter 'nmae'; there are: path, group, name"),
        ("id", {"x": 1}, "there is no parameter 'x'; there are none"),
        ("get", {"source": 5, "target_dir": "/"}, "source must be a text"),
        ("get", {"source": "x", "target_dir": "/", "order": "random"}, "order must be one of rarest, lowest"),
        ("get", {"source": "x", "target_dir": "/", "overwrite": "yes"}, "overwrite must be true or false"),
        ("transfer.read", {"id": "x", "offset": -1}, "offset must be a whole number of bytes from 0 on"),
        ("transfer.wait", {"id": "x", "idle_timeout_s": -1}, "idle_timeout_s must be a number of seconds from 0"),
        ("subscribe", {"topics": ["all"]}, "topics must be a list of 1 to 16 topics: transfers, shares"),
    ],
)
def test_what_is_said(method: str, given: dict[str, Any], said: str) -> None:
    told = refusal(method, msgspec.json.encode(given))
    assert told.startswith(f"{method}: {said}"), told
    assert not JARGON.search(told.removeprefix(method)), told


@pytest.mark.parametrize(
    ("raw", "said"),
    [(b"{", "are not JSON"), (b"\xff", "are not JSON"), (b"[]", "must be an object"), (b"[" * 5000, "are not JSON")],
    ids=["cut", "bytes", "list", "deep"],
)
def test_what_is_no_object(raw: bytes, said: str) -> None:
    assert said in refusal("share", raw)


@pytest.mark.parametrize(("method", "field"), FIELDS, ids=[f"{method.name} {field.name}" for method, field in FIELDS])
def test_every_parameter_has_words(method: schema.Method[Any, Any], field: msgspec.structs.FieldInfo) -> None:
    words = description(field.type)
    assert words
    assert not JARGON.search(words)
    told = complaint(method.params, msgspec.json.encode({field.encode_name: [[]]}))
    assert " must be " in told


def test_topics_are_all_in_their_words() -> None:
    (topics,) = msgspec.structs.fields(schema.SubscribeParams)
    assert description(topics.type).endswith(": " + ", ".join(schema.EVENTS))


@given(st.sampled_from(sorted(schema.METHODS)), st.dictionaries(st.text(max_size=9), st.text(min_size=1), max_size=3))
def test_no_value_is_repeated(method: str, given: dict[str, str]) -> None:
    """It may be a ticket. Names of parameters are repeated, cut."""
    secret = "swarm:" + "secret" * 9
    raw = msgspec.json.encode({**given, "source": [secret], "ticket": [secret], "path": [secret]})
    assert secret not in complaint(schema.METHODS[method].params, raw)
