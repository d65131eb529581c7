"""The cache of open files: bounded, and never closed under somebody's hands."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmd.core.rng import SeededRng
from swarmd.store.descriptors import Descriptors


class Opener:
    """Opens numbered files, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.count = 0
        for number in range(10):
            (folder / str(number)).write_bytes(b"%d" % number)

    def __call__(self, number: int) -> Callable[[], int]:
        def opening() -> int:
            self.count += 1
            return os.open(self._folder / str(number), os.O_RDONLY)

        return opening


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    return Opener(tmp_path)


@pytest.fixture
def descriptors() -> Iterator[Descriptors]:
    cache = Descriptors(max_idle=3)
    yield cache
    cache.close()


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_a_file_is_opened_once(descriptors: Descriptors, opener: Opener) -> None:
    for _ in range(5):
        with descriptors.borrow(("a", 1), opener(1)) as descriptor:
            assert os.pread(descriptor, 9, 0) == b"1"
    assert (opener.count, len(descriptors)) == (1, 1)


def test_the_least_recently_used_go_first(descriptors: Descriptors, opener: Opener) -> None:
    for number in (1, 2, 3, 1, 4):
        with descriptors.borrow(("a", number), opener(number)):
            pass
    assert (opener.count, len(descriptors)) == (4, 3)
    for number in (1, 3, 4):
        with descriptors.borrow(("a", number), opener(number)):
            pass
    assert opener.count == 4
    with descriptors.borrow(("a", 2), opener(2)):
        pass
    assert opener.count == 5


def test_what_is_in_use_is_not_closed(descriptors: Descriptors, opener: Opener) -> None:
    with descriptors.borrow(("a", 0), opener(0)) as first:
        for number in range(1, 6):
            with descriptors.borrow(("a", number), opener(number)):
                pass
        assert is_open(first)
        descriptors.drop("a")
        assert is_open(first)
        with descriptors.borrow(("a", 0), opener(0)) as second:
            assert second != first
    assert not is_open(first)
    assert len(descriptors) == 1


def test_dropping_concerns_one_owner_or_one_file(descriptors: Descriptors, opener: Opener) -> None:
    for owner, number in (("a", 1), ("a", 2), ("b", 1)):
        with descriptors.borrow((owner, number), opener(number)):
            pass
    descriptors.drop_one(("a", 2))
    descriptors.drop_one(("a", 7))
    assert len(descriptors) == 2
    descriptors.drop("a")
    assert len(descriptors) == 1
    with descriptors.borrow(("b", 1), opener(1)):
        pass
    assert opener.count == 3


def test_what_nobody_used_between_two_calls_is_closed(descriptors: Descriptors, opener: Opener) -> None:
    for number in (1, 2):
        with descriptors.borrow(("a", number), opener(number)):
            pass
    descriptors.close_idle()
    assert len(descriptors) == 2
    with descriptors.borrow(("a", 1), opener(1)):
        descriptors.close_idle()
        assert len(descriptors) == 1
        descriptors.close_idle()
        assert len(descriptors) == 1
    descriptors.close_idle()
    assert len(descriptors) == 0


def test_an_opener_that_fails_leaves_nothing(descriptors: Descriptors) -> None:
    def fail() -> int:
        raise FileNotFoundError

    with pytest.raises(FileNotFoundError), descriptors.borrow(("a", 1), fail):
        pass
    assert len(descriptors) == 0


def test_threads_that_borrow_drop_and_close(descriptors: Descriptors, opener: Opener) -> None:
    wrong: list[bytes] = []

    def use(seed: int) -> None:
        rng = SeededRng(seed)
        for _ in range(400):
            number = rng.randrange(8)
            with descriptors.borrow(("a", number), opener(number)) as descriptor:
                data = os.pread(descriptor, 9, 0)
                if data != b"%d" % number:
                    wrong.append(data)
            if rng.randrange(20) == 0:
                descriptors.close_idle()
            elif rng.randrange(20) == 0:
                descriptors.drop("a")

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(descriptors) <= 3
