"""Some daemons that come to know each other through one of them, live without it, and come back; and groups that are
left while something is fetched in them.

`python -m tests.bench.group` is the first with thirty of them, and measures.
"""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.farm import MIB, Farm, join, wait_for_members, wait_for_progress, wait_for_share
from tests.e2e.nodes import Node, outcome

MEMBERS = 6
NAME = "crowd"
SLOW = '[limits]\nupload = "3 MiB/s"\n'


def post(author: Node, hearers: list[Node], text: str) -> None:
    """Until all have heard it."""
    author.call("post", group=NAME, text=text)
    for node in hearers:
        node.wait_until(partial(has_heard, node, text), "posts")


def has_heard(node: Node, text: str) -> bool:
    return any(each["text"] == text for each in node.call("posts", group=NAME)["posts"])


def is_explained(node: Node) -> bool:
    """Whether it knows why it is linked with each, and how far away that is."""
    shown = node.call("group.show", group=NAME)
    return all(each["latency_s"] is not None and each["reason"] for each in shown["neighbours"])


def test_a_group_that_formed_through_one_member_goes_on_without_it(farm: Farm) -> None:
    nodes = farm.start(MEMBERS)
    first, others = nodes[0], nodes[1:]
    ticket = first.call("group.create", name=NAME, posting=True)["ticket"]
    for node in others:
        node.call("group.join", ticket=ticket)
    for node in nodes:
        wait_for_members(node, NAME, MEMBERS - 1)
    post(others[0], nodes, "all are here")
    first.stop()
    for node in others:
        wait_for_members(node, NAME, MEMBERS - 2)
    post(others[1], others, "without the first")
    others[2].wait_until(partial(is_explained, others[2]), "members", "posts")
    first.start()
    for node in nodes:
        wait_for_members(node, NAME, MEMBERS - 1)
    post(first, nodes, "back again")


def test_members_of_a_group_without_peers_meet_only_who_is_named(farm: Farm) -> None:
    first, second, third = farm.start(3)
    made = first.json("group", "create", NAME, "--posting", "--no-peers")
    for node in (second, third):
        node.call("group.join", ticket=made["ticket"])
    wait_for_members(first, NAME, 2)
    post(second, [first, second, third], "by way of the first")
    for node in (second, third):
        shown = node.call("group.show", group=NAME)
        assert (shown["connected"], shown["members"]) == (1, 1)
        assert [each["reason"] for each in shown["neighbours"]] == ["named"]


def two_fetches(farm: Farm) -> tuple[Node, Node, dict[str, Path], dict[str, str]]:
    """A giver and a getter in two groups; from each something is on its way: the files and the transfers."""
    giver, getter = farm.start(2, config=SLOW)
    files, transfers = {}, {}
    for group, size in (("films", 6 * MIB), ("music", 2 * MIB)):
        join(group, giver, getter)
        files[group] = farm.file(group, size)
        giver.call("share", path=str(files[group]), group=group, name=group)
        wait_for_share(getter, group)
        got = getter.call("get", source=group, target_dir=str(getter.downloads))
        transfers[group] = str(got["id"])
    wait_for_progress(getter, lambda value: value["have_bytes"] > 0, transfers["films"])
    return giver, getter, files, transfers


