"""One bound UDP socket on the asyncio loop: datagrams in batches, both ways.

The kernel cuts one large `send` into datagrams of equal size (UDP_SEGMENT) and puts neighbours of one sender together
again (UDP_GRO), so that a system call moves up to 64 datagrams. Where it cannot, each goes by itself and neighbours are
put together here; callers see no difference. A datagram of 1,400 bytes costs 0.1 us to send or receive then, else 2
(`python -m tests.bench udp`).

- `Reader` is told on the loop that something waits; it fetches it (`receive`, `errors`) and decides. What `receive`
  gave lies in this socket's own memory and is valid until the next `receive`.
- One `receive` gives at most _TURN_DATAGRAMS and _TURN_BYTES; a flood waits in the kernel, then is lost there, while
  timers and other sockets have their turn.
- Datagrams carry "do not fragment" and ignore what the kernel believes of a path (IP_PMTUDISC_PROBE): how large they
  may be is the protocol's to find out.
- Bound to all addresses of this machine, it tells to which of them a batch came, and an answer can be sent from there:
  left to itself the kernel may choose another (IPv6 hosts have several), and a firewall at the far end drops that.
- Nothing that the network, a firewall or a peer does raises an exception. What could not be sent is lost, as it may be
  anywhere on the way; `errors` tells of it. Errors that came by ICMP can be forged by anybody: they are hints.
- `close` leaves nothing behind on the loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from swarmd.core.addresses import Address
from swarmd.net import udpoptions as options

log = logging.getLogger(__name__)

_TURN_BYTES = 512 * 1024  # what one `receive` gives, about 3 ms of 150 MB/s; it also stays in the processor's cache
_TURN_DATAGRAMS = 512  # the same for small ones: some 5 ms, if a protocol takes 10 us for each
_DATAGRAM_BYTES = 65536  # no datagram, and no batch of the kernel, is longer
_PAYLOAD_BYTES = 65507  # the longest that can be sent in one call: 65,535 less the headers of IPv4 and UDP
_SEGMENTS = 64  # UDP_MAX_SEGMENTS of linux/udp.h, where it is lowest
_FAULTS = 256  # waiting to be fetched, one for each address, error and datagram; more are dropped: they are hints
_UNSEGMENTED = 1024  # destinations to which the kernel refuses to cut; forgotten all at once, and tried again

_ANY = ("0.0.0.0", "::")
_Head = tuple[int, options.SocketName, bytes | None]
"""What all datagrams of a batch have in common: size, source, and what the kernel says of where it arrived."""
_CUT = int(socket.MSG_TRUNC | socket.MSG_CTRUNC)  # an enum takes 1 us to compare
_LOST = frozenset({errno.ENOBUFS, errno.ENOMEM})  # a full queue of ours: lost like on any other link
_NOT_OURS = frozenset({errno.EINVAL, errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.ENODEV})  # of a source address
_REFUSED_CUT = frozenset({errno.EINVAL, errno.EIO})  # udp(7): the route or the device cannot do it


class Batch(NamedTuple):
    """Datagrams of one sender, one behind the other: each `segment_bytes` long, the last one perhaps shorter."""

    data: memoryview
    segment_bytes: int
    source: Address
    local: Address | None  # to which of ours it came, if the socket is bound to all of them


@dataclass(frozen=True, slots=True)
class Fault:
    """What was sent to `address` did not get there. `error` is an errno; `mtu` comes with EMSGSIZE: the largest IP
    packet, headers included. `quoted`: what an ICMP message has quoted of our datagram, perhaps nothing; None when no
    message came, but our own machine refused.
    """

    address: Address
    error: int
    mtu: int | None = None
    quoted: bytes | None = field(default=None, compare=False)


class Reader(Protocol):
    """Who uses the socket. Each call says only that it is worth while to look."""

    def socket_readable(self, sock: UdpSocket) -> None:
        """`receive` gives something."""

    def socket_writable(self, sock: UdpSocket) -> None:
        """A `send` took less than all; now it would take more."""

    def socket_faulted(self, sock: UdpSocket) -> None:
        """`errors` gives something. Never called from within `send` or `receive`."""


def _unheard(count: int) -> None:
    pass


class UdpSocket:
    """Bound at once (LocalError where that cannot be); tells its reader from `start` on."""

    def __init__(
        self, address: Address, loop: asyncio.AbstractEventLoop, moved: Callable[[int], None] = _unheard
    ) -> None:
        """`moved` is told of every count of bytes read or written (`net.coalescing`)."""
        self._is_ipv6 = address.is_ipv6
        self._socket = options.bound(address)
        self._fd = self._socket.fileno()
        self.address = Address.of_socket(self._socket.getsockname())
        self.can_segment = options.can_segment(self._socket)
        self.can_gather = options.gather(self._socket)
        self._tells_local = self.address.host in _ANY and options.tell_local(self._socket)
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if self.receive_buffer_bytes < options.RECEIVE_BUFFER_BYTES:
            log.info(
                "the kernel gives %s a receive buffer of %d KiB; for more than some 50 MB/s over UDP, "
                "raise net.core.rmem_max to %d",
                self.address,
                self.receive_buffer_bytes >> 10,
                options.RECEIVE_BUFFER_BYTES,
            )
        self.received_bytes = self.sent_bytes = 0
        self.truncated = 0  # datagrams that did not fit: none, unless a kernel has new ideas
        self.dropped = 0  # datagrams that found the queue of our own interface full
        self._loop, self._moved = loop, moved
        self._reader: Reader | None = None
        self._reading = self._writing = False
        self._buffer = memoryview(bytearray(_TURN_BYTES + _DATAGRAM_BYTES))
        self._faults: dict[tuple[Address, int, bytes | None], int | None] = {}  # the last MTU
        self._telling: asyncio.Handle | None = None
        self._unsegmented: set[Address] = set()
        self._space = options.control_space(self.can_gather, self._tells_local)

    def start(self, reader: Reader) -> None:
        self._reader = reader
        self.resume()

    @property
    def is_closed(self) -> bool:
        return self._fd < 0

    @property
    def is_full(self) -> bool:
        """Whether `send` would take nothing now; `socket_writable` tells when it would."""
        return self._writing

    @property
    def overflowed(self) -> int:
        """Datagrams that came while the receive buffer was full."""
        if self._fd < 0:
            return 0
        return options.overflowed(self._socket)

    def pause(self) -> None:
        """Read nothing until `resume`; what comes waits in the kernel."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        if not self._reading and self._fd >= 0:
            self._reading = True
            self._loop.add_reader(self._fd, self._on_readable)

    def close(self) -> None:
        """At once; what `send` took is on its way."""
        if self._fd < 0:
            return
        self.pause()
        self._want_write(False)
        if self._telling is not None:
            self._telling.cancel()
        self._telling = self._reader = None
        self._fd = -1
        self._socket.close()

    # Receiving --------------------------------------------------------------------------------------------------

    def receive(self) -> list[Batch]:
        """What has come, at most one turn's worth; the views are valid until the next call. Empty: nothing waits.
        Datagrams without content are left out.
        """
        batches: list[Batch] = []
        if self._fd < 0:
            return batches
        receive, space, buffer = self._socket.recvmsg_into, self._space, self._buffer
        offset = datagrams = start = 0
        open_head: _Head | None = None  # of the batch from `start` to `offset`, which may grow still
        while offset < _TURN_BYTES and datagrams < _TURN_DATAGRAMS:
            try:
                count, controls, flags, name = receive((buffer[offset:],), space)
            except BlockingIOError:
                break
            except OSError:  # of something sent earlier: an ICMP message has come
                datagrams += 1
                self._drain_errors()
                continue
            if flags & _CUT or not count:
                datagrams += 1
                self.truncated += count > 0
                continue
            segment, info = count, None
            for level, _, value in controls:
                if level == options.SOL_UDP:
                    segment = options.segment_of(value)
                else:
                    info = value
            head = (segment, name, info)
            if head != open_head:
                if open_head:
                    batches.append(self._batch(start, offset, open_head))
                start, open_head = offset, head
            offset += count
            datagrams += -(-count // segment)
            if count % segment:  # the last datagram is shorter: nothing may follow
                batches.append(self._batch(start, offset, head))
                open_head = None
        if open_head:
            batches.append(self._batch(start, offset, open_head))
        if not datagrams:
            self._drain_errors()  # woken for nothing else
        elif offset:
            self.received_bytes += offset
            self._moved(offset)
        return batches

    def _batch(self, start: int, end: int, head: _Head) -> Batch:
        segment, name, info = head
        local = options.local_of(info, self.address.port) if info else None
        return Batch(self._buffer[start:end], segment, options.address_of(name), local)

    def _on_readable(self) -> None:
        if self._reader is not None:
            self._reader.socket_readable(self)

    # Sending ----------------------------------------------------------------------------------------------------

    def send(
        self, blob: bytes | bytearray | memoryview, segment_bytes: int, address: Address, local: Address | None = None
    ) -> int:
        """Send `blob` as datagrams of `segment_bytes`, the last one perhaps shorter; the count of bytes taken. Less
        than all: the kernel is full, `socket_writable` follows. What is taken may still be lost: see `errors`.

        `local`: from which of our addresses, as a `Batch` tells it; not heeded once we do not have it any more.
        """
        assert segment_bytes > 0
        size = len(blob)
        if self._writing:
            return 0
        if self._fd < 0:
            return size
        if address.is_ipv6 != self._is_ipv6:
            self._add_fault(address, errno.EAFNOSUPPORT)
            return size
        name, view, taken, refusal = (address.host, address.port), memoryview(blob), 0, 0
        source = options.source_control(local) if local is not None and self._tells_local else None
        step = segment_bytes
        if size > segment_bytes and self.can_segment and address not in self._unsegmented:
            step *= max(1, min(_SEGMENTS, _PAYLOAD_BYTES // segment_bytes))
        while taken < size:
            piece = view[taken : taken + step]
            error, mtu = self._put(piece, segment_bytes, source, name)
            if not error or error in _LOST:
                self.dropped += -(-len(piece) // segment_bytes) if error else 0
                taken += len(piece)
                if refusal and not error:
                    self._remember_refusal(address, refusal)
                    refusal = 0
            elif error == errno.EAGAIN:
                self._want_write(True)
                break
            elif source is not None and error in _NOT_OURS:
                source = None
            elif len(piece) > segment_bytes:  # is it the cutting, or the address?
                step, refusal = segment_bytes, error
            else:
                self._add_fault(address, error, mtu)
                taken = size  # the rest would not fare better
        self.sent_bytes += taken
        self._moved(taken)
        return taken

    def _put(
        self, piece: memoryview, segment_bytes: int, source: options.Control | None, name: tuple[str, int]
    ) -> tuple[int, int | None]:
        """One system call: 0 or the errno, and the MTU if the kernel told it. An error of something sent earlier is
        reported by whatever call comes next, so only one that stands after the error queue was read is this one's.
        """
        error, mtu = 0, None
        controls = [source] if source is not None else []
        if len(piece) > segment_bytes:
            controls.append(options.segment_control(segment_bytes))
        for _ in range(2):
            try:
                self._socket.sendmsg((piece,), controls, 0, name)
            except BlockingIOError:
                return errno.EAGAIN, None
            except OSError as problem:
                error = problem.errno or errno.EIO
                if error in _LOST:
                    return error, None
                mtu = self._drain_errors()
            else:
                return 0, None
        return error, mtu

    def _remember_refusal(self, address: Address, error: int) -> None:
        """The same bytes went when we had cut them."""
        if error in _REFUSED_CUT:
            if len(self._unsegmented) >= _UNSEGMENTED:
                self._unsegmented.clear()
            self._unsegmented.add(address)

    def _want_write(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            if wanted:
                self._loop.add_writer(self._fd, self._on_writable)
            else:
                self._loop.remove_writer(self._fd)

    def _on_writable(self) -> None:
        self._want_write(False)
        if self._reader is not None:
            self._reader.socket_writable(self)

    # Errors -----------------------------------------------------------------------------------------------------

    def errors(self) -> list[Fault]:
        """What has failed since the last call: hints, for an ICMP message may be forged, and may be lost."""
        faults = [Fault(address, error, mtu, quoted) for (address, error, quoted), mtu in self._faults.items()]
        self._faults.clear()
        return faults

    def _add_fault(self, address: Address, error: int, mtu: int | None = None, quoted: bytes | None = None) -> None:
        key = address, error, quoted
        if len(self._faults) >= _FAULTS and key not in self._faults:
            return
        self._faults[key] = mtu
        if self._telling is None and self._reader is not None:
            self._telling = self._loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._telling = None
        if self._reader is not None and self._faults:
            self._reader.socket_faulted(self)

    def _drain_errors(self) -> int | None:
        """Empty the kernel's queue of errors, so that it does not wake us again. What came by ICMP becomes a fault; of
        our own interface's refusals (their sender knows already) only the MTU is of interest: the last one is given.
        """
        mtu = None
        for error in options.queued_errors(self._socket):
            if error.is_local:
                mtu = error.mtu
            else:
                self._add_fault(error.address, error.error, error.mtu, error.quoted)
        return mtu
