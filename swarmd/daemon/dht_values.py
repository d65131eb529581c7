"""Values that users put into the DHT: up to 1 MiB under its hash, or 996 bytes under this node's key and a name.

A key is written as 40 hexadecimal digits, the target of an item; or as the 64 of a public key, alone or with a name:
`KEY/NAME`. The name is the salt of BEP 44, so that other programs find it too.

Invariant: what `get` gives is what the key stands for: the DHT's own checks, and for a value in pieces its SHA-256.
What is in the DHT is readable by whoever has its key; `group` values are not (`control.values`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swarmd.core.clock import Clock
from swarmd.core.errors import Conflict, InvalidArgument, NoPeers, NotFound
from swarmd.dht.bencode import Value as Bencoded
from swarmd.dht.blob import LEAF_BYTES, VERSION, items_of
from swarmd.dht.contact import ID_BYTES
from swarmd.dht.items import KEY_BYTES, MAX_SALT_BYTES, Item, Signer, mutable_target
from swarmd.identity.identity import Identity

if TYPE_CHECKING:
    from swarmd.daemon.dht import DhtService


@dataclass(frozen=True, slots=True)
class Key:
    """Of a value; `owner` is the public key of a mutable one, if that is known."""

    target: bytes
    owner: bytes = b""
    salt: bytes = b""

    @classmethod
    def parse(cls, text: str, salt: bytes | None = None) -> Key:
        """InvalidArgument. `salt` stands in place of the name."""
        digits, slash, name = text.partition("/")
        try:
            number = bytes.fromhex(digits)
        except ValueError:
            number = b""
        if slash and (salt is not None or len(number) != KEY_BYTES):
            raise InvalidArgument(f"{text!r}: only a public key (64 hexadecimal digits) has one name behind it")
        salt = name.encode(errors="surrogatepass") if salt is None else salt
        if len(salt) > MAX_SALT_BYTES:
            raise InvalidArgument(f"a name, or a salt, has at most {MAX_SALT_BYTES} bytes")
        if len(number) == KEY_BYTES:
            return cls(mutable_target(number, salt), number, salt)
        if len(number) != ID_BYTES or len(digits) != 2 * ID_BYTES:
            raise InvalidArgument(f"{text!r} is no key of the DHT: 40 hexadecimal digits, or 64 and a name")
        return cls(number, salt=salt)

    @classmethod
    def of(cls, item: Item) -> Key:
        return cls(item.target, item.key, item.salt)

    def __str__(self) -> str:
        if not self.owner:
            return self.target.hex()
        return f"{self.owner.hex()}/{self.salt.decode(errors='replace')}" if self.salt else self.owner.hex()


@dataclass(frozen=True, slots=True)
class Put:
    key: Key
    size: int
    seq: int
    n_items: int
    n_copies: int
    """Of the item with the fewest."""


@dataclass(frozen=True, slots=True)
class Got:
    """`data` is bencoded where another program has put something else than a text (`is_bencoded`)."""

    key: Key
    data: bytes
    seq: int
    is_mutable: bool
    is_bencoded: bool = False


class DhtValues:
    def __init__(self, service: DhtService, identity: Identity, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self._signer = Signer.of_identity(identity)

    async def put(self, data: bytes, *, keep: bool, label: str = "") -> Put:
        """Under its hash. Conflict: too much is kept; NoPeers: no node has taken it."""
        items, own = items_of(data), self._service.own
        root = items[-1]
        if keep:
            own.check_room(root.target, items)
        done = await self._service.put_value(data)
        if not done.is_whole:
            raise NoPeers("no node of the DHT has taken all of it; try again later")
        if keep:
            await self._service.keep(root.target, items, len(data), label)
        return Put(Key.of(root), len(data), 0, len(items), done.n_copies)

    async def put_named(self, data: bytes, name: str, salt: bytes | None, *, keep: bool) -> Put:
        """Under this node's key and the name (or the salt in its place), instead of what is there."""
        if len(data) > LEAF_BYTES:
            raise InvalidArgument(
                f"under a name there is room for {LEAF_BYTES} bytes, not {len(data)}: put it without a name, and the"
                " key that this prints under the name"
            )
        salt = name.encode(errors="surrogatepass") if salt is None else salt
        target = mutable_target(self._signer.key, salt)
        found = await self._service.get_mutable(self._signer.key, salt)
        kept = self._service.own.get(target)
        earlier = [found, kept.item if kept is not None else None]
        seq = max([int(self._clock.wall()), *(item.seq + 1 for item in earlier if item is not None)])
        item = self._signer.item(data, seq, salt)
        done = await self._service.put(item, keep=keep, label=name)
        if done.newer is not None:
            raise Conflict("a later value of that name was put from elsewhere at the same time; put it again")
        if not done.n_copies:
            raise NoPeers("no node of the DHT has taken it; try again later")
        return Put(Key.of(item), len(data), seq, 1, done.n_copies)

    async def get(self, key: Key) -> Got:
        """NotFound; what is under a name is the newest that anybody near has."""
        item = await self._service.get(key.target, key.salt)
        if item is None:
            raise NotFound(f"nobody in the DHT has anything under {key}")
        value = item.value
        if item.is_mutable or not _is_root(value):
            data = value if isinstance(value, bytes) else item.encoded
            return Got(Key.of(item), data, item.seq, item.is_mutable, not isinstance(value, bytes))
        done = await self._service.get_value(key.target)
        if done.data is None:
            raise NotFound(f"of the value under {key} some parts are gone, or it is not what it says")
        return Got(Key.of(item), done.data, 0, False)

    async def forget(self, key: Key) -> None:
        """Put it no more. NotFound."""
        if not await self._service.forget(key.target):
            raise NotFound(f"this node does not keep {key} alive")


def _is_root(value: Bencoded) -> bool:
    """Of a value in pieces (`dht.blob`)."""
    return isinstance(value, dict) and value.get(b"z") == VERSION and {b"h", b"l", b"t"} <= value.keys()
