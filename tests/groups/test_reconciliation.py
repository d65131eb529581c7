"""Two sets of digests find out how they differ."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.groups.reconciliation import (
    MAX_DEPTH,
    MAX_LISTED,
    ROOT,
    DigestSet,
    Listing,
    Prefix,
    Summary,
    opening,
    respond,
)


def digest(number: int) -> bytes:
    return sha256(b"%d" % number).digest()[:16]


def digests(*ranges: range) -> DigestSet:
    return DigestSet(digest(number) for numbers in ranges for number in numbers)


def reconcile(one: DigestSet, other: DigestSet) -> tuple[set[bytes], set[bytes], int, int]:
    """What each side finds out that it lacks, the round trips, and the summaries and digests sent."""
    sides, lacking = (one, other), (set[bytes](), set[bytes]())
    first = opening(one)
    sent: list[tuple[int, Listing | Summary]] = [(1, first)]
    rounds = traffic = 0
    while sent:
        rounds += 1
        answers: list[tuple[int, Listing | Summary]] = []
        for receiver, message in sent:
            own, sender = sides[receiver], 1 - receiver
            if isinstance(message, Listing):
                traffic += len(message.digests)
                span = set(own.span(message.prefix))
                lacking[receiver].update(set(message.digests) - span)
                lacking[sender].update(span - set(message.digests))
                continue
            traffic += 1
            answer = respond(own, message)
            answers += [(sender, part) for part in (answer if isinstance(answer, list) else [answer])]
        sent = answers
    return lacking[0], lacking[1], (rounds + 1) // 2, traffic


def test_the_fingerprint_is_the_hash_of_the_sorted_digests() -> None:
    held = digests(range(3))
    expected = sha256(b"".join(sorted(digest(number) for number in range(3)))).digest()[:16]
    assert held.root() == Summary(ROOT, 3, expected)
    assert DigestSet().root() == Summary(ROOT, 0, sha256(b"").digest()[:16])


def test_the_fingerprint_of_many_is_the_hash_of_their_number_and_their_subtrees() -> None:
    held = digests(range(500))
    children = b"".join(held.summary(child).fingerprint for child in ROOT.children())
    expected = sha256((500).to_bytes(4, "big") + children).digest()[:16]
    assert held.root() == Summary(ROOT, 500, expected)
    few = digests(range(MAX_LISTED))
    assert few.root().fingerprint == sha256(b"".join(few)).digest()[:16]


def test_the_sum_of_a_known_set() -> None:
    """A vector: who computes it otherwise never agrees with others."""
    assert digests(range(1000)).root().fingerprint.hex() == "c89819eabd2c8debacfa7a6e40199509"


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=400))
def test_sums_follow_every_change(steps: list[tuple[bool, int]]) -> None:
    """As if it had been made anew, whatever was asked in between."""
    held, model = digests(range(60)), {digest(number) for number in range(60)}
    for is_added, number in steps:
        (held.add if is_added else held.discard)(digest(number))
        (model.add if is_added else model.discard)(digest(number))
        held.root()
    fresh = DigestSet(sorted(model))
    assert list(held) == sorted(model)
    for prefix in (ROOT, *ROOT.children(), *ROOT.children()[3].children()):
        assert held.summary(prefix) == fresh.summary(prefix)


def test_going_through_everything_in_pieces() -> None:
    held, found, after = digests(range(1000)), list[bytes](), bytes(16)
    while page := held.following(after, 7):
        found += page
        after = page[-1]
    assert found == list(held) == sorted(digest(number) for number in range(1000))


def test_adding_and_discarding_come_back_to_the_same_sum() -> None:
    held = digests(range(100))
    before = held.root()
    held.add(digest(200))
    held.add(digest(200))
    assert held.root() != before
    assert len(held) == held.root().count == 101
    assert digest(200) in held
    held.discard(digest(200))
    held.discard(digest(200))
    assert held.root() == before
    assert digest(200) not in held


def test_the_children_divide_a_subtree() -> None:
    held = digests(range(500))
    for prefix in (ROOT, ROOT.children()[15], ROOT.children()[0].children()[3]):
        children = prefix.children()
        assert [each for child in children for each in held.span(child)] == held.span(prefix)
        assert all(each in prefix for each in held.span(prefix))
        assert sum(held.count(child) for child in children) == held.count(prefix)
        assert all(child.after == next_one.first for child, next_one in pairwise(children))


def test_a_leaf_holds_one_digest() -> None:
    leaf = Prefix(MAX_DEPTH, digest(1))
    assert digests(range(50)).span(leaf) == [digest(1)]
    assert Prefix(MAX_DEPTH, b"\xff" * 16).after is None


@pytest.mark.parametrize(
    ("depth", "first"),
    [(-1, bytes(16)), (33, bytes(16)), (1, bytes(15)), (1, b"\x01" + bytes(15)), (0, b"\x10" + bytes(15))],
)
def test_prefixes_that_are_none(depth: int, first: bytes) -> None:
    with pytest.raises(ValueError):
        Prefix(depth, first)


def test_equal_sets_need_one_message_and_no_answer() -> None:
    assert reconcile(digests(range(1000)), digests(range(1000))) == (set(), set(), 1, 1)


def test_a_newcomer_learns_all_in_one_round_trip() -> None:
    lacking, none, rounds, traffic = reconcile(DigestSet(), digests(range(1000)))
    assert (len(lacking), len(none), rounds, traffic) == (1000, 0, 1, 0)


def test_few_differences_cost_little() -> None:
    one, other = digests(range(10_000)), digests(range(5, 10_003))
    lacking, offered, rounds, traffic = reconcile(one, other)
    assert lacking == {digest(number) for number in range(10_000, 10_003)}
    assert offered == {digest(number) for number in range(5)}
    assert rounds <= 3
    assert traffic < 8 * (3 * 16 + MAX_LISTED)


def test_the_cost_grows_with_the_differences_and_not_with_the_catalogue() -> None:
    """Of 16 summaries a level, and one list of what lies beside each."""
    costs = {}
    for size in (4_000, 64_000):
        one, other = digests(range(size)), digests(range(10, size))
        costs[size] = reconcile(one, other)[3]
    assert costs[64_000] < costs[4_000] + 10 * (2 * 16 + MAX_LISTED)


@given(
    common=st.sets(st.integers(0, 10**6), max_size=300),
    only_one=st.sets(st.integers(10**7, 10**8), max_size=200),
    only_other=st.sets(st.integers(10**9, 10**10), max_size=200),
)
def test_both_always_find_exactly_what_they_lack(common: set[int], only_one: set[int], only_other: set[int]) -> None:
    one = DigestSet(digest(number) for number in common | only_one)
    other = DigestSet(digest(number) for number in common | only_other)
    lacking, offered, rounds, _ = reconcile(one, other)
    assert lacking == {digest(number) for number in only_other}
    assert offered == {digest(number) for number in only_one}
    assert rounds <= 4


@given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 255)), max_size=120))
def test_digests_that_somebody_chose_to_be_alike_are_no_trouble(flips: list[tuple[int, int]]) -> None:
    """Ground to share long prefixes: the tree is at most 32 deep."""
    base = DigestSet(bytes(15) + bytes([number]) for number in range(100))
    other = DigestSet(base.span(ROOT))
    for _, last in flips:
        other.add(bytes(14) + b"\x01" + bytes([last]))
    lacking, offered, _, _ = reconcile(base, other)
    assert lacking == set(other.span(ROOT)) - set(base.span(ROOT))
    assert offered == set()


def test_where_the_other_side_has_few_it_is_asked_to_list_them() -> None:
    held = digests(range(1000))
    assert respond(held, Summary(ROOT, 3, bytes(16))) == [held.root()]
    assert isinstance(respond(digests(range(3)), held.root()), Listing)
    assert respond(held, held.root()) == []
