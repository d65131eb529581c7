"""What a group offers beside members and shares: posting, routing, providers. Each is a machine of its own, on the
group's links.

The group (`groups.group`) tells every service of its links and hands it the messages of the service's types; it
sends what the service has to say, and passes its events on to the driver. A service is there when the groupspec
turns it on (`Capability`): without that, its messages are as unknown as any other.

Message types, the first byte of a group message: 1 to 15 belong to the group itself (`groups.messages`), 16 to 31 to
posting, 32 to 47 to routing, 48 to 63 to providers.

Invariant: a RemoteError out of `receive` is the sender's fault, and has changed nothing that came from others.
"""

from __future__ import annotations

from typing import Protocol

from swarmd.core.ids import PeerId

POSTING_TYPES = range(16, 32)
ROUTING_TYPES = range(32, 48)
PROVIDER_TYPES = range(48, 64)


class Service(Protocol):
    """All times are seconds: `now` monotonic, `wall` since the epoch."""

    @property
    def types(self) -> range:
        """First bytes of the messages that are its own."""

    def open_link(self, peer: PeerId, now: float) -> None:
        """`peer` is a neighbour now."""

    def close_link(self, peer: PeerId, now: float) -> None:
        """It was one, and is no longer. What was to be sent to it is dropped."""

    def receive(self, peer: PeerId, data: bytes | memoryview, now: float, wall: float) -> None:
        """One message of its types, at most `messages.MESSAGE_BYTES_LIMIT` bytes. RemoteError when it breaks the
        rules."""

    def messages_to_send(self) -> list[tuple[PeerId, bytes]]:
        """For neighbours, in order for each; each message is given once."""

    def next_event(self) -> object | None:
        """A frozen dataclass for the driver, in the order in which things happened."""

    def next_deadline(self) -> float | None:
        """When `handle_timer` has something to do."""

    def handle_timer(self, now: float, wall: float) -> None: ...
