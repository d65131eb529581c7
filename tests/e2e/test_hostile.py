"""A hostile member of the group: what it does to a download, to the daemon, and to the rest of the disk.

Where nobody honest is there the download ends in a clear error or waits and says for what; where somebody is, it is
completed. Nothing is written but the target, and the daemon lives on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from blake3 import blake3

from swarmd.core.rng import SeededRng
from swarmd.daemon.flows import FlowKind
from swarmd.groups.tickets import ObjectTicket, parse_ticket
from swarmd.replication.shape import uniform
from swarmd.store.manifest import Built, PageKind, build
from tests.e2e.farm import KIB, Farm
from tests.e2e.hostile import Liar, Lie, beside, lying
from tests.e2e.nodes import Node
from tests.store.samples import table_of
from tests.store.test_manifest_hostile import PAGES, ROOTS, TOP, record, root_bytes

CHUNK = 256 * KIB


def content(n_chunks: int) -> tuple[bytes, Built]:
    """A file and its manifest."""
    data = SeededRng(n_chunks).bytes(n_chunks * CHUNK - 100)
    chunks = [data[at : at + CHUNK] for at in range(0, len(data), CHUNK)]
    return data, build(table_of(len(data)), CHUNK, b"".join(blake3(chunk).digest() for chunk in chunks))


def chunk_of(data: bytes, index: int) -> bytes:
    return data[index * CHUNK : (index + 1) * CHUNK]


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


async def get(node: Node, ticket: str, *options: str) -> tuple[int, str]:
    """Exit status and stderr of `swarm get`."""
    result = await beside(lambda: node.run("get", ticket, "-o", node.downloads, *options))
    return result.returncode, result.stderr


def malformed(records: Sequence[bytes], size: int = 0) -> Lie:
    """An object with these entries: well hashed, and no tree all the same."""
    page = TOP + b"".join(records)
    data = root_bytes([page], entries=1 + len(records), size=size)
    return Lie(data, {(PageKind.ENTRIES, 0): page}, uniform(0, CHUNK))


TREES = {
    **{name: malformed(records) for name, (records, _) in PAGES.items()},
    "a size that does not add up": malformed([record(1, 0, "a", 10)], size=0),
}


async def test_manifests_that_nobody_can_have_made_in_good_faith(farm: Farm) -> None:
    """`../`, absolute paths, links out, equal and nearly equal names, depth bombs, 2^40 chunks, wrong sums ..."""
    (node,) = await beside(farm.start)
    before = listing(farm.folder)
    async with lying() as liar:
        for name, data in ROOTS.items():
            if data:
                code, said = await wait(node, liar.tell(Lie(data, {}, uniform(0, CHUNK))), liar)
                assert code == "integrity", f"{name}: {said}"
                assert "no valid object" in said, name
        for name, lie in TREES.items():
            code, said = await wait(node, liar.tell(lie), liar)
            assert code == "integrity", f"{name}: {said}"
        status, said = await get(node, liar.tell(malformed([record(1, 0, "..", 0)])).ticket(liar))
        assert status == 10
        assert "no valid object" in said
        assert not liar.lost.is_set(), "who passes such a thing on need not have made it"
    assert listing(node.downloads) == set()
    assert {path for path in listing(farm.folder) - before if not path.startswith("n0/state")} == set()


async def wait(node: Node, lie: Lie, liar: Liar) -> tuple[str, str]:
    """Get it and wait for the end; code and message of the error."""

    def fetch() -> tuple[str, str]:
        with node.control() as control:
            transfer = control.call("get", source=lie.ticket(liar), target_dir=str(node.downloads))["id"]
            control.ask("transfer.wait", id=transfer)
            while "params" in (message := control.receive()):
                pass
            control.call("rm", id=transfer)
            return message["error"]["data"]["code"], message["error"]["message"]

    return await beside(fetch)


async def test_false_metadata(farm: Farm) -> None:
    """Roots and pages that are not what the content ID names: their sender is at fault, and cut off."""
    (node,) = await beside(farm.start)
    data, built = content(3)
    false_page = Lie.of(built, lambda index: chunk_of(data, index))
    false_page.pages[PageKind.HASHES, 0] = bytes(len(built.hash_pages[0]))
    for lie in (Lie(built.data + b"x", {}, uniform(0, CHUNK), named=built.content_id), false_page):
        async with lying() as liar:
            status, _ = await get(node, liar.tell(lie).ticket(liar), "--timeout", "1")
            assert status == 6
            assert liar.lost.is_set()
    assert not list(node.downloads.glob("gift"))


async def test_false_chunks_and_nobody_else(farm: Farm) -> None:
    (node,) = await beside(farm.start)
    _, built = content(4)
    async with lying() as liar:
        lie = liar.tell(Lie.of(built, lambda index: bytes(CHUNK if index < 3 else CHUNK - 100)))
        status, _ = await get(node, lie.ticket(liar), "--timeout", "1")
        assert status == 6
        assert liar.lost.is_set(), "it is cut off"
    (transfer,) = node.call("transfers")["transfers"]
    assert transfer["have_bytes"] == 0
    assert (node.downloads / "gift.part").stat().st_size == 0
    assert "false bytes" in node.log_text()


async def with_honest_seeder(farm: Farm, n_chunks: int) -> tuple[Node, Node, ObjectTicket, bytes]:
    """An honest seeder on a narrow line, a leecher, and what is shared."""
    seeder = farm.node(config='[limits]\nupload = "4 MiB/s"')
    leecher = farm.node()
    await beside(seeder.start)
    await beside(leecher.start)
    data, built = content(n_chunks)
    path = farm.folder / "gift"
    path.write_bytes(data)
    shared = await beside(lambda: seeder.call("share", path=str(path)))
    ticket = parse_ticket(shared["ticket"])
    assert isinstance(ticket, ObjectTicket)
    assert ticket.object.content_id == built.content_id
    return seeder, leecher, ticket, data


async def meet(liar: Liar, leecher: Node, ticket: ObjectTicket) -> None:
    """Both are in the group, and have a session."""
    await beside(lambda: leecher.call("group.join", ticket=ticket.text()))
    await liar.dial(leecher.address())
    await asyncio.wait_for(liar.linked.wait(), 10)


async def test_false_chunks_beside_true_ones(farm: Farm) -> None:
    _, leecher, ticket, data = await with_honest_seeder(farm, 12)
    _, built = content(12)
    async with lying(ticket.spec) as liar:
        liar.tell(Lie.of(built, lambda index: bytes(len(chunk_of(data, index)))))
        await meet(liar, leecher, ticket)
        status, said = await get(leecher, ticket.text())
        assert status == 0, said
        assert (leecher.downloads / "gift").read_bytes() == data
        assert liar.lost.is_set()


@pytest.mark.parametrize("manner", ["denies", "stalls"])
async def test_haves_that_are_none(farm: Farm, manner: str) -> None:
    """It claims everything: and then denies all of it, or says nothing more."""
    _, leecher, ticket, data = await with_honest_seeder(farm, 12)
    _, built = content(12)
    async with lying(ticket.spec) as liar:
        lie = Lie.of(built, lambda index: None)
        if manner == "stalls":
            lie.stalled = set(range(12))
        liar.tell(lie)
        await meet(liar, leecher, ticket)
        status, said = await get(leecher, ticket.text())
        assert status == 0, said
        assert (leecher.downloads / "gift").read_bytes() == data


async def test_a_stall_at_the_last_chunk(farm: Farm) -> None:
    """It gives everything quickly but one chunk, which it never gives: somebody else is asked within seconds."""
    _, leecher, ticket, data = await with_honest_seeder(farm, 40)
    _, built = content(40)
    async with lying(ticket.spec) as liar:
        lie = Lie.of(built, lambda index: chunk_of(data, index))
        lie.stalled = {17, 39}
        liar.tell(lie)
        await meet(liar, leecher, ticket)
        status, said = await get(leecher, ticket.text(), "--timeout", "12")
        assert status == 0, said
        assert (leecher.downloads / "gift").read_bytes() == data


async def test_a_stall_with_nobody_else_says_so(farm: Farm) -> None:
    (node,) = await beside(farm.start)
    data, built = content(8)
    async with lying() as liar:
        lie = Lie.of(built, lambda index: chunk_of(data, index))
        lie.stalled = {5}
        status, said = await get(node, liar.tell(lie).ticket(liar), "--timeout", "3")
        assert status == 8
        assert "no answer" in said
        (transfer,) = node.call("transfers")["transfers"]
        assert transfer["have_bytes"] == len(data) - CHUNK


RUDE = {
    "an unknown control message": (FlowKind.OBJECT, b"\xff\xff\xff"),
    "a handle that never was": (FlowKind.OBJECT, bytes([0x07, 0x63, 1])),
    "a bulk message out of nowhere": (FlowKind.BULK, bytes([1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) + b"x"),
    "a short bulk message": (FlowKind.BULK, b"\x01"),
    "a group message that is none": (FlowKind.GROUP, b"\xee" * 40),
    "a control message of a megabyte": (FlowKind.OBJECT, bytes(1 << 20)),
}


@pytest.mark.parametrize("words", RUDE.values(), ids=RUDE.keys())
async def test_members_that_break_the_protocol_are_cut_off(farm: Farm, words: tuple[FlowKind, bytes]) -> None:
    node, other = await beside(lambda: farm.group(2))
    spec = parse_ticket(node.call("group.invite", group="films")["ticket"]).spec  # type: ignore[union-attr]
    async with lying(spec) as liar:
        await liar.dial(node.address())
        await asyncio.wait_for(liar.linked.wait(), 10)
        liar.say(*words)
        await asyncio.wait_for(liar.lost.wait(), 10)
    assert node.call("group.show", group="films")["connected"] == 1, "the honest one is still there"
    assert other.call("status")["sessions"] >= 1
    assert liar.peer_id.short in node.log_text()
