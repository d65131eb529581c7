"""Members of one group joined by calls: whom a test links, and what passes between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from swarmd.core.addresses import Address
from swarmd.core.errors import RemoteError
from swarmd.core.ids import ContentId, PeerId
from swarmd.core.rng import SeededRng
from swarmd.groups.providers.events import Found
from swarmd.groups.providers.messages import Message, decode
from swarmd.groups.providers.record import ProviderRecord, key_of, sign_record
from swarmd.groups.providers.service import Providers
from swarmd.groups.ring import distance, group_address
from swarmd.identity.identity import Identity
from tests.groups.builders import WALL, content_id, identity, spec
from tests.groups.routing.members import identities

SPEC = spec("ring")
OBJECT = content_id(7)
KEY = key_of(SPEC.group_id, OBJECT)
ADDRESS = Address("192.0.2.1", 7000)
LARGE = 1000
Tap = Callable[[PeerId, PeerId, bytes], bytes | None]


def record(
    number: int = 1, *, key: ContentId | None = None, at: float = WALL, is_held: bool = True, addresses: int = 1
) -> ProviderRecord:
    """What the node `identity(number)` says of itself, or might say with a strange clock."""
    listed = tuple(Address(f"192.0.2.{each}", 7000) for each in range(1, addresses + 1)) if is_held else ()
    place = key_of(SPEC.group_id, key or OBJECT)
    return sign_record(identity(number), SPEC.group_id, place, int(at * 1000), is_held=is_held, addresses=listed)


class Members:
    """Number k stands k-th on the ring. `tap` sees every message with its sender and receiver, and gives what arrives
    instead; None for nothing."""

    def __init__(self, n: int) -> None:
        self.now = 0.0
        self.identities: list[Identity] = identities(n)
        self.all = [
            Providers(SPEC, each, SeededRng(number), 0.0, secrets=SeededRng(1000 + number))
            for number, each in enumerate(self.identities)
        ]
        self.events: list[deque[Found]] = [deque() for _ in range(n)]
        self.faults: list[tuple[PeerId, RemoteError]] = []
        self.carried: list[tuple[PeerId, PeerId, bytes]] = []
        self.tap: Tap = lambda sender, receiver, data: data
        self._numbers = {each.peer_id: number for number, each in enumerate(self.identities)}
        for number, each in enumerate(self.all):
            each.set_addresses([Address(f"192.0.2.{number + 1}", 7000)], 0.0)

    def __getitem__(self, number: int) -> Providers:
        return self.all[number]

    def peer(self, number: int) -> PeerId:
        return self.identities[number].peer_id

    def link(self, one: int, other: int) -> None:
        self[one].open_link(self.peer(other), self.now)
        self[other].open_link(self.peer(one), self.now)

    def cut(self, one: int, other: int) -> None:
        self[one].close_link(self.peer(other), self.now)
        self[other].close_link(self.peer(one), self.now)

    def ring(self) -> Members:
        """Each linked with the next three on each side and some across, in a group that says that it is large."""
        n = len(self.all)
        pairs = {
            frozenset((number, (number + step) % n))
            for number in range(n)
            for step in (1, 2, 3, n // 4, n // 2)
            if step
        }
        for one, other in sorted(sorted(pair) for pair in pairs):
            self.link(one, other)
        for each in self.all:
            each.set_member_count(LARGE, self.now)
        self.pump()
        return self

    def by_distance(self) -> list[int]:
        """Numbers, the nearest to the object's key first."""
        return sorted(range(len(self.all)), key=lambda number: distance(KEY, group_address(self.peer(number))))

    def provide(self, number: int) -> None:
        self[number].provide([OBJECT], self.now)
        self.run(4.0)

    def find(self, number: int) -> list[PeerId | None]:
        """Whom it finds within the time that a search has."""
        self.events[number].clear()
        self[number].find(OBJECT, self.now)
        self.run(20.0)
        events = list(self.events[number])
        assert [event.is_over for event in events] == [False] * (len(events) - 1) + [True]
        return [contact.peer_id for event in events for contact in event.contacts]

    def keepers(self) -> list[int]:
        return [number for number, each in enumerate(self.all) if each.info.n_records]

    def pump(self) -> None:
        """Deliver until all is quiet, a RemoteError being its sender's fault."""
        while any(batches := [each.messages_to_send() for each in self.all]):
            for number, batch in enumerate(batches):
                for peer, data in batch:
                    self.carry(self.peer(number), peer, data)
        for each, events in zip(self.all, self.events, strict=True):
            while (event := each.next_event()) is not None:
                events.append(event)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        self.pump()
        while (deadline := min(each.next_deadline() for each in self.all)) <= end:
            self.now = max(self.now, deadline)
            for each in self.all:
                each.handle_timer(self.now, WALL + self.now)
            self.pump()
        self.now = end

    def send(self, number: int, message: Message, receiver: int) -> None:
        """`message` from one to another, whatever the sender's machine thinks of it."""
        self.carry(self.peer(number), self.peer(receiver), message.encode())
        self.pump()

    def messages(self, kind: type[Message]) -> list[tuple[PeerId, PeerId, Message]]:
        """All of that kind that have been carried."""
        decoded = [(sender, receiver, decode(data)) for sender, receiver, data in self.carried]
        return [each for each in decoded if isinstance(each[2], kind)]

    def carry(self, sender: PeerId, receiver: PeerId, data: bytes) -> None:
        self.carried.append((sender, receiver, data))
        changed = self.tap(sender, receiver, data)
        if changed is None:
            return
        try:
            self[self._numbers[receiver]].receive(sender, changed, self.now, WALL + self.now)
        except RemoteError as error:
            self.faults.append((sender, error))
