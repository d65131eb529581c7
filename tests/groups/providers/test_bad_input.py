"""What hostile members say about providers: refused, charged to whom it comes from, and nothing else disturbed."""

from __future__ import annotations

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.groups.providers import links
from swarmd.groups.providers.announcing import REFRESH_PERIOD
from swarmd.groups.providers.links import ANNOUNCES_BURST, KEEPERS, MAX_PATHS_OF_ONE, QUESTIONS_BURST, TRANSIT_BURST
from swarmd.groups.providers.messages import HOP_LIMIT, Announce, Find, Held, Unknown
from swarmd.groups.providers.record import LIFETIME, key_of, sign_record
from swarmd.groups.providers.searching import CONFIRMATIONS, ENOUGH_ANSWERS, MAX_WAYS
from tests.groups.builders import WALL, content_id, identity, spec
from tests.groups.providers.members import ADDRESS, KEY, OBJECT, SPEC, Members, record

N = 40


def announce(encoded: bytes, *, is_copy: bool = False) -> Announce:
    return Announce(HOP_LIMIT, 0, is_copy, encoded)


def keeper_and_neighbour(members: Members) -> tuple[int, int]:
    nearest = members.by_distance()[0]
    return nearest, (nearest + 1) % len(members.all)


def charged(members: Members) -> list[int]:
    """Whom, and how much."""
    return [error.penalty for _, error in members.faults]


def test_a_forged_record_is_charged_to_who_brings_it() -> None:
    members = Members(N).ring()
    keeper, neighbour = keeper_and_neighbour(members)
    made = record(5).encoded
    members.send(neighbour, announce(made[:-1] + bytes([made[-1] ^ 1])), keeper)
    assert [(peer, error.penalty) for peer, error in members.faults] == [(members.peer(neighbour), 10)]
    assert members.keepers() == []
    members.send(neighbour, announce(made), keeper)
    assert keeper in members.keepers(), "the true one is taken all the same"


def test_a_forged_record_is_not_passed_on() -> None:
    """By somebody on the way, who would be charged for it."""
    members = Members(N).ring()
    far = members.by_distance()[-1]
    made = record(5).encoded
    before = len(members.carried)
    members.send((far + 1) % N, announce(made[:-1] + bytes([made[-1] ^ 1])), far)
    assert len(members.carried) == before + 1
    assert charged(members) == [10]


def test_a_record_of_another_group_is_refused() -> None:
    members = Members(N).ring()
    keeper, neighbour = keeper_and_neighbour(members)
    other = sign_record(identity(5), spec("other").group_id, KEY, int(WALL * 1000), is_held=True, addresses=(ADDRESS,))
    members.send(neighbour, announce(other.encoded), keeper)
    assert charged(members) == [10]
    assert members.keepers() == []


def test_a_replayed_record_brings_nobody_back() -> None:
    members = Members(N).ring()
    keeper, neighbour = keeper_and_neighbour(members)
    first, last = record(5), record(5, at=WALL + 1, is_held=False)
    for each in (first, last, first):
        members.send(neighbour, announce(each.encoded), keeper)
    assert members.find(members.by_distance()[-1]) == []
    members.now += LIFETIME + 2
    members.run(10.0)
    assert members.keepers() == []
    members.send(neighbour, announce(first.encoded), keeper)
    assert members.keepers() == [], "nor when all that was known of it has had its time"
    assert members.faults == []


def test_a_record_dated_far_ahead_is_not_taken() -> None:
    members = Members(N).ring()
    keeper, neighbour = keeper_and_neighbour(members)
    members.send(neighbour, announce(record(5, at=WALL + 3600).encoded), keeper)
    assert members.keepers() == []
    assert members.faults == [], "a clock may be wrong"


def test_a_record_of_ourselves_is_not_kept() -> None:
    """From before a restart, say."""
    members = Members(N).ring()
    keeper, neighbour = keeper_and_neighbour(members)
    own = sign_record(
        members.identities[keeper], SPEC.group_id, KEY, int(WALL * 1000), is_held=True, addresses=(ADDRESS,)
    )
    members.send(neighbour, announce(own.encoded), keeper)
    assert keeper not in members.keepers()


