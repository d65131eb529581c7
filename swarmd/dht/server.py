"""Answers to others' questions. Decides only: what is sent, and to whom it may be sent, is `node`'s.

A question changes nothing but the storage, and that only with a token of ours.
"""

from __future__ import annotations

from dataclasses import replace

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng
from swarmd.dht import krpc
from swarmd.dht.announcements import Announcements
from swarmd.dht.clocks import Clocks
from swarmd.dht.contact import ID_BYTES, Contact, region_of
from swarmd.dht.items import MAX_SALT_BYTES, MAX_VALUE_BYTES, is_signed
from swarmd.dht.krpc import Code, Failure, Method, Query, Reply
from swarmd.dht.storage import Storage
from swarmd.dht.table import K, Table
from swarmd.dht.tokens import Tokens

SAMPLE_INTERVAL = 60
"""Seconds for which a sample stays the same (BEP 51): to ask again earlier gives nothing."""
MAX_SAMPLES = 20
MAX_PEERS = 50
"""In one answer, drawn at random: 400 bytes of IPv4."""
MAX_AGE = 86_400
_LARGEST_PART_BYTES = 38
"""A contact of IPv6."""
_TEXTS = {
    Code.PROTOCOL: b"bad token",
    Code.SERVER: b"no room",
    Code.TOO_LARGE: b"message (v field) too big",
    Code.SALT_TOO_LARGE: b"salt too big",
    Code.BAD_SIGNATURE: b"invalid signature",
    Code.CAS_MISMATCH: b"CAS mismatch",
    Code.SEQ_TOO_LOW: b"sequence number less than current",
}


class Server:
    def __init__(
        self,
        tables: dict[bool, Table],
        storage: Storage,
        announcements: Announcements,
        tokens: Tokens,
        clocks: Clocks,
        rng: Rng,
    ) -> None:
        self._tables = tables
        self._storage = storage
        self._announcements = announcements
        self._tokens = tokens
        self._clocks = clocks
        self._rng = rng
        self._samples: tuple[bytes, ...] = ()
        self._sampled_at = float("-inf")

    def answer(self, query: Query, own_id: bytes, address: Address, now: float) -> Reply | Failure:
        if query.method in (Method.PUT, Method.ANNOUNCE):
            code = self._store(query, address, now)
            if code is not None:
                return Failure(code.value, _TEXTS[code], query.transaction, address)
        clock = self._clocks.told(now)
        if query.method in (Method.PUT, Method.ANNOUNCE, Method.PING):
            return Reply(own_id, transaction=query.transaction, seen_as=address, clock=clock)
        families = query.want or (address.is_ipv6,)
        contacts = self._closest(query.target, families, address)
        has_token = query.method in (Method.GET_PEERS, Method.GET)
        token = self._tokens.token(address, query.target, now) if has_token else b""
        reply = Reply(
            own_id,
            contacts,
            token,
            transaction=query.transaction,
            seen_as=address,
            families=families,
            clock=clock,
        )
        if query.method is Method.GET_PEERS:
            return self._with_peers(reply, query, address, now)
        if query.method is Method.GET:
            return self._with_item(reply, query, now)
        return self._with_samples(reply, now) if query.method is Method.SAMPLE else reply

    def _closest(self, target: bytes, families: tuple[bool, ...], asker: Address) -> tuple[Contact, ...]:
        found: list[Contact] = []
        for ipv6 in families:
            if ipv6 in self._tables:
                near = self._tables[ipv6].closest(target, K)
                if any(contact.address == asker for contact in near):
                    near = [other for other in self._tables[ipv6].closest(target, K + 1) if other.address != asker]
                found += near
        return tuple(found)

    def _with_item(self, reply: Reply, query: Query, now: float) -> Reply:
        item = self._storage.item(query.target, now)
        if item is None:
            return reply
        if item.is_mutable and query.seq is not None and item.seq <= query.seq:
            return replace(reply, seq=item.seq)
        return replace(reply, item=item)

    def _with_peers(self, reply: Reply, query: Query, address: Address, now: float) -> Reply:
        """Of the family that asks: the two networks are independent, and `want` is for nodes alone (BEP 32)."""
        peers = [peer for peer in self._announcements.peers(query.target, now) if peer.is_ipv6 == address.is_ipv6]
        if not peers:
            return reply
        return replace(reply, peers=tuple(self._rng.sample(peers, min(MAX_PEERS, len(peers)))))

    def _with_samples(self, reply: Reply, now: float) -> Reply:
        hashes = self._announcements.info_hashes
        if now - self._sampled_at >= SAMPLE_INTERVAL:
            self._samples = tuple(self._rng.sample(hashes, min(MAX_SAMPLES, len(hashes))))
            self._sampled_at = now
        return replace(reply, samples=self._samples, n_stored=len(hashes), interval=SAMPLE_INTERVAL)

    def _store(self, query: Query, address: Address, now: float) -> Code | None:
        """Why it is not kept. What costs least is looked at first."""
        item = query.item
        if item is not None and len(item.encoded) > MAX_VALUE_BYTES:
            return Code.TOO_LARGE
        if item is not None and len(item.salt) > MAX_SALT_BYTES:
            return Code.SALT_TOO_LARGE
        target = query.target if item is None else item.target
        if not self._tokens.is_good(query.token, address, target, now):
            return Code.PROTOCOL
        source = region_of(address.host)
        if item is None:
            peer = Address(address.host, query.port or address.port)
            return None if self._announcements.announce(target, peer, source, now) else Code.SERVER
        if item.is_mutable and not is_signed(item):
            return Code.BAD_SIGNATURE
        return self._storage.put(target, item, source, now, cas=query.cas, age=min(query.age, MAX_AGE))


def fitted(reply: Reply, limit: int, key: bytes | None) -> bytes | None:
    """The datagram of at most `limit` bytes, with fewer contacts, peers or samples if need be; None when it does not
    fit without any."""
    data = krpc.encode(reply, key)
    while len(data) > limit:
        for _ in range(-(-(len(data) - limit) // _LARGEST_PART_BYTES)):
            smaller = _smaller(reply)
            if smaller is None:
                return None
            reply = smaller
        data = krpc.encode(reply, key)
    return data


def _smaller(reply: Reply) -> Reply | None:
    """Without one of what takes most room; None when nothing can be left out."""
    contacts, peers, samples = reply.contacts, reply.peers, reply.samples or ()
    sizes = len(contacts) * 26, len(peers) * 8, len(samples) * ID_BYTES
    if not any(sizes):
        return None
    if sizes[0] == max(sizes):
        return replace(reply, contacts=_fewer(contacts))
    if sizes[1] == max(sizes):
        return replace(reply, peers=peers[:-1])
    return replace(reply, samples=samples[:-1])


def _fewer(contacts: tuple[Contact, ...]) -> tuple[Contact, ...]:
    """Without the farthest one of the family that has more."""
    n_ipv6 = sum(contact.is_ipv6 for contact in contacts)
    drop_ipv6 = n_ipv6 * 2 >= len(contacts)
    last = max(index for index, contact in enumerate(contacts) if contact.is_ipv6 == drop_ipv6)
    return contacts[:last] + contacts[last + 1 :]
