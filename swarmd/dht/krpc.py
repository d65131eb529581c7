"""KRPC messages (BEP 5, 32, 33, 43, 44, 51): the bytes of one datagram and what they say.

A message is a query, a reply or a failure. Decoding checks every field that it uses, by type and length, and ignores
the rest, since Mainline nodes add keys of their own (BEP 33's filters among them). Encoding is canonical.

On a private network a message ends with the key `zs`, which sorts last: 16 bytes of keyed BLAKE2s over all that is
before it. Mainline nodes ignore it; nodes with the key refuse messages without it. It tells who may take part, not
that a message is fresh: what must not be replayed is bound to a token or a transaction. Replies there say the time
(`now`, seconds), to addresses that have proved themselves.

RemoteError for what is no message; `Unanswerable` when it is a query that deserves an error reply, though its bencode
may be wrong (BEP 44: values with keys out of order) or it be too long.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2s
from typing import TypeAlias

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.dht import bencode
from swarmd.dht.contact import ID_BYTES, Contact, decode_address, decode_contacts, encode_contacts
from swarmd.dht.items import KEY_BYTES, SIGNATURE_BYTES, Item

MAX_MESSAGE_BYTES = 2048
"""A value of 1,000 bytes with 16 contacts and a signature takes 2,000; more would not cross a network in one packet."""
MAX_TRANSACTION_BYTES = 32
MAX_TOKEN_BYTES = 64
MAX_CONTACTS = 32
"""Of each family in a reply: more than any implementation sends."""
MAX_PEERS = 200
MAX_SAMPLES = 40
TAG_BYTES = 16
_TAG_KEY = b"2:zs16:"
_TAIL_BYTES = len(_TAG_KEY) + TAG_BYTES + 1
_MAX_ERROR_TEXT_BYTES = 60
PADDING_BYTES = 400
"""Of a read-only node's questions: an answer may have three times their bytes, and the largest item needs 1,260."""

Fields: TypeAlias = dict[bytes, bencode.Value]


class Method(Enum):
    PING = b"ping"
    FIND_NODE = b"find_node"
    GET_PEERS = b"get_peers"
    ANNOUNCE = b"announce_peer"
    GET = b"get"
    PUT = b"put"
    SAMPLE = b"sample_infohashes"


class Code(Enum):
    """Of a failure (BEP 5, 44)."""

    GENERIC = 201
    SERVER = 202
    PROTOCOL = 203
    METHOD = 204
    TOO_LARGE = 205
    BAD_SIGNATURE = 206
    SALT_TOO_LARGE = 207
    CAS_MISMATCH = 301
    SEQ_TOO_LOW = 302


