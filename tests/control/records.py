"""Complete records, so that a test says only what it is about."""

from __future__ import annotations

from typing import Any

import msgspec

from swarmd.control.records import Peer, Transfer

TRANSFER = Transfer(
    id="t1",
    content_id="c" * 52,
    name="disk.iso",
    kind="file",
    group_id="g" * 52,
    group_name=None,
    target="/srv/disk.iso",
    state="downloading",
    order="rarest",
    size=1 << 30,
    have_bytes=1 << 28,
    reused_bytes=0,
    received_bytes=1 << 28,
    sent_bytes=0,
    rate=1e8,
    eta_s=8.0,
    peers=3,
    members=4,
    created_at=1_700_000_000_000,
)


def transfer(**changes: Any) -> Transfer:
    return msgspec.structs.replace(TRANSFER, **changes)


def peer(number: int) -> Peer:
    return Peer(peer_id=None, address=f"10.0.0.1:{number}", state="dialing")
