"""The UDP carrier: one RTMFP endpoint on the node's UDP sockets, and a `UdpLink` for each of its sessions. A guest
(`net.guest`) may use the sockets too.

All sockets share the endpoint. A session's datagrams leave by the socket that its peer's come to, and calls go out from
the sockets that others call, so that a NAT has one mapping for both. What comes in one wake-up is
given to the endpoint first, then each link that it concerned is pumped once: so a batch is answered once.

A link takes its turn: at most _TURN_BATCHES leave before others, timers and the control socket have theirs. When the
kernel's queue is full, links wait for the socket; nothing is queued here but the rest of one batch for each socket.

Errors that the network reports (ICMP) end an attempt to open a session, and make an open one look for itself, if they
quote a packet of it (`net.complaints`, `rtmfp.hearsay`); nothing else, since anybody can forge them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from swarmd.core.addresses import Address
from swarmd.core.clock import Clock
from swarmd.core.errors import LocalError, Unreachable
from swarmd.core.ids import PeerId
from swarmd.core.rng import Rng
from swarmd.identity.identity import Identity
from swarmd.net.complaints import Complaint, read
from swarmd.net.guest import Guest, sift
from swarmd.net.link import Owner
from swarmd.net.netwatch import NetWatch
from swarmd.net.timer import Timer
from swarmd.net.udp import Batch, UdpSocket
from swarmd.transport.api import CloseReason, State
from swarmd.transport.paths import Kind
from swarmd.transport.rtmfp.endpoint import Endpoint
from swarmd.transport.rtmfp.noise import NoiseProfile
from swarmd.transport.rtmfp.packing import BATCH_BYTES
from swarmd.transport.rtmfp.resets import reset_key
from swarmd.transport.rtmfp.session import RtmfpSession

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 15.0  # five questions to one address
_TURN_BATCHES = 8  # 512 KB, about 3 ms at full speed


class _Rest(NamedTuple):
    """Of a batch that the kernel took a part of."""

    data: bytes
    segment_bytes: int
    address: Address
    local: Address | None


_ANY_V4, _ANY_V6 = Address("0.0.0.0", 0), Address("::", 0)


class UdpLink:
    """One session of the carrier's endpoint; a `net.link.Link`."""

    kind = Kind.UDP

    def __init__(self, carrier: UdpCarrier, session: RtmfpSession, remote: Address) -> None:
        self.session = session
        self.received_bytes = self.sent_bytes = 0
        self.is_closed = False
        self.called = remote  # as the session has no address yet while it is being opened
        self.socket: UdpSocket | None = None  # to which the peer's packets come,
        self.heard_at: Address | None = None  # and at which of our addresses
        self._carrier = carrier
        self._is_started = self._is_pumping = False
        self._timer = carrier.timer(self._on_timer)

    @property
    def remote(self) -> Address:
        return self.session.address or self.called

    @property
    def local(self) -> Address:
        if self.heard_at is not None:
            return self.heard_at
        return self.socket.address if self.socket is not None else self._carrier.local_address(self.remote)

    @property
    def rtt(self) -> float | None:
        return None if self.is_closed else self.session.rtt

    def start(self) -> None:
        self._is_started = True
        self.pump()

    def close(self, reason: CloseReason = CloseReason.NORMAL, detail: str = "") -> None:
        self.session.close(reason, detail)
        self.pump()

    def abort(self) -> None:
        self.session.close(CloseReason.LOST, "the link was aborted")
        self._deliver()
        self._release()

    def pump(self) -> None:
        if self._is_pumping or self.is_closed or not self._is_started:
            return
        self._is_pumping = True
        try:
            self._deliver()
            self._carrier.send_from(self)
            self._deliver()
        finally:
            self._is_pumping = False
        if self.session.state is State.CLOSED:
            self._release()
        else:
            self._timer.set(self.session.next_deadline())

    def _deliver(self) -> None:
        while (event := self.session.next_event()) is not None:
            self._carrier.owner.link_event(self, event)

    def _on_timer(self) -> None:
        self.session.handle_timer(self._carrier.now())
        self.pump()

    def _release(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._timer.cancel()
        self._carrier.link_closed(self)


class UdpCarrier:
    """All UDP sessions of one node; a `net.link.Carrier` and a `net.udp.Reader`. To be made on the event loop."""

    kind = Kind.UDP

    def __init__(
        self,
        identity: Identity,
        rng: Rng,
        clock: Clock,
        owner: Owner,
        moved: Callable[[int], None] = lambda count: None,
    ) -> None:
        """`moved` is told of every count of bytes that goes through a socket."""
        self.owner = owner
        self._clock, self._moved = clock, moved
        self._loop = asyncio.get_running_loop()
        profile = NoiseProfile(identity, rng)
        self._endpoint = Endpoint(profile, rng, clock.monotonic(), reset_key=reset_key(identity))
        self._sockets: list[UdpSocket] = []
        self._pending: dict[UdpSocket, _Rest] = {}  # the rest of a batch, for a full socket
        self._links: dict[int, UdpLink] = {}  # by the session's near_id
        self._waiting: dict[int, UdpLink] = {}  # for their turn, or for a socket
        self._turn: asyncio.Handle | None = None
        self._timer = self.timer(self._on_timer)
        self._batch = memoryview(bytearray(BATCH_BYTES))
        self._watch = NetWatch(self._network_changed, self._loop)
        self._accepts = True
        self._guest: Guest | None = None

    # For the owner ----------------------------------------------------------------------------------------------

    def open_listener(self, address: Address) -> UdpListener:
        self._accepts = True
        return UdpListener(self, self._open(address))

    async def connect(self, address: Address, wanted: PeerId | None) -> UdpLink:
        try:
            if self._socket_for(address) is None:
                self._open(_ANY_V6 if address.is_ipv6 else _ANY_V4)
            session = self._endpoint.connect(wanted, [address], self.now(), CONNECT_TIMEOUT)
        except LocalError as error:
            raise Unreachable(f"{address}: {error}") from None
        link = self._link(session, address)
        self._flush()
        return link

    def shrink(self) -> bool:
        return False

    def host(self, guest: Guest | None) -> None:
        """From now on this protocol too uses the sockets; None: none does."""
        self._guest = guest

    def send_for_guest(self, answering: UdpSocket | None = None, to: Batch | None = None) -> None:
        """What the guest has to send. An answer to a batch leaves whence it came to."""
        for data, address in self._guest.datagrams_to_send() if self._guest is not None else ():
            is_answer = to is not None and address == to.source
            sock = answering if is_answer else self._socket_for(address)
            if sock is not None:
                self._send(sock, data, len(data), address, to.local if to is not None and is_answer else None)

    def stop(self) -> None:
        for link in list(self._links.values()):
            link.abort()
        self._flush()
        self._watch.close()
        self._timer.cancel()
        if self._turn is not None:
            self._turn.cancel()
        self._turn = None
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    # For links --------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self._clock.monotonic()

    def timer(self, due: Callable[[], None]) -> Timer:
        return Timer(due, self._clock, self._loop)

    def local_address(self, remote: Address) -> Address:
        sock = self._socket_for(remote)
        return sock.address if sock is not None else (_ANY_V6 if remote.is_ipv6 else _ANY_V4)

    def send_from(self, link: UdpLink) -> None:
        """One turn's worth of what the session has to send."""
        now, session = self.now(), link.session
        for _ in range(_TURN_BATCHES):
            sock = link.socket or self._socket_for(link.remote)
            if sock is None:
                return
            if sock.is_full:
                self._waiting[id(link)] = link
                return
            batch = session.next_batch(self._batch, now)
            if batch is None:
                return
            link.sent_bytes += len(batch.data)
            self._send(sock, batch.data, batch.segment_bytes, batch.address, link.heard_at)
        self._waiting[id(link)] = link
        self._take_turns()

    def link_closed(self, link: UdpLink) -> None:
        self._links.pop(link.session.near_id, None)
        self._waiting.pop(id(link), None)
        self._timer.set(self._endpoint.next_deadline())  # the endpoint goes on telling the peer

    def listener_closed(self, sock: UdpSocket) -> None:
        """Nobody may call any more. The socket goes with the last link, or at `stop`."""
        self._accepts = False
        if not self._links and sock in self._sockets:
            self._sockets.remove(sock)
            self._pending.pop(sock, None)
            sock.close()

    # From the sockets -------------------------------------------------------------------------------------------

    def socket_readable(self, sock: UdpSocket) -> None:
        now = self.now()
        touched: dict[int, UdpLink] = {}
        for batch in sock.receive():
            for data in [batch.data] if self._guest is None else self._sifted(self._guest, sock, batch):
                for session in self._endpoint.receive(data, batch.segment_bytes, batch.source, now):
                    link = self._links.get(session.near_id)
                    if link is None:
                        continue
                    link.received_bytes += len(data)
                    link.socket, link.heard_at = sock, batch.local or sock.address
                    touched[id(link)] = link
        self._accept(sock)
        for link in touched.values():
            link.pump()
        self._flush(sock)

    def socket_writable(self, sock: UdpSocket) -> None:
        pending = self._pending.pop(sock, None)
        if pending is not None:
            self._send(sock, *pending)
        if not sock.is_full:
            self._take_turns()

    def socket_faulted(self, sock: UdpSocket) -> None:
        now = self.now()
        complaints = {complaint for fault in sock.errors() if (complaint := read(fault)) is not None}
        if not complaints:
            return
        links = list(self._links.values())
        by_packet = {(link.remote, link.session.far_id): link for link in links if link.session.far_id}
        for each in complaints:
            quoted = by_packet.get((each.address, each.session_id or 0))
            for link in links if quoted is None else (quoted,):
                if link.remote == each.address:
                    self._complained(link, each, now, is_quoted=quoted is not None)

    def _complained(self, link: UdpLink, about: Complaint, now: float, *, is_quoted: bool) -> None:
        session = link.session
        if session.state is State.KEYING and session.is_initiator and about.is_unreachable:
            session.failed(CloseReason.UNREACHABLE, about.detail)
        elif session.state is State.OPEN and about.largest_bytes is not None and (is_quoted or about.is_ours):
            session.hearsay.too_big(about.largest_bytes, now)
        elif session.state is State.OPEN and about.is_unreachable and not about.is_ours:
            session.hearsay.nobody_there(now, is_sure=is_quoted and about.is_port)
        else:
            return
        link.pump()

    # Within -----------------------------------------------------------------------------------------------------

    def _sifted(self, guest: Guest, sock: UdpSocket, batch: Batch) -> list[memoryview]:
        """What of a batch is the sessions'. What the guest answers at once is sent."""
        left = sift(batch.data, batch.segment_bytes, lambda datagram: guest.receive_datagram(datagram, batch.source))
        if not left or left[0] is not batch.data:
            self.send_for_guest(sock, batch)
        return left

    def _open(self, address: Address) -> UdpSocket:
        sock = UdpSocket(address, self._loop, self._moved)
        self._sockets.append(sock)
        sock.start(self)
        return sock

    def _socket_for(self, remote: Address) -> UdpSocket | None:
        """Where a first datagram to this address leaves: one of its family, and of this machine alone only for it."""
        sockets = [sock for sock in self._sockets if sock.address.is_ipv6 == remote.is_ipv6]
        suited = [sock for sock in sockets if sock.address.is_loopback == remote.is_loopback]
        return next(iter(suited or sockets), None)

    def _link(self, session: RtmfpSession, remote: Address) -> UdpLink:
        link = self._links[session.near_id] = UdpLink(self, session, remote)
        return link

    def _accept(self, sock: UdpSocket) -> None:
        """Sessions that others have opened; what came by `sock` has opened them."""
        while (session := self._endpoint.next_incoming()) is not None:
            assert session.address is not None
            link = self._link(session, session.address)
            link.socket = sock
            if self._accepts and self.owner.has_room_for(session.address):
                self.owner.link_accepted(link)
            else:
                session.close(CloseReason.OVERLOADED, "too many connections")
                self.send_from(link)
                self.link_closed(link)

    def _send(
        self,
        sock: UdpSocket,
        data: memoryview | bytes,
        segment_bytes: int,
        address: Address,
        local: Address | None = None,
    ) -> None:
        if sock.is_full:
            return  # lost, as it may be anywhere on the way
        taken = sock.send(data, segment_bytes, address, local)
        if taken < len(data):
            self._pending[sock] = _Rest(bytes(data[taken:]), segment_bytes, address, local)

    def _flush(self, answering: UdpSocket | None = None) -> None:
        """What the endpoint itself has to say, and when it wants to be called. `answering`: whence answers are sent."""
        for datagram in self._endpoint.datagrams_to_send():
            sock = answering
            if sock is None or sock.address.is_ipv6 != datagram.address.is_ipv6:
                sock = self._socket_for(datagram.address)
            if sock is not None:
                self._send(sock, datagram.data, len(datagram.data), datagram.address)
        self._timer.set(self._endpoint.next_deadline())

    def _on_timer(self) -> None:
        self._endpoint.handle_timer(self.now())
        self._pump_all(link for link in list(self._links.values()) if link.session.state is State.CLOSED)
        self._flush()

    def _take_turns(self) -> None:
        if self._turn is None and self._waiting:
            self._turn = self._loop.call_soon(self._run_turn)

    def _run_turn(self) -> None:
        self._turn = None
        links = list(self._waiting.values())
        self._waiting.clear()
        self._pump_all(links)

    def _pump_all(self, links: Iterable[UdpLink]) -> None:
        for link in links:
            link.pump()

    def _network_changed(self) -> None:
        """This host's addresses or routes: show every peer where we are now, and see that it still hears us."""
        for link in list(self._links.values()):
            if link.session.state is State.OPEN:
                link.session.ping(self.now())
                link.pump()


class UdpListener:
    """That others can call; a `net.link.Listener`. The socket serves calls of ours too, until the carrier stops."""

    def __init__(self, carrier: UdpCarrier, sock: UdpSocket) -> None:
        self._carrier, self._socket = carrier, sock

    @property
    def address(self) -> Address:
        return self._socket.address

    def close(self) -> None:
        self._carrier.listener_closed(self._socket)
