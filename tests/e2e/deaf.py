"""`swarmd` as it is, but that it says nothing to whom asks over a group's ring who holds an object, and forgets what it
is told of it. If all members are so, only the DHT can tell.
"""

from typing import Any

from swarmd.core.ids import PeerId
from swarmd.daemon.main import main
from swarmd.groups import group
from swarmd.groups.groupspec import GroupSpec
from swarmd.groups.providers.messages import Announce, Find, Unknown
from swarmd.groups.providers.service import Providers


class Deaf(Providers):
    def _receive_announce(self, peer: PeerId, message: Announce, now: float, wall: float) -> None: ...

    def _receive_find(self, peer: PeerId, message: Find, now: float, wall: float) -> None:
        self._links.send(peer, Unknown(message.path))


def deafen(name: str = "") -> None:
    """In groups of that name; in all, without one."""

    def make(spec: GroupSpec, *rest: Any, **options: Any) -> Providers:
        return (Deaf if name in ("", spec.name) else Providers)(spec, *rest, **options)

    group.Providers = make  # type: ignore[assignment, attr-defined]


if __name__ == "__main__":
    deafen()
    main()
