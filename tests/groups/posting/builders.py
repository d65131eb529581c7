"""Groups for posting, posts as a strange author might make them, and members joined by calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from swarmd.core.errors import RemoteError
from swarmd.core.ids import GroupId
from swarmd.core.rng import SeededRng
from swarmd.groups.authorisation import NEVER, Authorisation, Right
from swarmd.groups.events import PeerFaulted
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.posting import messages
from swarmd.groups.posting.clocks import Misdated
from swarmd.groups.posting.post import Post, Posted
from swarmd.groups.posting.posting import Posting

from ..builders import WALL, authority, identity


@cache
def posting_spec() -> GroupSpec:
    return GroupSpec.create("chat", SeededRng(3), capabilities=Capability.POSTING).spec


@cache
def restricted_spec() -> GroupSpec:
    return GroupSpec.create(
        "news", SeededRng(4), capabilities=Capability.POSTING, restricted=Right.POST, authority=authority()
    ).spec


def authorised(number: int, rights: Right = Right.POST, expires_at: int = NEVER) -> Authorisation:
    return authority().authorise(restricted_spec().group_id, identity(number).peer_id, rights, expires_at)


def post(
    author: int = 1,
    message: bytes = b"hello",
    *,
    wall: float = WALL,
    seq: int = 1,
    lifetime: int = 300,
    group_id: GroupId | None = None,
    authorisation: Authorisation | None = None,
) -> Post:
    unsigned = Post(
        group_id=group_id or posting_spec().group_id,
        certificate=identity(author).certificate,
        seq=seq,
        created_at=int(wall * 1000),
        lifetime=lifetime,
        authorisation=authorisation,
        message=message,
        signature=b"",
    )
    return unsigned.signed_by(identity(author))


def forged(author: int = 1, message: bytes = b"hello") -> Post:
    """With a signature that does not hold."""
    return replace(post(author, message), signature=bytes(64))


class Net:
    """Some members, each named by the identity of that number, and links that lose nothing and take no time."""

    def __init__(self, *numbers: int, spec: GroupSpec | None = None) -> None:
        self.now = 0.0
        self.members = {
            number: Posting(spec or posting_spec(), identity(number), SeededRng(number), 0.0) for number in numbers
        }
        self.numbers = {identity(number).peer_id: number for number in numbers}
        self.links: set[tuple[int, int]] = set()
        self.early: dict[int, float] = {}
        """Seconds by which the clocks of members are."""
        self.silent: set[int] = set()
        """Members whose messages are lost."""
        self.faults: list[tuple[int, str, int]] = []
        self.got: dict[int, list[Post]] = {number: [] for number in numbers}
        self.misdated: dict[int, list[Misdated]] = {number: [] for number in numbers}
        self.sent: list[tuple[int, int, messages.Message]] = []

    @property
    def wall(self) -> float:
        return WALL + self.now

    def wall_of(self, number: int) -> float:
        return self.wall + self.early.get(number, 0.0)

    def __getitem__(self, number: int) -> Posting:
        return self.members[number]

    def link(self, *numbers: int) -> None:
        """Each with each."""
        for one in numbers:
            for other in numbers:
                if one < other:
                    self.links |= {(one, other), (other, one)}
                    self[one].open_link(identity(other).peer_id, self.now)
                    self[other].open_link(identity(one).peer_id, self.now)

    def cut(self, one: int, other: int) -> None:
        self.links -= {(one, other), (other, one)}
        self[one].close_link(identity(other).peer_id, self.now)
        self[other].close_link(identity(one).peer_id, self.now)

    def post(self, number: int, message: bytes = b"hello", authorisation: Authorisation | None = None) -> Post:
        return self[number].post(message, self.now, self.wall, authorisation)

    def pump(self) -> None:
        """Deliver until all is quiet."""
        for _ in range(200):
            batches = [(number, member.messages_to_send()) for number, member in self.members.items()]
            if not any(batch for _, batch in batches):
                self._note_events()
                return
            for number, batch in batches:
                for peer, data in batch:
                    self.deliver(number, self.numbers[peer], data)
        raise AssertionError("it never ends")

    def deliver(self, sender: int, receiver: int, data: bytes) -> None:
        assert len(data) <= 65536
        self.sent.append((sender, receiver, messages.decode(data)))
        if sender in self.silent or (sender, receiver) not in self.links:
            return
        try:
            self[receiver].receive(identity(sender).peer_id, data, self.now, self.wall_of(receiver))
        except RemoteError as error:
            self.faults.append((sender, str(error), error.penalty))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Let time pass, timers run and messages flow; returns how long it took."""
        begin, end = self.now, self.now + seconds
        self.pump()
        while not until():
            nearest = min(member.next_deadline() for member in self.members.values())
            if nearest > end:
                self.now = end
                break
            self.now = max(self.now, nearest)
            for number, member in self.members.items():
                member.handle_timer(self.now, self.wall_of(number))
            self.pump()
        return self.now - begin

    def texts(self, number: int) -> list[bytes]:
        """What that member was shown."""
        return [each.message for each in self.got[number]]

    def have_all(self, message: bytes = b"hello") -> bool:
        return all(message in self.texts(number) for number in self.members)

    def _note_events(self) -> None:
        for number, member in self.members.items():
            while (event := member.next_event()) is not None:
                match event:
                    case Posted():
                        self.got[number].append(event.post)
                    case Misdated():
                        self.misdated[number].append(event)
                    case PeerFaulted():
                        self.faults.append((self.numbers[event.peer_id], event.reason, event.points))