def test_a_copy_for_somebody_far_away_goes_no_further() -> None:
    members = Members(N).ring()
    far = members.by_distance()[-1]
    before = len(members.carried)
    members.send((far + 1) % N, announce(record(5).encoded, is_copy=True), far)
    assert len(members.carried) == before + 1
    assert members.keepers() == []


def test_a_flood_of_announcements_is_taken_at_its_rate() -> None:
    members = Members(N).ring()
    keeper, neighbour = keeper_and_neighbour(members)
    members.tap = lambda sender, receiver, data: data if sender == members.peer(neighbour) else None
    for number in range(int(ANNOUNCES_BURST)):
        key = key_of(SPEC.group_id, content_id(1000 + number))
        made = sign_record(identity(5), SPEC.group_id, key, int(WALL * 1000), is_held=True, addresses=())
        members.send(neighbour, announce(made.encoded), keeper)
    said = [each for each in members.carried if each[0] == members.peer(keeper)]
    assert len(said) <= TRANSIT_BURST + KEEPERS * members[keeper].info.n_records
    members.send(neighbour, announce(bytes(100)), keeper)
    assert members.faults == [], "what is over the rate is not even looked at"
    members.tap = lambda sender, receiver, data: data
    members.send((keeper + 2) % N, announce(record(6).encoded), keeper)
    assert members.find(members.by_distance()[-1]) == [identity(6).peer_id], "others are not held up by it"


def test_a_flood_of_questions_is_answered_at_its_rate() -> None:
    members = Members(N).ring()
    far = members.by_distance()[-1]
    neighbour = (far + 1) % N
    members.tap = lambda sender, receiver, data: data if sender == members.peer(neighbour) else None
    n = int(QUESTIONS_BURST) + 50
    for number in range(n):
        members.send(neighbour, Find(number.to_bytes(16, "big"), KEY), far)
    passed = [each for each in members.messages(Find) if each[0] == members.peer(far)]
    refused = [each for each in members.messages(Unknown) if each[0] == members.peer(far)]
    assert len(passed) == TRANSIT_BURST <= MAX_PATHS_OF_ONE
    assert len(passed) + len(refused) == n, "who is not served is told"
    assert members[far]._links.n_paths == len(passed)
    members.run(links.PATH_PERIOD + 10.0)
    assert members[far]._links.n_paths == 0


def test_a_holder_answers_a_flood_of_questions_at_its_rate() -> None:
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members[holder].provide([OBJECT], 0.0)
    neighbour = (holder + 1) % N
    for number in range(int(QUESTIONS_BURST) + 50):
        members.send(neighbour, Find(number.to_bytes(16, "big"), KEY), holder)
    answers = [each for each in members.messages(Held) if each[0] == members.peer(holder)]
    assert len(answers) == QUESTIONS_BURST


def test_a_path_is_taken_once() -> None:
    members = Members(N).ring()
    far = members.by_distance()[-1]
    members.tap = lambda sender, receiver, data: data if receiver == members.peer(far) else None
    for neighbour in ((far + 1) % N, (far + 2) % N):
        members.send(neighbour, Find(bytes(16), KEY), far)
    assert len([each for each in members.messages(Find) if each[0] == members.peer(far)]) == 1


def test_an_answer_to_another_question_is_charged() -> None:
    members = Members(N).ring()
    asker = members.by_distance()[-1]
    members.tap = lambda sender, receiver, data: None
    members[asker].find(OBJECT, 0.0)
    members.pump()
    _, asked, find = members.messages(Find)[-1]
    assert isinstance(find, Find)
    members.tap = lambda sender, receiver, data: data
    false = record(5, key=content_id(99)).encoded
    members.carry(asked, members.peer(asker), Held(find.path, (false,)).encode())
    assert charged(members) == [10]
    assert not members.events[asker]


