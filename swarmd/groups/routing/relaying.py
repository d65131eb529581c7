"""What this member does with the questions and answers of others: passes each on to one neighbour, and answers back.

A question goes to a neighbour who is nearer to its target than this member; where there is none, it ends here
(`receiving`). Each member on the way verifies what it can before it passes it on, so that what is false can be charged
to the neighbour it came from: a statement (Located) must hold, and be of somebody at least as near as that neighbour.
Acknowledgements and replies can be judged by the asker only.

Invariant: a question goes on to one neighbour at the most, with fewer hops left than it came with, and never twice
while its path is held: with that, and as each hop is nearer than the last, it comes to an end. Every question that is
not carried is answered with Failed.
"""

from __future__ import annotations

import math
from typing import Protocol

from swarmd.core.errors import RemoteError
from swarmd.core.ids import PeerId
from swarmd.groups import ring
from swarmd.groups.routing.links import Links, pick_hop
from swarmd.groups.routing.messages import PATH_BYTES, Answer, Envelope, Failed, Locate, Located, Question, Way
from swarmd.groups.routing.own import Own
from swarmd.groups.routing.paths import Path, Paths
from swarmd.groups.routing.receiving import Receiving
from swarmd.groups.routing.sealing import Statement


class Asker(Protocol):
    """Who hears what becomes of our own questions."""

    def receive_statement(self, path_id: bytes, statement: Statement, now: float) -> None: ...
    def receive_answer(self, path_id: bytes, answer: Answer, now: float) -> None: ...
    def receive_failure(self, path_id: bytes, now: float) -> None: ...


class Relaying:
    """This member as one on the way."""

    def __init__(self, own: Own, links: Links, paths: Paths, receiving: Receiving, asker: Asker) -> None:
        self._own, self._links, self._paths = own, links, paths
        self._receiving, self._asker = receiving, asker

    def close_link(self, peer: PeerId, now: float) -> None:
        """What was asked over `peer` will have no answer: say so at once."""
        for path_id, previous in self._paths.close_link(peer):
            self._fail(path_id, previous, now)

    def next_deadline(self) -> float | None:
        due_at = self._links.silence.next_deadline()
        return due_at if due_at < math.inf else None

    def handle_timer(self, now: float) -> None:
        """Ask those who they are that say nothing; what went to the silent ones goes other ways."""
        if now < self._links.silence.next_deadline():
            return
        changes = self._links.silence.handle_timer(now)
        for peer in changes.probed:
            self._links.send(peer, Locate(Way(self._own.secrets.bytes(PATH_BYTES), self._links[peer].address)))
        self._links.note(changes)
        for peer in changes.fallen:
            for path_id, previous in self._paths.fail(peer, self._links[peer].address):
                self._fail(path_id, previous, now)

    def receive_question(self, peer: PeerId, question: Question, size: int, now: float) -> None:
        """From a neighbour, in a message of `size` bytes."""
        way = question.way
        if way.path in self._paths or not self._links.admit(peer, size, now):
            self._refuse(peer, way)
            return
        nearer = self._links.nearer(way.target)
        if not nearer:
            self._end(peer, question, now)
            return
        if self._links[nearer[0]].address == way.target:
            nearer = nearer[:1]
        hop = pick_hop(self._links.own, nearer, peer, way.turn)
        has_room = self._paths.has_room(peer) and self._links[peer].transit.take(1, now)
        if hop is None or not way.n_hops_left or not has_room:
            self._refuse(peer, way)
            return
        self._paths.add(way.path, Path.of(question, peer, hop, now))
        self._links.n_relayed += 1
        self._links.ask(hop, question.onward(), now)

    def receive_located(self, peer: PeerId, located: Located, now: float) -> None:
        """RemoteError when `peer` should not have passed it on."""
        if (path := self._expected(peer, located.path)) is None:
            return
        self._paths.drop(located.path)
        try:
            statement = Statement.verify(located, self._own.group_id, path.target)
            if ring.is_nearer(path.target, self._links[peer].address, statement.address):
                raise RemoteError("a member names somebody further away than itself", penalty=10)
            if path.is_envelope and statement.address != path.target:
                raise RemoteError("an envelope is answered by somebody it is not for", penalty=10)
        except RemoteError:
            self._fail(located.path, path.previous, now)
            raise
        if path.previous is None:
            self._asker.receive_statement(located.path, statement, now)
        else:
            self._links.send(path.previous, located)

    def receive_answer(self, peer: PeerId, answer: Answer, now: float) -> None:
        """RemoteError when there was no envelope to acknowledge."""
        if (path := self._expected(peer, answer.path)) is None:
            return
        if not path.is_envelope:
            self._paths.drop(answer.path)
            self._fail(answer.path, path.previous, now)
            raise RemoteError("a member acknowledges where nothing was sent", penalty=10)
        self._paths.use(answer.path)
        if path.previous is None:
            self._asker.receive_answer(answer.path, answer, now)
        else:
            self._links.send(path.previous, answer)

    def receive_failed(self, peer: PeerId, failed: Failed, now: float) -> None:
        if (path := self._expected(peer, failed.path)) is not None:
            self._paths.drop(failed.path)
            self._fail(failed.path, path.previous, now)

    def _expected(self, peer: PeerId, path_id: bytes) -> Path | None:
        """The path on which `peer` was asked. It may have been forgotten, which is nobody's fault."""
        path = self._paths.get(path_id)
        return path if path is not None and path.next == peer else None

    def _end(self, peer: PeerId, question: Question, now: float) -> None:
        """Nobody nearer is known here."""
        way = question.way
        if not isinstance(question, Envelope):
            if way.target == self._links.own or self._links.is_settled(now):
                self._links.send(peer, self._receiving.locate(way, now))
            else:
                self._refuse(peer, way)
        elif way.target != self._links.own:
            self._refuse(peer, way)
        else:
            for message in self._receiving.receive(peer, question, now):
                self._links.send(peer, message)

    def _refuse(self, peer: PeerId, way: Way) -> None:
        self._links.n_refused += 1
        self._links.send(peer, Failed(way.path))

    def _fail(self, path_id: bytes, previous: PeerId | None, now: float) -> None:
        if previous is None:
            self._asker.receive_failure(path_id, now)
        else:
            self._links.send(previous, Failed(path_id))
