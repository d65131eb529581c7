"""Node IDs bound to addresses, tokens, items, storage and limits, each by itself."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from swarmd.core.addresses import Address
from swarmd.core.errors import InvalidArgument, RemoteError
from swarmd.core.rng import SeededRng
from swarmd.dht.contact import bound_id, decode_contacts, is_bound, network_of
from swarmd.dht.items import Item, Signer, immutable, is_signed, mutable_target, verified
from swarmd.dht.krpc import Code
from swarmd.dht.limits import MAX_NETWORKS, MAX_PROVED, PROVED_PERIOD, Limits, Rates
from swarmd.dht.storage import ITEM_PERIOD, PEER_PERIOD, Bounds, Storage
from swarmd.dht.tokens import ROTATE_PERIOD, Tokens

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
    assert is_bound(bytes.fromhex(node_id), Address(host, 1))
    assert not is_bound(bytes([bytes.fromhex(node_id)[0] ^ 1]) + bytes.fromhex(node_id)[1:], Address(host, 1))


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111"])
def test_an_id_made_for_an_address_is_bound_to_it(host: str) -> None:
    rng = SeededRng(1)
    ids = {bound_id(Address(host, 1), rng) for _ in range(50)}
    assert len(ids) == 50
    assert all(is_bound(node_id, Address(host, 9)) for node_id in ids)
    assert not any(is_bound(node_id, Address("9.9.9.9", 1)) for node_id in ids)


def test_local_addresses_are_exempt() -> None:
    assert is_bound(bytes(20), Address("192.168.1.1", 1))


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


def test_storage_is_bounded_and_a_flood_displaces_nothing() -> None:
    storage = Storage(Bounds(max_items=10, max_bytes=100_000, max_items_of_source=6))
    items = [immutable(number) for number in range(20)]
    codes = [_stored(storage, item, "flood") for item in items[:10]]
    assert codes == [None] * 6 + [Code.SERVER] * 4
    assert [_stored(storage, item, "other") for item in items[10:16]] == [None] * 4 + [Code.SERVER] * 2
    assert storage.item(items[0].target, NOW) == items[0]
    small = Storage(Bounds(max_bytes=2000))
    assert [_stored(small, immutable(bytes(500) + bytes([n]))) for n in range(3)] == [None, Code.SERVER, Code.SERVER]


def test_peers_are_bounded_and_expire() -> None:
    storage = Storage(Bounds(max_info_hashes=2, max_peers=3, max_peers_of_source=4))
    peers = [Address("192.0.2.1", port) for port in range(1, 6)]
    assert all(storage.announce(b"1", peer, str(peer), NOW) for peer in peers)
    assert storage.peers(b"1", NOW) == peers[2:], "the oldest give way"
    assert storage.announce(b"2", peers[0], "a", NOW)
    assert not storage.announce(b"3", peers[0], "a", NOW)
    assert [storage.announce(b"2", peer, "a", NOW) for peer in peers[:3]] == [True] * 3
    assert storage.peers(b"2", NOW + PEER_PERIOD) == []
    storage.expire_peers(NOW + PEER_PERIOD)
    assert storage.info_hashes == []
    assert storage.announce(b"3", peers[0], "a", NOW + PEER_PERIOD), "and make room"


def test_a_network_has_its_rate() -> None:
    limits = Limits(Rates(of_network=1, of_network_burst=5, in_all=100), NOW)
    asked = [limits.may_answer(Address(f"192.0.2.{number}", 1), NOW) for number in range(1, 11)]
    assert sum(asked) == 5
    assert limits.may_answer(Address("198.51.100.1", 1), NOW)
    assert limits.may_answer(HOME, NOW + 1.0)
    many = Limits(Rates(), NOW)
    answered = [many.may_answer(Address(f"10.{n >> 8}.{n & 255}.1", 1), NOW) for n in range(MAX_NETWORKS + 10)]
    assert sum(answered) == 5000, "the rate in all holds whoever asks"


def test_proof_is_of_an_address_and_for_a_time() -> None:
    limits = Limits(Rates(), NOW)
    limits.prove(HOME, NOW)
    assert limits.is_proved(HOME, NOW + PROVED_PERIOD - 1)
    assert not limits.is_proved(HOME, NOW + PROVED_PERIOD)
    assert not limits.is_proved(Address(HOME.host, 2), NOW)
    for number in range(MAX_PROVED):
        limits.prove(Address(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1), NOW)
    assert not limits.is_proved(HOME, NOW), "the oldest are forgotten"
