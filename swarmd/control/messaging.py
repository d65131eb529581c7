"""The part of the control protocol that is about messages in a group: posting to all, routing to one.

As `schema`, which joins these methods to the table: frozen structs, JSON keys are the field names. A message is any
bytes, given and shown in one of two ways: `text` when it is UTF-8, else `data` (base64).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from swarmd.control.method import Method, Params, Seconds, Text
from swarmd.control.records import Result

MAX_POST_BYTES = 64 << 10
MAX_MESSAGE_BYTES = 32 << 10
"""Of one message that is routed: it travels in one piece, sealed, with what leads it there and back."""
LARGEST_CHARS = MAX_POST_BYTES * 4 // 3 + 4
"""Of what may be given: a post in base64. How many bytes a message may have is looked at where it is made."""

MessageText = Annotated[str, msgspec.Meta(max_length=LARGEST_CHARS, description="a text of at most 65,536 bytes")]
MessageData = Annotated[bytes, msgspec.Meta(max_length=MAX_POST_BYTES, description="at most 65,536 bytes in base64")]
ReceiveMode = Literal["exact", "nearest"]
Towards = Literal["nearest", "increasing", "decreasing", "all"]


class MessageParams(Params, frozen=True, kw_only=True):
    """Base: a message, as `text` or as `data`, and the reference of a group that it is for."""

    group: Text
    text: MessageText | None = None
    data: MessageData | None = None


class PostParams(MessageParams, frozen=True, kw_only=True):
    """`post`: to all members of the group, those who are away for a few minutes included. At most 64 KiB.

    Returns as soon as it is on its way. Errors: not_found; not_allowed (the group is not for posting, or posting is
    restricted to others); invalid (too long).
    """


class PostsParams(Params, frozen=True, kw_only=True):
    """`posts`: what was posted in the last minutes, oldest first. Errors: not_found, not_allowed."""

    group: Text


class SendParams(MessageParams, frozen=True, kw_only=True):
    """`send`: to neighbours, one hop. `nearest` takes an address of the group, or a peer ID, and may be this node
    itself.

    At most 32 KiB. Errors: not_found; not_allowed (the group is not for routing); invalid (no address).
    """

    to: Towards
    address: Text | None = None


class RouteParams(MessageParams, frozen=True, kw_only=True):
    """`route`: to the member nearest to an address of the group (64 hexadecimal digits), or to one peer (its ID), over
    as many hops as it takes.

    Sealed to whoever receives it, at most 32 KiB. `reply`: wait for an answer by a program there too, and not only
    for the receipt. Errors: not_found; not_allowed (the group is not for routing); invalid; no_peers (no way there);
    timed_out.
    """

    address: Text
    reply: bool = False
    timeout_s: Seconds = 10.0


class ReplyParams(MessageParams, frozen=True, kw_only=True):
    """`reply`: answer a message that came with a `reply_id`, once. Errors: not_found (too late, or answered)."""

    reply_id: Text


class ReceiveParams(Params, frozen=True, kw_only=True):
    """`receive`: which messages sent to `nearest` are taken: for this node's address only (`exact`, as it is at
    first), or for every address it is nearest to. Lasts until the daemon ends. Errors: not_found, not_allowed.
    """

    group: Text
    mode: ReceiveMode


class Post(Result, frozen=True, kw_only=True):
    """A post. message_id: SHA-256 of it, hexadecimal. author: a peer ID. posted_at: by the author's clock."""

    group_id: str
    group_name: str | None
    message_id: str
    author: str
    own: bool
    posted_at: int
    text: str | None
    data: bytes | None


class PostMade(Post, frozen=True, kw_only=True):
    """`post`. warning: why members will probably not hear of it: clocks differ."""

    warning: str | None = None


class Posts(Result, frozen=True, kw_only=True):
    """`posts`."""

    posts: list[Post]


class Message(Result, frozen=True, kw_only=True):
    """Events `messages`: `sent` (by a neighbour, one hop) and `routed` (from end to end).

    sender: the peer it came from; of `sent` the neighbour, which may have passed it on. address: where it was sent to,
    None where it was not for an address. reply_id: for `reply`, when the sender waits for an answer.
    """

    group_id: str
    group_name: str | None
    sender: str
    sender_address: str
    address: str | None
    own: bool
    reply_id: str | None
    text: str | None
    data: bytes | None


class Sent(Result, frozen=True, kw_only=True):
    """`send`, `reply`. `no route`: there is no neighbour there. `error`: the message is too long."""

    result: Literal["sent", "no route", "error"]


class Routed(Result, frozen=True, kw_only=True):
    """`route`: it has arrived. hops: of the way there. rtt_s: until the receipt, or the reply, was here."""

    peer_id: str
    address: str
    hops: int
    rtt_s: float
    replied: bool
    text: str | None
    data: bytes | None


POST = Method("post", PostParams, PostMade)
POSTS = Method("posts", PostsParams, Posts)
SEND = Method("send", SendParams, Sent)
ROUTE = Method("route", RouteParams, Routed)
REPLY = Method("reply", ReplyParams, Sent)
RECEIVE = Method("receive", ReceiveParams, Sent)
METHODS = (POST, POSTS, SEND, ROUTE, REPLY, RECEIVE)
