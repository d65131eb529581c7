"""A counter that a group shares: `python counter.py GROUP`, each line of input counts one. First `swarm group create
GROUP --posting`. Everybody says how often it has counted; the sum of the highest numbers heard is the same for all.
"""

import asyncio
import sys
from collections import Counter

from swarmd.control.client import NetGroup, run
from swarmd.control.messaging import Post

counts: Counter[str] = Counter()


def hear(post: Post) -> None:
    if post.text and post.text.isdecimal() and len(post.text) < 10:  # others may say other things
        counts[post.author] = max(counts[post.author], int(post.text))


async def follow(group: NetGroup, own: str) -> None:
    async for event in group.events():
        if isinstance(event.data, Post):
            hear(event.data)
            print(counts.total(), flush=True)
        elif event.topic == "members" and event.name == "joined" and own in counts:
            await group.post(str(counts[own]))  # for who is new: posts of more than five minutes ago are gone


async def count(group: NetGroup, own: str) -> None:
    while await asyncio.to_thread(sys.stdin.readline):
        hear(await group.post(str(counts[own] + 1)))
    await group.close()


async def main(name: str) -> None:
    async with await NetGroup.join(name) as group:
        own = await group.own_id()
        for post in await group.recent_posts():
            hear(post)
        await asyncio.gather(follow(group, own), count(group, own))


run(main(sys.argv[1])) if len(sys.argv) == 2 else sys.exit(__doc__)
