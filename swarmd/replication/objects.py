"""All objects and all links of a node, and the channels where they meet: opened, answered, closed.

A channel is opened when we want the object, or when the other end has opened and we are active in it. Only once both
ends are open do Haves and requests flow, and only then is it in `swarm.channels`. It is closed when neither end wants
anything any more, when we pause or give up the object, or when the other end closes.

Invariant: a channel is in its swarm's `channels` exactly while both its handles are open.
"""

from __future__ import annotations

from collections.abc import Iterator

from swarmd.core.ids import ContentId, GroupId, PeerId
from swarmd.replication import messages
from swarmd.replication.blocks import MAX_BLOCK_BYTES
from swarmd.replication.context import Context
from swarmd.replication.download import Download
from swarmd.replication.giving import Giving
from swarmd.replication.link import MAX_CHANNELS, Channel, Link
from swarmd.replication.messages import Wish
from swarmd.replication.swarm import Swarm
from swarmd.replication.uploads import Uploads


class Objects:
    def __init__(self, context: Context, uploads: Uploads) -> None:
        self._context = context
        self._uploads = uploads
        self.links: dict[tuple[GroupId, PeerId], Link] = {}
        self.groups: dict[GroupId, dict[PeerId, Link]] = {}
        self.swarms: dict[ContentId, Swarm] = {}
        self.downloads: dict[ContentId, Download] = {}
        self.givings: dict[ContentId, Giving] = {}

    # links

    def add_link(self, link: Link) -> None:
        self.links[link.group, link.peer] = link
        self.groups.setdefault(link.group, {})[link.peer] = link
        for content_id in self.downloads:
            swarm = self.swarms[content_id]
            if self.is_active(swarm, link.group):
                self.open_channel(swarm, link)

    def remove_link(self, link: Link) -> None:
        link.is_open = False
        for channel in list(link.channels.values()):
            self.close_channel(channel)
        del self.links[link.group, link.peer]
        del self.groups[link.group][link.peer]
        if not self.groups[link.group]:
            del self.groups[link.group]
        self._uploads.close_link(link)
        link.path.close()

    # objects

    def swarm_for(self, content_id: ContentId) -> Swarm:
        """The object, made when it is new."""
        swarm = self.swarms.get(content_id)
        if swarm is None:
            swarm = self.swarms[content_id] = Swarm(content_id)
            self.givings[content_id] = Giving(self._context, swarm)
        return swarm

    def forget(self, swarm: Swarm) -> None:
        """Its groups have been left."""
        self._context.planning.pop(self.givings.pop(swarm.content_id), None)
        del self.swarms[swarm.content_id]

    def is_active(self, swarm: Swarm, group: GroupId) -> bool:
        """Whether we speak about it in that group."""
        download = self.downloads.get(swarm.content_id)
        return group in swarm.groups and not (download is not None and download.is_paused)

    def wish(self, content_id: ContentId) -> Wish:
        """What we want of it."""
        download = self.downloads.get(content_id)
        return download.wish if download is not None else Wish.NOTHING

    def enter(self, swarm: Swarm, group: GroupId) -> None:
        """Begin to speak about it in that group."""
        for link in self.groups.get(group, {}).values():
            self.open_channel(swarm, link)

    def leave(self, swarm: Swarm, group: GroupId) -> None:
        """Stop speaking about it in that group."""
        for link in list(self.groups.get(group, {}).values()):
            channel = link.channels.get(swarm.content_id)
            if channel is not None and channel.handle:
                self.close_channel(channel)

    def links_of(self, swarm: Swarm) -> Iterator[Link]:
        """Everybody in its groups."""
        for group in swarm.groups:
            yield from self.groups.get(group, {}).values()

    # channels

    def open_channel(self, swarm: Swarm, link: Link) -> None:
        """Open our end if there is a reason to."""
        channel = link.channels.get(swarm.content_id)
        wish = self.wish(swarm.content_id)
        if (channel is None and wish is Wish.NOTHING) or len(link.by_own_handle) >= MAX_CHANNELS:
            return
        channel = channel or link.channel_for(swarm.content_id)
        if not channel.handle:
            link.open_near(channel, wish, is_background=swarm.content_id in self._context.background)
            self._context.speaking[link] = None
            self._attach_if_open(swarm, channel)

    def far_opened(self, channel: Channel) -> None:
        """The other end has opened its."""
        swarm = self.swarms.get(channel.content_id)
        if swarm is None or not self.is_active(swarm, channel.link.group):
            return
        if channel.handle:
            self._attach_if_open(swarm, channel)
        else:
            self.open_channel(swarm, channel.link)

    def far_closed(self, channel: Channel) -> None:
        """The other end has closed its end before it knew ours, which stays: what we said under it counts."""
        swarm = self.swarms[channel.content_id]
        self._uploads.close_channel(channel)
        self.givings[channel.content_id].close_channel(channel)
        swarm.detach(channel)
        channel.received_bytes = channel.sent_bytes = 0
        channel.has = channel.denied = channel.busy = 0
        channel.far_handle = 0
        channel.wish = Wish.NOTHING

    def _attach_if_open(self, swarm: Swarm, channel: Channel) -> None:
        if channel.is_open:
            if swarm.shape is not None:
                channel.has &= swarm.shape.everything
            swarm.attach(channel)
            self.givings[swarm.content_id].wake()
            download = self.downloads.get(swarm.content_id)
            if download is not None:
                download.wake()

    def close_channel(self, channel: Channel) -> None:
        """End both handles and everything under them."""
        still_to_come = 0
        swarm = self.swarms.get(channel.content_id)
        if swarm is not None and channel in swarm.channels:
            download = self.downloads.get(channel.content_id)
            if download is not None:
                still_to_come = self._close_requests(download, channel)
            self.givings[channel.content_id].close_channel(channel)
            swarm.detach(channel)
        self._uploads.close_channel(channel)
        if channel.handle:
            self._context.speaking[channel.link] = None
        channel.link.close_channel(channel, still_to_come)

    def _close_requests(self, download: Download, channel: Channel) -> int:
        still_to_come = download.metadata.close_channel(channel) * MAX_BLOCK_BYTES
        if download.fetch is not None:
            still_to_come += download.fetch.close_channel(channel)
        return still_to_come

    def close_if_idle(self, channel: Channel) -> None:
        """Neither end wants anything."""
        if channel.handle and channel.wish is Wish.NOTHING and self.wish(channel.content_id) is Wish.NOTHING:
            self.close_channel(channel)

    def say_wish(self, swarm: Swarm) -> None:
        """What we want of it has changed."""
        wish, is_background = self.wish(swarm.content_id), swarm.content_id in self._context.background
        for link in self.links_of(swarm):
            channel = link.channels.get(swarm.content_id)
            if channel is not None and channel.handle:
                link.send(messages.Want(channel.handle, wish, is_background))
                self._context.speaking[link] = None
                self.close_if_idle(channel)
