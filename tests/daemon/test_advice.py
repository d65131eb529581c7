"""What is told to somebody who joins what may not be what they think."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swarmd.daemon.advice import near_miss
from swarmd.groups.authorisation import Right
from swarmd.groups.groupspec import Capability, GroupSpec
from tests.groups.builders import spec

OURS = replace(spec("films"), tag=bytes(16))
MUSIC = replace(spec("music"), secret=bytes([7]) * 32)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (replace(OURS, capabilities=OURS.capabilities | Capability.POSTING), "posting is off here and on there"),
        (replace(OURS, capabilities=OURS.capabilities | Capability.NO_LAN), "no_lan is off here and on there"),
        (replace(OURS, name="Films"), "it is named 'Films'"),
        (replace(OURS, tag=bytes([1]) * 16), "it was created apart"),
        (replace(OURS, secret=bytes(32)), "it was created apart"),
        (replace(OURS, restricted=Right.POST, authority=bytes(32)), "posting is restricted there only"),
    ],
)
def test_another_group_of_that_name_or_secret(theirs: GroupSpec, said: str) -> None:
    warning = near_miss(theirs, [MUSIC, OURS])
    assert warning is not None
    assert warning.startswith(f"this node is in another group named 'films' already ({OURS.group_id.short}): ")
    assert said in warning


def test_the_same_group_and_one_that_has_nothing_to_do_with_ours() -> None:
    assert near_miss(OURS, [OURS, MUSIC]) is None
    assert near_miss(MUSIC, [OURS]) is None
    assert near_miss(replace(OURS, name=""), [OURS, replace(OURS, name="", tag=b"")]) is None, "of single shares"
