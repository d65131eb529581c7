"""Keeping a group's catalogues alike: what goes over each link so that every record reaches every member.

Two ways, both on every link:
- News. What this node publishes is sent to all neighbours at once; what it accepts from one it offers to the
  others by digest, and who lacks it asks for it. So a record crosses each link once, its digest at most twice.
- Comparison. Both sides send their Status when a link opens, and later with gossip. Where they differ, a run
  (`groups.runs`) goes down the tree of digests (`groups.reconciliation`) with Compare and Inventory, no faster than
  what it finds is fetched (`groups.descent`); Offers and Requests follow. An Inventory is always answered: with one
  Offer, which may be empty, or where that would be a long one with Compare. News is not offered where a run is still
  to come, since that brings it.

Verifying takes 0.1 ms a record, and a newcomer fetches 100,000. A driver that has other things to do sets `in_slices`:
then at most `SLICE` records are taken in at once, and it calls `work` while `has_work`, as often as it likes.

Invariant: every message is answered from what is held at that moment; what a neighbour can make this node
keep is bounded by `MAX_QUEUED` and `MAX_BACKLOG` (`MAX_RUN_QUEUED` for the one in a run), what it can make it send or
reckon by a token bucket. A RemoteError leaves the catalogue and the other links as they were. Records of one neighbour
are looked at in the order in which they came.

A record beyond a bound of ours is nobody's fault but its publisher's, whose own node would not have signed it: that
costs it a point when it sends it itself.

Not here: deciding what a record is worth (`groups.catalogue`); who is linked (`groups.membership`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.tokenbucket import TokenBucket
from swarmd.groups import messages
from swarmd.groups.catalogue import AWAY_LIMIT, MAX_SHARES_PER_PUBLISHER, Catalogue, Change, Outcome
from swarmd.groups.descent import Descent
from swarmd.groups.events import (
    OthersForgotten,
    OwnRecordReturned,
    PeerFaulted,
    RecordDropped,
    RecordStored,
    ShareAdded,
    ShareRemoved,
)
from swarmd.groups.fetch import Fetcher
from swarmd.groups.messages import Compare, Gone, Inventory, Offer, Records, Request, Status
from swarmd.groups.reconciliation import MAX_LISTED, Listing, Summary, opening, respond
from swarmd.groups.records import DIGEST_BYTES, Record, digest_of
from swarmd.groups.runs import Runs, State

MAX_QUEUED = 1024
"""Offers of one neighbour to be asked for, and digests known to be its: 100 KiB each. What does not fit comes
with the next run."""
MAX_RUN_QUEUED = 16_384
"""Of the neighbour in a run: twice what `descent.AHEAD` lets come."""
MAX_BACKLOG = 2_048
"""Records of one neighbour that wait to be verified: four times what it is asked for at once, 700 KB. Of what it sends
beyond that unasked only the digest is kept, as if it had been offered: it is asked for when its turn comes."""
SLICE = 12
"""Records taken in at once: 2 ms, most of it for their signatures. A question on the control socket is answered in the
third turn of the loop after it came."""
OFFERED_AT_ONCE = 1_000
"""Digests in an answer; where a neighbour lacks more, it is told where."""
COMPARED_AT_ONCE = 64
"""Summaries in one message: 6 ms for who answers."""
MAX_REFUSED = 16_384
"""Digests not to be fetched again for `REFUSED_PERIOD`: those a full catalogue or an expired date refused."""
REFUSED_PERIOD = 600.0
ANSWER_BURST_BYTES = 64 << 20
"""What one neighbour may ask for at once: a full catalogue of 150,000 records of 300 bytes, and more."""
ANSWER_RATE = 512 << 10
"""Bytes a second after that."""
MESSAGE_COST = 64
SUMMARY_COST = 4096
"""In bytes, what it costs to look at a message, and to answer one summary with 16 (0.3 ms): whoever has used its burst
up gets 5 % of a core for its questions."""
QUOTA_PENALTY = 1
ROLLBACK_PENALTY = 10

ExchangeEvent = (
    RecordStored | RecordDropped | ShareAdded | ShareRemoved | OthersForgotten | OwnRecordReturned | PeerFaulted
)
ExchangeMessage = Status | Compare | Inventory | Offer | Request | Records | Gone


@dataclass(slots=True)
class _Link:
    bucket: TokenBucket
    known: dict[bytes, None] = field(default_factory=dict)
    """Digests the neighbour has shown to have, the latest `MAX_QUEUED`."""
    news: dict[bytes, None] = field(default_factory=dict)
    """Digests to be offered as soon as the state of the link allows it, at most `MAX_QUEUED`."""
    n_backlog: int = 0
    """Records of it that wait to be verified."""
    has_overdone: bool = False
    """It has sent more records of its own than a member may have."""

    def learn(self, digest: bytes) -> None:
        self.known[digest] = None
        if len(self.known) > MAX_QUEUED:
            del self.known[next(iter(self.known))]


class Exchange:
    """One group's catalogue, shared over its links. Peers are linked neighbours in every call."""

    def __init__(self, own_id: PeerId, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.in_slices = False
        """Whether the driver calls `work`."""
        self._own_id = own_id
        self._fetcher = Fetcher()
        self._runs = Runs(own_id)
        self._descent = Descent()
        self._backlog: deque[tuple[PeerId, bytes]] = deque()
        self._heard_at: float | None = None
        self._links: dict[PeerId, _Link] = {}
        self._refused: dict[bytes, float] = {}
        self._messages: deque[tuple[PeerId, bytes]] = deque()
        self._has_news = False
        self._events: deque[ExchangeEvent] = deque()

    # links

    def open_link(self, peer: PeerId, now: float) -> None:
        status = self.status()
        self._links[peer] = _Link(TokenBucket(ANSWER_RATE, ANSWER_BURST_BYTES, now))
        self._runs.open(peer, status)
        self._say(peer, status)

    def close_link(self, peer: PeerId, now: float) -> None:
        del self._links[peer]
        self._runs.close(peer)
        self._fetcher.close(peer)
        self._messages = deque(item for item in self._messages if item[0] != peer)
        self._backlog = deque(item for item in self._backlog if item[0] != peer)
        self._proceed(now)

    def status(self) -> Status:
        """This node's catalogue, summed up."""
        root = self.catalogue.digests.root()
        return Status(root.count, root.fingerprint)

    # in and out

    def receive(self, peer: PeerId, message: ExchangeMessage, now: float, wall: float) -> None:
        """One message; RemoteError when it breaks the rules."""
        self._come_back(wall)
        self._runs.heard(peer, now)
        match message:
            case Status():
                self._runs.receive_status(peer, message, self.status(), now)
            case Compare():
                self._receive_compare(peer, message.summaries, now)
            case Inventory():
                self._receive_inventory(peer, message.listing, now)
            case Offer():
                self._receive_offer(peer, message.digests, now)
            case Request():
                self._receive_request(peer, message.digests, now)
            case Records():
                self._receive_records(peer, message.records, now, wall)
            case Gone():
                self._fetcher.deny(peer, message.digests)
        self._proceed(now)

    @property
    def has_work(self) -> bool:
        """Whether records wait to be verified."""
        return bool(self._backlog)

    def work(self, now: float, wall: float) -> None:
        """Take in `SLICE` of the records that wait. What is wrong with them is told by PeerFaulted."""
        for _ in range(min(SLICE, len(self._backlog))):
            peer, data = self._next_of_backlog()
            try:
                self._take_in(peer, data, now, wall)
            except RemoteError as error:
                self._events.append(PeerFaulted(peer, error.penalty, str(error)))
                self._drop_backlog(peer)
                self._fetcher.close(peer)
                break
        self._proceed(now)

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        if self._has_news:
            for peer, link in self._links.items():
                if link.news and self._runs.state(peer) in (State.LIVE, State.RUNNING):
                    self._offer(peer, list(link.news))
                    link.news.clear()
            self._has_news = any(link.news for link in self._links.values())
        sending = list(self._messages)
        self._messages.clear()
        return sending

    def next_event(self) -> ExchangeEvent | None:
        return self._events.popleft() if self._events else None

    def next_deadline(self) -> float | None:
        deadlines = (self._fetcher.next_deadline(), self._runs.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def handle_timer(self, now: float) -> None:
        for peer in self._fetcher.handle_timer(now):
            self._events.append(PeerFaulted(peer, 1, "offers share records and does not give them"))
        self._runs.handle_timer(now)
        self._proceed(now)

    # our own side

    def announce(self, record: Record, change: Change, now: float) -> None:
        """Tell everybody of a record that this node has just signed and put into the catalogue."""
        self._take_note(record, change, now)
        for peer in self._links:
            self._say(peer, Records((record.encode(),)))

    def restore(self, records: Iterable[bytes], wall: float, heard_at: float | None = None) -> int:
        """Take in what was held before a restart, and say how many could not be read; nobody is told, and there are no
        events. heard_at: wall time when a member was last heard of, if that is known."""
        n_damaged = 0
        for data in records:
            try:
                self.catalogue.restore(data, wall)
            except RemoteError:
                n_damaged += 1
        self._heard_at = heard_at
        return n_damaged

    def expire(self, now: float, wall: float) -> bool:
        """Drop records that have had their time. Whether there may be more of them."""
        dropped = self.catalogue.expire(wall)
        for record in dropped:
            self._drop(record, now)
        return bool(dropped)

    # comparison

    def _proceed(self, now: float) -> None:
        """Start what can be started, go on with what is under way, ask for what can be asked for."""
        if (peer := self._runs.start_next(self.status, now)) is not None:
            self._begin(peer)
        if (running := self._runs.running) is not None:
            self._say_all(running, self._descent.steps(self.catalogue.digests, self._fetcher.n_queued(running)))
        for peer, digests in self._fetcher.requests(now):
            for start in range(0, len(digests), messages.REQUESTS_PER_MESSAGE):
                self._say(peer, Request(tuple(digests[start : start + messages.REQUESTS_PER_MESSAGE])))

    def _begin(self, peer: PeerId) -> None:
        """A run."""
        self._links[peer].news.clear()
        self._descent = Descent()
        first = opening(self.catalogue.digests)
        if isinstance(first, Listing):
            self._descent.listed(self._runs.count(peer))
        self._say_all(peer, [first])

    def _receive_compare(self, peer: PeerId, theirs: Sequence[Summary], now: float) -> None:
        self._charge(peer, MESSAGE_COST, now)
        if self._runs.running == peer:
            self._descent.answered()
            self._descent.add(reversed(theirs))
            if self._descent.is_cut_short:
                self._runs.request(peer, now)
            return
        answers: list[Listing | Summary] = []
        for summary in theirs:
            answer = respond(self.catalogue.digests, summary)
            answers += [answer] if isinstance(answer, Listing) else answer
            self._charge(peer, SUMMARY_COST if answer else MESSAGE_COST, now)
        self._say_all(peer, answers)

    def _receive_inventory(self, peer: PeerId, listing: Listing, now: float) -> None:
        digests, prefix = self.catalogue.digests, listing.prefix
        if digests.count(prefix) > max(OFFERED_AT_ONCE, MAX_LISTED) + len(listing.digests):
            self._charge(peer, SUMMARY_COST, now)
            self._say_all(peer, [digests.summary(child) for child in prefix.children()])
        else:
            listed = set(listing.digests)
            lacking = [digest for digest in digests.span(prefix) if digest not in listed]
            self._charge(peer, MESSAGE_COST + len(lacking) * DIGEST_BYTES, now)
            self._say(peer, Offer(tuple(lacking)))
        self._want(peer, listing.digests, now)

    # records

    def _receive_offer(self, peer: PeerId, digests: Sequence[bytes], now: float) -> None:
        if self._runs.running == peer:
            self._descent.answered()
        self._want(peer, digests, now)

    def _want(self, peer: PeerId, digests: Sequence[bytes], now: float) -> None:
        """The neighbour has these: fetch what is lacking here."""
        for digest in digests:
            self._links[peer].learn(digest)
        held = self.catalogue.digests
        wanted = [digest for digest in digests if digest not in held and not self._refuses(digest, now)]
        room = MAX_RUN_QUEUED if self._runs.state(peer) is State.RUNNING else MAX_QUEUED
        if not self._fetcher.offer(peer, wanted, room):
            self._runs.request(peer, now)

    def _receive_request(self, peer: PeerId, digests: Sequence[bytes], now: float) -> None:
        sought = [(digest, self.catalogue.encoded(digest)) for digest in digests]
        found = [encoded for _, encoded in sought if encoded is not None]
        self._charge(peer, MESSAGE_COST + sum(map(len, found)), now)
        for start in range(0, len(found), messages.RECORDS_PER_MESSAGE):
            self._say(peer, Records(tuple(found[start : start + messages.RECORDS_PER_MESSAGE])))
        if gone := tuple(digest for digest, encoded in sought if encoded is None):
            self._say(peer, Gone(gone))

    def _receive_records(self, peer: PeerId, encoded: Sequence[bytes], now: float, wall: float) -> None:
        n_waiting = len(self._backlog)
        taken = self._without_excess(peer, encoded, now) if self.in_slices else encoded
        self._backlog += [(peer, data) for data in taken]
        self._links[peer].n_backlog += len(taken)
        if not self.in_slices:
            self._take_in_backlog(len(self._backlog), now, wall)
        elif not n_waiting:
            self._take_in_backlog(SLICE, now, wall)

    def _without_excess(self, peer: PeerId, encoded: Sequence[bytes], now: float) -> Sequence[bytes]:
        """What there is room for, and what was asked for."""
        room = max(0, MAX_BACKLOG - self._links[peer].n_backlog)
        beyond = [(digest_of(data), data) for data in encoded[room:]]
        asked = [data for digest, data in beyond if self._fetcher.is_asked(peer, digest)]
        self._want(peer, [digest for digest, _ in beyond], now)
        return [*encoded[:room], *asked]

    def _take_in_backlog(self, limit: int, now: float, wall: float) -> None:
        """All that waits is of one neighbour, and so is a RemoteError; then the rest is not looked at."""
        for _ in range(min(limit, len(self._backlog))):
            peer, data = self._next_of_backlog()
            try:
                self._take_in(peer, data, now, wall)
            except RemoteError:
                self._drop_backlog(peer)
                raise

    def _drop_backlog(self, peer: PeerId) -> None:
        self._backlog = deque(item for item in self._backlog if item[0] != peer)
        self._links[peer].n_backlog = 0

    def _next_of_backlog(self) -> tuple[PeerId, bytes]:
        peer, data = self._backlog.popleft()
        self._links[peer].n_backlog -= 1
        return peer, data

    def _take_in(self, peer: PeerId, data: bytes, now: float, wall: float) -> None:
        digest = digest_of(data)
        if digest not in self.catalogue.digests:
            self._accept(peer, self.catalogue.decode(data), now, wall)
        self._fetcher.resolve(digest, now)
        self._links[peer].learn(digest)

    def _accept(self, peer: PeerId, record: Record, now: float, wall: float) -> None:
        """Put one record into the catalogue and draw the consequences."""
        change = self.catalogue.put(record, wall)
        match change.outcome:
            case Outcome.ADDED:
                self._runs.gained(peer, now)
                self._take_note(record, change, now)
                self._spread(peer, record.digest, now)
                if record.publisher == self._own_id:
                    self._events.append(OwnRecordReturned(record, change.previous))
            case Outcome.STALE:
                self._correct(peer, change)
            case Outcome.REFUSED:
                self._refuse(record.digest, now)
                self._blame(peer, record)
            case Outcome.KNOWN:
                pass

    def _correct(self, peer: PeerId, change: Change) -> None:
        """A neighbour sent an older record than we hold: a fault only if it had the newer one itself.

        It may have dropped a tombstone before we did; a share it cannot.
        """
        newer, link = change.previous, self._links[peer]
        assert newer is not None
        if newer.digest in link.known and not newer.is_tombstone:
            raise RemoteError("a member rolls a share back to an older record", penalty=ROLLBACK_PENALTY)
        if len(link.news) < MAX_QUEUED:
            link.news[newer.digest] = None
            self._has_news = True

    def _take_note(self, record: Record, change: Change, now: float) -> None:
        """The events of a record that is new in the catalogue."""
        previous = change.previous
        self._events.append(RecordStored(record))
        replaced = None if previous is None or previous.is_tombstone else previous
        if not record.is_tombstone:
            self._events.append(ShareAdded(record, replaced))
        elif replaced is not None:
            self._events.append(ShareRemoved(replaced))
        for evicted in change.evicted:
            self._drop(evicted, now)

    def _blame(self, peer: PeerId, record: Record) -> None:
        """A record was refused: a fault only of a publisher that has signed more than it may and brings it itself."""
        link = self._links[peer]
        is_too_much = self.catalogue.n_shares_of(peer) >= MAX_SHARES_PER_PUBLISHER and not record.is_tombstone
        if record.publisher == peer and is_too_much and not link.has_overdone:
            link.has_overdone = True
            self._events.append(PeerFaulted(peer, QUOTA_PENALTY, "shares more than a member may"))

    def _spread(self, source: PeerId, digest: bytes, now: float) -> None:
        """Offer a record to the neighbours that may lack it. What is too much for that is left to a run."""
        for peer, link in self._links.items():
            if peer == source or digest in link.known or self._runs.state(peer) is State.WAITING:
                continue
            if len(link.news) < MAX_QUEUED:
                link.news[digest] = None
                self._has_news = True
            else:
                self._runs.request(peer, now)

    def _come_back(self, wall: float) -> None:
        """Somebody is heard of. After a long time alone, what others shared may have been removed meanwhile."""
        if self._heard_at is not None and wall - self._heard_at > AWAY_LIMIT:
            self.catalogue.forget_others()
            self._events.append(OthersForgotten())
        self._heard_at = wall

    def _drop(self, record: Record, now: float) -> None:
        """The catalogue no longer holds this one."""
        self._refuse(record.digest, now)
        self._events.append(RecordDropped(record))
        if not record.is_tombstone:
            self._events.append(ShareRemoved(record))

    def _refuse(self, digest: bytes, now: float) -> None:
        self._refused[digest] = now + REFUSED_PERIOD
        if len(self._refused) > MAX_REFUSED:
            del self._refused[next(iter(self._refused))]

    def _refuses(self, digest: bytes, now: float) -> bool:
        return self._refused.get(digest, now) > now

    # sending

    def _offer(self, peer: PeerId, digests: Sequence[bytes]) -> None:
        for start in range(0, len(digests), messages.OFFERS_PER_MESSAGE):
            self._say(peer, Offer(tuple(digests[start : start + messages.OFFERS_PER_MESSAGE])))

    def _say_all(self, peer: PeerId, answers: Sequence[Listing | Summary]) -> None:
        """In few messages."""
        for answer in answers:
            if isinstance(answer, Listing):
                self._say(peer, Inventory(answer))
        summaries = sorted((each for each in answers if isinstance(each, Summary)), key=lambda each: each.prefix.first)
        for start in range(0, len(summaries), COMPARED_AT_ONCE):
            self._say(peer, Compare(tuple(summaries[start : start + COMPARED_AT_ONCE])))

    def _say(self, peer: PeerId, message: ExchangeMessage) -> None:
        self._messages.append((peer, message.encode()))

    def _charge(self, peer: PeerId, size: int, now: float) -> None:
        """Count what a neighbour makes us send or reckon; RemoteError when it overdoes that."""
        if not self._links[peer].bucket.take(size, now):
            raise RemoteError("a member asks for the catalogue over and over")
