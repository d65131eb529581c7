"""Our questions under way: each waits for the reply of the one address it went to, or for its deadline.

Invariant: each question ends exactly once, with `replied` or `failed` of who asked it; at most MAX_QUESTIONS wait. A
reply of another address, to another transaction, or from a node that is not the one that was asked, is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng
from swarmd.dht.contact import Contact
from swarmd.dht.krpc import Failure, Query, Reply

ANSWER_TIMEOUT = 2.0
"""Round trips across the world take 0.4 s; who is slower is of little use to a lookup of several rounds."""
MAX_QUESTIONS = 2_000
TRANSACTION_BYTES = 4
"""Drawn at random: who does not see our questions cannot answer them."""


class Asker(Protocol):
    def replied(self, contact: Contact, reply: Reply, now: float) -> None: ...

    def failed(self, contact: Contact, failure: Failure | None, now: float) -> None:
        """`failure` is what it said; None: nothing, or nonsense."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """`node_id` is empty when who is at the address is yet to be found out."""

    address: Address
    node_id: bytes
    query: Query
    asker: Asker
    deadline: float


class Questions:
    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._waiting: dict[bytes, Question] = {}  # in the order of their deadlines

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_QUESTIONS

    @property
    def next_deadline(self) -> float | None:
        return next(iter(self._waiting.values())).deadline if self._waiting else None

    def add(self, address: Address, node_id: bytes, query: Query, asker: Asker, now: float) -> Query:
        """The query with its transaction."""
        transaction = self._rng.bytes(TRANSACTION_BYTES)
        while transaction in self._waiting:
            transaction = self._rng.bytes(TRANSACTION_BYTES)
        self._waiting[transaction] = Question(address, node_id, query, asker, now + ANSWER_TIMEOUT)
        return replace(query, transaction=transaction)

    def take(self, transaction: bytes, address: Address) -> Question | None:
        question = self._waiting.get(transaction)
        if question is None or question.address != address:
            return None
        return self._waiting.pop(transaction)

    def overdue(self, now: float) -> Iterator[Question]:
        while self._waiting:
            transaction, question = next(iter(self._waiting.items()))
            if question.deadline > now:
                return
            del self._waiting[transaction]
            yield question
