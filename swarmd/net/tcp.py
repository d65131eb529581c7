"""Driver of one TCP session: its socket on the asyncio loop, without the loop's transports.

One `TcpLink` pumps one `TcpSession`: the kernel writes into the session's buffer (`recv_into`) and reads from its
sealed records (`send`), no byte is copied in between, and no work is queued beyond one record, so that priorities are
decided as late as possible. `TCP_NOTSENT_LOWAT` keeps the kernel's own queue of unsent bytes short for the same reason.

A turn of a link moves at most _TURN_BYTES each way before other links, timers and the control socket have theirs.

The link tells its `Sink` what has happened; it never decides. It ends with exactly one `Closed` event and a closed
socket; `abort` leaves nothing behind on the loop. Connecting and accepting are in `net.tcpcarrier`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import struct
from collections.abc import Callable

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError
from swarmd.net.link import Sink
from swarmd.net.timer import Timer
from swarmd.transport.api import CloseReason, State
from swarmd.transport.paths import Kind
from swarmd.transport.tcp.session import TcpSession

_TURN_BYTES = 2 << 20  # about 3 ms at full speed: what a control request waits at the most for one link
_NOTSENT_BYTES = 128 * 1024  # what may wait unsent in the kernel, where no priority can overtake it; or a record's size
_TCP_NOTSENT_LOWAT = 25  # linux/tcp.h; not in every build of Python
_SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes of the send queue not sent yet
_SMALL_BYTES = 4096  # a record of control messages goes out in any case
_LOW_WATER_BYTES = 256 * 1024  # at most so much of a record is awaited in the kernel (SO_RCVLOWAT)
_INT = struct.Struct("i")
_RTT = struct.Struct("I")
_RTT_OFFSET, _TCP_INFO_BYTES = 68, 104  # linux/tcp.h: tcpi_rtt of struct tcp_info
_SCAVENGER = b"lp"  # the kernel's TCP Low Priority; unprivileged only where tcp_allowed_congestion_control has it
_NAME_BYTES = 16  # linux/tcp.h: TCP_CA_NAME_MAX
_CLOSE_PERIOD = 2.0  # how long a last CLOSE record may take to leave


def _unheard(count: int) -> None:
    pass


class TcpLink:
    """One connected socket and its session; a `net.link.Link`. Ends by `close`, the peer, or the network.

    LocalError, and the socket is closed, when the connection was gone before it could be looked at.
    """

    kind = Kind.TCP

    def __init__(
        self,
        sock: socket.socket,
        session: TcpSession,
        sink: Sink,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        moved: Callable[[int], None] = _unheard,
    ) -> None:
        """`moved` is told of every count of bytes read or written (`net.coalescing`)."""
        self.session = session
        try:
            self.remote = Address.of_socket(sock.getpeername())
            self.local = Address.of_socket(sock.getsockname())
            tune(sock)
        except OSError as error:
            sock.close()
            raise LocalError(f"the connection was closed at once ({os.strerror(error.errno or 0)})") from None
        self.received_bytes = self.sent_bytes = 0
        self._socket, self._sink, self._clock, self._loop, self._moved = sock, sink, clock, loop, moved
        self._fd = sock.fileno()
        self._writing = self._pumping = False
        self._low_water = 1
        self._notsent_bytes = _NOTSENT_BYTES
        self._usual: bytes | None = None  # the kernel's congestion control for the foreground, while another one is set
        self._has_scavenger = True  # until the kernel refuses it
        self._is_begun = False  # a record of which the kernel has taken a part
        self._timer = Timer(self._on_timer, clock, loop)
        self._closing: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._loop.add_reader(self._fd, self._on_readable)
        self.pump()

    @property
    def is_closed(self) -> bool:
        return self._fd < 0

    @property
    def rtt(self) -> float | None:
        """Seconds there and back as the kernel has smoothed it; None when closed."""
        if self._fd < 0:
            return None
        info = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        microseconds: int = _RTT.unpack_from(info, _RTT_OFFSET)[0]
        return microseconds / 1e6

    def close(self, reason: CloseReason = CloseReason.NORMAL, detail: str = "") -> None:
        """End the session; the socket follows when the last record has left or _CLOSE_PERIOD is over."""
        self.session.close(reason, detail)
        self.pump()

    def abort(self) -> None:
        """Close the socket now."""
        self.session.connection_lost("the link was aborted")
        self._release()
        self._deliver()

    def pump(self) -> None:
        """Deliver events, send what can be sent, set the timer. Call after any command to the session."""
        if self._pumping or self._fd < 0:
            return
        self._pumping = True
        try:
            self._deliver()
            self._send()
            self._deliver()
        finally:
            self._pumping = False
        if self._fd < 0:
            return
        if self.session.state is State.CLOSED:
            self._finish()
        else:
            self._timer.set(self.session.next_deadline())

    # Socket -----------------------------------------------------------------------------------------------------

    def _on_readable(self) -> None:
        self._pumping = True  # what the sink sends meanwhile goes out in one go below
        is_sound = False
        try:
            self._receive()
            is_sound = True
        finally:
            self._pumping = False
            if not is_sound:  # a fault of our own: it ends the link that it happened on
                self.abort()
        self.pump()

    def _receive(self) -> None:
        session, budget = self.session, _TURN_BYTES
        while budget > 0 and session.state is not State.CLOSED:
            space = session.receive_buffer()
            try:
                count = self._socket.recv_into(space)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                session.connection_lost(os.strerror(error.errno or 0))
                break
            if not count:
                session.connection_lost("the other end closed the connection")
                break
            budget -= count
            self.received_bytes += count
            self._moved(count)
            session.bytes_received(count, self._clock.monotonic())
            self._deliver()
            if count < len(space):
                break
        self._set_low_water(session.missing_bytes)

    def _set_low_water(self, missing: int) -> None:
        """A record arrives in dozens of packets: be woken when the rest of it is here, not for each. In powers of two,
        for being told costs as much as being woken.
        """
        low_water = min(1 << missing.bit_length() - 1, _LOW_WATER_BYTES) if missing > _SMALL_BYTES else 1
        if low_water != self._low_water and self._fd >= 0:
            self._low_water = low_water
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, low_water)

    def _send(self) -> None:
        session, budget = self.session, _TURN_BYTES
        while (data := session.data_to_send()) is not None:
            if session.is_background is not (self._usual is not None) and self._has_scavenger:
                self._choose_congestion_control(session.is_background)
            if budget <= 0 or (len(data) > _SMALL_BYTES and not self._is_begun and self._is_kernel_full()):
                self._want_write(True)
                return
            try:
                count = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                self._want_write(True)
                return
            except OSError as error:
                session.connection_lost(os.strerror(error.errno or 0))
                return
            budget -= count
            self.sent_bytes += count
            self._moved(count)
            session.data_sent(count, self._clock.monotonic())
            self._is_begun = count < len(data)
            if self._is_begun:
                self._want_write(True)
                return
            self._deliver()
        self._want_write(False)

    def _choose_congestion_control(self, is_background: bool) -> None:
        """What gives way to others, where there is one; else background is no more than the session's last priority."""
        try:
            if is_background:
                usual = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _SCAVENGER)
                self._usual = usual.rstrip(b"\0")
            elif self._usual is not None:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self._usual)
                self._usual = None
        except OSError:
            self._has_scavenger = False

    def _is_kernel_full(self) -> bool:
        """Whether the next record is better decided on later. The kernel wakes us when less than that waits, early
        enough on a fast connection to seal the next record before it has nothing to send; but it does not stop `send`
        from taking more.
        """
        allowed = max(_NOTSENT_BYTES, 1 << (self.session.record_bytes.bit_length() - 1))
        if allowed != self._notsent_bytes:
            self._notsent_bytes = allowed
            self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, allowed)
        return self._unsent_bytes() >= allowed

    def _unsent_bytes(self) -> int:
        """What the kernel holds and has not sent."""
        unsent: int = _INT.unpack(fcntl.ioctl(self._fd, _SIOCOUTQNSD, _INT.pack(0)))[0]
        return unsent

    def _want_write(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._fd, self.pump)
            else:
                self._loop.remove_writer(self._fd)

    def _deliver(self) -> None:
        while (event := self.session.next_event()) is not None:
            self._sink.link_event(self, event)

    # Timers and ends --------------------------------------------------------------------------------------------

    def _on_timer(self) -> None:
        self.session.handle_timer(self._clock.monotonic())
        self.pump()

    def _finish(self) -> None:
        """The session is closed: let its last record out, then close the socket."""
        if self.session.data_to_send() is None:
            self._release()
        elif self._closing is None:
            self._loop.remove_reader(self._fd)
            self._closing = self._loop.call_later(_CLOSE_PERIOD, self._release)

    def _release(self) -> None:
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        self._want_write(False)
        self._timer.cancel()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        self._fd = -1
        self._socket.close()


def tune(sock: socket.socket) -> None:
    """No Nagle (records are whole), a short queue of unsent bytes, and an end for dead connections."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _NOTSENT_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
