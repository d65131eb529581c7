"""Exchanges joined by calls: what each side sends is handed to the other, in rounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from swarmd.groups import messages
from swarmd.groups.catalogue import Catalogue
from swarmd.groups.exchange import Exchange, ExchangeEvent, ExchangeMessage
from swarmd.groups.records import Record

from .builders import WALL, catalogue, identity, publish_in, record, share, spec, unpublish_in

A, B = identity(1).peer_id, identity(2).peer_id


class Net:
    """Some exchanges, each named by the identity of that number, and links that lose nothing."""

    def __init__(self, *numbers: int) -> None:
        self.now = 0.0
        self.exchanges = {
            number: Exchange(identity(number).peer_id, Catalogue(spec(), identity(number).peer_id))
            for number in numbers
        }
        self.numbers = {identity(number).peer_id: number for number in numbers}
        self.links: set[tuple[int, int]] = set()
        self.sent: Counter[str] = Counter()
        self.sent_bytes = 0
        self.n_rounds = 0
        """In which somebody had something to say: as many one-way trips."""

    def __getitem__(self, number: int) -> Exchange:
        return self.exchanges[number]

    def hold(self, number: int, records: Iterable[Record]) -> None:
        self.exchanges[number].restore([each.encode() for each in records], WALL)

    def link(self, one: int, other: int) -> None:
        self.links |= {(one, other), (other, one)}
        self.exchanges[one].open_link(identity(other).peer_id, self.now)
        self.exchanges[other].open_link(identity(one).peer_id, self.now)

    def cut(self, one: int, other: int) -> None:
        self.links -= {(one, other), (other, one)}
        self.exchanges[one].close_link(identity(other).peer_id, self.now)
        self.exchanges[other].close_link(identity(one).peer_id, self.now)

    def publish(self, number: int, name: str, content: int = 1) -> Record:
        exchange = self.exchanges[number]
        made, change = publish_in(exchange.catalogue, identity(number), share(name, content), None, WALL + self.now)
        exchange.announce(made, change, self.now)
        return made

    def unpublish(self, number: int, name: str) -> Record:
        exchange = self.exchanges[number]
        made, change = unpublish_in(exchange.catalogue, identity(number), name, None, WALL + self.now)
        exchange.announce(made, change, self.now)
        return made

    def pump(self) -> None:
        """Deliver until all is quiet."""
        assert not self.deliver_rounds(200), "it never ends"

    def deliver_rounds(self, rounds: int) -> bool:
        """Deliver so often what everybody has to say; whether somebody still had, the last time."""
        for _ in range(rounds):
            batches = [(number, exchange.messages_to_send()) for number, exchange in self.exchanges.items()]
            if not any(batch for _, batch in batches):
                return False
            self.n_rounds += 1
            for number, batch in batches:
                for peer, data in batch:
                    self.deliver(number, self.numbers[peer], data)
        return True

    def deliver(self, sender: int, receiver: int, data: bytes) -> None:
        if (sender, receiver) in self.links:
            message = messages.decode(data)
            self.sent[type(message).__name__] += 1
            self.sent_bytes += len(data)
            assert isinstance(message, ExchangeMessage)
            self.exchanges[receiver].receive(identity(sender).peer_id, message, self.now, WALL + self.now)

    def settle(self, seconds: float = 30.0) -> None:
        """Let time pass, timers run and messages flow."""
        end = self.now + seconds
        self.pump()
        while True:
            deadlines = [exchange.next_deadline() for exchange in self.exchanges.values()]
            nearest = min((deadline for deadline in deadlines if deadline is not None), default=end)
            if nearest >= end:
                self.now = end
                return
            self.now = max(self.now, nearest)
            for exchange in self.exchanges.values():
                exchange.handle_timer(self.now)
            self.pump()

    def gossip(self) -> None:
        """What a group does every ten seconds."""
        for one, other in self.links:
            self.deliver(one, other, self.exchanges[one].status().encode())

    def names(self, number: int) -> list[str]:
        return sorted(each.share.name for each in self.exchanges[number].catalogue.shares())

    def are_alike(self, *numbers: int) -> bool:
        """Whether these, or all, hold the same."""
        return len({self.exchanges[number].status() for number in numbers or self.exchanges}) == 1


def events(exchange: Exchange) -> list[ExchangeEvent]:
    found = []
    while (event := exchange.next_event()) is not None:
        found.append(event)
    return found


def many(count: int, publisher: int = 1, start: int = 0) -> list[Record]:
    return [record(publisher, name=f"{publisher}-{number}", number=number) for number in range(start, start + count)]


THOUSAND = many(1000)


def receiver(*records: Record) -> Exchange:
    """One that holds these, with a link to A and one to B."""
    made = Exchange(identity(3).peer_id, catalogue(*records))
    for peer in (A, B):
        made.open_link(peer, 0.0)
        made.receive(peer, made.status(), 0.0, WALL)
    made.messages_to_send()
    return made
