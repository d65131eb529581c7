"""What this member does with questions that end here: says that it is here, opens envelopes, acknowledges, replies.

In: questions that nobody nearer could take, replies of the program, time. Out: messages for the neighbour that a
question came from, the event Arrived.

A message is delivered once. Its sender may send the same envelope over several ways, or seal it anew when the epoch has
changed; it may ask after it, too. What makes up for lost answers is to answer again, and not to deliver again.

An *epoch* is an X25519 key of this member's, made when somebody asks, forgotten after two `EPOCH_PERIOD`: until then
the message IDs that came under it are remembered, and after that nothing that was sealed to it opens. So no envelope
can be replayed, without any clock that members would have to agree on.

Invariant: each (sender, message ID) makes one Arrived at the most, also when it is replayed. What is kept is bounded:
two epochs of `MAX_DELIVERED` IDs or little more, `MAX_SERVED` envelopes with replies of 32 KiB. A crash loses it all;
what is replayed after a restart does not open.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from swarmd.core.errors import InvalidArgument, NotFound, RemoteError
from swarmd.core.ids import PeerId
from swarmd.groups.routing.events import Arrived, Routed, RouteResult, RoutingEvent
from swarmd.groups.routing.messages import MESSAGE_BYTES, Answer, Envelope, Failed, Located, Message, Way, digest
from swarmd.groups.routing.own import Own
from swarmd.groups.routing.sealing import Letter, Opened, Opening, ReplySeal, open_envelope, sign_located
from swarmd.identity.noise import KEY_BYTES

EPOCH_PERIOD = 600.0
"""Seconds after which a new key is named; the old one opens for as long again."""
MAX_DELIVERED = 4096
"""Messages under one epoch: beyond it a new one begins, and the old one takes as many more that are under way."""
MAX_SERVED = 256
"""Envelopes that can be answered again: 8 MiB when each has had the longest reply. The oldest go first."""
SERVED_PERIOD = 60.0
"""Seconds for which a reply may come, and answers are given again; askers have given up by then."""
SWEEP_PERIOD = 10.0


@dataclass(slots=True)
class _Epoch:
    key: X25519PrivateKey
    public: bytes
    made_at: float
    delivered: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _Delivery:
    """One message that has arrived. local_route: the route of this member that ended with itself."""

    id: int
    expires_at: float
    awaits_reply: bool
    reply: bytes | None = None
    local_route: int | None = None


@dataclass(slots=True)
class _Served:
    """One envelope of a delivery, and the neighbour and way that the next answer goes to."""

    delivery: _Delivery
    acknowledgement: bytes
    reply_seal: ReplySeal
    peer: PeerId
    path: bytes
    sealed_reply: bytes | None = None


class Receiving:
    """This member as a receiver."""

    def __init__(self, own: Own, events: deque[RoutingEvent]) -> None:
        self._own, self._events = own, events
        self._epochs: deque[_Epoch] = deque(maxlen=2)
        self._deliveries: dict[bytes, _Delivery] = {}
        self._served: dict[bytes, _Served] = {}
        self._n_deliveries = 0
        self._sweep_at: float | None = None

    # questions

    def locate(self, way: Way, now: float) -> Located:
        """The answer: it is I."""
        return sign_located(self._own.identity, self._own.group_id, way.path, way.target, self._epoch(now).public)

    def receive(self, peer: PeerId, envelope: Envelope, now: float) -> list[Message]:
        """The answers to an envelope for this very member that came from `peer`.

        Never the fault of `peer` when it does not open: anybody before it may have changed it.
        """
        failed: list[Message] = [Failed(envelope.way.path)]
        served = self._served.get(digest(envelope.sealed) if envelope.sealed else envelope.name)
        if served is None and envelope.sealed:
            epoch = next((each for each in self._epochs if each.public == envelope.epoch), None)
            if epoch is None or len(epoch.delivered) >= 2 * MAX_DELIVERED:
                return [self.locate(envelope.way, now)]
            try:
                served = self._open(peer, envelope, epoch, now)
            except RemoteError:
                return failed
        if served is None:
            return failed
        served.peer, served.path = peer, envelope.way.path
        return _answers(served)

    def deliver_own(self, letter: Letter, route_id: int, now: float) -> None:
        """A message from this member to itself."""
        self._deliver(letter, self._own.peer_id, self._own.secrets.bytes(KEY_BYTES), now).local_route = route_id

    # replies

    def reply(self, reply_id: int, message: bytes) -> tuple[int | None, list[tuple[PeerId, Message]]]:
        """The program's answer to an Arrived: the route of our own that ends with it, or messages for neighbours.

        InvalidArgument when it is too long, NotFound when nobody waits for it (any more), or it was given before.
        """
        if len(message) > MESSAGE_BYTES:
            raise InvalidArgument(f"a reply has at most {MESSAGE_BYTES} bytes, not {len(message)}")
        delivery = next((each for each in self._deliveries.values() if each.id == reply_id), None)
        if delivery is None or not delivery.awaits_reply:
            raise NotFound(f"nobody waits for a reply {reply_id} (any more)")
        delivery.awaits_reply, delivery.reply = False, message
        waiting = [each for each in self._served.values() if each.delivery is delivery]
        return delivery.local_route, [(each.peer, _reply(each, message)) for each in waiting]

    # time

    def next_deadline(self) -> float | None:
        return self._sweep_at

    def handle_timer(self, now: float) -> None:
        if self._sweep_at is None or now < self._sweep_at:
            return
        for key in [key for key, each in self._deliveries.items() if each.expires_at <= now]:
            self._forget(key)
        for name in [name for name, each in self._served.items() if each.delivery.expires_at <= now]:
            del self._served[name]
        while self._epochs and self._epochs[-1].made_at + 2 * EPOCH_PERIOD <= now:
            self._epochs.pop()
        self._sweep_at = now + SWEEP_PERIOD if self._epochs or self._deliveries else None

    # inside

    def _epoch(self, now: float) -> _Epoch:
        """The one whose key is given out now."""
        newest = self._epochs[0] if self._epochs else None
        if newest is not None and now < newest.made_at + EPOCH_PERIOD and len(newest.delivered) < MAX_DELIVERED:
            return newest
        key = X25519PrivateKey.from_private_bytes(self._own.secrets.bytes(KEY_BYTES))
        epoch = _Epoch(key, key.public_key().public_bytes_raw(), now)
        self._epochs.appendleft(epoch)  # which drops the third
        self._arm(now)
        return epoch

    def _open(self, peer: PeerId, envelope: Envelope, epoch: _Epoch, now: float) -> _Served | None:
        """Deliver it, unless it was before; None when that is too long ago. RemoteError when it does not open."""
        opening = Opening(self._own.group_id, self._own.peer_id, epoch.key, self._own.secrets.bytes(KEY_BYTES))
        opened = open_envelope(opening, envelope.name, envelope.sealed, envelope.way.n_hops_left)
        key = hashlib.sha256(opened.sender.peer_id + envelope.name).digest()
        if (delivery := self._deliveries.get(key)) is None:
            if any(key in each.delivered for each in self._epochs):
                return None
            epoch.delivered.add(key)
            delivery = self._deliver(opened.letter, opened.sender.peer_id, key, now)
        return self._serve(peer, envelope, opened, delivery)

    def _deliver(self, letter: Letter, sender: PeerId, key: bytes, now: float) -> _Delivery:
        self._n_deliveries += 1
        delivery = self._deliveries[key] = _Delivery(self._n_deliveries, now + SERVED_PERIOD, letter.reply_wanted)
        if len(self._deliveries) > MAX_SERVED:
            self._forget(next(iter(self._deliveries)))
        reply_id = delivery.id if letter.reply_wanted else None
        self._events.append(Arrived(letter.message, sender, letter.address, reply_id))
        self._arm(now)
        return delivery

    def _forget(self, key: bytes) -> None:
        """No reply is waited for any more."""
        delivery = self._deliveries.pop(key)
        if delivery.awaits_reply and delivery.local_route is not None:
            own_id = self._own.peer_id
            self._events.append(Routed(delivery.local_route, RouteResult.NO_REPLY, None, own_id, 0))

    def _serve(self, peer: PeerId, envelope: Envelope, opened: Opened, delivery: _Delivery) -> _Served:
        served = _Served(delivery, opened.acknowledgement, opened.reply_seal, peer, envelope.way.path)
        self._served[digest(envelope.sealed)] = served
        if len(self._served) > MAX_SERVED:
            del self._served[next(iter(self._served))]
        return served

    def _arm(self, now: float) -> None:
        if self._sweep_at is None:
            self._sweep_at = now + SWEEP_PERIOD


def _answers(served: _Served) -> list[Message]:
    answers: list[Message] = [Answer(served.path, False, served.acknowledgement)]
    if served.delivery.reply is not None:
        answers.append(_reply(served, served.delivery.reply))
    return answers


def _reply(served: _Served, reply: bytes) -> Message:
    """Sealed once, however often it is given."""
    if served.sealed_reply is None:
        served.sealed_reply = served.reply_seal.seal(reply)
    return Answer(served.path, True, served.sealed_reply)
