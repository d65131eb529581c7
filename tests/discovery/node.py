"""A node that only looks around: `python -m tests.discovery.node LISTEN... -- KEY...`, in a network of the test.

Announces the groups with these keys and prints one JSON line for each event: `sighted` (with the indices of the
keys that both have), `lost`, and `note` when that changes. Lines on stdin: `groups KEY...`, or the end.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence

from swarmd.core.addresses import Address
from swarmd.core.clock import SystemClock
from swarmd.core.ids import GroupId
from swarmd.core.rng import SystemRng
from swarmd.discovery.mdns import Mdns
from swarmd.discovery.sightings import Lost, Sighted
from swarmd.groups.beacon import epoch_at, match, plan_tags


class Member:
    """Keys of groups, and the tags they make; what the daemon does between `groups` and `discovery`."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.rng, self.clock = SystemRng(), SystemClock()
        self.keys: dict[GroupId, bytes] = {}
        self.set_keys(keys)

    def set_keys(self, keys: Sequence[str]) -> None:
        self.keys = {GroupId(key.encode().ljust(32)): key.encode() for key in keys}

    def tags_of(self, nonce: bytes) -> list[bytes]:
        return plan_tags(list(self.keys.values()), epoch_at(self.clock.wall()), nonce, self.rng)

    def shared_with(self, sighted: Sighted) -> list[str]:
        return sorted(
            self.keys[group_id].decode()
            for group_id in match(sighted.tags, sighted.nonce, self.keys, self.clock.wall())
        )


def described(event: Sighted | Lost, member: Member) -> dict[str, object]:
    if isinstance(event, Lost):
        return {"event": "lost", "instance": event.instance}
    addresses = [str(address) for address in event.addresses]
    return {
        "event": "sighted",
        "instance": event.instance,
        "addresses": addresses,
        "shared": member.shared_with(event),
    }


def tell(entry: dict[str, object]) -> None:
    print(json.dumps(entry), flush=True)


async def tell_events(mdns: Mdns, member: Member) -> None:
    while True:
        tell(described(await mdns.next_event(), member))


async def obey(mdns: Mdns, member: Member) -> None:
    """Until stdin ends; every line also tells the note, so that a test can wait for it."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command, *keys = line.split()
        if command == "groups":
            member.set_keys(keys)
            mdns.groups_changed()
        tell({"event": "note", "note": mdns.note})


async def main(arguments: Sequence[str]) -> None:
    split = arguments.index("--")
    member = Member(arguments[split + 1 :])
    listen = [Address.parse(each) for each in arguments[:split]]
    mdns = Mdns(listen, member.tags_of, member.clock, member.rng)
    tell({"event": "instance", "instance": mdns.instance})
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(mdns.run()), tasks.create_task(tell_events(mdns, member))]
        await obey(mdns, member)
        for task in running:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
