"""The table is whole, and its bounds hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.control import dht, messaging, objects, records, schema, values
from swarmd.control.dispatch import Dispatcher
from swarmd.control.method import Method, Params
from swarmd.control.wire import Request
from swarmd.core.errors import InvalidArgument


def test_every_method_of_the_module_is_in_the_table() -> None:
    modules = (schema, messaging, values, dht, objects)
    defined = [value for module in modules for value in vars(module).values() if isinstance(value, Method)]
    assert len(defined) > 20
    assert {method.name: method for method in defined} == schema.METHODS


def test_every_params_and_result_is_used_by_a_method_or_in_one() -> None:
    used: set[type] = set()
    for method in schema.METHODS.values():
        used |= {method.params, method.result, *([method.progress] if method.progress else [])}
    used |= set(schema.EVENTS.values())
    parts = {records.Failure, records.Source, records.Waiting, records.Member, records.Event, records.Lost}
    parts |= {records.DhtGlance, records.Neighbour, records.Traffic, objects.ObjectEvent, dht.KeptValue}
    bases = {Params, records.Result, messaging.MessageParams, objects.ObjectParams}
    for module in (schema, messaging, values, dht, objects, records):
        found = {each for each in vars(module).values() if isinstance(each, type) and issubclass(each, tuple(bases))}
        assert found - used - parts <= bases


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (schema.ShareParams, {"path": "relative"}),
        (schema.ShareParams, {"path": "/a\0b"}),
        (schema.ShareParams, {"path": "/" + "a" * 4096}),
        (schema.ShareParams, {}),
        (schema.ShareParams, {"path": "/a", "grup": "x"}),
        (schema.GetParams, {"source": "", "target_dir": "/"}),
        (schema.GetParams, {"source": "x", "target_dir": "/", "order": "random"}),
        (schema.GetParams, {"source": "x", "target_dir": "/", "overwrite": "yes"}),
        (schema.ReadParams, {"id": "x", "offset": -1}),
        (schema.ReadParams, {"id": "x", "offset": 0, "length": 0}),
        (schema.ReadParams, {"id": "x", "offset": 0, "length": schema.MAX_READ_BYTES + 1}),
        (schema.WaitParams, {"id": "x", "idle_timeout_s": -1}),
        (schema.SubscribeParams, {"topics": []}),
        (schema.SubscribeParams, {"topics": ["everything"]}),
    ],
)
def test_bounds(kind: type[schema.Params], given: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(given, kind)


def test_a_line_break_is_legal_in_a_path_if_sad() -> None:
    assert schema.ShareParams(path="/a\n") == msgspec.convert({"path": "/a\n"}, schema.ShareParams)


@given(st.sampled_from(sorted(schema.METHODS)), st.binary(max_size=200))
def test_any_parameters_decode_or_are_invalid(method: str, raw: bytes) -> None:
    request = Request(jsonrpc="2.0", method=method, params=msgspec.Raw(raw))
    try:
        params = Dispatcher({}).decode_params(request)
    except InvalidArgument as error:
        assert str(error).startswith(f"{method}: ")
    else:
        assert isinstance(params, schema.METHODS[method].params)


@pytest.mark.parametrize("method", schema.METHODS.values(), ids=lambda method: method.name)
def test_results_survive_the_wire(method: schema.Method[Any, Any]) -> None:
    schema_of = msgspec.json.schema(method.result)
    assert schema_of["$defs"][method.result.__name__]["type"] == "object"
    msgspec.json.Decoder(method.result)


def test_the_schema_has_the_records_too() -> None:
    own = {name for name, value in vars(records).items() if getattr(value, "__module__", None) == records.__name__}
    assert own <= set(schema.__all__)
    others = {"Method", "NoParams", "Params"}
    assert all(getattr(schema, name) is getattr(records, name) for name in set(schema.__all__) - others)


def test_results_may_grow() -> None:
    grown = b'{"peer_id":"x","something_new":1}'
    assert msgspec.json.decode(grown, type=records.NodeId) == records.NodeId(peer_id="x")


def test_data_is_base64() -> None:
    data = records.Data(data=bytes(range(256)), size=256)
    encoded = msgspec.json.encode(data)
    assert b'"AAECAw' in encoded
    assert msgspec.json.decode(encoded, type=records.Data) == data


def test_the_longest_answer_of_a_read_fits_many_times() -> None:
    data = records.Data(data=bytes(schema.MAX_READ_BYTES), size=1 << 50)
    assert len(msgspec.json.encode(data)) * 8 < schema.MAX_RESPONSE_BYTES
