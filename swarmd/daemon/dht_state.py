"""What a node of the DHT knows, as the store keeps it: spans become times of the wall clock, and spans again.

A clock that was set back makes nothing last longer than the machine allows (`dht.storage`); what has expired is left
out.
"""

from __future__ import annotations

from swarmd.core.addresses import Address
from swarmd.dht.contact import Contact
from swarmd.dht.items import Item
from swarmd.dht.state import SavedItem, SavedPeer, State
from swarmd.store.tables.dht import Cache, ItemFields, PeerRow, StoredRow


def fields_of(item: Item) -> ItemFields:
    return ItemFields(item.target, item.encoded, item.key, item.salt, item.seq, item.signature)


def item_of(fields: ItemFields) -> Item:
    return Item(fields.encoded, fields.key, fields.salt, fields.seq, fields.signature)


def row_of(saved: SavedItem, wall: float) -> StoredRow:
    return StoredRow(fields_of(saved.item), saved.source, wall + saved.remaining, wall - saved.age)


def cache_of(state: State, network: bytes, wall: float) -> Cache:
    return Cache(
        network,
        state.node_id,
        state.node_id_ipv6,
        contacts=tuple((contact.node_id, str(contact.address)) for contact in state.contacts),
        items=tuple(row_of(one, wall) for one in state.items),
        peers=tuple(PeerRow(one.info_hash, str(one.address), one.source, wall + one.remaining) for one in state.peers),
    )


def state_of(cache: Cache, wall: float) -> State:
    return State(
        cache.node_id,
        contacts=tuple(Contact(node_id, Address.parse(address)) for node_id, address in cache.contacts),
        items=tuple(
            SavedItem(item_of(row.item), row.source, row.expires_at - wall, max(0.0, wall - row.put_at))
            for row in cache.items
            if row.expires_at > wall
        ),
        peers=tuple(
            SavedPeer(row.info_hash, Address.parse(row.address), row.source, row.expires_at - wall)
            for row in cache.peers
            if row.expires_at > wall
        ),
        node_id_ipv6=cache.node_id_ipv6,
    )
