"""Bad input and faults, as the user sees them: a clear error, the right exit code, nothing lost, the daemon lives
on.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarmd.control.schema import MAX_REQUEST_BYTES
from swarmd.core.rng import SeededRng
from tests.e2e.farm import KIB, MIB, Farm, wait_for_bytes, wait_for_progress
from tests.e2e.nodes import Node, outcome
from tests.e2e.privileges import AS_NOBODY, NOBODY, needs, resize, small_disk

# --- tickets ---


def with_version(ticket: str, version: int) -> str:
    """The same ticket, said to be of another version of the format."""
    letters = ticket.removeprefix("swarm:").upper()
    body = base64.b32decode(letters + "=" * (-len(letters) % 8))[:-4]
    body = bytes([version]) + body[1:]
    checksum = hashlib.sha256(b"swarmd ticket" + body).digest()[:4]
    return "swarm:" + base64.b32encode(body + checksum).decode().rstrip("=").lower()


def test_tickets_that_are_none(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    ticket = str(seeder.call("share", path=str(farm.file("song", 1000)))["ticket"])
    group_ticket = seeder.call("group.create", name="films")["ticket"]
    other = "a" if ticket[40] != "a" else "b"
    for wrong, said in (
        (ticket[:40] + other + ticket[41:], "typing error"),
        (ticket[:-9], "typing error"),
        (ticket[:40] + "1" + ticket[41:], "typing error"),
        ("swarm:", "typing error"),
        (with_version(ticket, 2), "version 2, this swarmd knows version 1; upgrade"),
        (group_ticket, "swarm group join"),
    ):
        code, message = leecher.error("get", wrong, "-o", leecher.downloads)
        assert (code, said in message) == (2, True), message
        assert wrong[6:30] not in message or len(wrong) < 30, "tickets are secrets"
    assert leecher.error("get", "-", "-o", leecher.downloads, stdin=ticket[:-9])[0] == 2
    assert leecher.error("get", "-", stdin="")[0] == 2
    assert not list(leecher.downloads.iterdir())
    assert ticket not in leecher.log_text() + seeder.log_text()


def test_a_ticket_that_leads_nowhere(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    ticket = str(seeder.call("share", path=str(farm.file("song", 1000)))["ticket"])
    seeder.stop()
    code, said = leecher.error("get", ticket, "-o", leecher.downloads, "--timeout", "0.3")
    assert code == 6
    assert "no member is connected" in said
    (transfer,) = leecher.call("transfers")["transfers"]
    assert transfer["state"] == "metadata", "it waits on"


# --- target folders ---


def test_targets_that_will_not_do(farm: Farm) -> None:
    seeder, leecher = farm.pair()
    ticket = str(seeder.call("share", path=str(farm.file("song", 1000)))["ticket"])
    missing = leecher.downloads / "no" / "such" / "folder"
    code, said = leecher.error("get", ticket, "-o", missing)
    assert (code, f"{leecher.downloads / 'no'} does not exist" in said) == (4, True), said
    file = farm.file("file", 1)
    code, said = leecher.error("get", ticket, "-o", file / "below")
    assert (code, f"{file} is not a folder" in said) == (2, True), said
    code, said = leecher.error("get", ticket, "-o", leecher.state_dir)
    assert (code, "state folder" in said) == (2, True), said
    assert leecher.call("transfers")["transfers"] == []


@needs("setpriv")
@pytest.mark.root
def test_a_target_that_the_daemons_user_may_not_write(farm: Farm) -> None:
    (seeder,) = farm.start()
    leecher = farm.node(prefix=AS_NOBODY)
    for path in (leecher.folder, leecher.downloads):
        os.chown(path, NOBODY, NOBODY)
    leecher.start()
    ticket = str(seeder.call("share", path=str(farm.file("song", 1000)))["ticket"])
    forbidden = leecher.downloads / "forbidden"
    forbidden.mkdir(mode=0o755)
    code, said = leecher.error("get", ticket, "-o", forbidden)
    assert (code, f"{forbidden} is not writable for uid {NOBODY}" in said) == (5, True), said
    assert "it belongs to uid 0" in said
    leecher.swarm("get", ticket, "-o", leecher.downloads)
    assert (leecher.downloads / "song").stat().st_uid == NOBODY


# --- a full disk ---


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 8 * MIB) as folder:
        yield folder


@needs("mount")
@pytest.mark.root
def test_a_disk_too_small_from_the_start(disk: Path, farm: Farm) -> None:
    seeder, leecher = farm.pair()
    path = farm.file("disk.iso", 9 * MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    code, said = leecher.error("get", ticket, "-o", disk)
    assert code == 9
    assert f"{9 * MIB:,} bytes are needed" in said
    assert "goes on by itself" in said
    (standing,) = leecher.call("status")["active"]
    assert (standing["state"], standing["waiting"]["code"]) == ("paused", "disk_full")
    assert "disk_full" not in leecher.swarm("status")
    assert "goes on by itself" in leecher.swarm("status")
    resize(disk, 16 * MIB)
    leecher.wait_until(lambda: leecher.call("transfers")["transfers"][0]["state"] == "done", "transfers")
    assert (disk / "disk.iso").read_bytes() == path.read_bytes()


@needs("mount")
@pytest.mark.root
def test_a_disk_that_fills_up_on_the_way(disk: Path, farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "4 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 6 * MIB)
    getting = leecher.popen("get", seeder.call("share", path=str(path))["ticket"], "-o", disk)
    wait_for_bytes(leecher, MIB)
    (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 512 * KIB))
    code, _, said = outcome(getting)
    assert (code, "no room is left" in said) == (9, True), said
    (disk / "ballast").unlink()
    leecher.wait_until(lambda: leecher.call("transfers")["transfers"][0]["state"] == "done", "transfers")
    (transfer,) = leecher.call("transfers")["transfers"]
    assert (disk / "disk.iso").read_bytes() == path.read_bytes()
    assert transfer["received_bytes"] < 2 * path.stat().st_size


@needs("mount")
@pytest.mark.root
def test_a_get_of_what_is_here_does_not_disturb_who_serves_it(disk: Path, farm: Farm) -> None:
    """Neither while it waits for room, nor when it is given up."""
    seeder, leecher, late = farm.start(3)
    path = farm.file("disk.iso", 9 * MIB)
    ticket = str(seeder.call("share", path=str(path))["ticket"])
    assert seeder.error("get", ticket, "-o", disk)[0] == 9
    leecher.swarm("get", ticket, "-o", leecher.downloads)
    (transfer,) = seeder.call("transfers")["transfers"]
    seeder.swarm("rm", transfer["id"])
    leecher.stop()
    late.swarm("get", ticket, "-o", late.downloads)
    assert (late.downloads / "disk.iso").read_bytes() == path.read_bytes()


# --- files that change while they are served ---


def shrink(path: Path) -> None:
    os.truncate(path, 1000)


def rewrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def replace(path: Path) -> None:
    (path.parent / "other").write_bytes(bytes(path.stat().st_size))
    (path.parent / "other").rename(path)


def test_files_that_do_not_stay_as_they_were(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "4 MiB/s"')
    (leecher,) = farm.start()
    spoilers: dict[str, Callable[[Path], object]] = {
        "shrunk": shrink,
        "rewritten": rewrite,
        "replaced": replace,
        "gone": Path.unlink,
    }
    true = {farm.file(name, 4 * MIB): spoil for name, spoil in spoilers.items()}
    contents = {path: path.read_bytes() for path in true}
    tickets = {path: seeder.call("share", path=str(path))["ticket"] for path in true}
    transfers = {}
    for path, spoil in true.items():  # each within the second that its bytes take
        transfers[path] = leecher.call("get", source=tickets[path], target_dir=str(leecher.downloads))["id"]
        wait_for_progress(leecher, lambda value: value["have_bytes"], transfers[path])
        spoil(path)
    for path, transfer in transfers.items():
        standing = wait_for_progress(leecher, lambda value: value["waiting"], transfer)
        assert standing["waiting"]["code"] in ("nobody_has_it", "missing_chunks")
        assert standing["state"] == "downloading"
        assert any(str(path) in note for note in seeder.call("status")["notes"])
    for path, transfer in transfers.items():
        path.unlink(missing_ok=True)
        path.write_bytes(contents[path])
        seeder.call("share", path=str(path))
        done = leecher.call("transfer.wait", id=transfer)
        assert done["state"] == "done", "as it was again, and shared again: it goes on"
        assert (leecher.downloads / path.name).read_bytes() == contents[path]
    assert seeder.call("status")["notes"] == []


def test_the_part_file_vanishes(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "4 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 6 * MIB)
    getting = leecher.popen("get", seeder.call("share", path=str(path))["ticket"], "-o", leecher.downloads)
    wait_for_bytes(leecher, MIB)
    part = leecher.downloads / "disk.iso.part"
    part.unlink()
    code, _, said = outcome(getting)
    assert (code, f"{part} is gone" in said) == (4, True), said
    (transfer,) = leecher.call("transfers")["transfers"]
    assert transfer["state"] == "failed"
    leecher.swarm("resume", transfer["id"])
    done = leecher.call("transfer.wait", id=transfer["id"])
    assert done["state"] == "done"
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


# --- two daemons, and strangers on the control socket ---


def test_a_second_daemon_on_the_same_state_folder(farm: Farm) -> None:
    (node,) = farm.start()
    second = farm.node()
    second.state_dir = node.state_dir
    assert second.spawn().wait(20) == 1
    assert f"another swarmd runs on this state folder, {node.state_dir} (pid {node.pid})" in second.log_text()
    third = farm.node()
    third.socket = node.socket
    assert third.spawn().wait(20) == 1
    assert f"another swarmd answers on {node.socket}" in third.log_text()
    assert node.call("status")["pid"] == node.pid, "the first one is none the worse"


def test_a_port_that_is_taken(farm: Farm) -> None:
    (node,) = farm.start()
    second = farm.node(listen=[node.address()])
    assert second.spawn().wait(20) == 1
    assert f"cannot listen on {node.address()}: Address already in use" in second.log_text()


@needs("setpriv")
@pytest.mark.root
def test_another_user_on_the_control_socket(farm: Farm) -> None:
    (node,) = farm.start()
    stranger = farm.node(prefix=AS_NOBODY)
    stranger.socket = node.socket
    assert node.socket.stat().st_mode & 0o777 == 0o600
    code, said = stranger.error("status")
    assert (code, f"uid {NOBODY} may not open the control socket" in said) == (5, True), said
    node.socket.chmod(0o666)
    code, said = stranger.error("status")
    assert (code, f"uid {NOBODY} may not use this swarmd" in said) == (5, True), said
    assert f"refused: uid {NOBODY}" in node.log_text()


def test_junk_on_the_control_socket_while_a_transfer_runs(farm: Farm) -> None:
    (seeder,) = farm.start(config='[limits]\nupload = "12 MiB/s"')
    (leecher,) = farm.start()
    path = farm.file("disk.iso", 12 * MIB)
    getting = leecher.popen("get", seeder.call("share", path=str(path))["ticket"], "-o", leecher.downloads)
    wait_for_bytes(leecher, 0)
    rng = SeededRng(3)
    for junk in (b"{}", b"[1,2]", b"GET / HTTP/1.1", rng.bytes(3000).replace(b"\n", b""), b'{"jsonrpc":"2.0","id":1}'):
        with leecher.control() as control:
            control.send(junk)
            assert control.receive()["error"]["data"]["code"] == "invalid"
            assert control.call("id"), "the next line is understood"
    with leecher.control() as control:
        with contextlib.suppress(ConnectionError):  # closed in the middle
            control.send(b"x" * (2 * MIB))
        assert control.receive()["error"]["message"] == f"a request is at most {MAX_REQUEST_BYTES} bytes long"
        with pytest.raises((EOFError, ConnectionError)):
            control.receive()
    assert outcome(getting)[0] == 0
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()


def test_clients_that_never_read_hold_nothing_up(farm: Farm) -> None:
    seeder, leecher = farm.group()
    deaf = [leecher.control() for _ in range(4)]
    for control in deaf:
        control.ask("subscribe", topics=["transfers", "shares", "peers", "members", "groups"])
        for _ in range(1000):
            control.ask("status")
    path = farm.file("disk.iso", 24 * MIB)
    seeder.call("share", path=str(path), group="films")
    leecher.wait_until(lambda: leecher.call("ls")["shares"], "shares")
    leecher.swarm("get", "disk.iso", "-o", leecher.downloads)
    assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
    assert resident_bytes(leecher) < 160 * MIB
    for control in deaf:
        control.close()


def resident_bytes(node: Node) -> int:
    pages = Path(f"/proc/{node.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
