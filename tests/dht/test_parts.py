"""Node IDs bound to addresses, tokens, items, storage and limits, each by itself."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht.announcements import PEER_PERIOD, Announcements, PeerBounds
from swarmd.dht.clocks import MAX_VOTERS as MAX_CLOCKS
from swarmd.dht.clocks import PERIOD as CLOCK_PERIOD
from swarmd.dht.clocks import Clocks
from swarmd.dht.contact import Contact, _crc32c, bound_id, bound_to, decode_contacts, is_bound, network_of
from swarmd.dht.identities import MAX_HOSTS, MAX_OF_HOST, PERIOD, Identities
from swarmd.dht.items import Item, Signer, immutable, is_signed, mutable_target, verified
from swarmd.dht.krpc import Code
from swarmd.dht.limits import MAX_NETWORKS, MAX_PROVED, PROVED_PERIOD, STRANGERS, Limits, Rates
from swarmd.dht.questions import ANSWER_TIMEOUT, RESEND_PERIOD, Questions
from swarmd.dht.sightings import MAX_VOTERS, Sightings
from swarmd.dht.state import State
from swarmd.dht.storage import ITEM_PERIOD, Bounds, Storage
from swarmd.dht.tokens import ROTATE_PERIOD, Tokens
from swarmd.dht.upkeep import Pinger

NOW = 50.0
HOME, AWAY = Address("192.0.2.1", 1), Address("192.0.2.2", 1)
SIGNER = Signer(b"s" * 32)


@pytest.mark.parametrize(
    ("host", "node_id"),
    [
        ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
        ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
        ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
        ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
        ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
    ],
)
def test_vectors_of_bep_42(host: str, node_id: str) -> None:
    last = int(node_id[-2:], 16)
    assert bound_to(host, last, bytes.fromhex(node_id)).hex() == node_id
    assert is_bound(bytes.fromhex(node_id), host)
    assert not is_bound(bytes([bytes.fromhex(node_id)[0] ^ 1]) + bytes.fromhex(node_id)[1:], host)


def test_ipv6_is_masked_as_bep_42_says() -> None:
    """No vectors are published for it: CRC-32C's own, and the formula by hand."""
    assert _crc32c(b"123456789") == 0xE3069283
    high = 0x2606470012345678
    for last in (0, 5, 255):
        wanted = _crc32c(((high & 0x0103070F1F3F7FFF) | (last & 7) << 61).to_bytes(8, "big")) >> 11
        made = bound_to("2606:4700:1234:5678::1", last, bytes(20))
        assert int.from_bytes(made[:4], "big") >> 11 == wanted and made[-1] == last


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111"])
def test_an_id_made_for_an_address_is_bound_to_it(host: str) -> None:
    rng = SeededRng(1)
    ids = {bound_id(Address(host, 1), rng) for _ in range(50)}
    assert len(ids) == 50
    assert all(is_bound(node_id, host) for node_id in ids)
    assert not any(is_bound(node_id, "9.9.9.9") for node_id in ids)


def test_local_addresses_are_exempt() -> None:
    assert is_bound(bytes(20), "192.168.1.1")


def test_networks() -> None:
    assert network_of("192.0.2.1") == network_of("192.0.2.255") != network_of("192.0.3.1")
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")


def test_compact_contacts_of_a_wrong_length() -> None:
    with pytest.raises(RemoteError):
        decode_contacts(bytes(27), ipv6=False, limit=8)


def test_tokens_last_for_two_turns() -> None:
    tokens = Tokens(SeededRng(1), NOW)
    token = tokens.token(HOME, b"t", NOW)
    assert tokens.is_good(token, Address(HOME.host, 99), b"t", NOW + 1.9 * ROTATE_PERIOD - ROTATE_PERIOD)
    assert not tokens.is_good(token, AWAY, b"t", NOW)
    assert not tokens.is_good(token, HOME, b"u", NOW)
    assert not tokens.is_good(b"", HOME, b"t", NOW)
    assert not tokens.is_good(token, HOME, b"t", NOW + 2 * ROTATE_PERIOD)


