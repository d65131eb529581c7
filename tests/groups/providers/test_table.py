"""The table of provider records: its bounds, and who gets in when it is full."""

from __future__ import annotations

from swarmd.core.ids import ContentId
from swarmd.core.rng import SeededRng
from swarmd.groups.providers import table as tables
from swarmd.groups.providers.record import ProviderRecord
from swarmd.groups.providers.table import MAX_OF_OBJECT, MAX_OF_PROVIDER, MAX_RECORDS, Table
from swarmd.groups.ring import GroupAddress
from tests.groups.builders import WALL, identity, peer_id
from tests.groups.providers.members import KEY, record

NEIGHBOUR, OTHER = peer_id(1), peer_id(2)


def table(seed: int = 1) -> Table:
    return Table(SeededRng(seed))


def elsewhere(made: ProviderRecord, number: int) -> ProviderRecord:
    """The same under another key; nobody verifies it here."""
    place = GroupAddress(ContentId(number.to_bytes(32, "big")))
    return ProviderRecord(place, made.certificate, made.created_at, made.is_held, made.addresses, made.encoded)


def test_the_latest_record_of_a_provider_counts() -> None:
    held = table()
    held.keep(record(1), NEIGHBOUR, 100.0)
    assert not held.is_news(record(1))
    assert not held.is_news(record(1, at=WALL - 5))
    gone = record(1, at=WALL + 1, is_held=False)
    assert held.is_news(gone)
    held.keep(gone, NEIGHBOUR, 100.0)
    assert held.holders(KEY, 0.0) == []
    assert not held.is_news(record(1)), "what was withdrawn does not come back"
    assert len(held) == 1


def test_expiry() -> None:
    held = table()
    held.keep(record(1), NEIGHBOUR, 100.0)
    held.keep(record(2), NEIGHBOUR, 200.0)
    assert [each.peer_id for each in held.holders(KEY, 150.0)] == [identity(2).peer_id], "before it is swept"
    held.expire(150.0)
    assert len(held) == 1
    held.expire(200.0)
    assert (len(held), list(held)) == (0, [])


def test_whoever_invents_providers_displaces_its_own() -> None:
    held = table()
    others = range(1, 9)
    for number in others:
        held.keep(record(number), OTHER, 100.0)
    for number in range(10, 10 + 2 * MAX_OF_OBJECT):
        held.keep(record(number), NEIGHBOUR, 100.0)
    holders = {each.peer_id for each in held.holders(KEY, 0.0)}
    assert len(holders) == MAX_OF_OBJECT
    assert {identity(number).peer_id for number in others} <= holders


def test_who_stays_does_not_depend_on_who_came_last() -> None:
    numbers = range(10, 10 + MAX_OF_OBJECT + 8)
    kept = []
    for order in (numbers, reversed(numbers)):
        held = table()
        for number in order:
            held.keep(record(number), NEIGHBOUR, 100.0)
        kept.append({each.peer_id for each in held.holders(KEY, 0.0)})
    assert kept[0] == kept[1]


def test_one_provider_has_a_share() -> None:
    held, made = table(), record(1)
    for number in range(MAX_OF_PROVIDER + 50):
        held.keep(elsewhere(made, number), NEIGHBOUR, 100.0)
    assert len(held) == MAX_OF_PROVIDER


def test_a_full_table_drops_what_came_from_the_busiest() -> None:
    held = table()
    held.keep(record(1), OTHER, 100.0)
    providers = [record(number) for number in range(2, 2 + MAX_RECORDS // MAX_OF_PROVIDER + 2)]
    for made in providers:
        for number in range(MAX_OF_PROVIDER):
            held.keep(elsewhere(made, number + 1), NEIGHBOUR, 100.0)
    assert len(held) <= tables.MAX_RECORDS
    assert held.holders(KEY, 0.0), "what the other has brought is still there"
