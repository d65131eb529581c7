"""A chat in a group: `python chat.py GROUP`, a line is a message. First `swarm group create GROUP --posting`."""

import asyncio
import sys

from swarmd.control.client import NetGroup, run
from swarmd.control.messaging import Post


async def print_posts(group: NetGroup) -> None:
    async for event in group.events():
        if isinstance(event.data, Post) and not event.data.own:
            print(f"{event.data.author[:8]}: {event.data.text!r}", flush=True)


async def send_lines(group: NetGroup) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        await group.post(line.rstrip("\n"))
    await group.close()


async def main(name: str) -> None:
    async with await NetGroup.join(name) as group:
        for post in await group.recent_posts():
            print(f"{post.author[:8]}: {post.text!r}", flush=True)
        await asyncio.gather(print_posts(group), send_lines(group))


run(main(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
