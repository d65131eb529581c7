"""What a session is, whatever carries it: the only part of the transport that features may import.

A *session* is one authenticated, encrypted association of two peers. Inside it run *flows*: one-way sequences of
messages, each with a priority and metadata that says what it is for (RFC 7016 §3.6). Numbers of flows are chosen by
their sender, so flow 3 of ours and flow 3 of the peer's are unrelated.

Invariants that every implementation keeps (tests/transport/conformance.py is the definition):
- no event but `Closed` comes before `Opened`; nothing follows `Closed`;
- messages of one flow arrive whole, once, in the order sent; flows of a higher priority go first;
- `peer_id` of an opened session is the fingerprint of a certificate whose private keys the other end holds.

Errors: a fault of the peer ends the session with `Closed`; only a misuse by our own code raises (`LocalError`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Protocol

from swarmd.core.ids import PeerId
from swarmd.identity.certificate import Certificate

Buffer = bytes | bytearray | memoryview

MAX_MESSAGE_BYTES = (1 << 20) + 4096  # one message in its parts: a block of 1 MiB with its header; control has 64 KiB
MAX_METADATA_BYTES = 512  # as in the RFC author's implementation
MAX_FLOWS = 16_384  # each way: three flows for each of the 4,096 groups two peers may share, and room


class Priority(IntEnum):
    """Eight levels, strict between levels and fair inside one (RFC 7016 appendix, zenomt's `Priority`).

    BACKGROUND is more than the last level of its session: while nothing but flows of it carries bulk, the session gives
    way to whatever else uses the path (LEDBAT++ over UDP; over TCP where the kernel lets us choose, see `net.tcp`).
    BULK is what carries much and is waited for; levels above it carry little (requests, membership, messages).
    """

    BACKGROUND = 0
    BULK = 1
    DATA = 2
    ROUTINE = 3
    TIME_CRITICAL = 4
    FLASH = 5
    FLASH_OVERRIDE = 6
    IMMEDIATE = 7


class State(Enum):
    """KEYING until both ends have proved themselves, then OPEN, then CLOSED for good."""

    KEYING = "keying"
    OPEN = "open"
    CLOSED = "closed"


class CloseReason(IntEnum):
    """Why a session ended; the value travels in the close message."""

    NORMAL = 0
    DUPLICATE = 1  # another session with the same peer is kept
    DENIED = 2  # no membership of a common group was proved in time
    PROTOCOL = 3  # the other end broke the protocol
    TIMED_OUT = 4  # nothing heard for too long
    OVERLOADED = 5  # a bound was reached
    WRONG_PEER = 6  # the certificate is not the one we asked for
    SELF = 7  # we reached ourselves
    LOST = 8  # the connection below went away
    SHUTDOWN = 9  # the daemon stops
    VERSION = 10  # the other end speaks another version
    UNREACHABLE = 11  # nobody has answered


@dataclass(frozen=True, slots=True)
class Opened:
    """Both ends are authenticated; messages may be sent."""

    certificate: Certificate
    handshake_hash: bytes


@dataclass(frozen=True, slots=True)
class FlowOpened:
    """The peer opened a flow towards us."""

    flow: int
    metadata: bytes
    priority: Priority


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """One whole message of a flow of the peer's. The views stay valid for as long as they are held."""

    flow: int
    parts: tuple[memoryview, ...]

    def joined(self) -> bytes:
        """The message as one bytes object (a copy: for control messages, not for bulk)."""
        return bytes(self.parts[0]) if len(self.parts) == 1 else b"".join(self.parts)


@dataclass(frozen=True, slots=True)
class MessageSent:
    """A message of a flow opened with `report_sent` is sealed: its buffers may be used again."""

    flow: int
    size: int


@dataclass(frozen=True, slots=True)
class FlowClosed:
    """The peer closed its flow; all its messages have been delivered."""

    flow: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over. `by_peer` tells who ended it; `detail` is for a log, and is not to be trusted by_peer."""

    reason: CloseReason
    detail: str
    by_peer: bool = False


Event = Opened | FlowOpened | MessageReceived | MessageSent | FlowClosed | Closed


class Session(Protocol):
    """One session as features see it. Commands are calls; what happens comes out of `next_event`."""

    @property
    def state(self) -> State: ...

    @property
    def is_initiator(self) -> bool: ...

    @property
    def peer_id(self) -> PeerId:
        """Who the other end is; only once opened (LocalError before)."""
        ...

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that both ends and nobody else share a session by: the channel binding."""
        ...

    @property
    def queued_bytes(self) -> int:
        """Bytes of messages given to `send` that are not sealed yet."""
        ...

    def open_flow(self, metadata: bytes, priority: Priority, *, report_sent: bool = False) -> int: ...

    def send(self, flow: int, parts: Sequence[Buffer]) -> None:
        """Queue one message. The buffers are read later and must not change until they are sent."""
        ...

    def set_priority(self, flow: int, priority: Priority) -> None:
        """Another level for this flow of ours and all that waits in it. LocalError when there is no such flow."""
        ...

    @property
    def is_background(self) -> bool:
        """Whether what it sends now gives way to other traffic of the path: only background flows carry bulk."""
        ...

    def close_flow(self, flow: int) -> None: ...

    def close(self, reason: CloseReason = CloseReason.NORMAL, detail: str = "") -> None: ...

    def next_event(self) -> Event | None: ...

    def next_deadline(self) -> float | None: ...

    def handle_timer(self, now: float) -> None: ...
