"""The unit files: what systemd itself says of them, and that they agree with the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from swarmd.daemon.effective import USAGE_STATUS
from swarmd.daemon.paths import find_paths
from swarmd.daemon.systemd import CONTROL_NAME

FOLDER = Path(__file__).parents[2] / "systemd"
MAX_EXPOSURE = 1.5
SYSTEM_UNITS = [FOLDER / "swarmd.service", FOLDER / "swarmd.socket"]
USER_UNITS = [FOLDER / "user/swarmd.service", FOLDER / "user/swarmd.socket"]
needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:  # as a user manager it wants one of its own, even for a check
        environ = {**os.environ, "XDG_RUNTIME_DIR": folder}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ)


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Every assignment of a unit, by key."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@needs_analyze
@pytest.mark.parametrize(("manager", "units"), [("--system", SYSTEM_UNITS), ("--user", USER_UNITS)])
def test_verify_is_clean(manager: str, units: list[Path]) -> None:
    done = analyze(manager, "verify", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_analyze
def test_the_service_is_little_exposed() -> None:
    done = analyze("security", "--offline=true", FOLDER / "swarmd.service")
    found = re.search(r"Overall exposure level for swarmd\.service: (\d+\.\d)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    assert float(found[1]) <= MAX_EXPOSURE, done.stdout


@pytest.mark.skipif(not shutil.which("systemd-sysusers"), reason="systemd-sysusers is not installed")
def test_the_user_and_its_group_can_be_made(tmp_path: Path) -> None:
    root, file = f"--root={tmp_path}", str(FOLDER / "sysusers.d/swarmd.conf")
    done = subprocess.run(["systemd-sysusers", "--dry-run", root, file], capture_output=True, text=True, check=True)
    assert "Creating group 'swarmd'" in done.stderr
    assert "Creating user 'swarmd'" in done.stderr


def test_the_sockets_lie_where_the_daemon_and_its_clients_look() -> None:
    system = find_paths({}, 998, Path("/"))
    assert settings_of(FOLDER / "swarmd.socket")["ListenStream"] == [str(system.socket)]
    user = find_paths({"XDG_RUNTIME_DIR": "/run/user/1000"}, 1000, Path("/home/ann"))
    (listen,) = settings_of(FOLDER / "user/swarmd.socket")["ListenStream"]
    assert listen.replace("%t", "/run/user/1000") == str(user.socket)


@pytest.mark.parametrize("socket", [SYSTEM_UNITS[1], USER_UNITS[1]])
def test_the_sockets_have_the_name_the_daemon_expects(socket: Path) -> None:
    assert settings_of(socket)["FileDescriptorName"] == [CONTROL_NAME]


@pytest.mark.parametrize("service", [SYSTEM_UNITS[0], USER_UNITS[0]])
def test_a_wrong_configuration_is_not_tried_again(service: Path) -> None:
    assert settings_of(service)["RestartPreventExitStatus"] == [str(USAGE_STATUS)]


def test_the_system_service_uses_the_folders_systemd_makes() -> None:
    settings = settings_of(FOLDER / "swarmd.service")
    state, configuration = settings["StateDirectory"][0], settings["ConfigurationDirectory"][0]
    paths = find_paths({}, 998, Path("/"))
    assert paths.state_dir == Path("/var/lib") / state
    assert paths.config_file.parent == Path("/etc") / configuration


# --- what the hardening forbids, swarmd does without ---

WITHOUT_WRITABLE_CODE = """
import ctypes, errno, mmap, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit(77)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    sys.exit("the kernel did not refuse it")
except PermissionError:
    pass
import aiofiles, blake3, ifaddr, msgspec, segno, sqlite3, zeroconf.asyncio
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
AESGCM(bytes(32)).encrypt(bytes(12), bytes(1 << 20), None)
ed25519.Ed25519PrivateKey.generate().sign(b"x")
x25519.X25519PrivateKey.generate().exchange(x25519.X25519PrivateKey.generate().public_key())
blake3.blake3(bytes(1 << 20), max_threads=2).digest()
sqlite3.connect(":memory:").execute("select 1")
ifaddr.get_adapters()
"""


def test_nothing_that_is_loaded_needs_writable_code() -> None:
    """MemoryDenyWriteExecute=: with the kernel's own form of it (Linux 6.3)."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_WRITABLE_CODE], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert (done.returncode, done.stderr) == (0, "")


NEEDED_CALLS = {
    "accept4",
    "access",
    "bind",
    "brk",
    "chmod",
    "clone3",
    "close",
    "close_range",
    "connect",
    "copy_file_range",
    "dup2",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "execve",
    "faccessat2",
    "fallocate",
    "fchmod",
    "fchmodat",
    "fcntl",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "futex",
    "getcwd",
    "getdents64",
    "geteuid",
    "getpeername",
    "getpid",
    "getrandom",
    "getrusage",
    "getsockname",
    "getsockopt",
    "gettid",
    "ioctl",
    "link",
    "linkat",
    "listen",
    "lseek",
    "madvise",
    "mkdir",
    "mkdirat",
    "mmap",
    "mprotect",
    "munmap",
    "newfstatat",
    "openat",
    "pipe2",
    "poll",
    "pread64",
    "preadv",
    "preadv2",
    "prlimit64",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readlink",
    "readlinkat",
    "recvfrom",
    "recvmsg",
    "rename",
    "renameat",
    "renameat2",
    "rmdir",
    "rt_sigaction",
    "sched_getaffinity",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    "sigaltstack",
    "socket",
    "socketpair",
    "statx",
    "symlinkat",
    "sync_file_range",
    "syncfs",
    "sysinfo",
    "uname",
    "unlink",
    "unlinkat",
    "utimensat",
    "vfork",
    "wait4",
    "write",
}
"""What a daemon called from start to end while it shared, fetched and served (`strace -f -c`), and what its rarer
paths call. (ioctl is FICLONE. SQLite calls fchown, too, but only as root; the service is not.)"""


def calls_in(group: str) -> set[str]:
    found: set[str] = set()
    for line in analyze("syscall-filter", group).stdout.splitlines()[1:]:
        name = line.strip()
        if name.startswith("@"):
            found |= calls_in(name)
        elif name and not name.startswith("#"):
            found.add(name)
    return found


@needs_analyze
@pytest.mark.parametrize("service", [SYSTEM_UNITS[0], USER_UNITS[0]])
def test_the_system_call_filter_leaves_what_is_needed(service: Path) -> None:
    allowed, refused = settings_of(service)["SystemCallFilter"]
    assert refused.startswith("~")
    left = calls_in(allowed).difference(*map(calls_in, refused[1:].split()))
    assert NEEDED_CALLS - left == set()
    assert "mount" not in left
