"""The harnesses do what they are for: they run through their seeds, and notice a decoder that breaks its promise."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmd.transport.api import State
from swarmd.transport.rtmfp import packet, vlu
from swarmd.transport.rtmfp.mobility import Mobility
from swarmd.transport.rtmfp.receiving import Receiving
from tests.fuzz import chunks, endpoint
from tests.fuzz.endpoint import Kind, Stage, Victim, script


@pytest.mark.parametrize("seed", chunks.SEEDS, ids=lambda seed: f"{seed.hex():.12}")
def test_seeds(seed: bytes) -> None:
    header = packet.decode_header(seed)
    assert chunks.decode(memoryview(seed)[header.size :]), "a seed that is refused at once teaches the fuzzer nothing"
    for size in range(len(seed) + 1):
        chunks.target(seed[:size])


@given(st.data())
def test_seeds_with_some_bytes_changed(data: st.DataObject) -> None:
    packet_bytes = bytearray(data.draw(st.sampled_from(chunks.SEEDS)))
    for _ in range(data.draw(st.integers(1, 4))):
        packet_bytes[data.draw(st.integers(0, len(packet_bytes) - 1))] = data.draw(st.integers(0, 255))
    chunks.target(bytes(packet_bytes))


def test_a_decoder_that_raises_something_else_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes, offset: int) -> tuple[int, int]:
        raise IndexError(offset)

    monkeypatch.setattr(vlu, "decode_vlu", broken)
    with pytest.raises(IndexError):
        chunks.target(b"")


@pytest.mark.parametrize("seed", endpoint.SEEDS, ids=lambda seed: f"{seed.hex():.24}")
def test_seeds_of_the_endpoint(seed: bytes) -> None:
    for size in (1, len(seed) // 3, len(seed) // 2, len(seed) - 1, len(seed)):
        endpoint.target(seed[:size])


pieces = st.sampled_from([seed[packet.decode_header(seed).size :] for seed in chunks.SEEDS]) | st.binary(max_size=60)


@given(
    st.sampled_from(Stage),
    st.lists(st.tuples(st.sampled_from(Kind), st.lists(pieces, max_size=3).map(b"".join)), max_size=12),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
)
@settings(max_examples=150)
def test_any_script(
    stage: Stage, steps: list[tuple[Kind, bytes]], is_plain: bool, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(script(stage, *steps, is_plain=is_plain))
    for place, value in changes:
        data[place % len(data)] = value
    endpoint.target(bytes(data))


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("stage", Stage)
def test_every_stage_is_reached(stage: Stage, is_plain: bool) -> None:
    victim = Victim(stage, is_plain=is_plain)
    session = victim.session
    if session is None:
        assert stage is Stage.NONE
        return
    assert (session.state is State.OPEN) == (stage in (Stage.OPEN_CALLED, Stage.OPEN_CALLING))
    if stage is Stage.CLOSING:
        assert session.close_deadline is not None
    if stage in (Stage.UNHEARD, Stage.OPEN_CALLED, Stage.OPEN_CALLING):
        victim.step(Kind.CHUNKS, bytes.fromhex("10 0010 80 02 01 01 05 00 54430400 02 0a 07 00 dead".replace(" ", "")))
        assert session.state is State.OPEN and 2 in session._receiving.flows, "it got behind the cryptography"
    if stage is Stage.HELLO:
        hello = (b"\0\4abcd1" if is_plain else b"\0\4abcd") + (b"" if is_plain else endpoint.PEER_CERTIFICATE)
        victim.step(Kind.HELLO_ANSWER, hello)
        assert next(iter(victim.endpoint._openings.values())).far_certificate is not None


@pytest.mark.parametrize(
    ("step", "owner", "name"),
    [
        ((Kind.CHUNKS, bytes.fromhex("18000102")), Receiving, "probed"),
        ((Kind.MOVED, bytes.fromhex("18000102")), Mobility, "question"),
    ],
)
def test_an_endpoint_that_raises_something_else_is_found(
    step: tuple[Kind, bytes], owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise IndexError(name)

    monkeypatch.setattr(owner, name, broken)
    for stage in (Stage.OPEN_CALLED, Stage.OPEN_CALLING):
        with pytest.raises(IndexError, match=name):
            endpoint.target(script(stage, step))


def test_an_endpoint_that_keeps_what_strangers_send_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_PINGS", 0)
    pings = bytes.fromhex("01000141" * 3)
    with pytest.raises(AssertionError):
        victim = Victim(Stage.OPEN_CALLED, is_plain=False)
        victim.step(Kind.MOVED, pings)
        victim.check()


@pytest.mark.parametrize("harness", [chunks, endpoint])
def test_without_atheris_it_says_so(harness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SystemExit, match="atheris"):
        harness.main()