@dataclass(frozen=True, slots=True)
class Query:
    """`target` is also the info hash. `want` names families: (False,) IPv4, (True,) IPv6. None: the question's own."""

    method: Method
    sender: bytes
    target: bytes = b""
    want: tuple[bool, ...] | None = None
    token: bytes = b""
    port: int = 0
    """Of announce_peer; 0 is the one that the datagram came from."""
    item: Item | None = None
    cas: int | None = None
    seq: int | None = None
    """Of get: only an item that is newer."""
    age: int = 0
    """Of put between nodes of a private network: seconds since the owner put it. Unknown to BEP 44, ignored there."""
    is_read_only: bool = False
    transaction: bytes = b""
    n_padding: int = 0
    """Bytes that say nothing, under a key that nobody knows."""

    def sent(self, sender: bytes, transaction: bytes, is_read_only: bool) -> Query:
        """The same from `sender`; `dataclasses.replace` would take twice as long.

        Who is read-only cannot prove its address, since it answers no ping: it makes its question larger instead."""
        kept = self.target, self.want, self.token, self.port, self.item, self.cas, self.seq, self.age
        is_padded = is_read_only and self.method in (Method.GET, Method.GET_PEERS)
        return Query(self.method, sender, *kept, is_read_only, transaction, PADDING_BYTES if is_padded else 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """`item` has no salt: it is known to who asked. `seq` without `item`: there is nothing newer."""

    sender: bytes
    contacts: tuple[Contact, ...] = ()
    token: bytes = b""
    peers: tuple[Address, ...] = ()
    item: Item | None = None
    seq: int | None = None
    samples: tuple[bytes, ...] | None = None
    n_stored: int = 0
    interval: int = 0
    seen_as: Address | None = None
    """The address that the asker has, for who answers (BEP 42)."""
    transaction: bytes = b""
    families: tuple[bool, ...] = field(default=(), compare=False)
    """As in `want`: their keys are there even with no contacts (BEP 5, 32). Not read."""
    clock: int | None = None
    """Seconds of wall time (`now`), where it is known and there is room. Of private networks, unknown to Mainline."""


@dataclass(frozen=True, slots=True)
class Failure:
    code: int
    text: bytes = b""
    transaction: bytes = b""
    seen_as: Address | None = None
    """As in a reply."""


Message: TypeAlias = "Query | Reply | Failure"


class Unanswerable(RemoteError):
    """A query that is wrong; `failure` may be sent back."""

    def __init__(self, message: str, failure: Failure) -> None:
        super().__init__(message)
        self.failure = failure


def encode(message: Message, key: bytes | None = None) -> bytes:
    """The datagram; with a network `key`, tagged.

    Written key by key in their order, items as the bytes they are kept in: 4 us, where a dictionary made and sorted
    takes 8. Each test of this decodes it again as strict bencode, which refuses keys out of order."""
    if isinstance(message, Query):
        head = _query_head(message)
    elif isinstance(message, Reply):
        head = _reply_head(message)
    else:
        head = b"d1:eli%de%d:%be" % (message.code, len(message.text), message.text) + _seen_as(message.seen_as)
    kind = b"q" if isinstance(message, Query) else b"r" if isinstance(message, Reply) else b"e"
    data = b"%b1:t%d:%b1:y1:%be" % (head, len(message.transaction), message.transaction, kind)
    return data if key is None else tagged(data, key)


def tagged(data: bytes, key: bytes) -> bytes:
    """The bytes of a message as one of a private network."""
    return data[:-1] + _TAG_KEY + _tag(data, key) + b"e"


def decode(data: bytes, key: bytes | None = None) -> Message:
    if key is not None:
        _check_tag(data, key)
    try:
        if len(data) > MAX_MESSAGE_BYTES:
            raise RemoteError("too long", penalty=5)
        fields = bencode.decode(data)
    except RemoteError as error:
        raise _refusal(data, error) from None
    if not isinstance(fields, dict):
        raise RemoteError("KRPC is a dictionary")
    transaction = _octets(fields, b"t", limit=MAX_TRANSACTION_BYTES)
    kind = fields.get(b"y")
    if kind == b"q":
        return _decode_query(fields, transaction)
    if kind == b"r":
        return _decode_reply(fields, transaction)
    if kind == b"e":
        return _decode_failure(fields, transaction)
    raise RemoteError("a KRPC message of no known kind")


def _refusal(data: bytes, error: RemoteError) -> RemoteError:
    """Of a message that cannot be read: what may be said to its sender, if it is a query."""
    try:
        fields = bencode.outline(data)
        transaction = bencode.decode(fields.get(b"t", b""))
    except RemoteError:
        return error
    if fields.get(b"y") != b"1:q" or not isinstance(transaction, bytes) or len(transaction) > MAX_TRANSACTION_BYTES:
        return error
    is_large = len(data) > MAX_MESSAGE_BYTES and fields.get(b"q") == b"3:put"
    code = Code.TOO_LARGE if is_large else Code.PROTOCOL
    return Unanswerable(str(error), Failure(code.value, str(error).encode(), transaction))


def _tag(data: bytes, key: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=TAG_BYTES).digest()


def _check_tag(data: bytes, key: bytes) -> None:
    body, tail = data[:-_TAIL_BYTES], data[-_TAIL_BYTES:]
    if tail[: len(_TAG_KEY)] != _TAG_KEY or not hmac.compare_digest(tail[len(_TAG_KEY) : -1], _tag(body + b"e", key)):
        raise RemoteError("a DHT message of another network")


def _query_head(query: Query) -> bytes:
    method, item = query.method, query.item
    parts = [b"d1:ad"]
    if query.age:
        parts.append(b"3:agei%de" % query.age)
    if query.cas is not None:
        parts.append(b"3:casi%de" % query.cas)
    parts.append(b"2:id20:" + query.sender)
    if method is Method.ANNOUNCE:
        parts.append(b"12:implied_porti%de" % (not query.port))
    if method in (Method.GET_PEERS, Method.ANNOUNCE):
        parts.append(b"9:info_hash20:" + query.target)
    if item is not None and item.key:
        parts.append(b"1:k32:" + item.key)
    if query.n_padding:
        parts.append(b"3:pad" + _string(bytes(query.n_padding)))
    if method is Method.ANNOUNCE:
        parts.append(b"4:porti%de" % (query.port or 1))
    if item is not None and item.salt:
        parts.append(b"4:salt%d:%b" % (len(item.salt), item.salt))
    if query.seq is not None:
        parts.append(b"3:seqi%de" % query.seq)
    if item is not None and item.key:
        parts.append(b"3:seqi%de3:sig64:%b" % (item.seq, item.signature))
    if method in (Method.FIND_NODE, Method.GET, Method.SAMPLE):
        parts.append(b"6:target20:" + query.target)
    if query.token:
        parts.append(b"5:token%d:%b" % (len(query.token), query.token))
    if item is not None:
        parts.append(b"1:v" + item.encoded)
    if query.want is not None:
        parts.append(b"4:wantl%be" % b"".join(b"2:n6" if ipv6 else b"2:n4" for ipv6 in query.want))
    parts.append(b"e1:q%d:%b" % (len(method.value), method.value))
    if query.is_read_only:
        parts.append(b"2:roi1e")
    return b"".join(parts)


def _reply_head(reply: Reply) -> bytes:
    item = reply.item
    parts = [b"d", _seen_as(reply.seen_as), b"1:rd2:id20:", reply.sender]
    if reply.samples is not None:
        parts.append(b"8:intervali%de" % reply.interval)
    if item is not None and item.key:
        parts.append(b"1:k32:" + item.key)
    for name, ipv6 in ((b"5:nodes", False), (b"6:nodes6", True)):
        contacts = encode_contacts(contact for contact in reply.contacts if contact.is_ipv6 is ipv6)
        if contacts or ipv6 in reply.families:
            parts.append(b"%b%d:%b" % (name, len(contacts), contacts))
    if reply.clock is not None:
        parts.append(b"3:nowi%de" % reply.clock)
    if reply.samples is not None:
        samples = b"".join(reply.samples)
        parts.append(b"3:numi%de7:samples%d:%b" % (reply.n_stored, len(samples), samples))
    if item is not None and item.key:
        parts.append(b"3:seqi%de3:sig64:%b" % (item.seq, item.signature))
    elif reply.seq is not None:
        parts.append(b"3:seqi%de" % reply.seq)
    if reply.token:
        parts.append(b"5:token%d:%b" % (len(reply.token), reply.token))
    if item is not None:
        parts.append(b"1:v" + item.encoded)
    if reply.peers:
        parts.append(b"6:valuesl%be" % b"".join(_string(peer.encode()) for peer in reply.peers))
    parts.append(b"e")
    return b"".join(parts)


def _seen_as(address: Address | None) -> bytes:
    if address is None or not address.is_dialable:
        return b""
    return b"2:ip" + _string(address.encode())


def _string(data: bytes) -> bytes:
    return b"%d:%b" % (len(data), data)


def _decode_query(fields: Fields, transaction: bytes) -> Query:
    try:
        return _checked_query(fields, transaction)
    except Unanswerable:
        raise
    except RemoteError as error:
        failure = Failure(Code.PROTOCOL.value, str(error).encode(), transaction)
        raise Unanswerable(str(error), failure) from None


def _checked_query(fields: Fields, transaction: bytes) -> Query:
    arguments = fields.get(b"a")
    if not isinstance(arguments, dict):
        raise RemoteError("a query without arguments")
    try:
        method = Method(fields.get(b"q"))
    except ValueError:
        failure = Failure(Code.METHOD.value, b"Method Unknown", transaction)
        raise Unanswerable("a query of no known method", failure) from None
    target, token, item, port = b"", b"", None, 0
    if method in (Method.GET_PEERS, Method.ANNOUNCE):
        target = _octets(arguments, b"info_hash", exactly=ID_BYTES)
    elif method not in (Method.PING, Method.PUT):
        target = _octets(arguments, b"target", exactly=ID_BYTES)
    if method in (Method.ANNOUNCE, Method.PUT):
        token = _octets(arguments, b"token", limit=MAX_TOKEN_BYTES)
        if not token:
            raise RemoteError("token is empty")
    if method is Method.ANNOUNCE and not _integer(arguments, b"implied_port", 0):
        port = _integer(arguments, b"port", 0) or 0
        if not 0 < port < 65536:
            raise RemoteError("announce_peer without a port")
    if method is Method.PUT:
        item = _decode_item(arguments)
        if b"sig" in arguments and not item.key:
            raise RemoteError("a signature without a key")
    return Query(
        method,
        _octets(arguments, b"id", exactly=ID_BYTES),
        target,
        _want(arguments),
        token,
        port,
        item,
        _integer(arguments, b"cas", None),
        None if method is Method.PUT else _integer(arguments, b"seq", None),
        max(0, _integer(arguments, b"age", 0) or 0),
        fields.get(b"ro") == 1,
        transaction,
    )


def _decode_item(fields: Fields) -> Item:
    """The sizes of value and salt are left to `items.verified`, since BEP 44 has failures of their own for them."""
    encoded = bencode.encode(fields[b"v"]) if b"v" in fields else b""
    if not encoded:
        raise RemoteError("an item without a value")
    if b"k" not in fields:
        return Item(encoded)
    seq = _integer(fields, b"seq", None)
    if seq is None or seq < 0:
        raise RemoteError("a mutable item without a seq")
    return Item(
        encoded,
        _octets(fields, b"k", exactly=KEY_BYTES),
        _octets(fields, b"salt", limit=MAX_MESSAGE_BYTES) if b"salt" in fields else b"",
        seq,
        _octets(fields, b"sig", exactly=SIGNATURE_BYTES),
    )


def _want(arguments: Fields) -> tuple[bool, ...] | None:
    want = arguments.get(b"want")
    if not isinstance(want, list):
        return None
    return tuple(ipv6 for name, ipv6 in ((b"n4", False), (b"n6", True)) if name in want) or None


def _decode_reply(fields: Fields, transaction: bytes) -> Reply:
    values = fields.get(b"r")
    if not isinstance(values, dict):
        raise RemoteError("a reply without values")
    contacts: tuple[Contact, ...] = ()
    for name, ipv6 in ((b"nodes", False), (b"nodes6", True)):
        if name in values:
            contacts += decode_contacts(_octets(values, name), ipv6=ipv6, limit=MAX_CONTACTS)
    return Reply(
        _octets(values, b"id", exactly=ID_BYTES),
        contacts,
        _octets(values, b"token", limit=MAX_TOKEN_BYTES) if b"token" in values else b"",
        _decode_peers(values),
        _decode_item(values) if b"v" in values else None,
        _integer(values, b"seq", None),
        _decode_samples(values),
        _integer(values, b"num", 0) or 0,
        _integer(values, b"interval", 0) or 0,
        _decode_seen_as(fields),
        transaction,
        clock=_integer(values, b"now", None),
    )


def _decode_seen_as(fields: Fields) -> Address | None:
    seen_as = fields.get(b"ip")
    return decode_address(seen_as) if isinstance(seen_as, bytes) and len(seen_as) in (6, 18) else None


def _decode_peers(values: Fields) -> tuple[Address, ...]:
    peers = values.get(b"values", [])
    if not isinstance(peers, list):
        raise RemoteError("peers are a list")
    found = (decode_address(peer) for peer in peers[:MAX_PEERS] if isinstance(peer, bytes))
    return tuple(peer for peer in found if peer is not None)


def _decode_samples(values: Fields) -> tuple[bytes, ...] | None:
    if b"samples" not in values:
        return None
    samples = _octets(values, b"samples")
    if len(samples) % ID_BYTES:
        raise RemoteError("samples of the wrong length")
    return tuple(samples[at : at + ID_BYTES] for at in range(0, len(samples), ID_BYTES))[:MAX_SAMPLES]


def _decode_failure(fields: Fields, transaction: bytes) -> Failure:
    parts = fields.get(b"e")
    if not isinstance(parts, list) or not parts or not isinstance(parts[0], int):
        raise RemoteError("a failure without a code")
    text = parts[1] if len(parts) > 1 and isinstance(parts[1], bytes) else b""
    return Failure(parts[0], text[:_MAX_ERROR_TEXT_BYTES], transaction, _decode_seen_as(fields))


def _octets(fields: Fields, name: bytes, *, exactly: int | None = None, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    value = fields.get(name)
    if not isinstance(value, bytes) or len(value) > limit or (exactly is not None and len(value) != exactly):
        raise RemoteError(f"{name.decode()} is missing or wrong")
    return value


def _integer(fields: Fields, name: bytes, default: int | None) -> int | None:
    value = fields.get(name, default)
    if value is not None and not isinstance(value, int):
        raise RemoteError(f"{name.decode()} is not a number")
    return value
