"""A signal that comes while a process is being started waits until its process id is known."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.demo.interrupts import Interrupts

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    before = {number: signal.getsignal(number) for number in NUMBERS}
    yield Interrupts()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_it_interrupts_at_once(interrupts: Interrupts, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.mark.parametrize("number", NUMBERS)
def test_held_it_interrupts_at_the_end(interrupts: Interrupts, number: signal.Signals) -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupts.held():
        signal.raise_signal(number)
        done.append("the rest of the block")
    assert done == ["the rest of the block"]


def test_what_cleans_up_is_not_interrupted_again(interrupts: Interrupts) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    with interrupts.held():
        signal.raise_signal(signal.SIGTERM)


def test_an_error_in_the_block_comes_first(interrupts: Interrupts) -> None:
    with pytest.raises(FileNotFoundError), interrupts.held():
        signal.raise_signal(signal.SIGINT)
        raise FileNotFoundError
