"""How long a share still takes."""

from __future__ import annotations

from pathlib import Path

from swarmd.control import schema
from swarmd.control.client import Client
from swarmd.control.records import ShareProgress
from swarmd.daemon.reading import SETTLE_PERIOD, Pace
from swarmd.store.hashing import Hashed
from tests.e2e.farm import MIB
from tests.e2e.nodes import Node


def test_what_is_left_follows_from_the_pace_of_what_is_read() -> None:
    pace = Pace()

    def left_s(n_bytes: int, now: float) -> float | None:
        return pace.left_s(Hashed(n_bytes, 1000, 0, 1), now)

    assert left_s(600, 5.0) is None
    assert left_s(610, 5.0 + SETTLE_PERIOD / 2) is None, "too early to tell"
    assert left_s(600, 15.0) is None, "nothing has been read"
    assert left_s(700, 15.0) == 30
    assert left_s(1100, 15.0) == 0, "what changed was read twice"


def test_a_client_is_told_all_of_it(tmp_path: Path) -> None:
    """By a real daemon: the totals are there from the first word on."""
    path = tmp_path / "disk.iso"
    path.write_bytes(bytes(3 * MIB))
    told: list[ShareProgress] = []
    with Node(tmp_path / "node") as node:
        node.start()
        with Client(str(node.socket)) as client:
            client.call(schema.SHARE, schema.ShareParams(path=str(path)), told.append)
        node.stop()
    assert {(each.total_bytes, each.total_files) for each in told} == {(3 * MIB, 1)}
    assert (told[-1].bytes, told[-1].files) == (3 * MIB, 1)