def test_vectors_of_bep_44() -> None:
    key = bytes.fromhex("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548")
    signature = (
        "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
        "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01"
    )
    item = Item(b"12:Hello World!", key, b"", 1, bytes.fromhex(signature))
    assert item.target.hex() == "4a533d47ec9c7d95b1ad75f576cffc641853b750"
    assert is_signed(item)
    salted = (
        "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d"
        "df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08"
    )
    item = Item(b"12:Hello World!", key, b"foobar", 1, bytes.fromhex(salted))
    assert item.target.hex() == "411eba73b6f087ca51a3795d9c8c938d365e32c1"
    assert is_signed(item)
    assert immutable(b"Hello World!").target.hex() == "e5f96f6f38320f0f33959cb4d3d656452117aadb"


def test_what_is_not_what_was_asked_for() -> None:
    item = SIGNER.item(b"value", 3, b"salt")
    assert verified(item, mutable_target(SIGNER.key, b"salt")) == item
    for false in (
        dataclasses.replace(item, encoded=b"5:other"),
        dataclasses.replace(item, seq=4),
        dataclasses.replace(item, salt=b""),
        dataclasses.replace(item, key=b"k" * 32),
        Signer(b"t" * 32).item(b"value", 3, b"salt"),
        immutable(b"value"),
    ):
        with pytest.raises(RemoteError):
            verified(false, item.target)
    large = Item(b"1001:" + bytes(1001))
    with pytest.raises(RemoteError):
        verified(large, hashlib.sha1(large.encoded).digest())


def test_items_that_are_too_large_are_the_callers_mistake() -> None:
    assert len(immutable(bytes(996)).encoded) == 1000
    with pytest.raises(InvalidArgument):
        immutable(bytes(997))
    with pytest.raises(InvalidArgument):
        SIGNER.item(b"", 1, bytes(65))


def _stored(storage: Storage, item: Item, source: str = "a", now: float = NOW, cas: int | None = None) -> Code | None:
    return storage.put(item.target, item, source, now, cas=cas)


def test_a_seq_only_grows() -> None:
    storage = Storage()
    first, second = SIGNER.item(b"1", 1), SIGNER.item(b"2", 2)
    assert _stored(storage, second) is None
    assert _stored(storage, second) is None, "the same again keeps it alive"
    assert _stored(storage, first) is Code.SEQ_TOO_LOW
    assert _stored(storage, SIGNER.item(b"other", 2)) is Code.SEQ_TOO_LOW
    assert _stored(storage, SIGNER.item(b"3", 3), cas=1) is Code.CAS_MISMATCH
    assert _stored(storage, SIGNER.item(b"3", 3), cas=2) is None
    found = storage.item(first.target, NOW)
    assert found is not None and found.seq == 3


def test_items_expire_unless_they_are_put_again() -> None:
    storage = Storage()
    kept, lost = immutable(b"kept"), immutable(b"lost")
    _stored(storage, kept)
    _stored(storage, lost)
    _stored(storage, kept, now=NOW + ITEM_PERIOD / 2)
    storage.expire(NOW + ITEM_PERIOD)
    assert [stored.item for stored in storage.items()] == [kept]
    assert storage.item(lost.target, NOW + ITEM_PERIOD) is None
    storage.expire(NOW + 2 * ITEM_PERIOD)
    assert (len(storage), storage.n_bytes) == (0, 0)


def test_a_put_that_is_sent_again_is_taken_again_whatever_its_cas() -> None:
    storage = Storage()
    _stored(storage, SIGNER.item(b"1", 1))
    second = SIGNER.item(b"2", 2)
    assert [_stored(storage, second, cas=1) for _ in range(2)] == [None, None]


