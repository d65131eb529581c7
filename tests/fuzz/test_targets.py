"""The harnesses do what they are for: they run through their seeds, and notice a decoder that breaks its promise."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.transport.rtmfp import packet, vlu
from tests.fuzz import chunks


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


def test_without_atheris_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(SystemExit, match="atheris"):
        chunks.main()
