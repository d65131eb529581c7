"""The DHT in a daemon: services on real sockets in one process, keys as users write them, and what is kept alive."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.errors import Conflict, DiskFull, InvalidArgument, NoPeers, NotAllowed
from swarmd.core.rng import SeededRng
from swarmd.daemon import settings
from swarmd.daemon.dht import DhtService, network_key
from swarmd.daemon.dht_entry import Entry
from swarmd.daemon.dht_reports import dht_status
from swarmd.daemon.dht_saving import FIRST_SAVE_PERIOD
from swarmd.daemon.dht_searches import MAX_SEARCHES
from swarmd.daemon.dht_state import cache_of, state_of
from swarmd.daemon.dht_values import DhtValues, Key
from swarmd.daemon.values import HostPort, Secret
from swarmd.daemon.workers import Workers
from swarmd.dht.bencode import Value
from swarmd.dht.contact import Contact
from swarmd.dht.items import Signer, immutable
from swarmd.dht.krpc import MAX_MESSAGE_BYTES
from swarmd.dht.node import Settings
from swarmd.dht.state import SavedItem, SavedPeer, State
from swarmd.dht.storage import ITEM_PERIOD
from swarmd.dht.upkeep import PUBLISH_PERIOD, TICK_PERIOD
from swarmd.store.store import Store
from swarmd.store.tables.dht import MAX_OWN, Cache, StoredRow
from tests.dht.network import Host, Network
from tests.net.udp_host import Keeper

SIGNER = Signer(b"1" * 32)


def config(folder: Path, dht: settings.Dht, *, udp: bool = True, bootstrap: str = "") -> settings.Config:
    return settings.Config(
        node=settings.Node(listen=(), state_dir=folder),
        transport=settings.Transport(udp=udp),
        limits=settings.Limits(),
        discovery=settings.Discovery(bootstrap=(HostPort.parse(bootstrap),) if bootstrap else ()),
        dht=dht,
        control=settings.Control(socket=folder / "sock"),
        log=settings.Log(),
    )


class Seat:
    """One daemon as far as the DHT goes."""

    def __init__(self, service: DhtService, keeper: Keeper, store: Store) -> None:
        self.service, self.keeper, self.store = service, keeper, store
        self.values = DhtValues(service, keeper.identity, SystemClock())

    @property
    def address(self) -> str:
        return str(self.keeper.listener.address)


@asynccontextmanager
async def seat(
    folder: Path,
    *,
    host: str = "127.0.0.1",
    dht: settings.Dht | None = None,
    bootstrap: str = "",
    neighbours: tuple[Address, ...] = (),
    udp: bool = True,
) -> AsyncIterator[Seat]:
    async with AsyncExitStack() as stack:
        store = await asyncio.to_thread(Store.open, folder)
        stack.push_async_callback(asyncio.to_thread, store.close)
        ledger = Workers(asyncio.get_running_loop(), "ledger", 1)
        stack.push_async_callback(asyncio.to_thread, ledger.close)
        keeper = Keeper(host)
        stack.callback(keeper.stop)
        service = DhtService(
            config(folder, dht or settings.Dht(), udp=udp, bootstrap=bootstrap),
            keeper.carrier if udp else None,
            store,
            ledger,
            SystemClock(),
            SeededRng(len(folder.name)),
            lambda: list(neighbours),
        )
        await service.start([keeper.listener.address])
        stack.push_async_callback(service.stop)
        entering = asyncio.create_task(service.run_entry())
        stack.callback(entering.cancel)
        yield Seat(service, keeper, store)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_two_find_each_other_by_either_family(tmp_path: Path, host: str) -> None:
    async with (
        seat(tmp_path / "one", host=host) as one,
        seat(tmp_path / "second", host=host, bootstrap=one.address) as two,
    ):
        put = await two.values.put(b"for both", keep=False)
        assert (put.n_copies, put.n_items) == (1, 1)
        assert (await one.values.get(put.key)).data == b"for both"
        await two.service.announce(b"h" * 20)
        assert await one.service.get_peers(b"h" * 20) == [two.keeper.listener.address], "at the port of the sessions"
        assert two.service.seen_as == two.keeper.listener.address


async def test_a_neighbour_is_enough_to_begin_with(tmp_path: Path) -> None:
    async with (
        seat(tmp_path / "one") as one,
        seat(tmp_path / "second", neighbours=(one.keeper.listener.address,)) as two,
    ):
        assert (await two.values.put(b"x", keep=False)).n_copies == 1


async def test_it_is_all_there_after_a_restart(tmp_path: Path) -> None:
    """What it put, what it keeps for others, and whom it knew: nobody tells it an address."""
    async with seat(tmp_path / "one") as one:
        async with seat(tmp_path / "second", bootstrap=one.address) as two:
            mine = await two.values.put_named(b"mine", "name", None, keep=True)
            theirs = await one.values.put(b"of one", keep=False)
            node_id = dht_status(two.service).node_id
            identity = two.keeper.identity
        async with seat(tmp_path / "second") as two:
            status = dht_status(two.service)
            assert (status.node_id, status.items, status.kept) == (node_id, 1, 1)
            assert (await two.values.get(theirs.key)).data == b"of one"
            assert (await two.values.get(mine.key)).data == b"mine", "which one has"
            assert [kept.label for kept in two.service.own.all()] == ["name"]
            again = await DhtValues(two.service, identity, SystemClock()).put_named(b"new", "name", None, keep=True)
            assert again.seq > mine.seq
            assert (await one.values.get(mine.key)).data == b"new"
        async with seat(tmp_path / "second", dht=settings.Dht(network=Secret("another one"))) as two:
            status = dht_status(two.service)
            assert (status.nodes, status.items, status.kept) == (0, 0, 1), "of another network"


async def test_whom_it_knows_is_written_down_as_soon_as_it_knows_somebody(tmp_path: Path) -> None:
    """So that it finds its way back when it is killed then."""
    async with seat(tmp_path / "one") as one, seat(tmp_path / "second", bootstrap=one.address) as two:
        saved: asyncio.Future[Cache] = asyncio.Future()
        loop = asyncio.get_running_loop()
        two.store.dht.save = lambda cache: loop.call_soon_threadsafe(saved.set_result, cache)  # type: ignore[assignment, method-assign]
        saving = asyncio.create_task(two.service.run_saving())
        async with asyncio.timeout(FIRST_SAVE_PERIOD - 5):
            cache = await saved
        assert [address for _, address in cache.contacts] == [one.address]
        saving.cancel()
        del two.store.dht.save


async def test_what_others_have_put_is_on_disk_seconds_later(tmp_path: Path) -> None:
    """What a process leaves that is killed then: the files as they are."""
    async with seat(tmp_path / "one") as one, seat(tmp_path / "second", bootstrap=one.address) as two:
        loop, add = asyncio.get_running_loop(), one.store.dht.add
        written: asyncio.Queue[int] = asyncio.Queue()

        def told(network: bytes, rows: list[StoredRow]) -> None:
            add(network, rows)
            loop.call_soon_threadsafe(written.put_nowait, len(rows))

        one.store.dht.add = told  # type: ignore[assignment, method-assign]
        saving = asyncio.create_task(one.service.run_saving())
        await two.values.put_named(b"before", "name", None, keep=False)
        put = await two.values.put(SeededRng(1).bytes(20_000), keep=False)
        async with asyncio.timeout(FIRST_SAVE_PERIOD - 5):
            n_written = 0
            while n_written < put.n_items + 1:
                n_written += await written.get()
        await asyncio.to_thread(shutil.copytree, tmp_path / "one", tmp_path / "third")
        saving.cancel()
    async with seat(tmp_path / "third") as again:
        assert dht_status(again.service).items == put.n_items + 1


async def test_where_there_is_none_every_command_says_why(tmp_path: Path) -> None:
    off, key = settings.Dht(mode="off"), Key.of(immutable(b"x"))
    async with seat(tmp_path / "one", dht=off) as one, seat(tmp_path / "second", udp=False) as two:
        for each, why in ((one, "--no-dht"), (two, "--no-udp")):
            assert not each.service.is_on
            with pytest.raises(NotAllowed, match=why):
                await each.values.put(b"x", keep=False)
            with pytest.raises(NotAllowed, match=why):
                await each.values.get(key)
            with pytest.raises(NotAllowed, match=why):
                await each.service.announce(b"h" * 20)
            assert not await each.service.forget(key.target)
            status = dht_status(each.service)
            assert (status.on, status.nodes, why in str(status.why)) == (False, 0, True)


async def test_who_knows_nobody_says_so_at_once(tmp_path: Path) -> None:
    async with seat(tmp_path / "one") as one:
        with pytest.raises(NoPeers, match="--bootstrap"):
            await one.values.put(b"x", keep=True)
        assert one.service.own.all() == [], "what nobody has taken is not kept"


async def test_what_is_kept_is_bounded(tmp_path: Path) -> None:
    async with seat(tmp_path / "one") as one:
        rng = SeededRng(4)
        items = [immutable(rng.bytes(20)) for _ in range(MAX_OWN)]
        await one.service.keep(items[0].target, items, 5, "all of it")
        one.service.own.check_room(items[0].target, items)
        with pytest.raises(Conflict, match="2,001 items"):
            await one.service.put(immutable(b"x"), keep=True)
        assert await one.service.forget(items[0].target)
        with pytest.raises(NoPeers):
            await one.service.put(immutable(b"x"), keep=True)


async def test_what_cannot_be_written_down_is_not_let_go_of(tmp_path: Path) -> None:
    """Else it would be there again after the next start."""
    async with seat(tmp_path / "one") as one:
        item = immutable(b"x")
        await one.service.keep(item.target, [item], 1, "")
        one.store.dht.forget = _full  # type: ignore[method-assign]
        with pytest.raises(DiskFull):
            await one.service.forget(item.target)
        assert [kept.root for kept in one.service.own.all()] == [item.target]
        del one.store.dht.forget
        answers = await asyncio.gather(*(one.service.forget(item.target) for _ in range(2)))
        assert sorted(answers) == [False, True], "two at once"
        assert (one.service.own.all(), one.store.dht.own()) == ([], [])


def _full(root: bytes) -> bool:
    raise DiskFull("the disk is full")


async def test_searches_under_way_are_bounded(tmp_path: Path) -> None:
    async with seat(tmp_path / "one") as one, seat(tmp_path / "second", bootstrap=one.address) as two:
        await two.values.put(b"x", keep=False)
        rng = SeededRng(6)
        asked = [two.service.get(rng.bytes(20)) for _ in range(MAX_SEARCHES + 5)]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert results == [None] * MAX_SEARCHES + results[MAX_SEARCHES:]
        assert [type(each) for each in results[MAX_SEARCHES:]] == [Conflict] * 5
        assert await two.service.get(rng.bytes(20)) is None, "there is room again"
        gone = asyncio.create_task(two.service.get(rng.bytes(20)))
        await asyncio.sleep(0)
        gone.cancel()
        assert (await two.values.put(b"y", keep=False)).n_copies == 1, "whoever waits may go"


def test_what_is_kept_is_put_again_after_a_restart_and_every_hour() -> None:
    """In an open network nobody but the owner puts it again."""
    network = Network(seed=5)
    first = network.add(Settings())
    others = [network.add(Settings()) for _ in range(5)]
    for host in others:
        network.join(host, [first])
    network.run(60)
    owner, item = others[0], SIGNER.item(b"value", 1)
    owner.node.keep(item, network.clock.now, put_at=network.clock.now - PUBLISH_PERIOD)
    network.run(2 * TICK_PERIOD)
    assert kept_by(others[1:], item.target) >= 4
    network.run(3 * ITEM_PERIOD)
    assert kept_by(others[1:], item.target) >= 4
    owner.node.unpublish(item.target)
    network.run(ITEM_PERIOD + PUBLISH_PERIOD)
    assert kept_by(others[1:], item.target) == 0


def kept_by(hosts: list[Host], target: bytes) -> int:
    return sum(any(stored.item.target == target for stored in host.node.stored()) for host in hosts)


def test_a_state_keeps_its_times_over_the_store() -> None:
    item, old = SIGNER.item(b"value", 3, b"salt"), immutable(b"old")
    address = Address("2001:db8::1", 5)
    state = State(
        b"a" * 20,
        (Contact(b"b" * 20, address),),
        (SavedItem(old, "x", 50.0, 5.0), SavedItem(item, "192.0.2", 5000.0, 100.0)),
        (SavedPeer(b"h" * 20, address, "y", 60.0), SavedPeer(b"i" * 20, address, "y", 600.0)),
        b"c" * 20,
    )
    cache = cache_of(state, b"n", 1000.0)
    assert state_of(cache, 1000.0) == state
    later = state_of(cache, 1100.0)
    assert later == state.aged(100.0)
    assert [one.item for one in later.items] == [item]
    assert state_of(cache, 900.0).items[1].age == 0.0, "a clock that was set back"


# Names and keys.


def test_networks_have_keys_of_their_own() -> None:
    keys = {
        network_key(settings.Dht()),
        network_key(settings.Dht(network=Secret("ours and ours"))),
        network_key(settings.Dht(network=Secret("ours and ours "))),
        network_key(settings.Dht(mode="public")),
    }
    assert len(keys) == 4
    assert network_key(settings.Dht(mode="public")) is None


@pytest.mark.parametrize(
    ("text", "salt"),
    [("", None), ("ab" * 19, None), ("ab" * 21, None), ("zz" * 20, None), ("ab" * 20 + "/name", None)]
    + [("ab " * 20, None), ("ab" * 32 + "/" + "n" * 65, None), ("ab" * 32 + "/n", b"x"), ("ab" * 20, b"s" * 65)],
)
def test_what_is_no_key(text: str, salt: bytes | None) -> None:
    with pytest.raises(InvalidArgument):
        Key.parse(text, salt)


@given(st.text(max_size=16), st.integers(1, 5))
def test_a_key_reads_as_it_is_written(name: str, seq: int) -> None:
    item = SIGNER.item(b"value", seq, name.encode(errors="surrogatepass"))
    key = Key.of(item)
    assert Key.parse(str(key)) == key
    assert Key.parse(key.target.hex(), key.salt).target == item.target
    assert Key.parse(SIGNER.key.hex(), key.salt) == key


@pytest.mark.parametrize("value", [5, [b"a", 1], {b"z": 1}, {b"t": b"", b"z": 2, b"h": b"", b"l": 1}])
async def test_what_other_programs_put_is_shown_as_it_lies_there(tmp_path: Path, value: Value) -> None:
    async with seat(tmp_path / "one") as one, seat(tmp_path / "second", bootstrap=one.address) as two:
        item = immutable(value)
        assert (await two.service.put(item)).n_copies == 1
        got = await one.values.get(Key.of(item))
        assert (got.data, got.is_bencoded, got.is_mutable) == (item.encoded, True, False)


async def test_a_name_that_leads_nowhere_is_tried_again() -> None:
    entry = Entry([HostPort("nowhere.invalid", 1), HostPort("127.0.0.1", 5)], lambda: [Address("127.0.0.2", 6)])
    assert entry.has_hope
    assert await entry.addresses(is_needed=False) == [Address("127.0.0.1", 5)]
    assert await entry.addresses(is_needed=True) == [Address("127.0.0.1", 5), Address("127.0.0.2", 6)]


async def test_a_datagram_that_is_none_of_ours_is_left_to_sessions(tmp_path: Path) -> None:
    async with seat(tmp_path / "one") as one, seat(tmp_path / "second") as two:
        source = two.keeper.listener.address
        for data in (b"d1:", b"d1:" + bytes(1200), b"d2:" + b"e" * MAX_MESSAGE_BYTES):
            assert not one.service.receive_datagram(data, source)
        assert one.service.datagrams_to_send() == []
