"""Keeping a group's catalogues alike: what goes over each link so that every record reaches every member.

Two ways, both on every link:
- News. What this node publishes is sent to all neighbours at once; what it accepts from one it offers to the
  others by digest, and who lacks it asks for it. So a record crosses each link once, its digest at most twice.
- Comparison. Both sides send their Status when a link opens, and later with gossip. Where they differ, a run
  (`groups.runs`) goes down the tree of digests (`groups.reconciliation`) with Compare and Inventory; Offers and
  Requests follow. News is not offered where a run is still to come, since that brings it.

Invariant: every message is answered from what is held at that moment; what a neighbour can make this node
keep is bounded by `MAX_QUEUED` (`MAX_RECORDS` for the one in a run), what it can make it send or reckon by a
token bucket. A RemoteError leaves the catalogue and the other links as they were.

Not here: deciding what a record is worth (`groups.catalogue`); who is linked (`groups.membership`). For more
than 10,000 shares the catalogue is no longer to be held whole: `Catalogue` and `DigestSet` change then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.core.tokenbucket import TokenBucket
from swarmd.groups import messages
from swarmd.groups.catalogue import MAX_RECORDS, Catalogue, Change, Outcome
from swarmd.groups.events import (
    OwnRecordReturned,
    PeerFaulted,
    RecordDropped,
    RecordStored,
    ShareAdded,
    ShareRemoved,
)
from swarmd.groups.fetch import Fetcher
from swarmd.groups.messages import Compare, Gone, Inventory, Offer, Records, Request, Status
from swarmd.groups.reconciliation import DigestSet, Listing, Summary, opening, respond
from swarmd.groups.records import DIGEST_BYTES, Record, digest_of
from swarmd.groups.runs import Runs, State

MAX_QUEUED = 1024
"""Offers of one neighbour to be asked for, and digests known to be its: 100 KiB each. What does not fit comes
with the next run."""
MAX_REFUSED = 16_384
"""Digests not to be fetched again for `REFUSED_PERIOD`: those a full catalogue or an expired date refused."""
REFUSED_PERIOD = 600.0
ANSWER_BURST_BYTES = 32 << 20
"""What one neighbour may ask for at once: a full catalogue of 20,000 records of the longest kind, and more."""
ANSWER_RATE = 512 << 10
"""Bytes a second after that."""
ROLLBACK_PENALTY = 10

ExchangeEvent = RecordStored | RecordDropped | ShareAdded | ShareRemoved | OwnRecordReturned | PeerFaulted
ExchangeMessage = Status | Compare | Inventory | Offer | Request | Records | Gone


@dataclass(slots=True)
class _Link:
    bucket: TokenBucket
    known: dict[bytes, None] = field(default_factory=dict)
    """Digests the neighbour has shown to have, the latest `MAX_QUEUED`."""
    news: dict[bytes, None] = field(default_factory=dict)
    """Digests to be offered as soon as the state of the link allows it."""

    def learn(self, digest: bytes) -> None:
        self.known[digest] = None
        if len(self.known) > MAX_QUEUED:
            del self.known[next(iter(self.known))]


class Exchange:
    """One group's catalogue, shared over its links. Peers are linked neighbours in every call."""

    def __init__(self, own_id: PeerId, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._own_id = own_id
        self._digests = DigestSet(catalogue.digests())
        self._fetcher = Fetcher()
        self._runs = Runs(own_id)
        self._links: dict[PeerId, _Link] = {}
        self._refused: dict[bytes, float] = {}
        self._messages: deque[tuple[PeerId, bytes]] = deque()
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
        self._proceed(now)

    def status(self) -> Status:
        """This node's catalogue, summed up."""
        root = self._digests.root()
        return Status(root.count, root.fingerprint)

    # in and out

    def receive(self, peer: PeerId, message: ExchangeMessage, now: float, wall: float) -> None:
        """One message; RemoteError when it breaks the rules."""
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

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        for peer, link in self._links.items():
            if link.news and self._runs.state(peer) in (State.LIVE, State.RUNNING):
                self._offer(peer, list(link.news))
                link.news.clear()
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

    def restore(self, records: Iterable[Record], wall: float) -> None:
        """Take in what was held before a restart; nobody is told, and there are no events."""
        for record in records:
            self.catalogue.restore(record, wall)
        self._digests = DigestSet(self.catalogue.digests())

    def expire(self, now: float, wall: float) -> None:
        """Drop the records that have had their time."""
        for record in self.catalogue.expire(wall):
            self._drop(record, now)
            if not record.is_tombstone:
                self._events.append(ShareRemoved(record))

    # comparison

    def _proceed(self, now: float) -> None:
        """Start what can be started, ask for what can be asked for."""
        if (peer := self._runs.start_next(self.status, now)) is not None:
            self._links[peer].news.clear()
            first = opening(self._digests)
            self._say(peer, Inventory(first) if isinstance(first, Listing) else Compare((first,)))
        for peer, digests in self._fetcher.requests(now):
            self._say(peer, Request(tuple(digests)))

    def _receive_compare(self, peer: PeerId, theirs: Sequence[Summary], now: float) -> None:
        answers: list[Summary] = []
        for summary in theirs:
            self._charge(peer, self._digests.count(summary.prefix) * DIGEST_BYTES, now)
            answer = respond(self._digests, summary)
            if isinstance(answer, Listing):
                self._say(peer, Inventory(answer))
            else:
                answers += answer
        for start in range(0, len(answers), messages.SUMMARIES_PER_MESSAGE):
            self._say(peer, Compare(tuple(answers[start : start + messages.SUMMARIES_PER_MESSAGE])))

    def _receive_inventory(self, peer: PeerId, listing: Listing, now: float) -> None:
        listed = set(listing.digests)
        lacking = [digest for digest in self._digests.span(listing.prefix) if digest not in listed]
        self._charge(peer, len(lacking) * DIGEST_BYTES, now)
        self._offer(peer, lacking)
        self._receive_offer(peer, listing.digests, now)

    # records

    def _receive_offer(self, peer: PeerId, digests: Sequence[bytes], now: float) -> None:
        for digest in digests:
            self._links[peer].learn(digest)
        wanted = [digest for digest in digests if digest not in self.catalogue and not self._refuses(digest, now)]
        room = MAX_RECORDS if self._runs.state(peer) is State.RUNNING else MAX_QUEUED
        if not self._fetcher.offer(peer, wanted, room):
            self._runs.request(peer, now)

    def _receive_request(self, peer: PeerId, digests: Sequence[bytes], now: float) -> None:
        found = [record.encode() for digest in digests if (record := self.catalogue.get(digest))]
        self._charge(peer, sum(map(len, found)), now)
        for start in range(0, len(found), messages.RECORDS_PER_MESSAGE):
            self._say(peer, Records(tuple(found[start : start + messages.RECORDS_PER_MESSAGE])))
        if gone := tuple(digest for digest in digests if digest not in self.catalogue):
            self._say(peer, Gone(gone))

    def _receive_records(self, peer: PeerId, encoded: Sequence[bytes], now: float, wall: float) -> None:
        for data in encoded:
            digest = digest_of(data)
            if digest not in self.catalogue:
                self._accept(peer, self.catalogue.decode(data), now, wall)
            self._fetcher.resolve(digest, now)
            self._links[peer].learn(digest)

    def _accept(self, peer: PeerId, record: Record, now: float, wall: float) -> None:
        """Put one record into the catalogue and draw the consequences."""
        change = self.catalogue.put(record, wall)
        match change.outcome:
            case Outcome.ADDED:
                self._runs.gained(peer)
                self._take_note(record, change, now)
                self._spread(peer, record.digest)
                if record.publisher == self._own_id:
                    self._events.append(OwnRecordReturned(record, change.previous))
            case Outcome.STALE:
                self._correct(peer, change)
            case Outcome.REFUSED:
                self._refuse(record.digest, now)
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
        link.news[newer.digest] = None

    def _take_note(self, record: Record, change: Change, now: float) -> None:
        """The digests and events of a record that is new in the catalogue."""
        previous = change.previous
        if previous is not None:
            self._digests.discard(previous.digest)
        self._digests.add(record.digest)
        self._events.append(RecordStored(record))
        replaced = None if previous is None or previous.is_tombstone else previous
        if not record.is_tombstone:
            self._events.append(ShareAdded(record, replaced))
        elif replaced is not None:
            self._events.append(ShareRemoved(replaced))
        for evicted in change.evicted:
            self._drop(evicted, now)

    def _spread(self, source: PeerId, digest: bytes) -> None:
        """Offer a record to the neighbours that may lack it."""
        for peer, link in self._links.items():
            if peer == source or digest in link.known or self._runs.state(peer) is State.WAITING:
                continue
            if len(link.news) < MAX_RECORDS:
                link.news[digest] = None

    def _drop(self, record: Record, now: float) -> None:
        """The catalogue no longer holds this one."""
        self._digests.discard(record.digest)
        self._refuse(record.digest, now)
        self._events.append(RecordDropped(record))

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

    def _say(self, peer: PeerId, message: ExchangeMessage) -> None:
        self._messages.append((peer, message.encode()))

    def _charge(self, peer: PeerId, size: int, now: float) -> None:
        """Count what a neighbour makes us send or reckon; RemoteError when it overdoes that."""
        if not self._links[peer].bucket.take(size, now):
            raise RemoteError("a member asks for the catalogue over and over")
