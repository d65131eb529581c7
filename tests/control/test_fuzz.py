"""Whatever lines a local program sends, each gets its answer and the server serves on."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.control import schema
from swarmd.control.dispatch import Caller, bind
from swarmd.control.records import NodeId
from tests.control.serving import serving

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_requests = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "1.0"]) | _values, "method": st.sampled_from(sorted(schema.METHODS)) | _values},
    optional={"id": _values, "params": _values},
).map(lambda request: json.dumps(request).encode())
_lines = (st.binary(max_size=200) | _requests).map(lambda line: line.replace(b"\n", b" ").replace(b"\r", b" "))


async def _id(params: schema.NoParams, caller: Caller) -> NodeId:
    return NodeId(peer_id="me")


@given(st.lists(_lines, max_size=8))
@settings(max_examples=60)
def test_any_lines(lines: list[bytes]) -> None:
    asyncio.run(_send_and_then_ask(lines))


async def _send_and_then_ask(lines: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with serving(Path(folder), dict([bind(schema.ID, _id)])) as served, served.raw() as client:
            for line in lines:
                client.writer.write(line + b"\n")
            client.send("id", request_id="the end")
            answers = [await client.receive()]
            while answers[-1].get("id") != "the end":
                answers.append(await client.receive())
    assert answers[-1]["result"] == {"peer_id": "me"}
    assert all(("result" in answer) != ("error" in answer) for answer in answers)
    assert len(answers) <= len(lines) + 1
