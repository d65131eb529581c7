"""The identity file: made whole, kept secret, never overwritten."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from swarmd.core.errors import IntegrityError, LocalError, NotAllowed
from swarmd.core.rng import SeededRng
from swarmd.identity.identity import Identity


def test_an_identity_lasts(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    first = Identity.load_or_create(path)
    again = Identity.load_or_create(path)
    assert again.certificate == first.certificate
    assert again.static_private.private_bytes_raw() == first.static_private.private_bytes_raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["identity"], "nothing is left beside it"


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Identity.load_or_create(tmp_path / "identity")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o600


def test_the_same_seed_gives_the_same_identity_and_no_seed_a_new_one() -> None:
    assert Identity.generate(SeededRng(1)).peer_id == Identity.generate(SeededRng(1)).peer_id
    assert Identity.generate().peer_id != Identity.generate().peer_id


def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    path = tmp_path / "identity"
    barrier = threading.Barrier(8)
    found: list[Identity] = []

    def start() -> None:
        barrier.wait()
        found.append(Identity.load_or_create(path))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({identity.peer_id for identity in found}) == 1
    assert len(found) == 8


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666, 0o610])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity"
    Identity.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(NotAllowed, match=f"chmod 600 {path}"):
        Identity.load_or_create(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 100, b"swarmd identity 2\n", b"x" * 10_000]
    + [b"swarmd identity 1\nsigning " + b"0" * 64 + b"\nstatic " + b"0" * 63 + b"\n"]
    + [b"swarmd identity 1\nsigning " + b"0" * 64 + b"\nstatic " + b"0" * 64 + b"\n\n"],
)
def test_a_damaged_file_is_reported_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IntegrityError, match="damaged"):
        Identity.load_or_create(path)
    assert path.read_bytes() == content


def test_what_cannot_be_read_or_made(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        Identity.load_or_create(tmp_path / "missing" / "identity")
    with pytest.raises(LocalError, match="Is a directory"):
        Identity.load_or_create(tmp_path)
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(LocalError, match="No such file"):
        Identity.load_or_create(dangling)
    assert os.listdir(tmp_path) == ["link"]


def test_no_secret_shows(tmp_path: Path) -> None:
    identity = Identity.load_or_create(tmp_path / "identity")
    secrets = [line.split()[-1] for line in (tmp_path / "identity").read_text().splitlines()[1:]]
    assert repr(identity) == str(identity) == f"Identity({identity.peer_id.short})"
    shown = f"{identity!r} {identity.certificate!r} {identity.static_private!r}"
    assert len(secrets) == 2
    assert not any(secret in shown for secret in secrets)
