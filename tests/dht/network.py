"""DHT nodes in one process and virtual time: datagrams take 20 to 80 ms, or are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from swarmd.core.addresses import Address
from swarmd.core.rng import Rng, SeededRng
from swarmd.dht.contact import bound_id
from swarmd.dht.events import Event
from swarmd.dht.node import Node, Settings
from swarmd.dht.state import State
from tests.sim.clockwork import Clockwork

START = 1000.0
PORT = 6881


class Host:
    def __init__(self, network: Network, node: Node, address: Address) -> None:
        self.network = network
        self.node = node
        self.address = address
        self.is_up = True
        self.events: list[Event] = []
        self.wakes_at = float("inf")

    def flush(self) -> None:
        """Send what it has to send, fetch its events, and arrange for its next deadline."""
        for data, address in self.node.datagrams_to_send():
            self.network.send(data, self.address, address)
        while (event := self.node.next_event()) is not None:
            self.events.append(event)
        deadline = self.node.next_deadline()
        if deadline is not None and deadline < self.wakes_at:
            self.wakes_at = max(deadline, self.network.clock.now)
            self.network.clock.at(self.wakes_at, self._wake, self.wakes_at)

    def _wake(self, at: float) -> None:
        if at != self.wakes_at:
            return
        self.wakes_at = float("inf")
        if self.is_up:
            self.node.handle_timer(self.network.clock.now)
            self.flush()

    def receive(self, data: bytes, source: Address) -> None:
        self.node.receive_datagram(data, source, self.network.clock.now)
        self.flush()

    def does(self, command: Callable[[float], int]) -> int:
        number = command(self.network.clock.now)
        self.flush()
        return number

    def result(self, number: int, limit: float = 60.0) -> Event:
        """The last event of the operation, run up to."""
        clock = self.network.clock
        clock.run(clock.now + limit, lambda: self.done(number) is not None)
        event = self.done(number)
        assert event is not None, "it ends"
        return event

    def done(self, number: int) -> Event | None:
        ends = (event for event in self.events if type(event).__name__.endswith("Done"))
        return next((event for event in ends if getattr(event, "operation", None) == number), None)


class Network:
    def __init__(self, seed: int, loss: float = 0.0) -> None:
        self.rng: Rng = SeededRng(seed)
        self.clock = Clockwork()
        self.clock.now = START
        self.loss = loss
        self.hosts: dict[Address, Host] = {}
        self.taps: list[tuple[bytes, Address, Address]] | None = None
        self.n_datagrams = 0
        self.n_addresses = 0

    def add(self, settings: Settings, address: Address | None = None, state: State | None = None) -> Host:
        address = address or self.fresh_address()
        state = state or State(bound_id(address, self.rng))
        node = Node(settings, SeededRng(self.rng.randrange(2**60)), self.clock.now, state)
        host = Host(self, node, address)
        self.hosts[address] = host
        host.flush()
        return host

    def fresh_address(self) -> Address:
        """Of the public internet, and of a /24 of its own."""
        number = self.n_addresses
        self.n_addresses += 1
        return Address(f"{20 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.1", PORT)

    def join(self, host: Host, others: Iterable[Host]) -> None:
        host.node.bootstrap([other.address for other in others], self.clock.now)
        host.flush()

    def remove(self, host: Host) -> None:
        host.is_up = False
        del self.hosts[host.address]

    def send(self, data: bytes, source: Address, destination: Address) -> None:
        self.n_datagrams += 1
        if self.taps is not None:
            self.taps.append((data, source, destination))
        if self.loss and self.rng.random() < self.loss:
            return
        self.clock.after(0.02 + 0.06 * self.rng.random(), self._deliver, data, source, destination)

    def _deliver(self, data: bytes, source: Address, destination: Address) -> None:
        host = self.hosts.get(destination)
        if host is not None and host.is_up:
            host.receive(data, source)

    def run(self, period: float) -> None:
        self.clock.run(self.clock.now + period, lambda: False)


def network_of(count: int, settings: Settings, seed: int = 1) -> tuple[Network, list[Host]]:
    """All joined through the first, and settled."""
    network = Network(seed)
    hosts = [network.add(settings) for _ in range(count)]
    for host in hosts[1:]:
        network.join(host, hosts[:1])
        network.run(0.2)
    network.run(60.0)
    return network, hosts
