"""Packets of one session that carry fragments and of which nothing has been heard: how many bytes are under way, and
which packets are lost.

Each packet has a transmission number, rising by one. A packet is lost when one sent LOSS_DISTANCE later has arrived:
three negative acknowledgements (RFC 7016 §3.6.2.6), counted by the packets that were sent after it and not by the
acknowledgements that told so, for one acknowledgement speaks of a whole batch here. A fragment that is sent again goes
in a packet with a new number, so the loss of that is noticed too.

Invariant: `in_flight_bytes` is the sum of `size` over the packets held. Each costs O(1), whatever happens to it.
"""

from __future__ import annotations

from math import inf

from swarmd.transport.rtmfp.fragments import Fragment

LOSS_DISTANCE = 3


class Sent:
    """One packet. `size`: bytes on the wire; `left`: fragments in it that are not acknowledged."""

    __slots__ = ("fragments", "is_first", "left", "number", "sent_at", "size")

    def __init__(self, number: int, fragments: list[Fragment], size: int, sent_at: float) -> None:
        self.number, self.fragments, self.size, self.sent_at = number, fragments, size, sent_at
        self.left = len(fragments)
        self.is_first = True  # nothing in it was sent before, so that its acknowledgement tells the time


class InFlight:
    def __init__(self) -> None:
        self._packets: dict[int, Sent] = {}
        self._oldest = self._next = 1
        self._highest = 0  # acknowledged
        self.in_flight_bytes = 0
        self.newest: Sent | None = None  # of those that the last acknowledgement has confirmed
        self.largest = 0  # size of the largest of them, 0 when there is none

    def __bool__(self) -> bool:
        return bool(self._packets)

    def __len__(self) -> int:
        return len(self._packets)

    def sent(self, fragments: list[Fragment], size: int, now: float) -> None:
        number = self._next
        self._next = number + 1
        packet = self._packets[number] = Sent(number, fragments, size, now)
        self.in_flight_bytes += size
        for fragment in fragments:
            fragment.sent = packet
            fragment.flow.outstanding_bytes += len(fragment.data)
            if fragment.was_sent:
                packet.is_first = False
            fragment.was_sent = True

    def confirm(self, fragments: list[Fragment], sent_by: float = inf) -> int:
        """These have arrived. How many bytes of packets are not under way any more by that.

        `sent_by`: a packet of later than this is too young to be what is confirmed: of a fragment that was sent again
        it was the one before. So an acknowledgement that is late does not make all that was sent since look lost.
        """
        before = self.in_flight_bytes
        newest = self.newest = None
        largest = 0
        for fragment in fragments:
            packet = fragment.sent
            if packet is None:
                continue  # it was taken for lost
            fragment.sent = None
            packet.left -= 1
            if packet.is_first or packet.sent_at <= sent_by:
                if newest is None or packet.number > newest.number:
                    newest = packet
                if packet.size > largest:
                    largest = packet.size
            if not packet.left:
                del self._packets[packet.number]
                self.in_flight_bytes -= packet.size
        self.newest, self.largest = newest, largest
        if newest is not None and newest.number > self._highest:
            self._highest = newest.number
        return before - self.in_flight_bytes

    def forget(self, fragments: list[Fragment]) -> None:
        """Nobody waits for these any more."""
        highest = self._highest
        self.confirm(fragments)
        self._highest = highest
        self.newest = None

    def take_lost(self) -> list[Sent]:
        """Packets that are lost as far as the acknowledgements tell; not held any more."""
        limit = self._highest - LOSS_DISTANCE
        if self._oldest > limit:
            return []
        lost: list[Sent] = []
        for number in range(self._oldest, limit + 1):
            packet = self._packets.pop(number, None)
            if packet is not None:
                self.in_flight_bytes -= packet.size
                lost.append(packet)
        self._oldest = limit + 1
        return lost

    def take_all(self) -> list[Sent]:
        """All of them, oldest first: after a time-out."""
        packets = list(self._packets.values())
        self._packets.clear()
        self._oldest = self._next
        self.in_flight_bytes = 0
        return packets

    def take_oldest(self) -> Sent | None:
        """The one that was sent first; not held any more."""
        packets = self._packets
        if not packets:
            self._oldest = self._next
            return None
        while self._oldest not in packets:
            self._oldest += 1
        packet = packets.pop(self._oldest)
        self.in_flight_bytes -= packet.size
        return packet
