"""A group's catalogue between real daemons: removals that reach who was away, and a start with very many shares."""

from __future__ import annotations

from swarmd.core.clock import SystemClock
from swarmd.core.ids import GroupId
from swarmd.store.store import Store
from swarmd.store.tables.groups import RecordRow
from tests.e2e.farm import Farm, join, wait_for_share
from tests.e2e.nodes import Node
from tests.groups.builders import identity, record

MANY = 3_000


def test_a_removal_reaches_a_member_that_was_away_though_the_publisher_is_gone(farm: Farm) -> None:
    publisher, between, away = farm.group(3)
    for name in ("gone", "kept"):
        publisher.swarm("share", farm.file(name, 1000), "--group", "films")
    for node in (between, away):
        wait_for_share(node, "gone")
        wait_for_share(node, "kept")
    assert away.stop() == 0
    publisher.swarm("unshare", "gone")
    wait_for_share(between, "gone", is_there=False)
    assert publisher.stop() == 0
    assert between.stop() == 0
    away.start()
    assert sorted(names(away)) == ["gone", "kept"], "it has heard nothing yet"
    between.start()
    wait_for_share(away, "gone", is_there=False)
    assert names(away) == names(between) == ["kept"], "nor has what was away brought it back"
    assert away.error("get", "gone", "-o", away.downloads)[0] == 4


def test_many_shares_are_there_as_soon_as_somebody_looks(farm: Farm) -> None:
    (node,) = farm.start()
    join("films", node)
    group = GroupId.parse(node.call("group.show", group="films")["group_id"])
    node.swarm("share", farm.file("ours", 1000), "--group", "films")
    assert node.stop() == 0
    hold_many(node, group)
    node.start()
    listed = node.json("ls")["shares"]
    assert len(listed) == MANY + 1
    assert [share["name"] for share in listed if share["path"]] == ["ours"]
    node.stop()
    node.start()
    assert node.json("unshare", "ours")["name"] == "ours", "a command that changes something waits as well"
    assert names(node, "00299?") == [f"{number:06}" for number in range(2990, 3000)]
    assert names(node, "--by", "you") == []
    assert len(names(node, "--by", str(identity(1).peer_id)[:12])) == MANY
    shown = node.json("group", "show", "films")
    assert (shown["shares"], set(shown["refused"].values())) == (MANY, {0})
    assert 'swarmd_group_records_refused_total{group_id="' in node.swarm("metrics")


def hold_many(node: Node, group: GroupId) -> None:
    """Give a stopped node what another member has shared."""
    store = Store.open(node.state_dir, SystemClock())
    made = [record(1, name=f"{number:06}", number=number, group_id=group) for number in range(MANY)]
    store.records.put(group, [RecordRow(each.publisher, each.share.name, each.encode()) for each in made])
    store.close()


def names(node: Node, *words: str) -> list[str]:
    return [share["name"] for share in node.json("ls", "--group", "films", *words)["shares"]]
