"""Posting as one member does it: what it says goes to all, what others say comes here, over the links of the group.

- News: a post that was made here, or has come and is good, is announced to neighbours by its key, but for those who
  have announced it (`posting.news`); who lacks it asks one of the announcers (`posting.fetch`). So the post itself
  comes to each member once, and its key crosses each link once or twice.
- Who is asked gives a large post to two neighbours at first, a small one to a few more, and in all not more than three
  times what came; it is Busy for the others, who ask elsewhere: so that nobody has to send one post to thirty. Who has
  waited in vain, or has nobody else to ask, insists, and gets it (`posting.rate`).
- Time: posts are judged by their dates, so who gives one that is dropped for its date is told what time it is here
  (`posting.clocks`).
- Comparison: when a link opens, and every `COMPARE_PERIOD` with a neighbour at random, a member says what it knows
  (Have), and is told of what it lacks. So late joiners get the last minutes, two halves of a group that meet again
  tell each other, and what went wrong on the way is mended.

Invariant: nothing is shown or passed on that was not verified; each post is shown once. What a neighbour can make
this node keep, send or reckon is bounded (`fetch`, `board`, and the token buckets of each `link`). A RemoteError out
of `receive` is the sender's fault, and has changed nothing that came from others.

Not here: what became of a post: nobody is told who has seen it. A crash loses the board, and neighbours have it still.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence

from swarmd.core.errors import InvalidArgument, NotAllowed, RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.core.tokenbucket import TokenBucket
from swarmd.groups.authorisation import Authorisation, Right
from swarmd.groups.events import PeerFaulted
from swarmd.groups.groupspec import Capability, GroupSpec
from swarmd.groups.posting import messages
from swarmd.groups.posting.board import Board, Held, Verdict
from swarmd.groups.posting.clocks import Clocks, Misdated, is_misdated
from swarmd.groups.posting.fetch import Fetcher
from swarmd.groups.posting.link import Link, Traffic
from swarmd.groups.posting.messages import Announce, Busy, Gone, Have, Part, Request, Time
from swarmd.groups.posting.news import News, told_limit
from swarmd.groups.posting.post import LIFETIME_LIMIT, MESSAGE_LIMIT, Post, Posted, post_id_of
from swarmd.groups.posting.rate import Budget, OwnRate
from swarmd.groups.service import POSTING_TYPES
from swarmd.identity.identity import Identity

COMPARE_PERIOD = 10.0
"""Seconds, give or take a fifth: six times in the minute in which a post must reach all who stay."""
COMPARE_SPREAD = 0.2
WHOLE_PERIOD = LIFETIME_LIMIT
SHORT_PERIOD = 60
"""Seconds back to which a comparison goes: all the way when a link opens and while a member is new; afterwards each
looks six times at a post."""
COMPARE_SLACK = 30.0
"""Seconds further back to which a member names what it knows, since others may have had it later."""
BEGIN_RATE = 0.5
BEGIN_BURST = 3
"""Comparisons begun when links open: a member that joins asks three of its neighbours at once and not all thirty."""
SETTLING_PERIOD = 60.0
"""Seconds after its first link in which a member does not announce what it learned by comparison: it was there before,
and so the others have it."""
FRESH_PERIOD = 10.0
"""Seconds for which a neighbour may have no other one."""
NEWS_PERIOD = 5.0
"""Seconds after a post has come in which it is given to few only, and is news to whoever lacks it."""
COPIES = 2
COPIES_BYTES = 2 << 10
"""Or as many copies as fit in that, as long as the budget lasts: a small post is so everywhere a second sooner."""
TIDY_PERIOD = 5.0
MAX_DOUBTS = 3
"""Neighbours that pass on posts from a far future: when there are so many, it is our clock that is wrong."""


class Posting:
    """One group's posts (`groups.service.Service`). `rng` only spreads load."""

    def __init__(self, spec: GroupSpec, identity: Identity, rng: Rng, now: float) -> None:
        self.traffic = Traffic()
        self._spec = spec
        self._identity = identity
        self._rng = rng
        self._board = Board(spec)
        self._fetcher = Fetcher()
        self._links: dict[PeerId, Link] = {}
        self._linked_at = now
        self._begin = TokenBucket(BEGIN_RATE, BEGIN_BURST, now)
        self._rate = OwnRate(now)
        self._budget = Budget(now)
        self._seq = 0
        self._posted_at = 0
        self._news = News(rng)
        self._compare_at = math.inf
        self._tidy_at = now + TIDY_PERIOD
        self._doubts: dict[PeerId, None] = {}
        self._clocks = Clocks()
        self._messages: deque[tuple[PeerId, bytes]] = deque()
        self._events: deque[Posted | PeerFaulted | Misdated] = deque()

    # for programs

    def post(
        self,
        message: bytes,
        now: float,
        wall: float,
        authorisation: Authorisation | None = None,
        lifetime: int = LIFETIME_LIMIT,
    ) -> Post:
        """Tell all members, those who come within `lifetime` seconds included. This node is told of it, too (Posted).

        NotAllowed when the group is not for that, this node is not authorised, or posts too much; InvalidArgument for
        more than `MESSAGE_LIMIT` bytes.
        """
        if len(message) > MESSAGE_LIMIT:
            raise InvalidArgument(f"a post has at most {MESSAGE_LIMIT} bytes, not {len(message)}: share it as a file")
        if not 0 < lifetime <= LIFETIME_LIMIT:
            raise InvalidArgument(f"a post lives for 1 to {LIFETIME_LIMIT} seconds, not {lifetime}")
        self.check_may_post(authorisation, wall)
        post = self._sign(message, wall, authorisation, lifetime)
        size = len(post.encoded)
        if (wait := self._rate.wait_period(size, now)) > 0 or self._board.is_too_much(post):
            raise NotAllowed(f"this node posts too much in this group: wait {max(wait, 1):.0f} s")
        self._rate.take(size, now)
        self._seq, self._posted_at = post.seq, post.created_at
        self._board.put(post, now, wall)
        self._spread(post, frozenset(), now)
        return post

    def check_may_post(self, authorisation: Authorisation | None, wall: float) -> None:
        """NotAllowed with the reason when this node may not post with that authorisation."""
        if Capability.POSTING not in self._spec.capabilities:
            raise NotAllowed("this group was made without posting")
        if Right.POST not in self._spec.restricted:
            return
        if authorisation is None:
            raise NotAllowed(
                "only authorised members post here: ask whoever made the group for a ticket that authorises this node"
            )
        if Right.POST not in authorisation.rights:
            raise NotAllowed("this node is authorised to share here, not to post: ask for a ticket for both")
        try:
            self._board.check_authorisation(self._identity.peer_id, authorisation)
        except RemoteError as error:
            raise NotAllowed(f"this node's authorisation does not hold: {error}; ask for a new one") from None
        if not authorisation.is_valid_at(wall):
            raise NotAllowed("this node's authorisation to post in this group has expired: ask for a new one")

    def recent(self) -> list[Post]:
        """What was posted in the last minutes and is held still, by their authors' clocks."""
        return sorted(self._board.posts(), key=lambda post: (post.created_at, post.id))

    @property
    def n_wanted(self) -> int:
        """Posts that neighbours have announced and that are not here yet."""
        return len(self._fetcher)

    def misdated(self, now: float, wall: float) -> Misdated | None:
        """Whether posts of neighbours are dropped since their clocks and this node's differ."""
        return self._clocks.misdated(len(self._links), now, wall)

    # links

    @property
    def types(self) -> range:
        return POSTING_TYPES

    def open_link(self, peer: PeerId, now: float) -> None:
        if not self._links:
            self._linked_at = now
            self._compare_at = now + self._compare_period() / 4
        self._links[peer] = Link(now)
        self._fetcher.open(peer)
        begins = not self._is_settled(now) or self._identity.peer_id < peer  # one does: what both lack is found
        if begins and self._begin.take(1, now):
            self._compare(peer, WHOLE_PERIOD, now, is_answer=False)

    def close_link(self, peer: PeerId, now: float) -> None:
        del self._links[peer]
        self._fetcher.close(peer, now)
        self._clocks.close(peer)
        self._messages = deque(item for item in self._messages if item[0] != peer)
        if not self._links:
            self._compare_at = math.inf

    # in and out

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        message = messages.decode(data)
        self._charge(peer, message, len(data), now)
        match message:
            case Announce():
                self._receive_announce(peer, message, now)
            case Request():
                self._receive_request(peer, message, now)
            case Part():
                self._receive_part(peer, message, now, wall)
            case Busy() | Gone():
                self._fetcher.refuse(peer, message.keys, now, is_gone=isinstance(message, Gone))
            case Have():
                self._receive_have(peer, message, now)
            case Time():
                self._note_clocks(self._clocks.hear_time(peer, message.seconds, now, wall), now, wall)

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        questions: dict[tuple[PeerId, bool], list[bytes]] = {}
        for question in self._fetcher.questions():
            questions.setdefault((question.peer, question.insists), []).append(question.key)
        for (peer, insists), keys in questions.items():
            for some in _chunks(keys):
                self._say(peer, Request(some, insists))
        sending = list(self._messages)
        self._messages.clear()
        for _, data in sending:
            if data[0] == Part.type:
                self.traffic.data_sent += len(data)
            else:
                self.traffic.control_sent += len(data)
        return sending

    def next_event(self) -> Posted | PeerFaulted | Misdated | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float:
        deadlines = (self._news.due_at, self._fetcher.next_deadline())
        return min(self._compare_at, self._tidy_at, *(each for each in deadlines if each is not None))

    def handle_timer(self, now: float, wall: float) -> None:
        for peer in self._fetcher.handle_timer(now):
            self._events.append(PeerFaulted(peer, 1, "announces posts and does not give them"))
        if self._news.due_at is not None and now >= self._news.due_at:
            self._announce_news(now)
        if now >= self._compare_at:
            self._compare_at = now + self._compare_period()
            period = SHORT_PERIOD if self._is_settled(now) else WHOLE_PERIOD
            self._compare(self._rng.choice(list(self._links)), period, now, is_answer=False)
        if now >= self._tidy_at:
            self._tidy_at = now + TIDY_PERIOD
            self._board.expire(now, wall)

    # what neighbours say

    def _charge(self, peer: PeerId, message: messages.Message, size: int, now: float) -> None:
        """Count what came; RemoteError when a neighbour sends more than it could need."""
        if isinstance(message, Part):
            self.traffic.data_received += size
            if self._fetcher.is_asked(peer, message.key):
                return
        else:
            self.traffic.control_received += size
        self._links[peer].charge(size, now)

    def _receive_announce(self, peer: PeerId, message: Announce, now: float) -> None:
        if self._links[peer].take.available(now) <= 0:
            return
        lacking = [key for key in message.keys if key not in self._board]
        is_late = not message.is_news and not self._is_settled(now)
        self._fetcher.announce(peer, lacking, now, is_news=message.is_news, is_late=is_late)
        self._news.hear(peer, message.keys)

    def _receive_request(self, peer: PeerId, message: Request, now: float) -> None:
        busy, gone = [], []
        for key in message.keys:
            if (held := self._board.get(key)) is None:
                gone.append(key)
            elif not self._may_give(peer, held, now, insists=message.insists):
                busy.append(key)
            else:
                held.n_given += not message.insists
                for part in messages.split(key, held.post.encoded):
                    self._say(peer, part)
        if busy:
            self._say(peer, Busy(tuple(busy)))
        if gone:
            self._say(peer, Gone(tuple(gone)))

    def _may_give(self, peer: PeerId, held: Held, now: float, *, insists: bool) -> bool:
        size = len(held.post.encoded)
        if insists:
            is_given = now < held.came_at + NEWS_PERIOD or self._budget.take_late(size, now)
        else:
            is_given = self._is_in_budget(held, size, now)
        return is_given and self._links[peer].give.take(size, now)

    def _is_in_budget(self, held: Held, size: int, now: float) -> bool:
        """Whether to give it to who could ask elsewhere."""
        is_news = now < held.came_at + NEWS_PERIOD
        if not self._budget.is_left:
            is_own = held.post.author == self._identity.peer_id
            n_least = held.n_least if is_own else self._budget.copies(held.n_least, size)
            return is_news and held.n_given < n_least
        return not is_news or held.n_given < max(COPIES, COPIES_BYTES // size)

    def _receive_part(self, peer: PeerId, part: Part, now: float, wall: float) -> None:
        encoded = self._fetcher.receive_part(peer, part, now)
        if encoded is None:
            return
        if post_id_of(encoded).key != part.key:
            raise RemoteError("a member gives another post than it was asked for", penalty=10)
        self._links[peer].take.take(len(encoded), now)
        resolved = self._fetcher.resolve(part.key, now)
        verdict, post = self._board.take(encoded, now, wall)
        self._note_clocks(self._clocks.hear(peer, post, now, wall), now, wall)
        if is_misdated(post, wall):
            self._say(peer, Time(int(max(0, wall))))
        if verdict is Verdict.NEWS and (resolved.is_news or self._is_settled(now)):
            self._spread(post, resolved.announcers, now)
        elif verdict is Verdict.NEWS:
            self._events.append(Posted(post))
        elif verdict is Verdict.FAR_AHEAD:
            self._doubt(peer)

    def _receive_have(self, peer: PeerId, message: Have, now: float) -> None:
        if not self._links[peer].comparisons.take(1, now):
            return
        theirs = set(message.slices)
        since = now - message.period
        lacking = [key for key in self._board.held_keys(since) if message.names(key) not in theirs]
        news = set(self._board.held_keys(now - NEWS_PERIOD))
        for is_news in (False, True):
            for some in _chunks([key for key in lacking if (key in news) is is_news]):
                self._say(peer, Announce(some, is_news))
        if message.is_answer:
            return
        ours = {message.names(key) for key in self._board.known_keys(since - 2 * COMPARE_SLACK)}
        if not theirs <= ours and self._begin.take(1, now):
            self._compare(peer, message.period, now, is_answer=True)

    def _note_clocks(self, is_first: bool, now: float, wall: float) -> None:
        if is_first and (misdated := self.misdated(now, wall)) is not None:
            self._events.append(misdated)

    def _doubt(self, peer: PeerId) -> None:
        """A neighbour passes on what is dated far ahead. If several do, the fault is with this node's clock."""
        self._doubts[peer] = None
        if len(self._doubts) < MAX_DOUBTS:
            self._events.append(PeerFaulted(peer, 1, "passes on posts from the future"))
        elif len(self._doubts) > MAX_DOUBTS:
            del self._doubts[next(iter(self._doubts))]

    # what this node says

    def _sign(self, message: bytes, wall: float, authorisation: Authorisation | None, lifetime: int) -> Post:
        unsigned = Post(
            group_id=self._spec.group_id,
            certificate=self._identity.certificate,
            seq=self._seq + 1,
            created_at=max(int(wall * 1000), self._posted_at + 1),
            lifetime=lifetime,
            authorisation=authorisation if Right.POST in self._spec.restricted else None,
            message=message,
            signature=b"",
        )
        return unsigned.signed_by(self._identity)

    def _spread(self, post: Post, others: frozenset[PeerId], now: float) -> None:
        """Show a post, and have it announced to all but `others`."""
        self._events.append(Posted(post))
        size = len(post.encoded)
        self._budget.earn(size, max(0, min(len(self._links) - len(others), told_limit(size))))
        if (held := self._board.get(post.key)) is not None:
            held.n_least = 1 + self._rng.randrange(COPIES)
        self._news.add(post.key, size, others, now)

    def _announce_news(self, now: float) -> None:
        fresh = [peer for peer, link in self._links.items() if now < link.opened_at + FRESH_PERIOD]
        for peer, keys in self._news.tell(self._links, fresh).items():
            for some in _chunks(keys):
                self._say(peer, Announce(some, is_news=True))

    def _is_settled(self, now: float) -> bool:
        return now >= self._linked_at + SETTLING_PERIOD

    def _compare(self, peer: PeerId, period: int, now: float, *, is_answer: bool) -> None:
        offset = self._rng.randrange(messages.MAX_OFFSET + 1)
        keys = list(self._board.known_keys(now - period - COMPARE_SLACK))[-messages.SLICES_PER_MESSAGE :]
        slices = tuple(key[offset : offset + messages.SLICE_BYTES] for key in keys)
        self._say(peer, Have(is_answer, period, offset, slices))

    def _compare_period(self) -> float:
        return COMPARE_PERIOD * (1 + COMPARE_SPREAD * (2 * self._rng.random() - 1))

    def _say(self, peer: PeerId, message: messages.Message) -> None:
        data = message.encode()
        # a Have is said in a quiet group, too, where nothing is earned: only what it names of posts counts
        self._budget.spend(messages.SLICE_BYTES * len(message.slices) if isinstance(message, Have) else len(data))
        self._messages.append((peer, data))


def _chunks(keys: Sequence[bytes]) -> Iterable[tuple[bytes, ...]]:
    for start in range(0, len(keys), messages.KEYS_PER_MESSAGE):
        yield tuple(keys[start : start + messages.KEYS_PER_MESSAGE])