def test_answers_that_nobody_asked_for_are_ignored() -> None:
    members = Members(N).ring()
    members.send(1, Held(bytes(16), (record(5).encoded,)), 0)
    members.send(1, Unknown(bytes(16)), 0)
    assert members.faults == []
    assert not members.events[0]


def test_an_answer_comes_from_who_was_asked() -> None:
    members = Members(N).ring()
    asker = members.by_distance()[-1]
    members.tap = lambda sender, receiver, data: None
    members[asker].find(OBJECT, 0.0)
    members.pump()
    _, asked, find = members.messages(Find)[-1]
    assert isinstance(find, Find)
    members.tap = lambda sender, receiver, data: data
    stranger = next(each for each in members.identities if each.peer_id not in (asked, members.peer(asker)))
    members.carry(stranger.peer_id, members.peer(asker), Held(find.path, (record(5).encoded,)).encode())
    members.pump()
    assert not members.events[asker]


def test_inventions_are_bounded_and_hide_nobody() -> None:
    """Three of four members whom the asker asks invent a provider each time."""
    members = Members(N).ring()
    holder = members.by_distance()[20]
    members.provide(holder)
    asker = members.by_distance()[-1]
    liars = {members.peer(number) for number in range(N) if number % 4} - {members.peer(asker), members.peer(holder)}
    invented = iter(range(100, 1000))

    def tap(sender: PeerId, receiver: PeerId, data: bytes) -> bytes | None:
        if sender == members.peer(asker) and receiver in liars and data[0] == Find.type:
            false = record(next(invented)).encoded
            path = data[1:17]
            members.carry(receiver, members.peer(asker), Held(path, (false,)).encode())
            return None
        return data

    members.tap = tap
    found = members.find(asker)
    assert members.peer(holder) in found
    assert len(found) <= ENOUGH_ANSWERS + 1
    assert members.faults == []


def test_one_answer_does_not_end_a_search_by_naming_somebody_often() -> None:
    members = Members(N).ring()
    asker = members.by_distance()[-1]
    members.tap = lambda sender, receiver, data: None
    members[asker].find(OBJECT, 0.0)
    members.pump()
    _, asked, find = members.messages(Find)[-1]
    assert isinstance(find, Find)
    members.tap = lambda sender, receiver, data: data if sender == asked else None
    members.carry(asked, members.peer(asker), Held(find.path, (record(5).encoded,) * 4).encode())
    members.pump()
    assert CONFIRMATIONS > 1
    assert [event.is_over for event in members.events[asker]] == [False]


def test_silence_ends_a_search_in_time() -> None:
    members = Members(N).ring()
    members.tap = lambda sender, receiver, data: None
    assert members.find(3) == []
    asked = [each for each in members.messages(Find) if each[0] == members.peer(3)]
    assert len(asked) <= MAX_WAYS


def test_a_member_that_keeps_nothing_does_not_hide_an_object() -> None:
    """The member nearest to the key says that it knows of nobody, and takes no announcement."""
    members = Members(N).ring()
    nearest, *_, asker = members.by_distance()
    bad = members.peer(nearest)

    def tap(sender: PeerId, receiver: PeerId, data: bytes) -> bytes | None:
        return None if receiver == bad and data[0] in (Announce.type, Find.type) else data

    members.tap = tap
    holder = members.by_distance()[20]
    members.provide(holder)
    members.run(REFRESH_PERIOD / 10)
    assert members.find(asker) == [members.peer(holder)]


def test_nothing_is_changed_by_a_message_that_is_refused() -> None:
    members = Members(N).ring()
    members.provide(members.by_distance()[20])
    before = [each.info.n_records for each in members.all]
    for data in (b"", b"\x30", b"\x34", b"\x32" + bytes(16) + b"\x00"):
        members.carry(members.peer(1), members.peer(0), data)
    assert len(members.faults) == 4
    assert all(isinstance(error, RemoteError) for _, error in members.faults)
    assert [each.info.n_records for each in members.all] == before
