"""Members find each other through the DHT alone: real daemons with nothing but one bootstrap address.

The first daemon is that address and belongs to no group; tickets name nobody, or nobody who is still there.
"""

from __future__ import annotations

from swarmd.core.addresses import Address
from swarmd.groups.contacts import Contact
from swarmd.groups.tickets import GroupTicket, ObjectTicket, parse_ticket
from tests.e2e.farm import KIB, Farm, wait_for_members, wait_for_share
from tests.e2e.nodes import Node, start_all

LOCAL = "--no-mdns"


def without_addresses(ticket: str) -> str:
    parsed = parse_ticket(ticket)
    if isinstance(parsed, GroupTicket):
        return GroupTicket(parsed.spec, (), parsed.authorisation).text()
    assert isinstance(parsed, ObjectTicket), "the ticket of a member's share has none"
    return ObjectTicket(parsed.spec, parsed.object, ()).text()


def out_of_date(ticket: str) -> str:
    """With the peer at an address where nobody is any more."""
    parsed = parse_ticket(ticket)
    assert isinstance(parsed, GroupTicket)
    (contact,) = parsed.contacts
    return GroupTicket(parsed.spec, (Contact(contact.peer_id, (Address("127.0.0.1", 1),)),), None).text()


def network(farm: Farm, count: int) -> list[Node]:
    """The one whose address the others have, and these."""
    (first,) = farm.start(arguments=(LOCAL,))
    others = [farm.node(arguments=(LOCAL, "--bootstrap", first.address())) for _ in range(count)]
    start_all(*others)
    return [first, *others]


def moved(farm: Farm, node: Node, first: Node) -> Node:
    """The same daemon at another port."""
    node.stop()
    return farm.node(node.folder.name, arguments=(LOCAL, "--bootstrap", first.address()))


def test_five_daemons_with_one_bootstrap_address_find_their_group_and_what_is_in_it(farm: Farm) -> None:
    _, ann, bob, eve, dan = network(farm, 4)
    a_share_whose_ticket_names_nobody_is_fetched(farm, eve, dan)
    ticket = ann.call("group.create", name="films")["ticket"]
    for node in (bob, eve):
        node.call("group.join", ticket=without_addresses(ticket))
    dan.call("group.join", ticket=out_of_date(ticket))
    for node in (ann, bob, eve, dan):
        wait_for_members(node, "films", 3)
    path = farm.file("film.mkv", 300 * KIB)
    ann.call("share", path=str(path), group="films")
    wait_for_share(dan, "film.mkv")
    dan.swarm("get", "film.mkv", "-o", dan.downloads)
    assert (dan.downloads / "film.mkv").read_bytes() == path.read_bytes()
    a_large_value(farm, ann, bob)
    what_a_member_puts_others_get_when_it_is_gone(ann, bob, eve)


def a_share_whose_ticket_names_nobody_is_fetched(farm: Farm, giver: Node, getter: Node) -> None:
    """By one that has never spoken with who gives it."""
    path = farm.file("disk.iso", 300 * KIB)
    ticket = without_addresses(giver.call("share", path=str(path))["ticket"])
    getter.swarm("get", "-", "-o", getter.downloads, stdin=ticket)
    assert (getter.downloads / "disk.iso").read_bytes() == path.read_bytes()


def what_a_member_puts_others_get_when_it_is_gone(ann: Node, bob: Node, eve: Node) -> None:
    ann.swarm("dht", "put", "--group", "films", "motd", "three films from Lisbon")
    bob.swarm("dht", "put", "--group", "films", "motd", "-", stdin="four of them\n")
    bob.kill_daemon()
    assert ann.swarm("dht", "get", "--group", "films", "motd") == "four of them\n"
    ann.kill_daemon()
    assert eve.json("dht", "get", "--group", "films", "motd")["text"] == "four of them\n"
    assert [value["key"] for value in eve.json("dht", "list", "--group", "films")["values"]] == ["motd"]
    code, message = eve.error("dht", "get", "--group", "films", "other")
    assert code == 4, message
    eve.swarm("dht", "rm", "--group", "films", "motd")
    assert eve.json("dht", "list", "--group", "films")["values"] == []
    code, message = eve.error("dht", "get", "--group", "films", "motd")
    assert (code, "was removed" in message) == (4, True), message


def a_large_value(farm: Farm, ann: Node, bob: Node) -> None:
    given = farm.file("map.txt", 20 * KIB).read_bytes().hex()
    ann.swarm("dht", "put", "--group", "films", "map", "-", stdin=given)
    assert bob.swarm("dht", "get", "--group", "films", "map") == given
    assert [value["size"] for value in bob.json("dht", "list", "--group", "films")["values"]] == [40 * KIB]
    bob.swarm("dht", "rm", "--group", "films", "map")
    code, message = ann.error("dht", "put", "--group", "films", "map", "-", stdin="x" * (64 * KIB + 1))
    assert (code, "share a file" in message) == (2, True), message


def test_members_that_have_both_moved_find_each_other_again(farm: Farm) -> None:
    first, ann, bob = network(farm, 2)
    bob.call("group.join", ticket=ann.call("group.create", name="films")["ticket"])
    for node in (ann, bob):
        wait_for_members(node, "films", 1)
    others = [moved(farm, node, first) for node in (ann, bob)]
    start_all(*others)
    assert {node.address() for node in others}.isdisjoint({ann.address(), bob.address()})
    for node in others:
        wait_for_members(node, "films", 1)
