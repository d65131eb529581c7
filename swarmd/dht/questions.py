"""Our questions under way: each waits for the reply of the one address it went to, or for its deadline.

A question without an answer after RESEND_PERIOD goes out once more, under the same transaction, so the answer to
either counts: with 5 % of the datagrams lost one question in ten fails when asked once, one in a hundred asked twice.

Invariant: each question ends exactly once, with `replied` or `failed` of who asked it, and is told `slow` at most once
before; at most MAX_QUESTIONS wait. A reply of another address, to another transaction, or from a node that is not the
one that was asked, is nobody's.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng
from swarmd.dht.contact import Contact
from swarmd.dht.krpc import Failure, Reply

RESEND_PERIOD = 0.75
"""Round trips across the world take 0.4 s."""
ANSWER_TIMEOUT = 2.0
"""Who is slower is of little use to a lookup of several rounds."""
MAX_QUESTIONS = 2_000
"""With their bytes, for asking again, 3 MB where all are puts of the largest items."""
TRANSACTION_BYTES = 4
"""Drawn at random: who does not see our questions cannot answer them."""


class Asker(Protocol):
    def replied(self, contact: Contact, reply: Reply, now: float) -> None: ...

    def slow(self, contact: Contact, now: float) -> None:
        """No answer yet; it is asked once more."""
        ...

    def failed(self, contact: Contact, failure: Failure | None, now: float) -> None:
        """`failure` is what it said; None: nothing, or nonsense."""
        ...


@dataclass(slots=True, eq=False)
class Question:
    """`data` is what was sent."""

    transaction: bytes
    contact: Contact | None
    """None when who is at the address is yet to be found out."""
    address: Address
    asker: Asker
    deadline: float
    data: bytes = b""


class Questions:
    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._waiting: dict[bytes, Question] = {}  # in the order of their deadlines
        self._asked: Counter[Address] = Counter()
        self._fresh: deque[Question] = deque()  # to be sent once more, in the same order; some have ended

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_QUESTIONS

    @property
    def next_deadline(self) -> float | None:
        self._forget_ended()
        ends = [next(iter(self._waiting.values())).deadline] if self._waiting else []
        if self._fresh:
            ends.append(self._fresh[0].deadline - ANSWER_TIMEOUT + RESEND_PERIOD)
        return min(ends, default=None)

    def add(self, address: Address, contact: Contact | None, asker: Asker, now: float, *, is_once: bool) -> Question:
        """`is_once`: it is not sent again."""
        transaction = self._rng.bytes(TRANSACTION_BYTES)
        while transaction in self._waiting:
            transaction = self._rng.bytes(TRANSACTION_BYTES)
        question = Question(transaction, contact, address, asker, now + ANSWER_TIMEOUT)
        self._waiting[transaction] = question
        self._asked[address] += 1
        if not is_once:
            self._forget_ended()
            self._fresh.append(question)
        return question

    def take(self, transaction: bytes, address: Address) -> Question | None:
        question = self._waiting.get(transaction)
        if question is None or question.address != address:
            return None
        self._end(question)
        return question

    def is_waiting_for(self, address: Address) -> bool:
        """Whether something is to come from there."""
        return address in self._asked

    def late(self, now: float) -> Iterator[Question]:
        """To be sent once more now."""
        self._forget_ended()
        while self._fresh and self._fresh[0].deadline - ANSWER_TIMEOUT + RESEND_PERIOD <= now:
            yield self._fresh.popleft()
            self._forget_ended()

    def overdue(self, now: float) -> Iterator[Question]:
        while self._waiting:
            question = next(iter(self._waiting.values()))
            if question.deadline > now:
                return
            self._end(question)
            yield question

    def _end(self, question: Question) -> None:
        del self._waiting[question.transaction]
        self._asked[question.address] -= 1
        if not self._asked[question.address]:
            del self._asked[question.address]

    def _forget_ended(self) -> None:
        while self._fresh and self._waiting.get(self._fresh[0].transaction) is not self._fresh[0]:
            self._fresh.popleft()
