"""Meeting places in the DHT: the same for all members, other ones each day, nothing to anybody else."""

from __future__ import annotations

import hmac
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.rng import SeededRng
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.rendezvous.places import DAY, OVERLAP, PLACE_BYTES, Calendar

from .builders import WALL, content_id, spec

CALENDAR = Calendar.of(spec())
OTHERS = Calendar.of(GroupSpec.create("family", SeededRng(2)).spec)
OBJECT = content_id(1)
walls = st.floats(0, 2**33)


def midnight(calendar: Calendar = CALENDAR) -> float:
    """When the group's day of WALL ends, to a second."""
    today, low, high = calendar.days(WALL)[0], int(WALL), int(WALL) + 2 * DAY
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if calendar.days(middle)[0] == today else (low, middle)
    return high


def test_vector() -> None:
    key = hmac.digest(b"k" * 32, b"swarmd hour", sha256)
    day = (1_700_000_000 + int.from_bytes(key[:4], "big") % 86_400) // 86_400
    places = Calendar(b"k" * 32).meeting_places(1_700_000_000)
    assert places[0] == hmac.digest(b"k" * 32, b"swarmd meet" + day.to_bytes(8, "big"), sha256)[:20]
    objects = Calendar(b"k" * 32).object_places(OBJECT, 1_700_000_000)
    assert objects[0] == hmac.digest(b"k" * 32, b"swarmd object" + day.to_bytes(8, "big") + OBJECT, sha256)[:20]


def test_members_meet_and_others_are_elsewhere() -> None:
    assert CALENDAR.meeting_places(WALL) == Calendar.of(GroupSpec.decode(spec().encode())).meeting_places(WALL)
    assert not set(CALENDAR.meeting_places(WALL)) & set(OTHERS.meeting_places(WALL))
    assert all(len(place) == PLACE_BYTES for place in CALENDAR.meeting_places(WALL))


def test_objects_have_places_of_their_own() -> None:
    places = [*CALENDAR.meeting_places(WALL), *CALENDAR.object_places(OBJECT, WALL)]
    places += [*CALENDAR.object_places(content_id(2), WALL), *OTHERS.object_places(OBJECT, WALL)]
    assert len(set(places)) == len(places)


def test_every_day_another_place() -> None:
    seen = {CALENDAR.meeting_places(WALL + day * DAY)[0] for day in range(400)}
    assert len(seen) == 400


def test_around_the_change_both_hold() -> None:
    end = midnight()
    before, after = CALENDAR.days(end - 2), CALENDAR.days(end + 1)
    assert before == (after[0] - 1, after[0])
    assert after == (after[0], after[0] - 1)
    assert len(CALENDAR.days(end - OVERLAP - 2)) == len(CALENDAR.days(end + OVERLAP + 1)) == 1


def test_groups_change_at_different_hours() -> None:
    groups = [Calendar.of(GroupSpec.create("g", SeededRng(seed)).spec) for seed in range(20)]
    assert len({midnight(calendar) for calendar in groups}) > 15


@given(walls, st.floats(-OVERLAP + 1, OVERLAP - 1))
def test_clocks_may_differ_by_an_hour(wall: float, shift: float) -> None:
    """Who looks with one clock finds who has announced with the other."""
    assert set(CALENDAR.meeting_places(wall)) & set(CALENDAR.meeting_places(max(0.0, wall + shift)))


def test_the_key_is_not_shown() -> None:
    assert repr(CALENDAR.key) not in repr(CALENDAR)
    assert CALENDAR.key.hex() not in repr(CALENDAR)
