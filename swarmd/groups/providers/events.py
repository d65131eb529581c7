"""What the search for providers tells the driver. Frozen, in the order in which it happened."""

from __future__ import annotations

from dataclasses import dataclass

from swarmd.core.ids import ContentId
from swarmd.groups.contacts import Contact


@dataclass(frozen=True, slots=True)
class Found:
    """Members who say that they hold an object: not told before in this search. With `is_over`, the last of it.

    Whether there is anybody, and the object with them, a dial shows.
    """

    search_id: int
    content_id: ContentId
    contacts: tuple[Contact, ...]
    is_over: bool
