"""What the daemon knows of the network: links, the carriers that make them, and who owns them.

A *link* is a session and whatever brings its bytes to the other node and back: a TCP connection of its own, or its part
of a UDP socket that all share. A *carrier* makes links of one kind. What is above sees these protocols only, so that it
does not matter which kind carries a session.

Invariants that every implementation keeps:
- nothing happens on a link before `start`, so whoever gets one can make it known first;
- every link that was started ends with exactly one `Closed` event, and is closed then or soon after;
- all of it happens on the event loop, and no call of these protocols waits but `connect`.
"""

from __future__ import annotations

from typing import Protocol

from swarmd.core.addresses import Address
from swarmd.core.ids import PeerId
from swarmd.transport.api import CloseReason, Event, Session
from swarmd.transport.paths import Kind


class Link(Protocol):
    """One session with what carries it."""

    @property
    def kind(self) -> Kind: ...

    @property
    def session(self) -> Session: ...

    @property
    def remote(self) -> Address:
        """Where the other end is now."""
        ...

    @property
    def local(self) -> Address:
        """Our own end of it."""
        ...

    @property
    def rtt(self) -> float | None:
        """Seconds there and back, smoothed; None when it is not known, or closed."""
        ...

    @property
    def received_bytes(self) -> int:
        """What has crossed the network for this session, with everything that it takes to carry messages."""
        ...

    @property
    def sent_bytes(self) -> int: ...

    @property
    def is_closed(self) -> bool:
        """Nothing of it is left on the loop."""
        ...

    def start(self) -> None: ...

    def pump(self) -> None:
        """Deliver events, send what can be sent, set the timer. Call after any command to the session."""
        ...

    def close(self, reason: CloseReason = CloseReason.NORMAL, detail: str = "") -> None:
        """End the session; the other end is told, if it can be."""
        ...

    def abort(self) -> None:
        """Be closed now, whoever has not been told."""
        ...


class Sink(Protocol):
    """Who is told what happens on a link; implemented above, called on the loop."""

    def link_event(self, link: Link, event: Event) -> None: ...


class Owner(Sink, Protocol):
    """Who keeps the links of a carrier: whether others may call is its decision."""

    def has_room_for(self, remote: Address) -> bool:
        """Asked before anything is spent on who calls from there."""
        ...

    def link_accepted(self, link: Link) -> None:
        """Somebody calls; to be started."""
        ...


class Listener(Protocol):
    """A place where others can call. Open from the start, until it is closed."""

    @property
    def address(self) -> Address: ...

    def close(self) -> None: ...


class Carrier(Protocol):
    """Makes links of one kind, for one owner."""

    @property
    def kind(self) -> Kind: ...

    def open_listener(self, address: Address) -> Listener:
        """Listen there (port 0: any). LocalError, with the OSError as its cause, when that cannot be."""
        ...

    async def connect(self, address: Address, wanted: PeerId | None) -> Link:
        """A link to whoever is there, to be started; its session opens only if it is `wanted` (None: anybody).

        Unreachable says why there is none. Not reaching anybody may show later too, by `Closed`.
        """
        ...

    def shrink(self) -> bool:
        """Let go of memory that no message used since the last call; whether there was any."""
        ...

    def stop(self) -> None:
        """Abort every link that is left, also those that are closed and have something to say still."""
        ...
