"""A file in pieces, with nothing but a group: `python objects.py GROUP give FILE` on one machine, `... get FILE` on
others, which give each other what they have. First `swarm group create GROUP`. Piece 0 is the number of the others.
"""

import sys
from pathlib import Path

from swarmd.control.client import NetGroup, run

SIZE = 60_000


async def main(name: str, role: str, path: Path) -> None:
    async with await NetGroup.join(name) as group, await group.objects(path.name) as pieces:
        held: dict[int, bytes] = {}
        if role == "give":
            data = path.read_bytes()
            held = {1 + start // SIZE: data[start : start + SIZE] for start in range(0, len(data), SIZE)}
            held[0] = b"%d" % len(held)
            await pieces.add_have(0, len(held))
        else:
            await pieces.add_want(0)
        async for event in pieces:
            if event.name == "request":
                await pieces.write(event, held[event.index])
            elif event.name == "result" and event.data is not None:
                held[event.index] = event.data
                await pieces.add_have(event.index)
                if event.index == 0 and int(event.data):
                    await pieces.add_want(1, 1 + int(event.data))
                if len(held) == 1 + int(held[0]):
                    path.write_bytes(b"".join(held[index] for index in range(1, len(held))))
                    return


run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))) if len(sys.argv) == 4 else sys.exit(__doc__)
