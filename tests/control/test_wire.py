"""Any line is a request or Malformed; what is encoded is one line of JSON-RPC 2.0."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.control import wire
from swarmd.control.records import Lost, NodeId
from swarmd.control.schema import GetParams
from swarmd.core.errors import LocalError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner), max_leaves=5
)


@given(
    st.binary()
    | st.dictionaries(st.sampled_from(["jsonrpc", "id", "method", "params", "x"]), json_values).map(
        lambda found: json.dumps(found).encode()
    )
)
def test_any_line_is_a_request_or_malformed(line: bytes) -> None:
    try:
        request = wire.decode_request(line)
    except wire.Malformed as error:
        assert error.code in (wire.PARSE_ERROR, wire.INVALID_REQUEST)
    else:
        assert request.jsonrpc == "2.0"


@given(st.binary() | json_values.map(lambda found: json.dumps({"id": 1, "result": found, "error": found}).encode()))
def test_any_line_from_a_server_decodes_or_is_a_local_error(line: bytes) -> None:
    try:
        wire.decode_incoming(line)
    except LocalError:
        return


@pytest.mark.parametrize("nested", [b"[" * 100_000, b'{"a":' * 100_000, b'{"jsonrpc":"2.0","params":' + b"[" * 100_000])
def test_deep_nesting_is_malformed(nested: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode_request(nested)


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (b"{", wire.PARSE_ERROR, None),
        (b'"\xff"', wire.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","method":"\xff"}', wire.PARSE_ERROR, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"id"}]', wire.INVALID_REQUEST, None),
        (b'{"id":7,"method":"id"}', wire.INVALID_REQUEST, 7),
        (b'{"jsonrpc":"1.0","id":"a","method":"id"}', wire.INVALID_REQUEST, "a"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"id"}', wire.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":3}', wire.INVALID_REQUEST, 3),
    ],
)
def test_malformed_names_the_fault_and_the_id(line: bytes, code: int, request_id: object) -> None:
    with pytest.raises(wire.Malformed) as caught:
        wire.decode_request(line)
    assert (caught.value.code, caught.value.request_id) == (code, request_id)


def test_a_request_as_bytes() -> None:
    line = wire.encode_request(5, "get", GetParams(source="x", target_dir="/tmp"))
    assert line == (
        b'{"jsonrpc":"2.0","id":5,"method":"get","params":{"source":"x","target_dir":"/tmp",'
        b'"order":"rarest","group":null,"overwrite":false,"background":null}}\n'
    )
    assert wire.decode_request(line).id == 5


def test_a_request_without_id_is_told_from_one_with_null() -> None:
    assert wire.decode_request(b'{"jsonrpc":"2.0","method":"id"}').id is msgspec.UNSET
    assert wire.decode_request(b'{"jsonrpc":"2.0","method":"id","id":null}').id is None


@given(st.text(st.characters(), max_size=50), st.integers() | st.text(max_size=9) | st.none())
def test_answers_are_one_line_that_json_reads_back(text: str, request_id: int | str | None) -> None:
    if isinstance(request_id, str):
        request_id = wire.sayable(request_id)
    for line in (
        wire.encode_error(request_id, wire.APPLICATION_ERROR, text, "not_found"),
        wire.encode_result(request_id, NodeId(peer_id=wire.sayable(text))),
        wire.encode_progress(request_id, Lost(count=1)),
        wire.encode_event("daemon", "warning", Lost(count=1)),
        wire.encode_lost(3),
    ):
        assert line.count(b"\n") == 1
        assert line.endswith(b"\n")
        assert json.loads(line)["jsonrpc"] == "2.0"


def test_a_name_that_is_not_utf8_can_still_be_complained_about() -> None:
    line = wire.encode_error(1, wire.APPLICATION_ERROR, "no such file: \udcff.bin", "not_found")
    assert json.loads(line)["error"] == {
        "code": wire.APPLICATION_ERROR,
        "message": "no such file: \\udcff.bin",
        "data": {"code": "not_found"},
    }
