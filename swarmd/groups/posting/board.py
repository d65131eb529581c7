"""The posts of the last minutes as one member holds them: each judged, verified, kept for those who come later.

In: posts, from neighbours and from this node; time. Out: for each whether it is news, the group may have it, or not.

Whether a post is taken depends on the post, the group, the clock and the bounds below, never on who brought it. How
much an author may post is judged by the dates on its posts, not by when they arrive: so a member that comes late and
gets five minutes of them at once decides as all others did.

Invariant: every post held is of this group, signed by its author, authorised where the group asks for it, and not
expired; one that was taken or refused is known by its key until it can no longer be taken for new. What is held is
bounded in number and bytes; beyond that the oldest of whoever fills most goes early.

A crash loses all of it; neighbours have it still. Not here: who is asked for what (`posting.fetch`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.groups.authorisation import FORGERY_PENALTY, Authorisation, Right
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.posting.post import LIFETIME_LIMIT, Post, decode_post
from swarmd.groups.records import CertificateCache

MAX_BYTES = 4 << 20
"""Held at once: 64 posts of the largest kind, or `MAX_POSTS` of up to 4 KiB."""
MAX_POSTS = 1024
"""What a group of 1,000 posts in 5 minutes when each posts once."""
MIN_COST = MAX_BYTES // MAX_POSTS
"""What a small post counts as, so that one bound and one fair share hold for number and bytes."""
MAX_KNOWN = 8192
"""Keys of posts held, gone early, refused: about 1 MB. An older one that was forgotten could be shown twice."""
KNOWN_PERIOD = 2.0 * LIFETIME_LIMIT
"""Seconds: twice as long as a post lives, so that a clock set back by minutes makes no old post new."""
AHEAD_LIMIT = 120_000
"""Milliseconds: clocks of members may differ by so much; what is dated later is not taken."""
FAR_AHEAD_LIMIT = 600_000
"""Milliseconds: who takes this for the present has no clock, or is not honest."""
SLOT_PERIOD = 10_000
"""Milliseconds of an author's time in which it may post no more than the two bounds below."""
SLOT_POSTS = 100
SLOT_BYTES = 1 << 20
"""Both half as much again as what an honest author keeps to (`posting.rate`)."""
MAX_AUTHORS = 1024
"""Whose posts are counted; of more than that, those who have posted last."""
MAX_AUTHORISATIONS = 1024
"""Verified ones; each saves 0.1 ms for every further post of that author."""


class Verdict(Enum):
    NEWS = auto()
    """Held now, and to be shown and passed on."""
    KNOWN = auto()
    EXPIRED = auto()
    AHEAD = auto()
    """Dated a little later than now."""
    FAR_AHEAD = auto()
    """Dated so much later that no honest neighbour with a good clock passes it on."""
    TOO_MUCH = auto()
    """Its author posts more than it may."""


@dataclass(slots=True)
class Held:
    """A post on the board; times are monotonic seconds."""

    post: Post
    came_at: float
    expires_at: float
    n_given: int = 0
    """How often a neighbour was given it that did not insist."""
    n_least: int = 1
    """How often one is, whatever this node has sent before."""


