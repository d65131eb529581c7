"""What is told to somebody who joins what may not be what they think."""

from __future__ import annotations

from dataclasses import replace

import pytest

from swarmd.daemon.advice import near_miss, of_authorisation
from swarmd.groups.authorisation import NEVER, Authorisation, Right
from swarmd.groups.groupspec import Capability, GroupSpec
from tests.groups.builders import authority, peer_id, restricted_spec, spec

OURS = replace(spec("films"), tag=bytes(16))
MUSIC = replace(spec("music"), secret=bytes([7]) * 32)
BOTH = Right.PUBLISH | Right.POST


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


def given(rights: Right, number: int = 1) -> Authorisation:
    return authority().authorise(restricted_spec().group_id, peer_id(number), rights, NEVER)


def test_an_authorisation_for_another_or_for_less_than_before() -> None:
    own = peer_id(1)
    assert of_authorisation(given(BOTH, 2), own, None) == "the ticket's authorisation is for another node"
    less = of_authorisation(given(Right.POST), own, given(Right.PUBLISH))
    assert less is not None
    assert "let this node share here as well" in less
    assert f"--publisher {own} --poster {own}" in less
    for former in (None, given(Right.POST), given(Right.PUBLISH), given(BOTH)):
        assert of_authorisation(given(BOTH), own, former) is None
