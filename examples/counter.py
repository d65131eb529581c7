"""A counter that a group shares: `python counter.py GROUP`, each line of input counts one. First `swarm group create
GROUP --posting`. Everybody says how often it has counted; the sum of the highest numbers heard is the same for all.
"""

import asyncio
import sys
from collections import Counter

from swarmd.control.client import NetGroup
from swarmd.control.messaging import Post

counts: Counter[str] = Counter()


def hear(post: Post) -> None:
    counts[post.author] = max(counts[post.author], int(post.text or 0))


async def follow(group: NetGroup) -> None:
    async for event in group.events():
        if isinstance(event.data, Post):
            hear(event.data)
            print(counts.total(), flush=True)
        elif event.topic == "members" and event.name == "joined" and own in counts:
            await group.post(str(counts[own]))  # for who is new: posts of more than five minutes ago are gone


async def main(name: str) -> None:
    global own
    async with await NetGroup.join(name) as group:
        own = await group.own_id()
        follower = asyncio.create_task(follow(group))
        for post in await group.recent_posts():
            hear(post)
        while await asyncio.to_thread(sys.stdin.readline):
            hear(await group.post(str(counts[own] + 1)))
        follower.cancel()


own = ""
asyncio.run(main(sys.argv[1]))