class Board:
    """One group's posts."""

    def __init__(self, spec: GroupSpec) -> None:
        self._spec = spec
        self._certificates = CertificateCache()
        self._held: dict[bytes, Held] = {}
        self._costs: Counter[PeerId] = Counter()
        self._cost = 0
        self._known: dict[bytes, float] = {}
        self._slots: dict[PeerId, dict[int, _Slot]] = {}
        self._authorised: dict[Authorisation, None] = {}

    def __contains__(self, key: bytes) -> bool:
        """Whether a post is known: held, or held or refused before."""
        return key in self._known

    def get(self, key: bytes) -> Held | None:
        return self._held.get(key)

    def posts(self) -> list[Post]:
        """What is held, as it came."""
        return [held.post for held in self._held.values()]

    def held_keys(self, since: float) -> Iterator[bytes]:
        """Of what has come since then, in that order."""
        return (key for key, held in self._held.items() if held.came_at >= since)

    def known_keys(self, since: float) -> Iterator[bytes]:
        """The same, with those that were refused or are gone."""
        return (key for key, until in self._known.items() if until - KNOWN_PERIOD >= since)

    def take(self, encoded: bytes, now: float, wall: float) -> tuple[Verdict, Post]:
        """Judge what a neighbour gave. RemoteError for what no honest member would have passed on."""
        post = decode_post(encoded, self._certificates)
        if post.key in self._known:
            return Verdict.KNOWN, post
        try:
            verdict = self._judge(post, wall)
        except RemoteError:
            self._know(post.key, now)
            raise
        if verdict is Verdict.NEWS:
            self.put(post, now, wall)
        else:
            self._know(post.key, now)
        return verdict, post

    def put(self, post: Post, now: float, wall: float) -> None:
        """Hold a post that was judged, or made here."""
        left = min(post.lifetime, post.expires_at / 1000 - wall)
        self._held[post.key] = Held(post, now, now + left)
        self._known[post.key] = now + KNOWN_PERIOD
        self._costs[post.author] += _cost(post)
        self._cost += _cost(post)
        self._slot(post).add(post)
        self._make_room()

    def is_too_much(self, post: Post) -> bool:
        """Whether its author has dated as many as it may in those seconds."""
        return self._slot(post).is_full_for(post)

    def check_authorisation(self, author: PeerId, authorisation: Authorisation | None) -> None:
        """RemoteError unless the group lets the author post with it; when it expires is not looked at."""
        if Right.POST not in self._spec.restricted:
            if authorisation is not None:
                raise RemoteError("a post has an authorisation that the group does not ask for")
            return
        if authorisation is None:
            raise RemoteError("a post lacks the authorisation to post", penalty=FORGERY_PENALTY)
        if authorisation.peer_id != author or Right.POST not in authorisation.rights:
            raise RemoteError("a post has the authorisation of another", penalty=FORGERY_PENALTY)
        if authorisation in self._authorised:
            return
        authorisation.verify(self._spec.authority, self._spec.group_id)
        if len(self._authorised) >= MAX_AUTHORISATIONS:
            del self._authorised[next(iter(self._authorised))]
        self._authorised[authorisation] = None

    def expire(self, now: float, wall: float) -> None:
        """Drop what has had its time."""
        for key in [key for key, held in self._held.items() if held.expires_at <= now]:
            self._drop(key)
        for key in [key for key, until in self._known.items() if until <= now]:
            del self._known[key]
        oldest = int(wall * 1000 - LIFETIME_LIMIT * 1000) // SLOT_PERIOD
        for author, slots in list(self._slots.items()):
            for number in [number for number in slots if number < oldest]:
                del slots[number]
            if not slots:
                del self._slots[author]

    def _judge(self, post: Post, wall: float) -> Verdict:
        if post.group_id != self._spec.group_id:
            raise RemoteError("a post is of another group", penalty=FORGERY_PENALTY)
        self.check_authorisation(post.author, post.authorisation)
        post.verify()
        if post.created_at > wall * 1000 + AHEAD_LIMIT:
            return Verdict.FAR_AHEAD if post.created_at > wall * 1000 + FAR_AHEAD_LIMIT else Verdict.AHEAD
        if post.expires_at <= wall * 1000 or not _is_authorised_at(post, wall):
            return Verdict.EXPIRED
        return Verdict.TOO_MUCH if self.is_too_much(post) else Verdict.NEWS

    def _know(self, key: bytes, now: float) -> None:
        self._known[key] = now + KNOWN_PERIOD
        self._forget()

    def _forget(self) -> None:
        while len(self._known) > MAX_KNOWN:
            oldest = next(key for key in self._known if key not in self._held)
            del self._known[oldest]

    def _slot(self, post: Post) -> _Slot:
        slots = self._slots.pop(post.author, {})
        self._slots[post.author] = slots
        if len(self._slots) > MAX_AUTHORS:
            del self._slots[next(iter(self._slots))]
        return slots.setdefault(post.created_at // SLOT_PERIOD, _Slot())

    def _make_room(self) -> None:
        while self._cost > MAX_BYTES:
            ((most, _),) = self._costs.most_common(1)
            self._drop(next(key for key, held in self._held.items() if held.post.author == most))
        self._forget()

    def _drop(self, key: bytes) -> None:
        post = self._held.pop(key).post
        self._costs[post.author] -= _cost(post)
        self._cost -= _cost(post)
        if not self._costs[post.author]:
            del self._costs[post.author]


@dataclass(slots=True)
class _Slot:
    n_posts: int = 0
    n_bytes: int = 0

    def is_full_for(self, post: Post) -> bool:
        return self.n_posts >= SLOT_POSTS or self.n_bytes + len(post.encoded) > SLOT_BYTES

    def add(self, post: Post) -> None:
        self.n_posts += 1
        self.n_bytes += len(post.encoded)


def _cost(post: Post) -> int:
    return max(len(post.encoded), MIN_COST)


def _is_authorised_at(post: Post, wall: float) -> bool:
    return post.authorisation is None or post.authorisation.is_valid_at(wall)
