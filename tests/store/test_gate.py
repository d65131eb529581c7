"""The gate: many inside at once, one holder alone, nobody after it is shut."""

from __future__ import annotations

import threading

import pytest

from swarmd.core.errors import Conflict
from swarmd.store.gate import Gate


def test_a_shut_gate_turns_away_by_name() -> None:
    gate = Gate("download abc", is_open=False)
    with pytest.raises(Conflict, match="download abc is closed"), gate:
        pass
    gate.open()
    with gate, gate:
        assert gate.is_open
    gate.shut()
    with pytest.raises(Conflict), gate:
        pass


def test_the_holder_waits_for_who_is_inside_and_others_for_the_holder() -> None:
    gate = Gate("it")
    leave, entered, order = threading.Event(), threading.Event(), []

    def insider() -> None:
        with gate:
            entered.set()
            leave.wait()
            order.append("insider")

    def holder() -> None:
        with gate.held():
            order.append("holder")

    def latecomer() -> None:
        with gate:
            order.append("latecomer")

    threads = [threading.Thread(target=run) for run in (insider, holder, latecomer)]
    threads[0].start()
    entered.wait()
    threads[1].start()
    while not gate._is_held:  # the holder has announced itself
        pass
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join()
    assert order == ["insider", "holder", "latecomer"]


def test_nobody_is_inside_while_it_is_held() -> None:
    gate = Gate("it")
    inside, seen = [0], []
    lock = threading.Lock()

    def go_in_and_out() -> None:
        for _ in range(300):
            with gate:
                with lock:
                    inside[0] += 1
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=go_in_and_out) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        with gate.held():
            seen.append(inside[0])
    for thread in threads:
        thread.join()
    assert seen == [0] * 50


def test_an_error_inside_leaves_it_usable() -> None:
    gate = Gate("it")
    with pytest.raises(KeyError), gate:
        raise KeyError
    with pytest.raises(KeyError), gate.held():
        raise KeyError
    with gate:
        pass
    gate.shut()
