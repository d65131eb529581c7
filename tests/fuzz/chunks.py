"""Any bytes as what an RTMFP packet holds: parsed or refused, and what is parsed means the same when written again.

`python -m tests.fuzz.chunks -max_len=1200 CORPUS` runs until it is stopped or something breaks.
"""

from __future__ import annotations

import importlib
import sys

from swarmd.core.errors import RemoteError
from swarmd.transport.rtmfp import addresses, chunks, options, packet, vlu

MAX_GROWTH = 10
"""Next User Data, 4 bytes, as User Data of large numbers, 34; a byte of a bitmap as 4 ranges of 2."""

SEEDS = tuple(
    bytes.fromhex(text)
    for text in (
        "0b 1234 30 0007 03 aabbcc 11 22 33",
        "03 0f 000b 01 aa 02 c0000201 1f90 11 22",
        "03 70 0008 01 11 02 22 33 44 55 66",
        "03 71 0010 01 11 02 c0000201 1f90 01 c6336407 ffff",
        "03 79 0004 02 aa bb cc",
        "03 38 000d 01020304 01 aa 01 bb 02 cc dd ee ff",
        "03 78 0008 01020304 02 aa bb cc",
        "03 7f 0005 80 8148 02 aa",
        "89 0001 10 0010 80 02 01 01 05 00 54430400 02 0a 07 00 dead 11 0002 20 be ffffff",
        "06 0001 10 0005 13 02 8101 01 aa",
        "02 50 0005 02 7f 05 05 80",
        "02 51 0009 02 7f 05 00 01 8100 00 03 04",
        "02 18 0001 02 5e 0003 02 8100",
        "01 01 0002 4d 01 41 0002 4d 01 0c 0000 4c 0000 00 0000",
    )
)


def target(data: bytes) -> None:
    for part in (vlu.decode_vlu, vlu.decode_field, options.decode_options, addresses.decode_address):
        try:
            part(data, 0)
        except RemoteError:
            pass
    try:
        packet.session_id_of(data)
    except RemoteError:
        pass
    try:
        header = packet.decode_header(data)
    except RemoteError:
        return
    found = decode(memoryview(data)[header.size :])
    written = b"".join(map(chunks.encode_chunk, found))
    assert len(written) <= MAX_GROWTH * len(data), "a packet must not become much larger than it was"
    assert decode(memoryview(written)) == found, "what was understood is understood again"


def decode(plain: memoryview) -> list[chunks.Chunk]:
    """The chunks before the first malformed one."""
    found: list[chunks.Chunk] = []
    try:
        found.extend(chunks.decode_chunks(plain))
    except RemoteError:
        pass
    return found


def main() -> None:
    try:
        atheris = importlib.import_module("atheris")
    except ImportError:
        sys.exit("this needs atheris, the coverage-guided fuzzer for Python: pip install atheris")
    atheris.instrument_all()
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
