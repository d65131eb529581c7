"""A control server on a thread of its own, with an answer for every method, for the command line to talk to."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from swarmd.control import dht, messaging, records, schema, values
from swarmd.control.dispatch import Caller, Handler, bind
from tests.control.records import peer, transfer
from tests.control.serving import serving

P = TypeVar("P", bound=schema.Params)
R = TypeVar("R", bound=records.Result)

ROOT = Path(__file__).parents[2]
TICKET = "swarm:" + "abcdefgh234567" * 8
GROUP_ID = "g" * 52
CONTENT_ID = "c" * 52
PEER_ID = "p" * 52
EVIL = "a\x1b[31m\u202egpj.exe\n\u009b2J[red]"
"""A name that would colour, turn round, break and clear a terminal, and be markup to rich."""

GROUP = records.Group(
    group_id=GROUP_ID,
    name="films",
    unlisted=False,
    capabilities=["replication"],
    restrict_publish=False,
    authority=True,
    may_publish=True,
    members=3,
    connected=2,
    shares=1,
    joined_at=1_700_000_000_000,
)
TRAFFIC = records.Traffic(
    data_received_bytes=10_000_000,
    data_sent_bytes=0,
    control_received_bytes=5_000,
    control_sent_bytes=4_000,
    data_received_rate=1e6,
    data_sent_rate=0.0,
    control_received_rate=500.0,
    control_sent_rate=400.0,
)
GROUP_INFO = records.GroupInfo(
    **{name: getattr(GROUP, name) for name in GROUP.__struct_fields__},
    restrict_post=False,
    address="a" * 64,
    coverage_from="9" * 64,
    coverage_to="b" * 64,
    estimated_members=4,
    receive_mode=None,
    neighbours=[
        records.Neighbour(
            peer_id=PEER_ID, address="b" * 64, path="udp 192.0.2.1:7450", latency_s=0.0123, linked_s=65.0, reason="ring"
        ),
        records.Neighbour(peer_id="q" * 52, address="c" * 64, path=None, latency_s=None, linked_s=5.0, reason=None),
    ],
    traffic={"replication": TRAFFIC},
)
POST = messaging.PostMade(
    group_id=GROUP_ID,
    group_name="films",
    message_id="e" * 64,
    author=PEER_ID,
    own=True,
    posted_at=1_700_000_000_000,
    text="hello",
    data=None,
)
GROUP_VALUE = values.GroupValue(
    group_id=GROUP_ID,
    group_name="films",
    key="motd",
    author=PEER_ID,
    own=True,
    written_at=1_700_000_000_000,
    size=5,
    text="hello",
    data=None,
)
DHT_KEY = "ab" * 20
DHT_VALUE = dht.KeptValue(
    key=DHT_KEY, target=DHT_KEY, name="notes", mutable=False, seq=None, size=1500, items=3, put_at=1_700_000_000_000
)
DHT_GOT = dht.ValueGot(
    key=DHT_KEY, target=DHT_KEY, mutable=False, seq=None, size=5, bencoded=False, text="hello", data=None
)
DHT_STATUS = dht.DhtStatus(
    mode="private",
    on=True,
    why=None,
    network="0123456789abcdef",
    node_id="cd" * 20,
    nodes=4,
    bootstrap=["192.0.2.1:7927"],
    seen_as="192.0.2.9:7927",
    read_only=False,
    reached="not known",
    items=7,
    item_bytes=5000,
    announced=2,
    kept=3,
    searching=0,
    queries={"answered": 12},
)
SHARE = records.Share(
    ticket=TICKET,
    content_id=CONTENT_ID,
    name="disk.iso",
    size=1 << 30,
    kind="file",
    files=1,
    path="/srv/disk.iso",
    group_id=GROUP_ID,
    group_name=None,
)
LISTING = records.Listing(
    name="disk.iso",
    content_id=CONTENT_ID,
    size=1 << 30,
    kind="file",
    group_id=GROUP_ID,
    group_name="films",
    publisher=PEER_ID,
    own=False,
    created_at=1_700_000_000_000,
    path=None,
)
STATUS = records.Status(
    peer_id=PEER_ID,
    version="9.9.9",
    pid=4711,
    uptime_s=3725.0,
    state_dir="/var/lib/swarmd",
    socket="/run/swarmd/control.sock",
    listen=["192.0.2.1:7450"],
    mdns=True,
    sessions=2,
    groups=1,
    shares=1,
    transfers=1,
    download_rate=1e6,
    upload_rate=0.0,
    received_bytes=1 << 20,
    sent_bytes=5,
    download_limit=None,
    upload_limit=2e6,
    active=[],
    notes=["mDNS could not start: port 5353 is taken"],
    dht=records.DhtGlance(mode="private", on=True, nodes=4),
)
WAITING = records.Waiting(code="no_members", text="no member of the group is connected", since_s=72.0)

_ANSWERS: dict[schema.Method[Any, Any], records.Result] = {
    schema.STATUS: STATUS,
    schema.ID: records.NodeId(peer_id=PEER_ID),
    schema.VERSION: records.Version(version="9.9.9"),
    schema.SHARE: SHARE,
    schema.UNSHARE: records.Unshared(name="disk.iso", content_id=CONTENT_ID, group_id=GROUP_ID),
    schema.LS: records.Listings(shares=[LISTING]),
    schema.GET: transfer(state="metadata", have_bytes=0, size=None, name=None),
    schema.WAIT: transfer(state="done", have_bytes=1 << 30),
    schema.READ: records.Data(data=b"", size=0),
    schema.TRANSFERS: records.Transfers(transfers=[transfer()]),
    schema.PAUSE: transfer(state="paused"),
    schema.RESUME: transfer(),
    schema.RM: records.Removed(id="t1", name="disk.iso", left="/srv/disk.iso.part"),
    schema.GROUP_CREATE: records.GroupCreated(ticket=TICKET, **{k: getattr(GROUP, k) for k in GROUP.__struct_fields__}),
    schema.GROUP_JOIN: records.GroupJoined(**{name: getattr(GROUP, name) for name in GROUP.__struct_fields__}),
    schema.GROUP_LIST: records.Groups(groups=[GROUP]),
    schema.GROUP_SHOW: GROUP_INFO,
    schema.GROUP_MEMBERS: records.Members(
        members=[
            records.Member(peer_id=PEER_ID, own=True, connected=True, addresses=["192.0.2.1:7450"], heard_s=None),
            records.Member(peer_id="q" * 52, own=False, connected=False, addresses=[], heard_s=65.0),
        ]
    ),
    schema.GROUP_INVITE: records.Invitation(ticket=TICKET, group_id=GROUP_ID, name="films"),
    schema.GROUP_LEAVE: records.GroupLeft(group_id=GROUP_ID, name="films"),
    schema.PEER_ADD: peer(7450),
    schema.PEER_RM: records.PeerRemoved(addresses=["192.0.2.1:7450"]),
    schema.PEER_LIST: records.Peers(peers=[peer(7450)]),
    schema.METRICS: records.Metrics(text="# TYPE swarmd_sessions gauge\nswarmd_sessions 2\n"),
    messaging.POST: POST,
    messaging.POSTS: messaging.Posts(posts=[POST]),
    messaging.SEND: messaging.Sent(result="sent"),
    messaging.REPLY: messaging.Sent(result="sent"),
    messaging.RECEIVE: messaging.Sent(result="sent"),
    messaging.ROUTE: messaging.Routed(
        peer_id=PEER_ID, address="b" * 64, hops=2, rtt_s=0.0456, replied=False, text=None, data=None
    ),
    values.PUT_VALUE: values.ValuePut(
        group_id=GROUP_ID, group_name="films", key="motd", written_at=1_700_000_000_000, copies=8
    ),
    values.GET_VALUE: GROUP_VALUE,
    values.REMOVE_VALUE: values.ValueRemoved(group_id=GROUP_ID, group_name="films", key="motd", copies=3),
    values.LIST_VALUES: values.GroupValues(values=[GROUP_VALUE]),
    dht.PUT: dht.ValuePut(key=DHT_KEY, target=DHT_KEY, name=None, size=1500, seq=None, items=3, copies=8, kept=True),
    dht.GET: DHT_GOT,
    dht.LIST: dht.KeptValues(values=[DHT_VALUE]),
    dht.FORGET: dht.Forgotten(key=DHT_KEY),
    dht.STATUS: DHT_STATUS,
}


class Daemon:
    """What runs: where its socket is, which calls came in, and how it answers."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "control.sock")
        self.calls: list[schema.Params] = []
        self.handlers: dict[str, Handler] = {}
        self.stop: Callable[[], object] = lambda: None
        self._called = threading.Condition()
        self.closed = threading.Event()
        """Set when a connection that made a call is gone."""
        for method, result in _ANSWERS.items():
            self.answer(method, result)

    def on(self, method: schema.Method[P, R], handler: Callable[[P, Caller], Awaitable[R]]) -> None:
        """Handle a method from now on."""

        async def recorded(params: P, caller: Caller) -> R:
            with self._called:
                self.calls.append(params)
                self._called.notify_all()
            caller.when_closed(self.closed.set)
            return await handler(params, caller)

        self.handlers.update([bind(method, recorded)])

    def answer(self, method: schema.Method[Any, Any], result: records.Result | Exception) -> None:
        """Always the same answer, or error."""

        async def handler(params: schema.Params, caller: Caller) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        self.on(method, handler)

    def wait_for(self, kind: type[schema.Params]) -> None:
        """Until a call of that kind has come in."""
        with self._called:
            assert self._called.wait_for(lambda: any(isinstance(each, kind) for each in self.calls), timeout=10)


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """Serve on a thread until the end of the block, or until `stop`."""
    daemon = Daemon(folder)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    async def serve() -> None:
        async with serving(folder, daemon.handlers):
            started.set()
            await stopped.wait()

    daemon.stop = lambda: loop.call_soon_threadsafe(stopped.set)
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield daemon
    finally:
        daemon.stop()
        thread.join()
        loop.close()


def command(*arguments: str) -> list[str]:
    """The command line as a process of its own."""
    return [sys.executable, "-m", "cli", *arguments]


def environment(**extra: str) -> dict[str, str]:
    """Without what the tester's shell has set; colours and widths are fixed."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "PYTHONUTF8": "1", **extra}


def execute(*arguments: str, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run it to its end."""
    options = {"capture_output": True, "text": True, "timeout": 60, "env": environment(), "check": False, **options}
    return subprocess.run(command(*arguments), **options)