def wait_until_done(getter: Node, transfer: str, path: Path) -> None:
    wait_for_progress(getter, lambda value: value["state"] == "done", transfer)
    assert (getter.downloads / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("option", [(), ("--delete-data",)])
def test_a_group_is_left_by_who_fetches_in_it(farm: Farm, option: tuple[str, ...]) -> None:
    giver, getter, files, transfers = two_fetches(farm)
    giver.signal(signal.SIGSTOP)  # it is under way for as long as this takes
    waiting = getter.popen("--json", "get", "films", "-o", getter.downloads)
    assert waiting.stdout is not None
    assert transfers["films"] in waiting.stdout.readline(), "it waits"
    left = getter.json("group", "leave", "films", *option)
    part = getter.downloads / "films.part"
    assert left["left"] == ([] if option else [str(part)])
    assert part.exists() == (not option)
    giver.signal(signal.SIGCONT)
    code, out, said = outcome(waiting)
    assert (code, "was removed: this node has left its group" in out + said) == (4, True), out + said
    assert [each["id"] for each in getter.call("transfers")["transfers"]] == [transfers["music"]]
    wait_until_done(getter, transfers["music"], files["music"])
    assert giver.call("group.show", group="music")["connected"] == 1, "nobody was at fault"
    wait_for_members(giver, "films", 0)
    getter.swarm("group", "join", giver.call("group.invite", group="films")["ticket"])
    assert getter.call("group.show", group="films")["traffic"]["replication"]["data_received_bytes"] == 0
    wait_for_share(getter, "films")
    part.unlink(missing_ok=True)
    getter.swarm("get", "films", "-o", getter.downloads)
    assert (getter.downloads / "films").read_bytes() == files["films"].read_bytes()


def test_who_has_left_gives_nothing_when_it_is_back(farm: Farm) -> None:
    giver, getter = farm.group()
    shared = giver.json("share", farm.file("song", 1000), "--group", "films")
    wait_for_share(getter, "song")
    giver.call("group.leave", group="films")
    wait_for_members(getter, "films", 0)
    giver.call("group.join", ticket=getter.call("group.invite", group="films")["ticket"])
    wait_for_members(getter, "films", 1)
    assert getter.error("get", shared["ticket"], "-o", getter.downloads, "--timeout", "1")[0] == 6
    giver.call("share", path=str(farm.folder / "song"), group="films")
    getter.swarm("get", shared["ticket"], "-o", getter.downloads)


def test_a_group_is_left_by_who_gives_in_it(farm: Farm) -> None:
    giver, getter, files, transfers = two_fetches(farm)
    ticket = getter.call("group.invite", group="films")["ticket"]
    giver.call("group.leave", group="films")
    wait_for_members(getter, "films", 0)
    wait_until_done(getter, transfers["music"], files["music"])
    (waiting,) = [each for each in getter.call("transfers")["transfers"] if each["id"] == transfers["films"]]
    assert 0 < waiting["have_bytes"] < waiting["size"]
    giver.call("group.join", ticket=ticket)
    giver.call("share", path=str(files["films"]), group="films", name="films")
    wait_until_done(getter, transfers["films"], files["films"])


def test_one_name_in_two_groups_and_a_ticket_that_no_error_repeats(farm: Farm) -> None:
    (node,) = farm.start()
    for group in ("films", "music"):
        node.call("group.create", name=group)
        node.call("share", path=str(farm.file(group, 100)), group=group, name="news")
    code, said = node.error("get", "news", "-o", node.downloads)
    assert (code, "say which by its group (--group G) or its content ID" in said) == (1, True), said
    assert "in group films" in said
    assert "in group music" in said
    secret = node.call("group.invite", group="films")["ticket"].removeprefix("swarm:")
    code, said = node.error("get", secret)
    assert (code, secret[:40] in said, "a ticket begins with 'swarm:'" in said) == (4, False, True), said
    code, said = node.error("group", "invite", "films", "--poster", "me")
    assert (code, "not a peer ID" in said) == (2, True), said
    for words in (
        ("rm",),
        ("group", "show"),
        ("unshare",),
        ("ls", "--group"),
        ("dht", "get"),
        ("peer", "add"),
        ("id",),
    ):
        for given in (secret, f"swarm:{secret}"):
            said = node.error(*words, given)[1]
            assert ("[hidden]" in said, secret[:40] in said) == (True, False), said
    node.swarm("get", "news", "--group", "music", "-o", node.downloads)


def test_who_joins_is_warned_of_what_may_not_be_meant(farm: Farm) -> None:
    here, there = farm.start(2)
    own = here.json("id")["peer_id"]
    here.swarm("group", "create", "films", "--posting")
    joined = here.run("group", "join", there.json("group", "create", "films")["ticket"])
    assert joined.returncode == 0
    assert "another group named 'films'" in joined.stderr
    assert "posting is on here and off there" in joined.stderr
    there.swarm("group", "create", "press", "--posting", "--restrict-publish", "--restrict-post")
    sharing, posting = (
        there.json("group", "invite", "press", *words)["ticket"] for words in (("--publisher", own), ("--poster", own))
    )
    assert here.json("group", "join", sharing)["warning"] is None
    code, said = here.error("post", "press", "hello")
    assert (code, "authorised to share here, not to post" in said) == (5, True)
    assert here.json("group", "join", posting)["warning"] is None
    here.swarm("post", "press", "hello")
    here.swarm("share", farm.file("news", 100), "--group", "press")