def test_a_restart_gives_nothing_more_time() -> None:
    storage, announcements = Storage(), Announcements()
    item, lost = immutable(b"kept"), SIGNER.item(b"lost", 1)
    _stored(storage, lost, now=NOW)
    _stored(storage, item, now=NOW + 600)
    announcements.announce(b"h" * 20, HOME, "a", NOW + 600)
    state = State(bytes(20), (), storage.saved(NOW + 900), announcements.saved(NOW + 900))
    later = Storage()
    later.restore(state.aged(ITEM_PERIOD - 900).items, 5.0)
    assert [stored.item for stored in later.items()] == [item]
    assert (later.item(item.target, 604.0), later.item(item.target, 606.0)) == (item, None)
    assert later.saved(5.0)[0].age == pytest.approx(ITEM_PERIOD - 600)
    assert state.aged(ITEM_PERIOD - 900).peers == ()
    soon = Announcements()
    soon.restore(state.peers, 5.0)
    assert soon.peers(b"h" * 20, 5.0 + PEER_PERIOD - 301) == [HOME]
    assert soon.peers(b"h" * 20, 5.0 + PEER_PERIOD - 299) == []
    assert state.aged(-1e9) == state, "a clock that was set back"


def test_a_clock_is_ahead_of_what_most_say() -> None:
    clocks = Clocks()
    assert (clocks.told(NOW), clocks.ahead(NOW)) == (None, None)
    clocks.set(1_000_000.0, NOW)
    assert (clocks.told(NOW), clocks.told(NOW + 26), clocks.ahead(NOW)) == (1_000_000, 1_000_030, None)
    for number, wall in enumerate((999_400, 999_300, 999_400, 5, 2**62)):
        clocks.heard(Address(f"20.0.{number}.1", 1), wall, NOW)
    for port in range(9):
        clocks.heard(Address("20.0.4.7", port), 2**62, NOW)
    assert clocks.ahead(NOW) == 600.0, "the lies of one network are one"
    clocks.set(999_410.0, NOW + 10)
    assert clocks.ahead(NOW + 10) == 0.0, "it was set"
    assert clocks.ahead(NOW + CLOCK_PERIOD) is None
    for number in range(2 * MAX_CLOCKS):
        clocks.heard(Address(f"20.1.{number}.1", 1), 7, NOW)
    assert len(clocks._votes) == MAX_CLOCKS


def test_new_items_are_given_out_once() -> None:
    """And such as were put again, with nothing new, not at all."""
    storage, (first, second, third) = Storage(), (immutable(b"%d" % number) for number in range(3))
    for item in (first, second, third, first):
        _stored(storage, item)
    assert [saved.item for saved in storage.take_new(2, NOW)] == [first, second]
    _stored(storage, SIGNER.item(b"1", 1))
    _stored(storage, SIGNER.item(b"2", 2))
    _stored(storage, second, now=NOW + 10)
    assert [saved.item.encoded for saved in storage.take_new(9, NOW + 10)] == [third.encoded, b"1:2"]
    assert not storage.has_new
    _stored(storage, immutable(b"gone"), now=NOW + 20)
    assert storage.take_new(9, NOW + 20 + ITEM_PERIOD) == ()
    later = Storage()
    later.restore(storage.saved(NOW + 20), NOW + 20)
    assert not later.has_new


def test_storage_is_bounded_and_a_flood_displaces_nothing() -> None:
    storage = Storage(Bounds(max_items=10, max_bytes=100_000, share=0.3))
    items = [immutable(number) for number in range(20)]
    codes = [_stored(storage, item, "flood") for item in items[:10]]
    assert codes == [None] * 5 + [Code.SERVER] * 5, "half of the room, while nobody else wants it"
    assert [_stored(storage, item, "other") for item in items[10:15]] == [None] * 3 + [Code.SERVER] * 2
    assert [_stored(storage, item, "third") for item in items[15:18]] == [None] * 2 + [Code.SERVER]
    assert storage.item(items[0].target, NOW) == items[0]


def test_storage_is_bounded_in_bytes_too() -> None:
    items = [
        immutable(bytes(500) + bytes([number])) for number in range(6)
    ]  # 1,105 bytes each with ITEM_OVERHEAD_BYTES
    storage = Storage(Bounds(max_bytes=4_000, share=0.5))
    assert [_stored(storage, item, "flood") for item in items[:2]] == [None, Code.SERVER], "its share"
    others = [_stored(storage, item, source) for item, source in zip(items[2:], "abcd", strict=True)]
    assert others == [None, None, Code.SERVER, Code.SERVER], "the whole"
    assert 3_300 <= storage.n_bytes <= 4_000


