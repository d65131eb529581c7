"""Notices that this machine's addresses or routes have changed, so that sessions can be probed at once.

Listens to what the kernel tells on a netlink socket (rtnetlink(7)); polls nothing. A change comes as a burst of
messages (link up, address, routes), and is told once, _SETTLE_PERIOD after the first of them. It is a hint: a route
that has only been refreshed looks the same as a new one, and what matters has to be seen by trying.

Where netlink may not be used (a strict sandbox), `note` says so and nothing is ever told: sessions then find out by
their own time-outs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Callable

log = logging.getLogger(__name__)

_SETTLE_PERIOD = 0.1  # what a burst takes; short against the second after which a session would notice
_MESSAGE_BYTES = 32768  # a netlink datagram is at most one page or 32 KiB; a longer one counts although cut off
_TURN_MESSAGES = 64  # datagrams read in one turn: what is left wakes us again
_HEADER = struct.Struct("=IHHII")  # linux/netlink.h: length, type, flags, sequence, port
_LINK, _IPV4_ADDRESS, _IPV4_ROUTE, _IPV6_ADDRESS, _IPV6_ROUTE = 0x1, 0x10, 0x40, 0x100, 0x400  # RTMGRP_*
_GROUPS = _LINK | _IPV4_ADDRESS | _IPV4_ROUTE | _IPV6_ADDRESS | _IPV6_ROUTE
_CHANGES = frozenset({16, 17, 20, 21, 24, 25})  # RTM_NEW- and RTM_DEL- of LINK, ADDR, ROUTE
_LINK_MESSAGES = frozenset({16, 17})
_LINK_CHANGE = struct.Struct("=I")
_LINK_CHANGE_OFFSET = _HEADER.size + 12  # ifi_change of struct ifinfomsg: which flags; zero for mere statistics
_KERNEL = 0  # the port that messages of the kernel come from


class NetWatch:
    """Calls `changed` on the loop after each burst of changes, until `close`."""

    def __init__(self, changed: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.note: str | None = None
        """Why nothing is watched; None when it is."""
        self._changed, self._loop = changed, loop
        self._settling: asyncio.TimerHandle | None = None
        self._socket: socket.socket | None = None
        try:
            self._socket = _subscribed()
        except OSError as error:
            self.note = f"changes of the network are not noticed at once: no netlink ({os.strerror(error.errno or 0)})"
            log.info("%s", self.note)
            return
        loop.add_reader(self._socket.fileno(), self._on_readable)

    def close(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _on_readable(self) -> None:
        assert self._socket is not None
        for _ in range(_TURN_MESSAGES):
            try:
                data, sender = self._socket.recvfrom(_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: more has happened than the kernel kept for us
                self._settle()
                continue
            if sender[0] == _KERNEL and is_change(data):
                self._settle()

    def _settle(self) -> None:
        if self._settling is None:
            self._settling = self._loop.call_later(_SETTLE_PERIOD, self._tell)

    def _tell(self) -> None:
        self._settling = None
        self._changed()


def is_change(data: bytes) -> bool:
    """Whether one of the messages in this datagram is about a link that went up or down, an address or a route."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if kind in _CHANGES and (kind not in _LINK_MESSAGES or _has_new_flags(data, offset)):
            return True
        if length < _HEADER.size:
            return False
        offset += length + 3 & ~3
    return False


def _has_new_flags(data: bytes, offset: int) -> bool:
    place = offset + _LINK_CHANGE_OFFSET
    return place + _LINK_CHANGE.size > len(data) or _LINK_CHANGE.unpack_from(data, place)[0] != 0


def _subscribed() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    try:
        sock.bind((0, _GROUPS))
    except OSError:
        sock.close()
        raise
    return sock
