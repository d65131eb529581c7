"""Records in little memory: what goes in comes out again, and is found."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from swarmd.groups.authorisation import Right
from swarmd.groups.records import NUMBER_LIMIT, Entry, Record, RecordKind, Share, ShareKind
from swarmd.groups.recordtable import RecordTable, decode_held, entry_of

from .builders import DAY, WALL, authority, content_id, identity, record, restricted_spec, spec, tombstone

ONE, OTHER = identity(1).peer_id, identity(2).peer_id


def table(*records: Record) -> RecordTable:
    made = RecordTable(spec().group_id)
    for each in records:
        made.add(each)
    return made


def authorised(publisher: int, name: str, expires_at: float) -> Record:
    group = restricted_spec().group_id
    given = authority().authorise(group, identity(publisher).peer_id, Right.PUBLISH, int(expires_at * 1000))
    unsigned = replace(record(publisher, name=name, group_id=group), authorisation=given)
    return unsigned.signed_by(identity(publisher))


def test_records_are_found_by_whatever_they_are_looked_for() -> None:
    shares = [record(1, name="a", number=1), record(2, name="a", number=2), record(1, name="b", number=2)]
    gone = tombstone(2, name="c")
    made = table(*shares, gone)
    assert [made.get(each.digest) for each in (*shares, gone)] == [*shares, gone]
    assert made.get(record(3).digest) is None
    assert made.encoded(gone.digest) == gone.encode()
    assert made.find(OTHER, "c") == gone
    assert made.find(OTHER, "b") is None
    assert made.encoded_under(ONE, "b") == shares[2].encode()
    assert made.encoded_under(OTHER, "b") is None
    assert made.named("a", 9) == shares[:2]
    assert made.named("a", 1) == shares[:1]
    assert made.named("c", 9) == []
    assert made.with_content(content_id(2), 9) == shares[1:]
    assert made.shares_of(ONE) == [shares[0], shares[2]]
    assert made.latest_share_of(ONE) == shares[2]
    assert made.oldest_tombstones(OTHER, 9) == [gone]
    assert sorted(made.shares(), key=lambda each: each.digest) == sorted(shares, key=lambda each: each.digest)
    assert [decode_held(held) for held in made.held([gone.digest])] == [gone]
    assert (len(made), made.n_all_shares) == (4, 3)
    assert (made.n_shares, made.n_tombstones) == ({ONE: 2, OTHER: 1}, {OTHER: 1})


NUMBERS = st.sampled_from([0, 127, 128, 1000, 16_384, NUMBER_LIMIT]) | st.integers(0, NUMBER_LIMIT)


@given(
    st.text("aé日.", min_size=1, max_size=60).filter(lambda name: not name.endswith(".")),
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.sampled_from(ShareKind),
    st.booleans(),
)
def test_an_entry_says_what_the_record_does(
    name: str, seq: int, size: int, created_at: int, kind: ShareKind, is_restricted: bool
) -> None:
    first = authorised(1, "a", WALL) if is_restricted else record(1)
    each = replace(
        first,
        share=Share(name, content_id(9), size, kind),
        seq=seq,
        kind=RecordKind.TOMBSTONE if size % 2 else RecordKind.SHARE,
        created_at=created_at,
    )
    made = RecordTable(each.group_id)
    made.add(each)
    (held,) = made.held([each.digest])
    is_folder = kind is ShareKind.FOLDER
    assert entry_of(held) == Entry(each.is_tombstone, name, content_id(9), size, is_folder, created_at)


def test_what_is_removed_leaves_nothing_behind() -> None:
    made = table(record(1), tombstone(2))
    for each in (record(1), tombstone(2)):
        made.remove(each)
        assert each.digest not in made
    assert (len(made), made.n_all_shares, made.n_shares, made.n_tombstones) == (0, 0, {}, {})
    assert made._heads == {}
    made.add(record(3))
    assert len(made._bodies) == 2, "a slot is used again"
    assert made.find(identity(3).peer_id, "disk.iso") == record(3)


def test_records_with_authorisations_of_different_length_of_life() -> None:
    short, longer = authorised(1, "a", WALL + DAY), authorised(1, "b", WALL + 9 * DAY)
    made = table(short, longer)
    assert [made.get(each.digest) for each in (short, longer)] == [short, longer]
    assert made.encoded(short.digest) == short.encode()
    assert made.expired(WALL + DAY - 1, 99) == []
    assert made.expired(WALL + DAY, 99) == [short]


def test_tombstones_go_when_their_time_has_come_and_the_oldest_first() -> None:
    made = table()
    for place, until in enumerate((30.0, 10.0, 20.0)):
        made.add(tombstone(1, name=f"{place}"), until)
    assert [each.share.name for each in made.oldest_tombstones(ONE, 2)] == ["1", "2"]
    assert [each.share.name for each in made.expired(20.0, 99)] == ["1", "2"]
    assert made.until(tombstone(1, name="0")) == 30.0


EVERY = [record(who, name=name, number=n) for n, name in enumerate("ab") for who in (1, 2)] + [
    tombstone(3),
    tombstone(1),
]


@given(st.lists(st.integers(0, len(EVERY) - 1), max_size=40))
def test_putting_in_and_taking_out_in_any_order(steps: list[int]) -> None:
    made, held = table(), dict[int, Record]()
    for place in steps:
        if place in held:
            made.remove(held.pop(place))
        else:
            made.add(EVERY[place])
            held[place] = EVERY[place]
    assert {each.digest for each in EVERY if each.digest in made} == {each.digest for each in held.values()}
    assert [made.find(*each.key) for each in held.values()] == list(held.values())
    assert len(made) == len(held)
    assert made.n_all_shares == sum(not each.is_tombstone for each in held.values())
