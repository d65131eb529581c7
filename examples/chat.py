"""A chat in a group: `python chat.py GROUP`, a line is a message. First `swarm group create GROUP --posting`."""

import asyncio
import sys

from swarmd.control.client import NetGroup
from swarmd.control.messaging import Post


async def print_posts(group: NetGroup) -> None:
    async for event in group.events():
        if isinstance(event.data, Post) and not event.data.own:
            print(f"{event.data.author[:8]}: {event.data.text!r}", flush=True)


async def main(name: str) -> None:
    async with await NetGroup.join(name) as group:
        for post in await group.recent_posts():
            print(f"{post.author[:8]}: {post.text!r}", flush=True)
        printer = asyncio.create_task(print_posts(group))
        while line := await asyncio.to_thread(sys.stdin.readline):
            await group.post(line.rstrip("\n"))
        printer.cancel()


asyncio.run(main(sys.argv[1]))
