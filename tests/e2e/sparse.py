"""`swarmd` as it is, but that it keeps hardly more neighbours than the two next to it on the ring, and lets others go
at once: six of them are a group that is larger than anybody's neighbours, for which it takes thirty otherwise.

In a group named DEAF it is as `tests.e2e.deaf`.
"""

from swarmd.daemon.main import main
from swarmd.groups import membership, neighbourhood, topology
from tests.e2e.deaf import deafen

DEAF = "deaf"


def thin_out() -> None:
    topology.RING_SIDE, topology.NEAR_LINKS = 1, 0
    membership.target_links = lambda n_members: 2  # type: ignore[attr-defined]
    neighbourhood.RELEASE_PERIOD = neighbourhood.VISIT_PERIOD = 1.0


if __name__ == "__main__":
    thin_out()
    deafen(DEAF)
    main()
