"""Answers as they may be sent: so many of a network, and none that makes us a weapon.

An address that has not proved itself gets at most `limits.GROWTH` times the bytes of its question, our ping to it
counted in. An answer that carries an item or peers and would be larger waits while that address is pinged, and goes
when it answers. Others lose the contacts that are too many.

Invariant: a question leads to at most one answer and one ping; at most MAX_HELD answers wait, for HELD_PERIOD each.
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

MAX_HELD = 256
"""Answers that wait for their asker's proof: 500 KiB."""
HELD_PERIOD = 5.0
_UNLIMITED = krpc.MAX_MESSAGE_BYTES


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
        self._is_mute = is_mute
        self._held: dict[Address, tuple[bytes, float]] = {}
        self._ping_bytes = len(
            krpc.encode(Query(Method.PING, bytes(ID_BYTES), transaction=bytes(TRANSACTION_BYTES)), key)
        )
        self.counts: Counter[str] = Counter()

    def receive(self, query: Query, n_bytes: int, address: Address, now: float) -> None:
        if self._is_mute or not self._limits.may_answer(address, now):
            self.counts["unanswered"] += 1
            return
        self.counts["answered"] += 1
        answer = self._server.answer(query, self._machine.id_at(address), address, now)
        if self._is_proved(query, answer, address, now):
            self._send(answer, _UNLIMITED, address)
        else:
            self._answer_stranger(answer, query, GROWTH * n_bytes, address, now)

    def refuse(self, failure: Failure, n_bytes: int, address: Address, now: float) -> None:
        """A query that means nothing."""
        if not self._is_mute and self._limits.may_answer(address, now):
            self._send(failure, GROWTH * n_bytes, address)

    def proved(self, address: Address, now: float) -> None:
        """It has answered a question of ours."""
        self._limits.prove(address, now)
        held = self._held.pop(address, None)
        if held is not None and now - held[1] < HELD_PERIOD:
            self._machine.send(held[0], address)

    def expire(self, now: float) -> None:
        self._held = {address: held for address, held in self._held.items() if now - held[1] < HELD_PERIOD}

    def _is_proved(self, query: Query, answer: Reply | Failure, address: Address, now: float) -> bool:
        """A token of ours that was good proves it as well."""
        if query.token and isinstance(answer, Reply):
            self._limits.prove(address, now)
            return True
        return self._limits.is_proved(address, now)

    def _answer_stranger(self, answer: Reply | Failure, query: Query, limit: int, address: Address, now: float) -> None:
        contact = Contact(query.sender, address)
        can_ping = not query.is_read_only and self._machine.may_check and self._ping_bytes <= limit
        if isinstance(answer, Reply) and (answer.item or answer.peers) and fitted(answer, limit, self._key) is None:
            if can_ping:
                self._hold(answer, address, now)
                self._machine.check(contact, now)
            else:
                self._send(replace(answer, item=None, peers=()), limit, address)
        elif can_ping and self._machine.is_worth_knowing(contact):
            if self._send(answer, limit - self._ping_bytes, address):
                self._machine.check(contact, now)
            else:
                self._send(answer, limit, address)
        else:
            self._send(answer, limit, address)

    def _send(self, answer: Reply | Failure, limit: int, address: Address) -> bool:
        data = krpc.encode(answer, self._key) if isinstance(answer, Failure) else fitted(answer, limit, self._key)
        if data is None or len(data) > limit:
            return False
        self._machine.send(data, address)
        return True

    def _hold(self, answer: Reply, address: Address, now: float) -> None:
        data = fitted(answer, _UNLIMITED, self._key)
        if len(self._held) < MAX_HELD and data is not None:
            self._held[address] = data, now