def test_peers_are_bounded_and_expire() -> None:
    kept = Announcements(PeerBounds(max_info_hashes=2, max_peers=3, max_in_all=6))
    peers = [Address("192.0.2.1", port) for port in range(1, 6)]
    assert all(kept.announce(b"1", peer, str(peer), NOW) for peer in peers)
    assert kept.peers(b"1", NOW) == peers[2:], "the oldest give way"
    assert kept.announce(b"1", peers[2], "a", NOW), "once more"
    assert kept.peers(b"1", NOW) == [*peers[3:], peers[2]]
    assert kept.announce(b"2", peers[0], "b", NOW)
    assert not kept.announce(b"3", peers[0], "c", NOW)
    assert kept.peers(b"2", NOW + PEER_PERIOD) == []
    kept.expire(NOW + PEER_PERIOD)
    assert kept.info_hashes == []
    assert kept.announce(b"3", peers[0], "a", NOW + PEER_PERIOD), "and make room"


def test_a_flood_of_announcements_displaces_itself_and_leaves_room() -> None:
    kept = Announcements(PeerBounds(max_info_hashes=20, max_peers=10, max_in_all=40, share=0.2))
    honest = [Address(f"192.0.2.{number}", 1) for number in range(4)]
    assert all(kept.announce(b"key", peer, peer.host, NOW) for peer in honest)
    for port in range(1, 100):
        kept.announce(b"key", Address("203.0.113.1", port), "flood", NOW + 1)
    assert kept.peers(b"key", NOW)[:4] == honest and len(kept.peers(b"key", NOW)) == 10
    taken = [kept.announce(b"%d" % number, honest[0], "flood", NOW) for number in range(100)]
    assert sum(taken) == 9, "half of the info hashes, no more"
    others = [kept.announce(b"other%d" % number, honest[0], str(number), NOW) for number in range(20)]
    assert sum(others) == 10, "the other half is there for others"
    assert kept.announce(b"key", honest[1], honest[1].host, NOW + 2)


def test_a_network_has_its_rate() -> None:
    limits = Limits(Rates(of_network=1, of_network_burst=5, in_all=100), NOW)
    asked = [limits.may_answer(Address(f"192.0.2.{number}", 1), NOW) for number in range(1, 11)]
    assert sum(asked) == 5
    assert limits.may_answer(Address("198.51.100.1", 1), NOW)
    assert limits.may_answer(HOME, NOW + 1.0)
    many = Limits(Rates(in_all=1000), NOW)
    many.prove(HOME, NOW)
    answered = [many.may_answer(Address(f"10.{n >> 8}.{n & 255}.1", 1), NOW) for n in range(MAX_NETWORKS + 10)]
    assert sum(answered) == 1000 * STRANGERS, "the rate in all holds whoever asks"
    assert sum(many.may_answer(HOME, NOW) for _ in range(400)) == 200, "and leaves room for the known"
    assert len(many._networks) == MAX_NETWORKS


def test_proof_is_of_an_address_and_for_a_time() -> None:
    limits = Limits(Rates(), NOW)
    limits.prove(HOME, NOW)
    assert limits.is_proved(HOME, NOW + PROVED_PERIOD - 1)
    assert not limits.is_proved(HOME, NOW + PROVED_PERIOD)
    assert not limits.is_proved(Address(HOME.host, 2), NOW)
    for number in range(MAX_PROVED):
        limits.prove(Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1), NOW)
    assert not limits.is_proved(HOME, NOW), "the oldest are forgotten"


def test_a_key_of_small_order_signs_nothing() -> None:
    """Its "signature" of zeros holds for any value, so an item under it would be anybody's."""
    key = bytes([1]) + bytes(31)
    item = Item(b"5:false", key, b"", 1, key + bytes(32))
    assert not is_signed(item)
    with pytest.raises(RemoteError):
        verified(item, item.target)


