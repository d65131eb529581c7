"""The messages of this member that others carry: finds their receivers, seals, sends, and tries again.

In: requests of programs, what becomes of each way (`relaying`), time. Out: questions for neighbours, the event Routed
for each request, once.

Who was found lately is remembered, so that the next message to the same member goes without asking.

Invariant: at most `MAX_JOURNEYS` messages are under way, each until its time is up at the latest. None is in clear in
anything that leaves here. A message that is sent to its receiver again has the same message ID, so that it is delivered
once; where a receiver does not acknowledge in time and another one is nearest, both may get it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from swarmd.core.errors import RemoteError
from swarmd.groups import ring
from swarmd.groups.ring import GroupAddress
from swarmd.groups.routing.events import Routed, RouteResult, RoutingEvent
from swarmd.groups.routing.journey import (
    FIRST_WIDTH,
    MAX_ROUNDS,
    MAX_STAGES,
    Journey,
    Request,
    Road,
    Stage,
    Verdict,
)
from swarmd.groups.routing.links import Links
from swarmd.groups.routing.messages import (
    NAME_BYTES,
    PATH_BYTES,
    TURN_LIMIT,
    Answer,
    Envelope,
    Locate,
    Question,
    Way,
    digest,
)
from swarmd.groups.routing.own import Own
from swarmd.groups.routing.paths import Path, Paths
from swarmd.groups.routing.receiving import Receiving
from swarmd.groups.routing.sealing import Letter, Sealed, Statement
from swarmd.identity.noise import KEY_BYTES

MAX_JOURNEYS = 256
"""Messages under way at once: 16 MiB when each is as long as it may be."""
LAST_ROUND = 3
"""Rounds, 4.75 s: longer than somebody is a newcomer (`links.SETTLED_AFTER`)."""
MAX_REMEMBERED = 256
REMEMBERED_PERIOD = 300.0
"""Seconds: half of what an epoch lasts (`receiving.EPOCH_PERIOD`)."""


@dataclass(frozen=True, slots=True)
class _Remembered:
    statement: Statement
    at: float


class Sending:
    """This member as a sender."""

    def __init__(self, own: Own, links: Links, paths: Paths, receiving: Receiving, events: deque[RoutingEvent]) -> None:
        """`receiving` takes what this member itself is nearest to."""
        self._own, self._links, self._paths = own, links, paths
        self._receiving, self._events = receiving, events
        self._journeys: dict[int, Journey] = {}
        self._of_way: dict[bytes, tuple[int, Sealed | None]] = {}
        self._remembered: dict[GroupAddress, _Remembered] = {}

    @property
    def is_full(self) -> bool:
        return len(self._journeys) >= MAX_JOURNEYS

    def begin(self, journey_id: int, request: Request, now: float) -> None:
        """Routed follows, at once if there are no neighbours, or this member itself is the receiver."""
        message_id = self._own.secrets.bytes(NAME_BYTES)
        journey = Journey(journey_id, request, message_id, now + request.timeout)
        self._journeys[journey_id] = journey
        if self._is_ours(journey):
            self._take(journey, now)
            return
        remembered = self._remembered.get(request.address)
        if remembered is not None and now < remembered.at + REMEMBERED_PERIOD:
            self._start_sending(journey, remembered.statement, (), now)
        else:
            self._start_locating(journey, now)

    def finish(self, journey_id: int, result: RouteResult, reply: bytes | None = None) -> None:
        """The end; nothing happens to an unknown one."""
        if (journey := self._journeys.get(journey_id)) is None:
            return
        self._forget(journey)
        receiver = journey.receiver.peer_id if journey.receiver and journey.n_hops is not None else None
        self._events.append(Routed(journey_id, result, reply, receiver, journey.n_hops))

    # what becomes of ways

    def receive_statement(self, path_id: bytes, statement: Statement, now: float) -> None:
        """Somebody answers to a question for the nearest, or to an envelope of a past epoch."""
        if (ended := self._end_way(path_id)) is None:
            return
        journey, road = ended
        if journey.stage is Stage.LOCATING:
            if self._is_likely(journey, statement):
                journey.add_answer(road, statement)
        elif journey.stage is Stage.SENDING and self._is_newer(journey, statement):
            self._start_sending(journey, statement, (road,), now)
            return
        self._advance(journey, now)

    def receive_answer(self, path_id: bytes, answer: Answer, now: float) -> None:
        """An acknowledgement or a reply; one that does not open is as good as none."""
        journey_id, sealed = self._of_way.get(path_id, (0, None))
        journey = self._journeys.get(journey_id)
        if journey is None or sealed is None:
            return
        try:
            self._open(journey, sealed, answer, now)
        except RemoteError:
            self._end_way(path_id)
            self._advance(journey, now)

    def receive_failure(self, path_id: bytes, now: float) -> None:
        if (ended := self._end_way(path_id)) is not None and ended[0].stage is not Stage.AWAITING:
            self._advance(ended[0], now)

    # time

    def next_deadline(self) -> float | None:
        return min((journey.deadline for journey in self._journeys.values()), default=None)

    def handle_timer(self, now: float) -> None:
        for journey in list(self._journeys.values()):
            if now >= journey.gives_up_at:
                self._give_up(journey)
            elif now >= journey.round_at:
                journey.begin_round(now)
                self._advance(journey, now)

    # stages

    def _start_locating(self, journey: Journey, now: float) -> None:
        if journey.n_stages >= MAX_STAGES:
            self.finish(journey.id, RouteResult.TIMED_OUT)
            return
        journey.target, journey.preferred = journey.request.address, ()
        is_beside = self._links.at(journey.target) is not None
        journey.begin_stage(Stage.LOCATING, 1 if is_beside else FIRST_WIDTH, now)
        self._advance(journey, now)

    def _start_sending(self, journey: Journey, receiver: Statement, preferred: tuple[Road, ...], now: float) -> None:
        if journey.n_stages >= MAX_STAGES:
            self.finish(journey.id, RouteResult.TIMED_OUT)
            return
        try:
            sealed = self._seal(journey, receiver)
        except RemoteError:  # its key is none that one can seal to
            self._look_again(journey, receiver, now)
            return
        journey.sealed, journey.receiver = sealed, receiver
        journey.target, journey.preferred = receiver.address, preferred
        self._remember(receiver, now)
        journey.begin_stage(Stage.SENDING, 1, now)
        self._advance(journey, now)

    def _seal(self, journey: Journey, receiver: Statement) -> Sealed:
        letter, ephemeral = _letter(journey.request), self._own.secrets.bytes(KEY_BYTES)
        return Sealed(self._own.identity, self._own.group_id, journey.message_id, receiver, letter, ephemeral)

    def _start_awaiting(self, journey: Journey, now: float) -> None:
        journey.begin_stage(Stage.AWAITING, 0, now)

    def _look_again(self, journey: Journey, receiver: Statement, now: float) -> None:
        """That one does not take it: it has left, is cut off, or never meant to."""
        self._remembered.pop(receiver.address, None)
        if not journey.request.is_exact:
            journey.shun(receiver.peer_id)
        self._start_locating(journey, now)

    # decisions, carried out

    def _advance(self, journey: Journey, now: float) -> None:
        """Go on with what is known by now."""
        if journey.stage is Stage.LOCATING:
            self._judge(journey, now)
            return
        self._fill(journey, now)
        if journey.stage is Stage.SENDING and (journey.n_round >= MAX_ROUNDS or (journey.n_round and not journey.ways)):
            assert journey.receiver is not None
            self._look_again(journey, journey.receiver, now)

    def _judge(self, journey: Journey, now: float) -> None:
        verdict = journey.verdict(len(self._links), self._links.spacing)
        if verdict is Verdict.OPEN:
            self._fill(journey, now)
            verdict = self._last_word(journey)
            if verdict is Verdict.OPEN and journey.is_spent:
                self._start_locating(journey, now)
                return
        if verdict is Verdict.FOUND:
            best = journey.best()
            assert best is not None
            self._start_sending(journey, best[0], tuple(best[1].values()), now)
        elif verdict is Verdict.SILENT and self._is_ours(journey):
            self._take(journey, now)  # those who were nearer have gone meanwhile
        elif verdict is not Verdict.OPEN:
            self.finish(journey.id, RouteResult.NOT_FOUND if verdict is Verdict.ABSENT else self._silence(journey))

    def _last_word(self, journey: Journey) -> Verdict:
        """When every way has ended and there is no further one, what there is must do, but for saying that somebody
        is not there; nothing at all is asked for some times (a newcomer has no answer yet), unless there is nobody."""
        if journey.ways and not journey.is_spent:
            return Verdict.OPEN
        if journey.best() is not None:
            return Verdict.OPEN if journey.request.is_exact else Verdict.FOUND
        is_last = journey.n_round >= LAST_ROUND and not journey.ways
        return Verdict.SILENT if is_last or not len(self._links) else Verdict.OPEN

    def _silence(self, journey: Journey) -> RouteResult:
        """What it means that every way has failed."""
        if journey.shunned:
            return RouteResult.TIMED_OUT
        is_nearest = self._links.nearest(journey.request.address) == self._links.own
        return RouteResult.NOT_FOUND if is_nearest and len(self._links) else RouteResult.NO_ROUTE

    def _is_ours(self, journey: Journey) -> bool:
        """Whether this member is the receiver, as far as it knows."""
        address, is_exact = journey.request.address, journey.request.is_exact
        return address == self._links.own or (not is_exact and self._links.nearest(address) == self._links.own)

    def _take(self, journey: Journey, now: float) -> None:
        """To ourselves; an answer that is wanted comes through `receiving`, which tells of it."""
        self._forget(journey)
        self._receiving.deliver_own(_letter(journey.request), journey.id, now)
        if not journey.request.reply_wanted:
            own_id = self._own.peer_id
            self._events.append(Routed(journey.id, RouteResult.DELIVERED, None, own_id, 0))

    def _forget(self, journey: Journey) -> None:
        del self._journeys[journey.id]
        for path_id in [key for key, (each, _) in self._of_way.items() if each == journey.id]:
            del self._of_way[path_id]
            self._paths.drop(path_id)

    def _give_up(self, journey: Journey) -> None:
        if journey.stage is Stage.AWAITING:
            self.finish(journey.id, RouteResult.NO_REPLY)
        elif journey.stage is Stage.LOCATING and journey.request.is_exact and journey.answers:
            self.finish(journey.id, RouteResult.NOT_FOUND)
        else:
            self.finish(journey.id, RouteResult.TIMED_OUT)

    def _fill(self, journey: Journey, now: float) -> None:
        """Begin as many ways as may be under way at once."""
        by_distance = self._links.by_distance(journey.target)
        while (road := journey.pick_road(by_distance, 1 + self._own.rng.randrange(TURN_LIMIT))) is not None:
            way = Way(self._own.secrets.bytes(PATH_BYTES), journey.target, turn=road.turn)
            question = self._question(journey, way)
            journey.start_way(way.path, road)
            self._of_way[way.path] = (journey.id, journey.sealed if isinstance(question, Envelope) else None)
            self._paths.add(way.path, Path.of(question, None, road.neighbour, now))
            self._links.ask(road.neighbour, question, now)

    def _question(self, journey: Journey, way: Way) -> Question:
        if journey.stage is Stage.LOCATING:
            return Locate(way)
        assert journey.sealed is not None
        epoch, sealed = journey.sealed.statement.epoch, journey.sealed.data
        if journey.stage is Stage.SENDING:
            return Envelope(way, epoch, journey.message_id, sealed)
        return Envelope(way, epoch, digest(sealed), b"")

    def _open(self, journey: Journey, sealed: Sealed, answer: Answer, now: float) -> None:
        if answer.is_reply:
            reply = sealed.open_reply(answer.sealed)
            if journey.stage is Stage.AWAITING and sealed is journey.sealed:
                self.finish(journey.id, RouteResult.DELIVERED, reply)
            return
        if sealed.is_acknowledged:
            return  # over another way as well, or again
        journey.acknowledge(sealed.open_acknowledgement(answer.sealed))
        journey.sealed, journey.receiver = sealed, sealed.statement
        journey.target = sealed.statement.address
        if journey.request.reply_wanted:
            self._start_awaiting(journey, now)
        else:
            self.finish(journey.id, RouteResult.DELIVERED)

    def _end_way(self, path_id: bytes) -> tuple[Journey, Road] | None:
        """The journey and the road of a way that has ended."""
        journey_id, _ = self._of_way.pop(path_id, (0, None))
        journey = self._journeys.get(journey_id)
        road = None if journey is None else journey.ways.pop(path_id, None)
        return None if journey is None or road is None else (journey, road)

    def _is_likely(self, journey: Journey, statement: Statement) -> bool:
        """Nobody is nearest who is further away than a neighbour of ours, unless that one has gone without a word: so
        what comes after a round of silence counts."""
        if journey.request.is_exact or journey.n_round:
            return True
        address = journey.request.address
        return not ring.is_nearer(address, self._links.nearest(address), statement.address)

    def _is_newer(self, journey: Journey, statement: Statement) -> bool:
        return journey.sealed is not None and journey.sealed.statement.epoch != statement.epoch

    def _remember(self, receiver: Statement, now: float) -> None:
        self._remembered.pop(receiver.address, None)
        self._remembered[receiver.address] = _Remembered(receiver, now)
        if len(self._remembered) > MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]


def _letter(request: Request) -> Letter:
    return Letter(request.message, request.address, request.reply_wanted)
