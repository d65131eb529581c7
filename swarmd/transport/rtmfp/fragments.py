"""What one User Data chunk of ours carries (RFC 7016 §2.3.11): a numbered piece of a message, kept until it is
acknowledged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarmd.transport.rtmfp.inflight import Sent
    from swarmd.transport.rtmfp.messages import Message
    from swarmd.transport.rtmfp.sendflow import SendFlow


class Fragment:
    """`flags` as on the wire, without the one for options. Without a message it is the end of the flow."""

    __slots__ = ("data", "flags", "flow", "message", "sent", "sequence", "was_sent")

    def __init__(
        self, flow: SendFlow, sequence: int, flags: int, data: memoryview | bytes, message: Message | None
    ) -> None:
        self.flow, self.sequence, self.flags, self.data, self.message = flow, sequence, flags, data, message
        self.was_sent = False
        self.sent: Sent | None = None  # the packet that it is in flight in
