"""Others that move bulk over encrypted or reliable UDP, for `tests.bench.rtmfp`: aioquic, and libtorrent over uTP.

A process is `python -m tests.bench._rivals NAME receive|send HOST SECONDS [TO]`. The receiver says `ready`, and both
say what they have measured. Neither library is a dependency: what is not installed is not compared with.

aioquic sends one stream, with its default cipher; it is given packets as large as the link takes and larger windows
than its own, which it does not need here. libtorrent, which does not encrypt, moves a file of zeros that lies in
memory, its disk threads beside it on another core. By itself it is fast for a second (130 MB/s), then overflows the
receive buffer that the kernel gives it and stays at some 5 MB/s; what is measured is that. "libtorrent, wide" has a
receive buffer as large as ours and never overflows it.
"""

from __future__ import annotations

import asyncio
import datetime
import importlib
import importlib.util
import json
import os
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from swarmd.core.clock import SystemClock
from swarmd.net.udpoptions import RECEIVE_BUFFER_BYTES
from tests.bench._places import place_for

NAMES = ("aioquic", "libtorrent", "libtorrent, wide")
_PORT = 4433
_MESSAGE = 64 * 1024
_PACKET = 1472
_WINDOW = 16 << 20
_FILE = 1536 << 20
_PIECE = 1 << 20
_WARMING = {"aioquic": 1.0, "libtorrent": 3.0, "libtorrent, wide": 1.0}
_PATIENCE = 20.0  # until libtorrent's peers have found each other
_CLOCK = SystemClock()


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name.split(",")[0]) is not None


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def machine_busy() -> float:
    """CPU seconds of all that runs here, since the machine was started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


class _Count:
    """Bytes that have come, or that are known to have."""

    def __init__(self) -> None:
        self.moved = 0
        self.begun = asyncio.Event()

    def add(self, count: int) -> None:
        self.moved += count
        self.begun.set()

    async def measure(self, name: str, seconds: float) -> None:
        await asyncio.wait_for(self.begun.wait(), _PATIENCE)
        await asyncio.sleep(_WARMING[name])
        moved, used, busy, start = self.moved, cpu(), machine_busy(), _CLOCK.monotonic()
        await asyncio.sleep(seconds)
        result = {
            "seconds": _CLOCK.monotonic() - start,
            "cpu": cpu() - used,
            "machine_cpu": machine_busy() - busy,
            "message_bytes": self.moved - moved,
            "wire_bytes": self.moved - moved,
        }
        print(json.dumps(result), flush=True)


# aioquic ------------------------------------------------------------------------------------------------------------


def _certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    certificate, secret = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


def _quic_settings(*, is_client: bool) -> Any:
    configuration = importlib.import_module("aioquic.quic.configuration").QuicConfiguration
    return configuration(
        is_client=is_client,
        alpn_protocols=["bench"],
        verify_mode=0,
        max_datagram_size=_PACKET,
        max_data=_WINDOW,
        max_stream_data=_WINDOW,
    )


async def _aioquic_receive(host: str, seconds: float) -> None:
    quic = importlib.import_module("aioquic.asyncio")
    received = importlib.import_module("aioquic.quic.events").StreamDataReceived
    count = _Count()

    class Protocol(quic.QuicConnectionProtocol):  # type: ignore[misc, name-defined]
        def quic_event_received(self, event: Any) -> None:
            if isinstance(event, received):
                count.add(len(event.data))

    settings = _quic_settings(is_client=False)
    with tempfile.TemporaryDirectory() as folder:
        settings.load_cert_chain(*_certificate(Path(folder)))
    server = await quic.serve(host, _PORT, configuration=settings, create_protocol=Protocol)
    print("ready", flush=True)
    await count.measure("aioquic", seconds)
    server.close()


async def _aioquic_send(host: str, to: str, seconds: float) -> None:
    quic = importlib.import_module("aioquic.asyncio")
    count = _Count()
    async with quic.connect(to, _PORT, configuration=_quic_settings(is_client=True)) as client:
        connection, message = client._quic, bytes(_MESSAGE)
        stream = connection.get_next_available_stream_id()
        connection.send_stream_data(stream, message)
        sender = connection._streams[stream].sender
        measuring = asyncio.create_task(count.measure("aioquic", seconds))
        known = 0
        while not measuring.done():
            while sender._buffer_stop - sender._buffer_start < 4 << 20:
                connection.send_stream_data(stream, message)
            client.transmit()
            count.add(sender._buffer_start - known)
            known = sender._buffer_start
            await asyncio.sleep(0.001)
        await measuring


# libtorrent ---------------------------------------------------------------------------------------------------------


def _torrent_session(lt: Any, host: str, *, is_wide: bool) -> Any:
    wide = {"recv_socket_buffer_size": RECEIVE_BUFFER_BYTES} if is_wide else {}
    return lt.session(
        wide
        | {
            "listen_interfaces": f"{host}:{_PORT}",
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_outgoing_tcp": False,
            "enable_incoming_tcp": False,
            "enable_outgoing_utp": True,
            "enable_incoming_utp": True,
            "allow_multiple_connections_per_ip": True,
            "ssrf_mitigation": False,
            "send_buffer_watermark": 5 << 20,
            "max_out_request_queue": 2000,
            "unchoke_slots_limit": -1,
            "connection_speed": 500,
            "alert_mask": 0,
        }
    )


def _torrent(lt: Any, folder: Path) -> Any:
    """The same at both ends, for it is made of the same zeros."""
    file = folder / "zeros"
    with file.open("wb") as handle:
        handle.truncate(_FILE)
    torrent = lt.create_torrent(lt.list_files(str(file)), _PIECE, lt.create_torrent.v1_only)
    lt.set_piece_hashes(torrent, str(folder))
    return lt.torrent_info(torrent.generate())


async def _torrent_run(kind: str, host: str, to: str | None, seconds: float) -> None:
    """The one with `to` has the file, and calls."""
    lt = importlib.import_module("libtorrent")
    count = _Count()
    with tempfile.TemporaryDirectory(dir=place_for(_FILE)) as name:
        info = _torrent(lt, Path(name))
        session = _torrent_session(lt, host, is_wide="wide" in kind)
        parameters = lt.add_torrent_params()
        parameters.ti, parameters.save_path = info, name
        parameters.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        if to is not None:
            parameters.flags |= lt.torrent_flags.seed_mode
        else:
            (Path(name) / "zeros").unlink()
        handle = session.add_torrent(parameters)
        print("ready", flush=True) if to is None else handle.connect_peer((to, _PORT))
        measuring = asyncio.create_task(count.measure(kind, seconds))
        while not measuring.done():
            status = handle.status()
            moved = status.total_payload_upload if to is not None else status.total_payload_download
            if moved > count.moved:
                count.add(moved - count.moved)
            await asyncio.sleep(0.05)
        await measuring


def main(name: str, role: str, host: str, seconds: str, to: str = "") -> None:
    if name.startswith("libtorrent"):
        asyncio.run(_torrent_run(name, host, to or None, float(seconds)))
    elif role == "receive":
        asyncio.run(_aioquic_receive(host, float(seconds)))
    else:
        asyncio.run(_aioquic_send(host, to, float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
