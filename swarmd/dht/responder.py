"""Answers as they may be sent: so many of a network, and none that makes us a weapon.

An address that has not proved itself gets at most `limits.GROWTH` times the bytes of its question, our ping to it
counted in. An answer that carries an item, peers or samples and would be larger waits while that address is pinged, and
goes when it answers. What cannot wait, as who asks is read-only, loses what is too much.

Invariant: a question leads to at most one answer and one ping; answers wait for at most MAX_HELD addresses,
MAX_HELD_OF_ONE for each, and for HELD_PERIOD. Who has waited longest gives way: a flood would have to outrun our pings.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.dht import krpc
from swarmd.dht.contact import ID_BYTES, Contact
from swarmd.dht.krpc import Failure, Method, Query, Reply
from swarmd.dht.limits import GROWTH, Limits
from swarmd.dht.questions import TRANSACTION_BYTES
from swarmd.dht.server import Server, fitted

MAX_HELD = 128
MAX_HELD_OF_ONE = 8
"""Of one address, that looks for several things at once; with all of MAX_HELD 1.4 MiB."""
HELD_PERIOD = 5.0
MAX_REPLY_BYTES = 1024
"""BEP 32."""
MAX_ITEM_REPLY_BYTES = 1452
"""An item of 1,000 bytes takes 1,260 with all around it, which BEP 32 did not foresee. This crosses Ethernets whole."""


class Machine(Protocol):
    """What it needs of the node."""

    def id_at(self, address: Address) -> bytes: ...

    def send(self, data: bytes, address: Address) -> None: ...

    def is_worth_knowing(self, contact: Contact) -> bool: ...

    @property
    def may_check(self) -> bool: ...

    def check(self, contact: Contact, now: float) -> None:
        """Ping it, once."""
        ...


class Responder:
    def __init__(self, machine: Machine, server: Server, limits: Limits, key: bytes | None, *, is_mute: bool) -> None:
        self._machine = machine
        self._server = server
        self._limits = limits
        self._key = key
        self.is_mute = is_mute
        self._held: dict[Address, dict[bytes, tuple[bytes, float]]] = {}
        """By their transactions, as a question may come twice."""
        self._ping_bytes = len(
            krpc.encode(Query(Method.PING, bytes(ID_BYTES), transaction=bytes(TRANSACTION_BYTES)), key)
        )
        self.counts: Counter[str] = Counter()

    def receive(self, query: Query, n_bytes: int, address: Address, now: float) -> None:
        if self.is_mute or not self._limits.may_answer(address, now):
            self.counts["unanswered"] += 1
            return
        self.counts["answered"] += 1
        answer = self._server.answer(query, self._machine.id_at(address), address, now)
        if self._is_proved(query, answer, address, now):
            self._send(answer, _room_of(answer), address, now)
        else:
            self._answer_stranger(answer, query, GROWTH * n_bytes, address, now)

    def refuse(self, failure: Failure, n_bytes: int, address: Address, now: float) -> None:
        """A query that means nothing."""
        if not self.is_mute and self._limits.may_answer(address, now):
            self._send(replace(failure, seen_as=address), GROWTH * n_bytes, address, now)

    def may_read(self, address: Address, now: float) -> bool:
        return self._limits.may_read(address, now)

    def wasted(self, fate: str, address: Address, now: float) -> None:
        """What came from there was no question, and no answer to us."""
        self.counts[fate] += 1
        self._limits.wasted(address, now)

    def proved(self, address: Address, now: float) -> None:
        """It has answered a question of ours."""
        self._limits.prove(address, now)
        for data, held_at in self._held.pop(address, {}).values():
            if now - held_at < HELD_PERIOD:
                self._send_bytes(data, address, now)

    def expire(self, now: float) -> None:
        for address, held in list(self._held.items()):
            if all(now - held_at >= HELD_PERIOD for _, held_at in held.values()):
                del self._held[address]

    def _is_proved(self, query: Query, answer: Reply | Failure, address: Address, now: float) -> bool:
        """A token of ours that was good proves it as well."""
        if query.token and isinstance(answer, Reply):
            self._limits.prove(address, now)
            return True
        return self._limits.is_proved(address, now)

    def _answer_stranger(self, answer: Reply | Failure, query: Query, limit: int, address: Address, now: float) -> None:
        if isinstance(answer, Reply) and answer.clock is not None:
            answer = replace(answer, clock=None)
        contact = Contact(query.sender, address)
        can_ping = not query.is_read_only and self._machine.may_check and self._ping_bytes <= limit
        if isinstance(answer, Reply) and self._is_too_much(answer, limit):
            if can_ping:
                self._hold(answer, address, now)
                self._machine.check(contact, now)
            elif not self._send(answer, limit, address, now):
                self._send(replace(answer, item=None), limit, address, now)
        elif can_ping and self._machine.is_worth_knowing(contact):
            if self._send(answer, limit - self._ping_bytes, address, now):
                self._machine.check(contact, now)
            else:
                self._send(answer, limit, address, now)
        else:
            self._send(answer, limit, address, now)

    def _is_too_much(self, answer: Reply, limit: int) -> bool:
        """Whether something of what was asked for would have to be left out."""
        if not (answer.item or answer.peers or answer.samples):
            return False
        return len(krpc.encode(replace(answer, contacts=()), self._key)) > limit

    def _send(self, answer: Reply | Failure, limit: int, address: Address, now: float) -> bool:
        data = krpc.encode(answer, self._key) if isinstance(answer, Failure) else fitted(answer, limit, self._key)
        if data is None or len(data) > limit:
            return False
        self._send_bytes(data, address, now)
        return True

    def _send_bytes(self, data: bytes, address: Address, now: float) -> None:
        self._machine.send(data, address)
        self._limits.answered(address, len(data), now)

    def _hold(self, answer: Reply, address: Address, now: float) -> None:
        data = fitted(answer, _room_of(answer), self._key)
        held = self._held.pop(address, {})
        if data is not None and len(held) < MAX_HELD_OF_ONE:
            held[answer.transaction] = data, now
        if len(self._held) >= MAX_HELD:
            del self._held[next(iter(self._held))]
        self._held[address] = held


def _room_of(answer: Reply | Failure) -> int:
    """What may go to an address that is proved."""
    return MAX_ITEM_REPLY_BYTES if isinstance(answer, Reply) and answer.item else MAX_REPLY_BYTES