def test_our_address_is_what_most_networks_say() -> None:
    sightings = Sightings()
    home, false = Address("9.9.9.9", 5), Address("8.8.8.8", 5)
    for number in range(200):
        sightings.heard(Address(f"20.0.0.{number}", 1), false, NOW)
    assert sightings.address(ipv6=False) == false
    for number in range(2):
        sightings.heard(Address(f"20.0.{number + 1}.1", 1), home, NOW)
    assert sightings.address(ipv6=False) == home, "all of a /24 have one vote"
    sightings.heard(Address("192.168.0.7", 1), Address("192.168.0.5", 5), NOW)
    assert sightings.address(ipv6=False) == home, "what the public internet sees comes first"
    assert sightings.address(ipv6=True) is None
    sightings.heard(Address("20.0.9.1", 1), Address("2001:db8::1", 5), NOW)
    assert sightings.address(ipv6=True) is None, "of the other family"
    for number in range(MAX_VOTERS):
        sightings.heard(Address(f"21.0.{number}.1", 1), false, NOW)
    assert sightings.address(ipv6=False) == false, "the latest count"


def test_a_question_is_sent_twice_and_ends_once() -> None:
    questions = Questions(SeededRng(1))
    first = questions.add(HOME, None, Pinger(), NOW, is_once=False)
    once = questions.add(AWAY, None, Pinger(), NOW, is_once=True)
    answered = questions.add(HOME, None, Pinger(), NOW, is_once=False)
    assert questions.take(answered.transaction, AWAY) is None, "somebody else's answer"
    assert questions.take(answered.transaction, HOME) is answered
    assert questions.next_deadline == NOW + RESEND_PERIOD
    assert list(questions.late(NOW)) == []
    assert list(questions.late(NOW + RESEND_PERIOD)) == [first]
    assert list(questions.late(NOW + RESEND_PERIOD)) == []
    assert questions.next_deadline == NOW + ANSWER_TIMEOUT
    assert list(questions.overdue(NOW + ANSWER_TIMEOUT)) == [first, once]
    assert not len(questions)
    assert questions.next_deadline is None


def test_an_address_has_one_id_and_a_host_a_few() -> None:
    identities = Identities()
    ids = [bytes([number]) * 20 for number in range(10)]
    identities.heard(Contact(ids[0], Address("9.9.9.9", 1)), NOW)
    assert identities.is_credible(Contact(ids[0], Address("9.9.9.9", 1)), NOW)
    assert not identities.is_credible(Contact(ids[1], Address("9.9.9.9", 1)), NOW), "another ID each time"
    for number in range(1, 10):
        identities.heard(Contact(ids[number], Address("9.9.9.9", number + 1)), NOW)
    credible = [identities.is_credible(Contact(ids[n], Address("9.9.9.9", n + 1)), NOW) for n in range(10)]
    assert credible == [True] * MAX_OF_HOST + [False] * (10 - MAX_OF_HOST)
    for port in range(50, 60):
        moved = Contact(ids[0], Address("9.9.9.9", port))
        assert identities.is_credible(moved, NOW), "at another port with the same ID"
        identities.heard(moved, NOW)
    assert identities.is_credible(Contact(ids[1], Address("9.9.9.9", 2)), NOW), "that displaces nobody"
    assert not identities.is_credible(Contact(ids[9], Address("9.9.9.9", 70)), NOW)
    assert identities.is_credible(Contact(ids[9], Address("9.9.9.9", 70)), NOW + PERIOD), "for a time"
    for number in range(100):
        identities.heard(Contact(ids[0], Address("192.168.0.1", number + 1)), NOW)
    assert identities.is_credible(Contact(ids[1], Address("192.168.0.1", 1)), NOW), "local ones are not counted"
    for number in range(MAX_HOSTS):
        identities.heard(Contact(ids[0], Address(f"20.{number >> 8}.{number & 255}.1", 1)), NOW)
    assert identities.is_credible(Contact(ids[1], Address("9.9.9.9", 1)), NOW), "the longest unheard are forgotten"
