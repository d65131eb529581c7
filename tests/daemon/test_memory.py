"""What a daemon weighs: thirty of them are to fit on one machine, and what was needed once is not kept for ever."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.nodes import Node

MIB = 1 << 20
FRESH_LIMIT = 59 * MIB
"""A new daemon has 51 to 53 MiB; the libraries that it maps differ a little from system to system."""
SELDOM_NEEDED = {"click", "email", "http", "pydoc", "rich", "segno", "sqlite_utils", "unittest", "xml", "zeroconf"}

THREADS = """
import os, threading
from swarmd.daemon.memory import give_memory_back, keep_freed_memory
if not keep_freed_memory():
    raise SystemExit(77)

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

full = threading.Barrier(4)

def work():
    kept = [bytearray(100_000) for _ in range(100)]
    full.wait()
    kept.clear()
    full.wait()
    full.wait()  # it goes on: a thread that ends leaves its heap to the next one

threads = [threading.Thread(target=work) for _ in range(3)]
before = resident()
for thread in threads:
    thread.start()
full.wait()
most = resident()
full.wait()
give_memory_back()
left = resident()
full.wait()
for thread in threads:
    thread.join()
print(most - before, left - before)
"""


def python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


def resident(node: Node) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{node.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def test_a_new_daemon_is_small(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        node.start()
        assert resident(node) < FRESH_LIMIT


def test_a_daemon_does_not_load_what_few_need() -> None:
    done = python("import sys, swarmd.daemon.main; print(*{name.partition('.')[0] for name in sys.modules})")
    assert "swarmd" in done.stdout.split(), done.stderr
    assert not SELDOM_NEEDED & set(done.stdout.split())


def test_what_threads_have_freed_is_given_back() -> None:
    done = python(THREADS)
    if done.returncode == 77:
        pytest.skip("the C library is not glibc")
    most, left = map(int, done.stdout.split())
    assert most > 28 * MIB
    assert left < 6 * MIB
