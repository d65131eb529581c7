"""Puts one session's packets together: header, chunks, fragments, sealed one behind the other into batches.

A batch is what one system call sends: datagrams of one size, but for the last. So every packet of bulk is filled to
its last byte. What goes into a packet is asked for when it is made: first the chunks that are `waiting` (pings and the
like), then acknowledgements, then data as far as window and pacer allow.

Data that is sent again was cut for the shortest header more often than not, so there is no room for our time before
it. Then the time follows in a packet of its own: without, the peer's echoes would speak of the path as it was before
the loss, and nobody could tell by them what an acknowledgement is for (`Sending.echoed`).

Speed: a packet of 1,472 bytes costs its sender 7 us and its receiver 5.3, the kernel's part included, so one core each
moves 200 MB/s (`python -m tests.bench.rtmfp transfer`).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from swarmd.core.addresses import Address
from swarmd.transport.api import Buffer
from swarmd.transport.rtmfp.alerts import Alerts
from swarmd.transport.rtmfp.chunks import BufferProbe, encode_chunk
from swarmd.transport.rtmfp.packet import (
    ECHO,
    SESSION_ID_BYTES,
    TIME_CRITICAL,
    TIME_CRITICAL_REVERSE,
    TIMESTAMP,
    Mode,
    scramble_into,
)
from swarmd.transport.rtmfp.pathmtu import PathMtu
from swarmd.transport.rtmfp.profile import PacketCipher
from swarmd.transport.rtmfp.reassembly import split
from swarmd.transport.rtmfp.receiving import Receiving
from swarmd.transport.rtmfp.sending import MAX_PLAIN_BYTES, Sending
from swarmd.transport.rtmfp.timestamps import Timestamps

SCRATCH_BYTES = MAX_PLAIN_BYTES + 64
MAX_SEGMENTS = 64  # of one batch: what UDP_SEGMENT takes
BATCH_BYTES = 65_000
_MAX_HEADER_BYTES = 5
_SHORT_HEADER = 0xFF & ~(TIMESTAMP | ECHO | TIME_CRITICAL)


class Batch(NamedTuple):
    """Datagrams for one address, `segment_bytes` each but for the last one, which may be shorter."""

    address: Address
    data: memoryview
    segment_bytes: int


class Packer:
    """`scratch`: SCRATCH_BYTES in which packets are put together; one serves all sessions of a loop."""

    def __init__(
        self,
        near_id: int,
        mode: Mode,
        sending: Sending,
        receiving: Receiving,
        path: PathMtu,
        alerts: Alerts,
        scratch: bytearray,
    ) -> None:
        self._near_id, self._mode, self._far_id = near_id, mode, 0
        self._sending, self._receiving, self._path, self._alerts = sending, receiving, path, alerts
        self._plain, self._plain_view = scratch, memoryview(scratch)
        self._cipher: PacketCipher | None = None
        self._next_fragmented = 0
        self._too_large: bytes | None = None  # a packet that is to go in parts, behind the batch before it
        self.timestamps = Timestamps()
        self.waiting: deque[bytes] = deque()  # encoded chunks, each fit for the smallest packet

    def keyed(self, cipher: PacketCipher, far_id: int) -> None:
        self._cipher, self._far_id = cipher, far_id

    def batch(self, target: memoryview, address: Address, now: float) -> Batch | None:
        """All that may leave now, as far as it goes into one; None when that is nothing."""
        sending, cipher = self._sending, self._cipher
        assert cipher is not None
        sending.choose_controller(now)
        packet_bytes = self._path.packet_bytes
        limit = packet_bytes - SESSION_ID_BYTES - cipher.overhead
        budget = sending.burst_bytes(now) if sending.may_send(now) else 0
        last = min(len(target), BATCH_BYTES) - packet_bytes
        far_id, plain = self._far_id, self._plain_view
        if self._too_large is not None:
            return self._split(target, address, self._too_large, now)
        offset = data_bytes = count = 0
        are_chunks_left = True  # to go before data; none are added while a batch is made
        is_time_owed = False
        while offset <= last and count < MAX_SEGMENTS:
            start = end = self._write_header(now) if not count else self._write_short_header()
            if are_chunks_left:
                end = self._write_chunks(start, limit, now)
                are_chunks_left = end > start
            chunks_end = end
            if data_bytes < budget:
                end = sending.fill(plain, end, limit, now)
            if end == start:
                if not count:
                    self.timestamps.withdraw()
                if not sending.is_cramped or data_bytes >= budget:
                    break
                sending.is_cramped = False
                is_time_owed = not count
                start = self._write_short_header()
                chunks_end = start
                end = sending.fill(plain, start, limit, now)
                if end == start:
                    break
            if end > limit:
                self._too_large = bytes(plain[:end])
                break
            sealed = offset + SESSION_ID_BYTES
            if sending.has_time_critical:
                self._note_time_critical(now)
            size = SESSION_ID_BYTES + cipher.seal_into(plain[:end], target[sealed:])
            scramble_into(target, offset, far_id)
            offset += size
            count += 1
            if end > chunks_end:
                sending.packet_sent(size, now)
                data_bytes += size
            if count == 1:
                segment = size
            if size < packet_bytes:
                break
        if not count:
            return None if self._too_large is None else self._split(target, address, self._too_large, now)
        if data_bytes:
            sending.burst_sent(data_bytes, now)
        if is_time_owed and size == segment and count < MAX_SEGMENTS and offset <= last:
            offset += self._seal(target[offset:], plain[: self._write_header(now)])
        return Batch(address, target[:offset], segment)

    def _write_header(self, now: float) -> int:
        """Of the first packet of a batch."""
        is_elsewhere = self._alerts.is_received_elsewhere(self._near_id, now)
        return self.timestamps.write(self._plain, self._mode | (TIME_CRITICAL_REVERSE if is_elsewhere else 0), now)

    def _write_short_header(self) -> int:
        self._plain[0] &= _SHORT_HEADER
        return 1

    def _write_chunks(self, offset: int, limit: int, now: float) -> int:
        """What goes before data: pings, buffer probes, acknowledgements."""
        start = offset
        for number in self._sending.buffer_probes():
            self.waiting.append(encode_chunk(BufferProbe(number)))
        while self.waiting and offset + len(self.waiting[0]) <= limit:
            chunk = self.waiting.popleft()
            self._plain[offset : offset + len(chunk)] = chunk
            offset += len(chunk)
        due = self._receiving.acknowledge_at
        if due is not None and (due <= now or offset > start or self._sending.has_data):
            offset = self._receiving.fill(self._plain, offset, limit, now)
        return offset

    def _note_time_critical(self, now: float) -> None:
        self._sending.has_time_critical = False
        self._plain[0] |= TIME_CRITICAL
        self._sending.controller.on_time_critical_sent(now)
        self._alerts.sent(self._near_id, now)

    def _split(self, target: memoryview, address: Address, plain: bytes, now: float) -> Batch:
        """A fragment that was cut for a path which took more: in Packet Fragments, in a batch of their own."""
        assert self._cipher is not None
        self._too_large = None
        limit = self._path.packet_bytes - SESSION_ID_BYTES - self._cipher.overhead
        self._next_fragmented += 1
        offset = segment = 0
        header = self._plain_view[: self._write_header(now)]
        for chunk in split(plain, self._next_fragmented, limit - _MAX_HEADER_BYTES):
            size = self._seal(target[offset:], bytes(header) + encode_chunk(chunk))
            segment = segment or size
            offset += size
        self._sending.packet_sent(offset, now)
        self._sending.burst_sent(offset, now)
        return Batch(address, target[:offset], segment)

    def single(self, target: memoryview, address: Address, chunks: bytes, now: float, fill_to: int = 0) -> Batch:
        """One packet of its own, padded to `fill_to` bytes of datagram."""
        assert self._cipher is not None
        start = self._write_header(now)
        end = start + len(chunks)
        self._plain[start:end] = chunks
        padding = fill_to - SESSION_ID_BYTES - self._cipher.overhead - end
        if padding > 0:
            self._plain[end : end + padding] = bytes(padding)
            end += padding
        size = self._seal(target, self._plain_view[:end])
        return Batch(address, target[:size], size)

    def _seal(self, target: memoryview, plain: Buffer) -> int:
        assert self._cipher is not None
        size = self._cipher.seal_into(plain, target[SESSION_ID_BYTES:])
        scramble_into(target, 0, self._far_id)
        return SESSION_ID_BYTES + size
