"""More than two: who gives to whom, and what those learn who come late."""

from __future__ import annotations

from tests.e2e.farm import MIB, Farm, join, wait_for_members, wait_for_share
from tests.e2e.nodes import Node, outcome, start_all


def received_from(node: Node, peer: str) -> int:
    """What a node got from one peer in its only transfer."""
    (transfer,) = node.call("transfers")["transfers"]
    return sum(source["received_bytes"] for source in transfer["sources"] if source["peer_id"] == peer)


def test_three_at_once_take_most_from_each_other(farm: Farm) -> None:
    limits = '[limits]\nupload = "8 MiB/s"'
    seeder, *leechers = farm.start(4, config=limits)
    path = farm.file("disk.iso", 24 * MIB)
    ticket = seeder.call("share", path=str(path))["ticket"]
    commands = [leecher.popen("--json", "get", ticket, "-o", leecher.downloads) for leecher in leechers]
    assert [outcome(command)[0] for command in commands] == [0, 0, 0]
    for leecher in leechers:
        assert (leecher.downloads / "disk.iso").read_bytes() == path.read_bytes()
    seeder_id = seeder.call("id")["peer_id"]
    from_seeder = sum(received_from(leecher, seeder_id) for leecher in leechers)
    assert from_seeder < 1.5 * path.stat().st_size, f"the seeder gave {from_seeder / path.stat().st_size:.2f} copies"


def test_a_late_comer_gets_from_leechers_when_the_seeder_is_gone(farm: Farm) -> None:
    seeder, early, late = farm.group(3)
    path = farm.file("disk.iso", 3 * MIB)
    seeder.call("share", path=str(path), group="films")
    wait_for_share(early, "disk.iso")
    early.swarm("get", "disk.iso", "-o", early.downloads)
    wait_for_share(late, "disk.iso")
    seeder.stop()
    late.swarm("get", "disk.iso", "-o", late.downloads)
    assert (late.downloads / "disk.iso").read_bytes() == path.read_bytes()
    assert received_from(late, early.call("id")["peer_id"]) == path.stat().st_size


def test_a_ticket_alone_leads_to_the_others(farm: Farm) -> None:
    """The late comer knows the seeder's address only; it hears of the leecher from it."""
    seeder, early, late = farm.start(3, config='[limits]\nupload = "6 MiB/s"')
    path = farm.file("disk.iso", 6 * MIB)
    ticket = seeder.call("share", path=str(path))["ticket"]
    early.swarm("get", ticket, "-o", early.downloads)
    late.swarm("get", ticket, "-o", late.downloads)
    assert received_from(late, early.call("id")["peer_id"]) > 0


def wait_for_shares(node: Node, count: int) -> None:
    node.wait_until(lambda: len(node.call("ls")["shares"]) == count, "shares")


def test_a_member_that_joins_later_sees_the_catalogue_as_it_is(farm: Farm) -> None:
    one, two = farm.group(2)
    for name in ("kept", "withdrawn", "other"):
        farm.file(name, 100)
    one.call("share", path=str(farm.folder / "kept"), group="films")
    one.call("share", path=str(farm.folder / "withdrawn"), group="films")
    two.call("share", path=str(farm.folder / "other"), group="films")
    for node in (one, two):
        wait_for_shares(node, 3)
    one.call("unshare", name="withdrawn")
    wait_for_share(two, "withdrawn", is_there=False)
    ticket = two.call("group.invite", group="films")["ticket"]
    one.stop()
    (late,) = farm.start()
    late.call("group.join", ticket=ticket)
    late.wait_until(lambda: len(late.call("ls")["shares"]) == 2, "shares")
    assert {share["name"] for share in late.call("ls")["shares"]} == {"kept", "other"}, "also of who is away"


def test_shares_made_while_a_member_was_away_reach_it(farm: Farm) -> None:
    one, two = farm.group(2)
    for name in ("first", "second"):
        farm.file(name, 100)
    one.call("share", path=str(farm.folder / "first"), group="films")
    wait_for_share(two, "first")
    two.stop()
    one.call("unshare", name="first")
    one.call("share", path=str(farm.folder / "second"), group="films")
    two.start()
    two.wait_until(lambda: [share["name"] for share in two.call("ls")["shares"]] == ["second"], "shares")


def test_all_members_find_each_other_from_one_address(farm: Farm) -> None:
    nodes = farm.start(5)
    ticket = nodes[0].call("group.create", name="films")["ticket"]
    for node in nodes[1:]:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        wait_for_members(node, "films", 4)
        assert node.call("status")["sessions"] == 4, "one session for each pair"


def test_two_groups_of_one_name_are_two_groups(farm: Farm) -> None:
    one, two = farm.node(), farm.node()
    start_all(one, two)
    one.call("group.create", name="films")
    two.call("group.create", name="films")
    join("bridge", one, two)
    one.call("share", path=str(farm.file("mine", 100)), group="films")
    assert two.call("ls")["shares"] == []
    assert two.call("group.show", group="films")["connected"] == 0
